"""The house: what ships, and the rooms that the import contract names."""

import re
import tomllib
from pathlib import Path

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
