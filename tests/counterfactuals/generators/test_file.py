"""Pairs that somebody wrote."""

from pathlib import Path

import pytest

from cod_cli.counterfactuals.generators.base import EditRequest
from cod_cli.counterfactuals.generators.file import WrittenPairs, open_pairs
from cod_cli.errors import CodError
from cod_cli.records import Shot

SHOTS = [Shot(id="d/1", text="a dull film", label="bad"), Shot(id="d/2", text="a smart film", label="good")]


def pairs(tmp_path: Path, *lines: str) -> WrittenPairs:
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return open_pairs(path, SHOTS, ["bad", "good"])


def test_a_pair_is_found_by_the_shots_id(tmp_path: Path) -> None:
    found = pairs(tmp_path, "id,text,label", "d/1,a bright film,good")
    [proposal] = found.propose([EditRequest(SHOTS[0], "good", 1)])
    assert proposal.texts == ("a bright film",)


def test_a_pair_is_found_by_the_shots_text(tmp_path: Path) -> None:
    assert pairs(tmp_path, "source,text,label", "a smart film,a silly film,bad").targets(SHOTS[1]) == ["bad"]


def test_several_texts_for_one_shot_are_candidates(tmp_path: Path) -> None:
    found = pairs(tmp_path, "id,text,label", "d/1,a bright film,good", "d/1,a fine film,good")
    [proposal] = found.propose([EditRequest(SHOTS[0], "good", 1)])
    assert proposal.texts == ("a bright film", "a fine film")


def test_rows_of_shots_that_were_not_drawn_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "cod_cli")
    pairs(tmp_path, "id,text,label", "d/1,a bright film,good", "d/9,x,good", "d/8,x,good")
    assert caplog.messages[0].startswith("2 rows")


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["id,text", "d/1,x"], "has the columns id, text"),
        (["id,text,label", "d/1,x,great"], "line 2: label 'great' is none"),
        (["id,text,label", "d/1,x,bad"], "line 2: label 'bad' is the shot's own"),
        (["id,text,label", "d/9,x,bad"], "no row of"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(tmp_path: Path, lines: list[str], what: str) -> None:
    with pytest.raises(CodError, match=what):
        pairs(tmp_path, *lines)
