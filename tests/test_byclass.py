"""F1 by class: from what was decided to a name among metrics."""

from typing import Any

import pytest
from pydantic import ValidationError
from sklearn import metrics as sk

from cod_cli.metrics import classes_in, f1_columns, f1_of, with_f1
from cod_cli.records import Prediction
from tests.records_of import score

LABELS = ["bad", "mixed", "good"]
TRUTH, DECIDED = [0, 0, 0, 2, 2], [0, 0, 2, 2, 0]


def decided(**changes: Any) -> Prediction:
    fields = {"student": "a", "task": "t", "split": "s", "rows": "d", "truth": TRUTH, "decided": DECIDED}
    return Prediction(**{**fields, "confidence": [0.9] * len(changes.get("decided", DECIDED)), **changes})


def test_it_is_counted_from_what_was_decided_in_the_order_of_the_labels() -> None:
    found = with_f1(score("a", n=5), decided(), LABELS).f1
    assert found is not None
    assert list(found) == LABELS
    expected = sk.f1_score(TRUTH, DECIDED, labels=[0, 1, 2], average=None, zero_division=0)
    assert list(found.values()) == pytest.approx(expected, abs=1e-6)


def test_what_a_score_says_itself_is_left_alone() -> None:
    said = score("a", n=5, f1={"bad": 0.1})
    assert with_f1(said, decided(), LABELS) is said


@pytest.mark.parametrize(
    "prediction",
    [None, decided(truth=None), decided(truth=TRUTH[1:], decided=DECIDED[1:]), decided(decided=[0, 0, 2, 2, 3])],
    ids=["not kept", "no labels", "other rows", "other classes"],
)
def test_where_nothing_fitting_was_kept_there_is_none(prediction: Prediction | None) -> None:
    assert with_f1(score("a", n=5), prediction, LABELS).f1 is None


def test_a_score_without_it_leaves_a_gap() -> None:
    scores = [score("a", f1={"bad": 0.1, "good": 0.2}), score("b")]
    assert f1_columns(scores) == {"f1[bad]": [0.1, None], "f1[good]": [0.2, None]}


@pytest.mark.parametrize("label", ["good", "a]", "f1[b", "[c]", ""])
def test_a_class_is_found_again_in_the_name_whatever_it_is_called(label: str) -> None:
    assert classes_in(["accuracy", f1_of(label), "boundary_agreement by f1[x]"]) == [label]


@pytest.mark.parametrize("column", ["truth", "decided", "confidence"])
def test_a_prediction_with_a_column_of_another_length_is_none(column: str) -> None:
    with pytest.raises(ValidationError, match="not of one length"):
        decided(**{column: [1]})
