"""Is a difference more than luck? Numbers in, numbers out.

The unit is the seed: its own shots and its own training. Two arms are compared on the seeds that both have, by the
differences within each seed, so that what a draw of shots does to both cancels out.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cod_cli.metrics import Floats

ALPHA = 0.05
# Below six seeds no signed-rank test can reach 5%; below twenty a bootstrap's intervals are too short.
WILCOXON_FROM = 6
BOOTSTRAP_FROM = 20
BETTER = "better"
WORSE = "worse"
_NO_SPREAD = 1e-9
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """A 95% confidence interval of a mean."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean of ``n`` paired differences, with its sample ``std``, t ``interval`` and the ``p`` of the paired t test.

    ``wilcoxon`` is the p of the signed-rank test (6 seeds or more), ``bootstrap`` a BCa interval (20 or more). What
    cannot be had is null: with one seed all but the mean; where all differences are one and the same number, the
    tests, since nothing is known about the spread (but equal arms have p = 1).
    """

    n: int
    mean: float
    std: float | None = None
    interval: Interval | None = None
    p: float | None = None
    wilcoxon: float | None = None
    bootstrap: Interval | None = None


@dataclass(frozen=True)
class McNemar:
    """Two classifiers on the same rows: how many only the first decides right, only the second, and the exact p."""

    only_first: int
    only_second: int
    p: float


def paired_differences(values: Mapping[K, float], reference: Mapping[K, float]) -> list[float]:
    """``values`` - ``reference`` for the keys (seeds) that both have, in the order of the first."""
    return [value - reference[key] for key, value in values.items() if key in reference]


def difference(differences: Sequence[float]) -> Difference:
    """Summarise and test one or more paired differences against zero; see `Difference`."""
    found = np.asarray(differences, dtype=np.float64)
    if not found.size:
        raise ValueError("no seed is common to both arms")
    mean = float(found.mean())
    if found.size == 1:
        return Difference(1, mean)
    std = float(found.std(ddof=1))
    if std < _NO_SPREAD:
        same = abs(mean) < _NO_SPREAD
        return Difference(found.size, mean, std, Interval(mean, mean) if same else None, 1.0 if same else None)
    from scipy import stats  # half a second, which a view of few rows need not wait

    tested = stats.ttest_1samp(found, 0.0)
    return Difference(
        n=found.size,
        mean=mean,
        std=std,
        interval=_interval(tested.confidence_interval(1 - ALPHA)),
        p=float(tested.pvalue),
        wilcoxon=float(stats.wilcoxon(found).pvalue) if found.size >= WILCOXON_FROM else None,
        bootstrap=_bootstrap(found) if found.size >= BOOTSTRAP_FROM else None,
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values that hold the family-wise error under any dependence (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1, and none is smaller than one before it. A null p was no test
    and does not count.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = largest
    return adjusted


def verdict(found: Difference, adjusted: float | None, *, less_is_better: bool = False) -> str:
    """A decision in words: ``better``, ``worse``, ``no difference shown (n = 5)``, ``not tested (n = 1)``.

    Args:
        found: the arm's values less the baseline's.
        adjusted: its p after `holm`; null where there was no test.
        less_is_better: for a metric such as KL.
    """
    if adjusted is None:
        return f"not tested (n = {found.n})"
    if adjusted >= ALPHA:
        return f"no difference shown (n = {found.n})"
    return BETTER if (found.mean > 0) != less_is_better else WORSE


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> McNemar:
    """Exact McNemar test of two classifiers on the same rows.

    Args:
        first: whether the first decides each row right ``(n,)``.
        second: the same of the second.
    """
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != two.shape or not one.size:
        raise ValueError(f"two classifiers on the same rows, not {one.shape} and {two.shape}")
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    discordant = only_first + only_second
    from scipy import stats

    p = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's ρ in [-1, 1]; null below three points, and where either is the same number throughout."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values")
    if len(first) < 3 or min(np.ptp(first), np.ptp(second)) == 0:
        return None
    from scipy import stats

    return float(stats.spearmanr(first, second).statistic)


def _bootstrap(found: Floats) -> Interval:
    # The same numbers give the same interval.
    generator = np.random.default_rng(0)
    from scipy import stats

    made = stats.bootstrap((found,), np.mean, confidence_level=1 - ALPHA, random_state=generator)
    return _interval(made.confidence_interval)


def _interval(found: Any) -> Interval:
    return Interval(float(found.low), float(found.high))
