"""Hints: an option that one names is an option of the command that it is for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cod_cli.cli.app import app

PACKAGE = Path(__file__).parents[1] / "cod_cli"
ERRORS = {"CodError", "UsageError", "PartialError", "DivergedError"}
OPTIONS = {
    name: {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
}
# What hints say of the commands of others.
FOREIGN = {"--break-system-packages"}


def hints(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of the errors' hints in a module, what is put into them left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            for argument in node.args[1:]:
                parts = [one.value for one in ast.walk(argument) if isinstance(one, ast.Constant)]
                yield node.lineno, " ".join(str(part) for part in parts)


def commands_of(path: Path) -> set[str]:
    """The commands that a module's hints are for: its own, where it is a stage's or one's settings; else any."""
    room = path.relative_to(PACKAGE).parts
    own = room[1].removesuffix(".py") if room[0] in ("stages", "settings") and len(room) > 1 else None
    return {own} if own in OPTIONS else set(OPTIONS)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_hint_names_options_of_its_command_only(path: Path) -> None:
    known = set().union(*(OPTIONS[name] for name in commands_of(path))) | FOREIGN
    for line, text in hints(path):
        # A command in its own quotes has its own options.
        for command in re.findall(r"`([^`]*)`", text):
            words = command.split()
            if words[:1] == ["cod"] and len(words) > 1 and words[1] in OPTIONS:
                assert set(re.findall(r"--[a-z][a-z-]+", command)) <= OPTIONS[words[1]], f"{path}, line {line}: {text}"
        outside = re.sub(r"`[^`]*`", "", text)
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", outside)) <= known, f"{path}, line {line}: {text}"


def test_some_hints_name_options() -> None:
    found = [text for path in PACKAGE.rglob("*.py") for _, text in hints(path) if "--" in text]
    assert len(found) > 50
