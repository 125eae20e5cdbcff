"""The sign that edits will do harm: what random edits leave of the classes, by hand and by teachers of either sort."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2

import numpy as np
import pytest

from cod_cli.counterfactuals.harm import EDITS, LEAST_SURVIVING, SHOTS, surviving, turn_at_random, warning
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


def test_edits_that_leave_every_text_in_its_class_leave_all() -> None:
    assert surviving({"a": {"a": 32, "b": 0}, "b": {"a": 0, "b": 64}}) == 1


def test_edits_that_take_every_text_to_one_class_leave_nothing() -> None:
    assert surviving({"a": {"a": 0, "b": 32}, "b": {"a": 0, "b": 32}}) == 0
    assert surviving({"a": {"a": 16, "b": 16}, "b": {"a": 8, "b": 8}}) == 0


def test_edits_that_turn_a_quarter_either_way_leave_what_a_noisy_channel_does() -> None:
    # 1 - H(1/4), and H(1/4) = 2 - 3/4 log2(3).
    assert surviving({"a": {"a": 24, "b": 8}, "b": {"a": 8, "b": 24}}) == pytest.approx(0.75 * log2(3) - 1)


def test_edits_that_turn_half_of_one_class_leave_what_a_z_channel_does() -> None:
    # H(1/4) - H(1/2)/2 with both classes alike often, however many shots of each there were.
    expected = 2 - 0.75 * log2(3) - 0.5
    assert surviving({"a": {"a": 16, "b": 16}, "b": {"a": 0, "b": 32}}) == pytest.approx(expected)
    assert surviving({"a": {"a": 16, "b": 16}, "b": {"a": 0, "b": 320}}) == pytest.approx(expected)


def test_three_classes_are_measured_by_what_tells_three_apart() -> None:
    same = {label: {other: 30 * (label == other) for other in "abc"} for label in "abc"}
    assert surviving(same) == pytest.approx(1)
    assert surviving({label: dict.fromkeys("abc", 10) for label in "abc"}) == pytest.approx(0)


def test_of_one_class_alone_nothing_can_be_told() -> None:
    assert surviving({"a": {"a": 0, "b": 32}}) is None
    assert surviving({}) is None
    assert warning({"a": {"a": 0, "b": 32}}) is None
    assert warning(None) is None


def test_the_warning_says_what_turns_where_and_what_to_do() -> None:
    turned = {
        "acceptable": {"acceptable": 16, "unacceptable": 48},
        "unacceptable": {"acceptable": 0, "unacceptable": 9},
    }
    said = warning(turned)
    assert said is not None
    assert "75% of *acceptable* (to *unacceptable*), none of *unacceptable*" in said
    assert "--mix shots" in said


def test_where_enough_is_left_nobody_is_warned() -> None:
    def noisy(share: int) -> dict[str, dict[str, int]]:
        return {"a": {"a": 100 - share, "b": share}, "b": {"a": share, "b": 100 - share}}

    left = [share for share in range(51) if warning(noisy(share)) is None]
    assert left == list(range(len(left)))
    assert (surviving(noisy(len(left))) or 0) < LEAST_SURVIVING <= (surviving(noisy(len(left) - 1)) or 0)


def test_a_teacher_of_grammar_is_turned_one_way_and_a_teacher_of_words_seldom() -> None:
    rows = shots(TEXTS)
    grammar = turn_at_random(Grammar([shot.text for shot in rows if shot.label == "acceptable"]), rows, LABELS)
    assert grammar["unacceptable"] == {"unacceptable": sum(grammar["unacceptable"].values()), "acceptable": 0}
    # An edit of one shot may happen to be another.
    assert grammar["acceptable"]["acceptable"] <= 3
    assert (surviving(grammar) or 0) < 0.02
    assert warning(grammar)
    long = shots([f"{('good' if n % 2 else 'bad')} {text} " * 2 for n, text in enumerate(TEXTS, 1)])
    words = turn_at_random(Words(), long, LABELS)
    assert (surviving(words) or 0) > 2 * LEAST_SURVIVING
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
