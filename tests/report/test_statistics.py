"""Statistics against scipy, against hand computation, and against a planted null."""

import math

import numpy as np
import pytest
from scipy import stats

from cod_cli.report.statistics import Difference, Interval, difference, holm, mcnemar, paired_differences, verdict

FIVE = [0.08, 0.02, 0.05, -0.01, 0.06]


def draws(n: int, mean: float = 0.05) -> list[float]:
    return list(np.random.default_rng(1).normal(mean, 0.1, n))


def test_seeds_are_paired_by_their_key_and_those_of_one_arm_alone_are_left_out() -> None:
    assert paired_differences({0: 0.5, 1: 0.75, 2: 0.9}, {1: 0.5, 0: 0.25, 7: 0.1}) == [0.25, 0.25]


def test_the_t_interval_is_the_one_computed_by_hand() -> None:
    found = difference(FIVE)
    mean, std = 0.04, math.sqrt(sum((d - 0.04) ** 2 for d in FIVE) / 4)
    half = 2.7764451 * std / math.sqrt(5)  # the 97.5% point of t with 4 degrees of freedom, from a table
    assert found.mean == pytest.approx(mean)
    assert found.std == pytest.approx(std)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((mean - half, mean + half))


def test_p_is_scipys_paired_t_test() -> None:
    first, second = np.array([0.7, 0.65, 0.71, 0.6, 0.68]), np.array([0.6, 0.66, 0.6, 0.58, 0.61])
    assert difference(list(first - second)).p == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_wilcoxon_begins_at_six_seeds() -> None:
    assert difference(draws(5)).wilcoxon is None
    # Six differences of one sign: the exact two-sided p is 2 / 2 ** 6.
    assert difference([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]).wilcoxon == pytest.approx(2 / 64)


def test_the_bootstrap_begins_at_twenty_seeds_and_repeats() -> None:
    assert difference(draws(19)).bootstrap is None
    found = difference(draws(20))
    assert found.bootstrap == difference(draws(20)).bootstrap
    assert found.bootstrap is not None
    assert found.interval is not None
    # About as wide as the t interval, around the same mean.
    assert found.bootstrap.low < found.mean < found.bootstrap.high
    width = found.interval.high - found.interval.low
    assert 0.7 * width < found.bootstrap.high - found.bootstrap.low < 1.2 * width


def test_one_seed_has_a_mean_and_nothing_else() -> None:
    assert difference([0.1]) == Difference(1, 0.1)


def test_no_common_seed_is_an_error() -> None:
    with pytest.raises(ValueError, match="no seed"):
        difference([])


def test_equal_arms_have_p_1() -> None:
    assert difference([0.0] * 7) == Difference(7, 0.0, 0.0, Interval(0.0, 0.0), 1.0)


def test_one_and_the_same_difference_everywhere_is_not_tested() -> None:
    found = difference([0.1 + 0.2, 0.3, 0.3])
    assert (found.interval, found.p) == (None, None)
    assert verdict(found, None) == "not tested (n = 3)"


def test_holm_is_the_one_computed_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, then 0.03 * 2 lifted to what stands before it, and 0.2 * 1.
    assert holm([0.03, 0.01, 0.2, 0.02]) == pytest.approx([0.06, 0.04, 0.2, 0.06])


def test_what_was_not_tested_does_not_count_for_holm() -> None:
    assert holm([None, 0.02, None, 0.9]) == [None, pytest.approx(0.04), None, pytest.approx(0.9)]
    assert holm([]) == []


def test_no_adjusted_p_exceeds_one() -> None:
    assert holm([0.7, 0.8, 0.9]) == [1.0, 1.0, 1.0]


def test_decisions_are_words() -> None:
    up, down = Difference(5, 0.1, p=0.01), Difference(5, -0.1, p=0.01)
    assert verdict(up, 0.049) == "better"
    assert verdict(down, 0.049) == "worse"
    assert verdict(up, 0.05) == "no difference shown (n = 5)"
    assert verdict(down, 0.01, less_is_better=True) == "better"
    assert verdict(Difference(1, 0.1), None) == "not tested (n = 1)"


def test_mcnemar_looks_only_at_the_rows_on_which_the_two_differ() -> None:
    first = [True] * 50 + [True] * 9 + [False] * 1 + [False] * 40
    second = [True] * 50 + [False] * 9 + [True] * 1 + [False] * 40
    found = mcnemar(first, second)
    # Ten discordant rows, one or none on one side: 2 * (1 + 10) / 2 ** 10.
    assert (found.only_first, found.only_second, found.p) == (9, 1, pytest.approx(22 / 1024))


def test_students_that_decide_alike_do_not_differ() -> None:
    assert mcnemar([True, False], [True, False]).p == 1.0


def test_mcnemar_refuses_students_of_different_rows() -> None:
    with pytest.raises(ValueError, match="same rows"):
        mcnemar([True], [True, False])


def test_a_planted_null_is_called_different_in_at_most_five_per_cent_of_2000_tables() -> None:
    random, tables = np.random.default_rng(7), 2000
    wrong = 0
    for _ in range(tables):
        # Four arms that are all the baseline: the draw of shots moves them together, training each alone.
        shots = random.normal(0.6, 0.05, 5)
        baseline, *arms = (shots + random.normal(0, 0.03, 5) for _ in range(5))
        found = [difference(list(arm - baseline)) for arm in arms]
        words = [verdict(d, p) for d, p in zip(found, holm([d.p for d in found]), strict=True)]
        wrong += any(word in ("better", "worse") for word in words)
    assert wrong / tables <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)
    assert wrong > 0  # a test that never decides would pass the line above
