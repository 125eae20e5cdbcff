"""The sign that edits will do harm: where random edits go, by hand and by teachers of either sort."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cod_cli.counterfactuals.harm import EDITS, MOST_DRIFT, SHOTS, Drift, Turned, drift, turn_at_random, warning
from cod_cli.records import Shot
from cod_cli.teachers.base import Logits

LABELS = ("unacceptable", "acceptable")
TEXTS = [f"the {animal} has seen my {thing} ." for animal in ("dog", "cat", "cow", "hen") for thing in ("hat", "bag")]


@dataclass
class Grammar:
    """Takes for acceptable what stands in ``known``, word for word, and nothing else."""

    known: Sequence[str]
    asked: list[str] = field(default_factory=list)
    cheap: bool = True

    def logits(self, texts: Sequence[str], **_: object) -> Logits:
        self.asked += texts
        return np.array([[0.0, 1.0] if text in self.known else [1.0, 0.0] for text in texts], dtype=np.float32)


@dataclass
class Words:
    """Decides by the first word, which stands in every text of a class, and only there."""

    cheap: bool = True

    def logits(self, texts: Sequence[str], **_: object) -> Logits:
        return np.array([[0.0, 1.0] if "good" in text else [1.0, 0.0] for text in texts], dtype=np.float32)


def shots(texts: Sequence[str]) -> list[Shot]:
    return [Shot(id=f"d/train/{n}", text=text, label=LABELS[n % 2]) for n, text in enumerate(texts, 1)]


def share(turned: Turned) -> float:
    found = drift(turned)
    assert found is not None
    return found.share


def test_edits_that_leave_every_text_in_its_class_drift_nowhere() -> None:
    assert share({"a": {"a": 32, "b": 0}, "b": {"a": 0, "b": 64}}) == 0


def test_edits_that_turn_as_many_either_way_drift_nowhere() -> None:
    assert share({"a": {"a": 24, "b": 8}, "b": {"a": 8, "b": 24}}) == 0


def test_edits_that_all_end_in_one_class_drift_there_wholly() -> None:
    assert drift({"a": {"a": 0, "b": 32}, "b": {"a": 0, "b": 32}}) == Drift("b", 1)


def test_with_two_classes_it_is_the_difference_between_what_turns_of_each() -> None:
    # However many shots of each there were: 1/2 less 1/8.
    for n in (8, 800):
        found = drift({"a": {"a": 16, "b": 16}, "b": {"a": n // 8, "b": n - n // 8}})
        assert found == Drift("b", pytest.approx(1 / 2 - 1 / 8))


def test_with_three_classes_it_is_what_ends_in_one_above_a_third() -> None:
    half = {"a": {"a": 16, "b": 16, "c": 0}, "b": {"a": 0, "b": 32, "c": 0}, "c": {"a": 0, "b": 16, "c": 16}}
    # b has (1/2 + 1 + 1/2)/3 = 2/3, and 1/3 of the 2/3 that there is above 1/3 makes 1/2.
    assert drift(half) == Drift("b", pytest.approx(1 / 2))


def test_of_one_class_alone_nothing_can_be_told() -> None:
    assert drift({"a": {"a": 0, "b": 32}}) is None
    assert drift({}) is None
    assert warning({"a": {"a": 0, "b": 32}}) is None
    assert warning(None) is None


def test_the_warning_says_what_turns_where_and_what_to_do() -> None:
    turned = {
        "acceptable": {"acceptable": 16, "unacceptable": 48},
        "unacceptable": {"acceptable": 0, "unacceptable": 9},
    }
    said = warning(turned)
    assert said is not None
    assert "takes texts to *unacceptable*, whichever words they are" in said
    assert "75% of *acceptable* (to *unacceptable*), none of *unacceptable*; a drift of 0.75" in said
    assert "--mix shots" in said


@pytest.mark.parametrize(("turn", "warned"), [(30, False), (31, True), (100, True)])
def test_from_the_middle_of_the_gap_on_users_are_warned(turn: int, warned: bool) -> None:
    turned = {"a": {"a": 100 - turn, "b": turn}, "b": {"a": 0, "b": 100}}
    assert (warning(turned) is not None) is warned


def test_the_measured_runs_fall_on_the_right_sides() -> None:
    lines = (Path(__file__).parents[1] / "evidence" / "harm-random-edits.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    shares = {(row["task"], row["k"], row["seed"]): share(row["turned"]) for row in rows}
    assert len(shares) == 40
    assert {place for place, found in shares.items() if found >= MOST_DRIFT} == {
        place for place in shares if place[0] == "cola"
    }
    low = max(found for place, found in shares.items() if place[0] != "cola")
    high = min(found for place, found in shares.items() if place[0] == "cola")
    assert pytest.approx((low + high) / 2, abs=0.005) == MOST_DRIFT


def test_a_teacher_of_grammar_is_turned_one_way_and_a_teacher_of_words_seldom() -> None:
    rows = shots(TEXTS)
    grammar = turn_at_random(Grammar([shot.text for shot in rows if shot.label == "acceptable"]), rows, LABELS)
    assert grammar["unacceptable"] == {"unacceptable": sum(grammar["unacceptable"].values()), "acceptable": 0}
    # An edit of one shot may happen to be another.
    assert grammar["acceptable"]["acceptable"] <= 3
    assert share(grammar) > 0.9
    assert warning(grammar)
    long = shots([f"{('good' if n % 2 else 'bad')} {text} " * 2 for n, text in enumerate(TEXTS, 1)])
    words = turn_at_random(Words(), long, LABELS)
    assert share(words) < MOST_DRIFT / 2
    assert warning(words) is None


def test_it_asks_about_edits_of_the_first_shots_alone_and_the_same_ones_again() -> None:
    teacher = Grammar([])
    rows = shots([f"{text} {n}" for n in range(3) for text in TEXTS])
    turn_at_random(teacher, rows, LABELS)
    assert teacher.asked[:SHOTS] == [shot.text for shot in rows[:SHOTS]]
    assert SHOTS < len(teacher.asked) <= SHOTS * (1 + EDITS)
    again = Grammar([])
    turn_at_random(again, rows[:SHOTS], LABELS)
    assert again.asked == teacher.asked


def test_of_few_shots_or_none_with_a_word_nothing_is_asked() -> None:
    teacher = Grammar([])
    assert turn_at_random(teacher, shots(TEXTS[:7]), LABELS) == {}
    assert turn_at_random(teacher, shots(["..."] * 8), LABELS) == {}
    assert teacher.asked == []
