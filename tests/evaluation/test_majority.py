"""Always saying the most frequent class, by hand."""

import math

import pytest

from cod_cli.evaluation.scores import majority, majority_class
from cod_cli.metrics import confusion

LABELS = ["bad", "mixed", "good"]
# Two bad, one mixed, five good.
TRUTH = [0, 2, 2, 1, 2, 0, 2, 2]


def test_its_numbers_are_those_by_hand() -> None:
    found = majority(TRUTH, LABELS, "films", "test", teacher=[0, 2, 2, 2, 0, 0, 2, 1])
    assert majority_class(found) == "good"
    assert (found.student, found.task, found.split, found.n) == ("majority", "films", "test", 8)
    assert found.accuracy == 5 / 8
    # Precision 5/8 and recall 1 for good, nothing for the others.
    good = 2 * (5 / 8) / (5 / 8 + 1)
    assert found.f1 == {"bad": 0, "mixed": 0, "good": pytest.approx(good, abs=1e-6)}
    assert found.macro_f1 == pytest.approx(good / 3, abs=1e-6)
    assert found.mcc == 0
    assert found.agreement == 4 / 8
    assert [found.kl, found.ece, found.brier, found.boundary_agreement, found.method, found.k] == [None] * 6


def test_of_equally_frequent_classes_the_first_is_said() -> None:
    assert majority_class(majority([2, 1, 1, 2], LABELS, "films", "test")) == "mixed"


def test_without_a_teacher_nothing_agrees() -> None:
    assert majority(TRUTH, LABELS, "films", "test").agreement is None


def test_of_two_equal_classes_macro_f1_is_a_third() -> None:
    found = majority([0, 1] * 5, LABELS[:2], "films", "test")
    assert (found.accuracy, found.macro_f1) == (0.5, pytest.approx(1 / 3, abs=1e-6))
    assert not math.isnan(found.mcc or 0)


def test_a_confusion_counts_rows_by_their_class_and_then_by_the_one_decided_for() -> None:
    assert confusion([0, 0, 1, 2, 2, 2], [0, 2, 1, 0, 0, 2], 3) == [[1, 0, 1], [0, 1, 0], [2, 0, 1]]
