"""The house: what ships, and the rooms that the import contract names."""

import re
import tomllib
from pathlib import Path

from typer.main import get_command

from cod_cli.cli.app import app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_of_the_tree_ships() -> None:
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "cod_cli").rglob("__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | {"cod_prompts"}


def test_no_test_module_imports_another_one() -> None:
    importing = re.compile(
        r"^\s*(?:from|import) +tests(?:\.\w+)*\.test_|^\s*from +tests[.\w]* +import +.*\btest_", re.MULTILINE
    )
    modules = list((ROOT / "tests").rglob("*.py"))
    assert len(modules) > 100
    assert not [path.name for path in modules if importing.search(path.read_text(encoding="utf-8"))]


def rooms_of_the_contract() -> list[str]:
    """The layers of the import contract, the highest first; neighbours in the order in which they stand there."""
    [contract] = [one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    return [room.strip() for layer in contract["layers"] for room in layer.split("|")]


def rooms_of(folder: Path) -> set[str]:
    """The modules and packages of a folder."""
    modules = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}
    return modules | {path.parent.name for path in folder.glob("*/__init__.py")}


def the_code() -> str:
    return re.findall(r"^## The code\n(.*?)^## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)[0]


def test_the_contract_places_every_room_of_the_tree() -> None:
    assert sorted(rooms_of_the_contract()) == sorted(rooms_of(ROOT / "cod_cli"))


def test_the_readme_lists_the_rooms_in_the_order_of_the_contract() -> None:
    listed = re.findall(r"^- `([\w./]+)`: ", the_code(), re.M)
    assert [name.removesuffix("/").removesuffix(".py") for name in listed] == rooms_of_the_contract()
    assert all((ROOT / "cod_cli" / name).exists() for name in listed)


def test_the_map_fits_on_a_screen() -> None:
    assert len(the_code().strip().splitlines()) <= 25


def test_every_name_on_the_map_is_there() -> None:
    """Beside a room: a module or package in it, which is guessed right only while it is called so."""
    listed = re.findall(r"^- `([\w./]+)`: (.*)", the_code(), re.M)
    assert sum("`" in text for _, text in listed) > 5
    for room, text in listed:
        for name in re.findall(r"`([a-z]+)/?`", text):
            assert name in rooms_of(ROOT / "cod_cli" / room) | {"prompts", "shared"}, f"{room} has no {name}"


def test_settings_and_stages_have_one_module_a_command_of_the_same_name() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert rooms_of(ROOT / "cod_cli" / "stages") == commands
    assert rooms_of(ROOT / "cod_cli" / "settings") == commands | {"base", "shared"}


def test_a_folder_holds_at_most_13_modules_besides_those_of_the_commands() -> None:
    folders = {path.parent for path in (ROOT / "cod_cli").rglob("*.py")}
    crowded = {folder.name for folder in folders if len(list(folder.glob("[a-z]*.py"))) > 13}
    assert crowded <= {"settings", "stages"}  # one a command


def test_tests_stand_in_folders_of_the_same_names() -> None:
    folders = [path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")]
    assert {str(path) for path in folders if not (ROOT / "cod_cli" / path).is_dir()} == {"compat"}
