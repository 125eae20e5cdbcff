"""The README's tables of results are those of the score files that ship beside the tests."""

import re
from pathlib import Path

import pytest

from tests.tables import table

EVIDENCE = Path(__file__).parent / "evidence"
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
# What stands before a table: where it comes from and, where it is not the sweep's, its baseline.
MARKED = re.findall(r"<!-- tests/evidence/(\S+)(?: (\S+))? -->\n((?:\|.*\n)+)", README)


@pytest.mark.parametrize(("folder", "baseline", "shown"), MARKED, ids=[folder for folder, *_ in MARKED])
def test_a_table_shows_what_its_score_files_say(folder: str, baseline: str, shown: str) -> None:
    assert shown.splitlines() == table(EVIDENCE / folder, baseline or None)


def test_all_score_files_stand_behind_a_table() -> None:
    assert {folder for folder, *_ in MARKED} == {path.name for path in EVIDENCE.iterdir() if path.is_dir()}
