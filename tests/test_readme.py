"""What is told in files: the README is short and whole, every command line holds, evidence is what score files say."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest
from typer.main import get_command

from cod_cli.cli.app import app
from cod_cli.cli.explained import explanation
from cod_cli.report.comparison import compare
from cod_cli.report.page.picture import picture
from cod_cli.report.results import read_evidence
from cod_cli.settings.base import options_of
from tests.tables import tabulate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EVIDENCE = ROOT / "tests" / "evidence"
# What stands before a table: where it comes from and, where it is not the sweep's, its baseline, or pairs of arms.
MARKED = re.findall(
    r"<!-- tests/evidence/(\S+)(?: ([^>]+))? -->\n((?:\|.*\n)+)",
    README + (EVIDENCE / "README.md").read_text(encoding="utf-8"),
)
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
VARIABLES = {"mix": "cod", "SEED": "0", "run": "runs/a"}


@pytest.mark.parametrize(("folder", "wanted", "shown"), MARKED, ids=[folder for folder, *_ in MARKED])
def test_a_table_shows_what_its_score_files_say(folder: str, wanted: str, shown: str) -> None:
    assert shown.splitlines() == tabulate(EVIDENCE / folder, wanted.split())


def test_all_score_files_stand_behind_a_table() -> None:
    scored = {path.relative_to(EVIDENCE).parts[0] for path in EVIDENCE.rglob("5-scores.jsonl")}
    assert {folder for folder, *_ in MARKED} == scored


def test_the_readmes_picture_is_drawn_from_score_files() -> None:
    [name] = re.findall(r"^!\[.*\]\(tests/evidence/(\S+)\.svg\)$", README, re.MULTILINE)
    evidence = read_evidence(EVIDENCE / name)
    drawn = picture(compare(evidence), evidence.yardsticks)
    assert (EVIDENCE / f"{name}.svg").read_text(encoding="utf-8") == drawn


def test_the_readme_is_read_in_a_sitting() -> None:
    assert len(README.splitlines()) <= 250
    assert max(map(len, README.splitlines())) <= 120


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name: str) -> None:
    assert re.search(rf"^\| `cod {name}\b", README, re.MULTILINE), "add it to the README's table of commands"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_explained_with_an_example(name: str) -> None:
    prose, examples = explanation(name)
    assert len(prose) > 50
    assert re.search(rf"\bcod {name}\b", examples), f"cod_cli/cli/help/{name}.md has no ```bash block with an example"


def command_lines(text: str) -> Iterator[list[str]]:
    """The words behind `cod` of every call in the blocks of shell and in the table of commands."""
    calls = re.findall(r"^\| `(cod .*?)` \|", text.replace("\\|", "/"), re.MULTILINE)
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        calls += block.replace("\\\n", " ").splitlines()
    for line in calls:
        plain = Template(re.sub(r"[\[\]]", "", line).replace('"$(which cod)"', "cod")).safe_substitute(VARIABLES)
        reader = shlex.shlex(plain, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        words = list(reader)
        starts = [n for n, word in enumerate(words) if word == "cod" and not words[n - 1].endswith("mix")]
        for start in starts:
            ends = [n for n in range(start, len(words)) if set(words[n]) <= set(";&|<>")]
            if call := words[start + 1 : min(ends, default=len(words))]:
                yield call


PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [*ROOT.glob("cod_cli/cli/help/*.md"), EVIDENCE / "README.md", ROOT / "README.md"]
}
LINES = [(page, line) for page, path in PAGES.items() for line in command_lines(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {' '.join(line)}" for page, line in LINES])
def test_a_command_line_that_is_shown_is_one_that_is_understood(page: str, line: list[str]) -> None:
    name, *words = line
    parsed = COMMANDS[name].make_context(name, words).params
    settings = getattr(importlib.import_module(f"cod_cli.settings.{name}"), f"{name.capitalize()}Settings")
    given = {field: parsed[field] for field in options_of(settings)}
    settings(**{field: tuple(value) if isinstance(value, list) else value for field, value in given.items()})
