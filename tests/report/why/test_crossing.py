"""Bisection on classifiers whose crossings are known, and token sequences brought to one length."""

import numpy as np
import pytest

from cod_cli.report.why.crossing import STEPS, Margins, align, crossings, share_and_gap

HALF = 2.0 ** -(STEPS + 1)


def linear(weights: list[float], bias: float, ends: np.ndarray) -> Margins:
    """The margin w·x + b on segments whose ends are ``ends`` (n, 2, d)."""

    def margins(rows: np.ndarray, t: np.ndarray) -> np.ndarray:
        points = (1 - t)[:, None] * ends[rows, 0] + t[:, None] * ends[rows, 1]
        found: np.ndarray = points @ np.array(weights) + bias
        return found

    return margins


ENDS = np.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [4.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]])


def test_a_linear_teacher_and_student_cross_where_algebra_says() -> None:
    # The teacher is at zero where x = 0.25, the student where x = 0.6; on the third segment x stays 0.
    teacher = crossings(linear([1, 0], -0.25, ENDS), 3)
    student = crossings(linear([1, 0], -0.6, ENDS), 3)
    np.testing.assert_allclose(teacher[:2], [0.25, 0.0625], atol=HALF)
    np.testing.assert_allclose(student[:2], [0.6, 0.15], atol=HALF)
    np.testing.assert_allclose(np.abs(student - teacher)[:2], [0.35, 0.0875], atol=2 * HALF)
    assert np.isnan(teacher[2])


@pytest.mark.parametrize(
    ("weights", "bias"), [([1.0, 0.0], -2.0), ([1.0, 0.0], 2.0), ([-1.0, 0.0], 0.5), ([0.0, 0.0], 0.0)]
)
def test_a_student_on_one_side_or_turned_about_does_not_cross(weights: list[float], bias: float) -> None:
    assert np.isnan(crossings(linear(weights, bias, ENDS[:1]), 1)).all()


def test_any_monotone_margin_will_do() -> None:
    found = crossings(lambda rows, t: np.exp(5 * t) - np.exp(5 * 0.83), 1)
    assert found[0] == pytest.approx(0.83, abs=HALF)


def test_of_several_crossings_one_is_found() -> None:
    # Up at 0.1, down at 0.5, up at 0.9.
    found = crossings(lambda rows, t: (t - 0.1) * (t - 0.5) * (t - 0.9), 1)
    assert min(abs(found[0] - place) for place in (0.1, 0.5, 0.9)) <= HALF


def test_more_steps_come_nearer() -> None:
    found = crossings(linear([1, 0], -0.3, ENDS[:1]), 1, steps=30)
    assert found[0] == pytest.approx(0.3, abs=1e-9)


def test_no_segments_need_no_answer() -> None:
    assert crossings(lambda rows, t: t, 0).shape == (0,)


CLS, SEP = 1, 2


@pytest.mark.parametrize(
    ("first", "second", "one", "two"),
    [
        # Word for word.
        ([CLS, 5, 6, SEP], [CLS, 5, 7, SEP], [CLS, 5, 6, SEP], [CLS, 5, 7, SEP]),
        # One token became three.
        ([CLS, 5, 6, SEP], [CLS, 7, 8, 9, 6, SEP], [CLS, 5, 5, 5, 6, SEP], [CLS, 7, 8, 9, 6, SEP]),
        # Three became two: 5 6 7 → 8 9.
        ([5, 6, 7, 10], [8, 9, 10], [5, 6, 7, 10], [8, 8, 9, 10]),
        # Put in behind a word, at the beginning, at the end; left out.
        ([CLS, 5, 6, SEP], [CLS, 5, 7, 6, SEP], [CLS, 5, 5, 6, SEP], [CLS, 5, 7, 6, SEP]),
        ([CLS, 5, SEP], [CLS, 7, 5, SEP], [CLS, 5, 5, SEP], [CLS, 7, 5, SEP]),
        ([5, 6], [7, 5, 6], [5, 5, 6], [7, 5, 6]),
        ([CLS, 5, SEP], [CLS, 5, 7, SEP], [CLS, 5, 5, SEP], [CLS, 5, 7, SEP]),
        ([5, 6], [5, 6, 7], [5, 6, 6], [5, 6, 7]),
        ([5, 7, 6], [5, 6], [5, 7, 6], [5, 5, 6]),
        # An empty text.
        ([CLS, SEP], [CLS, 5, SEP], [CLS, SEP, SEP], [CLS, 5, SEP]),
    ],
)
def test_sequences_get_one_length(first: list[int], second: list[int], one: list[int], two: list[int]) -> None:
    assert align(first, second, {CLS, SEP}) == (one, two)
    assert align(second, first, {CLS, SEP}) == (two, one)


def test_the_longer_side_of_one_change_stays_as_it_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        text = rng.integers(3, 9, rng.integers(1, 12)).tolist()
        start, end = sorted(rng.integers(0, len(text) + 1, 2).tolist())
        longer = text[:start] + rng.integers(20, 29, end - start + 2).tolist() + text[end:]
        one, two = align(text, longer)
        assert two == longer
        assert len(one) == len(two)
        assert set(one) <= set(text)


def test_the_gap_is_a_mean_over_the_crossings_that_are_shared() -> None:
    teacher, nowhere = np.array([0.5, 0.25, 0.5, 0.5]), float("nan")
    assert share_and_gap(np.array([0.75, nowhere, 0.5, nowhere]), teacher) == (0.5, 0.125)
    assert share_and_gap(np.full(4, nowhere), teacher) == (0.0, None)
