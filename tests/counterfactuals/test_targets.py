"""Which class a counterfactual is written for, and what file 3 says of the flips."""

import math

import pytest

from cod_cli.counterfactuals.verify import targets
from cod_cli.errors import UsageError
from cod_cli.records import Shot, SoftLabel, text_sha
from cod_cli.teachers.softlabels import flips_by_file3
from tests.records_of import counterfactual

LABELS = ["bad", "fair", "good"]
BAD = Shot(id="a", text="a dull film", label="bad")


@pytest.mark.parametrize(
    ("logits", "nearest"),
    [
        ([2.0, 1.0, 0.0], ["fair"]),
        ([2.0, 0.0, 1.0], ["good"]),
        # The teacher reads it as fair: what it says already is no step.
        ([1.0, 2.0, 0.0], ["good"]),
        ([0.0, 1.0, 2.0], ["fair"]),
    ],
)
def test_the_nearest_class_is_the_next_likely_that_the_teacher_does_not_choose(
    logits: list[float], nearest: list[str]
) -> None:
    assert targets(BAD, LABELS, logits, "nearest") == nearest


def test_all_are_all_others_in_the_order_of_the_classes() -> None:
    assert targets(BAD, LABELS, None, "all") == ["fair", "good"]


@pytest.mark.parametrize(("target", "wanted"), [("good", ["good"]), ("bad", [])])
def test_a_class_is_the_target_of_all_shots_but_its_own(target: str, wanted: list[str]) -> None:
    assert targets(BAD, LABELS, None, target) == wanted


def test_with_two_classes_the_other_one_is_the_target_whatever_the_teacher_says() -> None:
    assert targets(BAD, ["bad", "good"], None, "nearest") == ["good"]
    assert targets(BAD, ["bad", "good"], [0.0, 1.0], "nearest") == ["good"]


def test_the_nearest_of_several_needs_a_teacher() -> None:
    with pytest.raises(UsageError, match="needs a teacher"):
        targets(BAD, LABELS, None, "nearest")


def flipped(before: float, after: float) -> bool:
    """Whether file 3 takes a CFE for a flip; P(positive) of the shot and of the CFE."""
    shot, cfe = Shot(id="a", text="a dull film", label="negative"), counterfactual("a", "a fine film")
    softs = [
        SoftLabel(
            id=row.id,
            text_sha=text_sha(row.text),
            logits=[0.0, math.log(p / (1 - p))],
            teacher="t",
            source="logits",
            covered_mass=1.0,
        )
        for row, p in ((shot, before), (cfe, after))
    ]
    return flips_by_file3([cfe], [shot], softs, ["negative", "positive"])[cfe.id].flipped


@pytest.mark.parametrize(
    ("before", "after", "is_one"),
    [
        (0.1, 0.9, True),
        (0.1, 0.4, False),
        # A step over the boundary that is none to speak of.
        (0.499, 0.502, False),
        # The shot was on that side before.
        (0.6, 0.9, False),
    ],
)
def test_a_flip_by_file_3_starts_on_the_other_side_and_ends_well_behind_the_boundary(
    before: float, after: float, is_one: bool
) -> None:
    assert flipped(before, after) is is_one
