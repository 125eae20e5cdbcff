"""Which CFEs flip the teacher, read off file 3."""

import math

import pytest

from cod_cli.records import Counterfactual, Shot, SoftLabel, text_sha
from cod_cli.teachers.softlabels import flips_by_file3, with_flips_by_file3

LABELS = ["negative", "positive"]
SHOT = Shot(id="a/train/1", text="It is good.", label="positive")
CFE = Counterfactual(
    id="a/train/1~negative",
    shot_id=SHOT.id,
    text="It is bad.",
    label="negative",
    source_label="positive",
    kind="cfe",
    generator="file",
    prompt=None,
    flipped=None,
    p_before=None,
    p_after=None,
    edit_ratio=0.3,
    n_edits=1,
    minimal=None,
    attempts=1,
)


def soft(row: Shot | Counterfactual, p_negative: float) -> SoftLabel:
    logits = [math.log(p_negative), math.log(1 - p_negative)]
    return SoftLabel(
        id=row.id, text_sha=text_sha(row.text), logits=logits, teacher="t", source="logits", covered_mass=1
    )


@pytest.mark.parametrize(("before", "after", "flipped"), [(0.1, 0.8, True), (0.1, 0.4, False), (0.6, 0.8, False)])
def test_a_cfe_flips_where_the_teacher_crosses_to_its_class(before: float, after: float, flipped: bool) -> None:
    found = flips_by_file3([CFE], [SHOT], [soft(SHOT, before), soft(CFE, after)], LABELS)[CFE.id]
    assert (found.flipped, found.p_before, found.p_after) == (flipped, before, after)


def test_a_label_of_an_older_text_tells_nothing() -> None:
    mended = CFE.replace(text="It is dull.")
    assert flips_by_file3([mended], [SHOT], [soft(SHOT, 0.1), soft(CFE, 0.8)], LABELS) == {}


def test_a_cfe_whose_shot_is_gone_stays_as_it_is() -> None:
    assert with_flips_by_file3([CFE], [], [soft(CFE, 0.8)], LABELS) == [CFE]


def test_a_cfe_that_file_3_knows_gets_its_flip() -> None:
    row = with_flips_by_file3([CFE], [SHOT], [soft(SHOT, 0.1), soft(CFE, 0.8)], LABELS)[0]
    assert (row.flipped, row.p_before, row.p_after) == (True, 0.1, 0.8)
