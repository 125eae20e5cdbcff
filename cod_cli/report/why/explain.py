"""What the paper's theorems are about, beside what the arms reached: numbers in, numbers out.

Hamman et al. 2025 (arXiv 2510.21631). Theorem 1: rows near the teacher's boundary hold more Fisher information. Theorem
2: a student that follows its teacher across pairs has a boundary near the teacher's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cod_cli.metrics import Floats, Summary, summary
from cod_cli.report.comparison import Cell, Comparison, Key
from cod_cli.report.statistics import rank_correlation

# Which pairs a run's students were held against: held out from training, or the CFEs of the run itself.
HELD_OUT, OWN = "held-out", "own"
# Each with the sign of the correlation with accuracy that the paper's argument wants.
QUANTITIES: Mapping[str, int] = {"uncertainty": 1, "log_det": 1, "crossed": 1, "gap": -1}
# About the families of the rows trained on: much the same for every draw of an arm, so nothing is correlated with them.
OF_FAMILIES = ("by_shot", "shot_bits", "contrasts", "side_by_side")


@dataclass(frozen=True)
class Measurement:
    """What was measured for one student; null where it could not be.

    ``uncertainty`` and ``log_det`` are about the rows that it trained on (`fisher`); ``crossed`` is the share of pairs
    on whose segment it, too, changes from the teacher's one class to the other (`crossing`; it may like a third better
    than both), ``gap`` the mean distance there between its crossing and the teacher's, as a share of the segment, over
    the pairs that it crosses. By `families`: ``by_shot`` is the share of its rows whose class their shot alone tells,
    ``shot_bits`` the mutual information of the two, ``contrasts`` how many pairs of one family and unlike classes a
    batch holds, and ``side_by_side`` how many it would hold with families together.
    """

    uncertainty: float | None = None
    log_det: float | None = None
    crossed: float | None = None
    gap: float | None = None
    by_shot: float | None = None
    shot_bits: float | None = None
    contrasts: float | None = None
    side_by_side: float | None = None


@dataclass(frozen=True)
class Measurements:
    """What was measured in the runs of a report, by run folder and student.

    ``ridge`` is the λ of ``log_det``. ``pairs`` tells by their kind, ``held-out`` or ``own`` (the run's CFEs), how many
    pairs each run had; ``lost`` counts those left out because the teacher itself does not cross their segment, once
    both texts are brought to one length. ``problems`` says what could not be measured.
    """

    found: Mapping[tuple[Path, str], Measurement]
    ridge: float
    pairs: Mapping[str, Sequence[int]]
    problems: tuple[str, ...]
    lost: int = 0


@dataclass(frozen=True)
class Explained:
    """One arm on one task, split and k: each quantity that there is, mean and sample std over ``n`` seeds."""

    task: str
    split: str
    k: int
    arm: str
    quantities: Mapping[str, Summary]


@dataclass(frozen=True)
class Correlation:
    """Spearman's ρ between a quantity and the report's metric over ``points``: (arm, seed, quantity, metric).

    ``rho`` takes all points together, which mixes two things: ``between`` is that of the arms' means, ``within`` that
    of the points less their arm's mean (other draws, same recipe; each arm takes one degree of freedom). Of one task,
    split and k; arms of another budget and students cut from their teacher are left out. There is no p: the points of
    one seed share their shots.
    """

    task: str
    split: str
    k: int
    quantity: str
    metric: str
    rho: float | None
    between: float | None
    within: float | None
    points: tuple[tuple[str, int | None, float, float], ...]

    @property
    def n(self) -> int:
        """How many points."""
        return len(self.points)

    @property
    def arms(self) -> int:
        """How many arms they are of."""
        return len({point[0] for point in self.points})


@dataclass(frozen=True)
class Why:
    """All of it, in the order of the comparison's cells; see `Measurements`."""

    ridge: float
    pairs: Mapping[str, Sequence[int]]
    lost: int
    problems: tuple[str, ...]
    arms: tuple[Explained, ...]
    correlations: tuple[Correlation, ...]

    @property
    def quantities(self) -> list[str]:
        """Those that any arm has and the paper is about, in order."""
        return self._known(QUANTITIES)

    @property
    def of_families(self) -> list[str]:
        """Those about families that any arm has, in order."""
        return self._known(OF_FAMILIES)

    def _known(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if any(name in arm.quantities for arm in self.arms)]

    def of(self, cell: Cell) -> Mapping[str, Summary]:
        """What was measured of the students of a cell, empty where nothing could be."""
        key = (*cell.key, cell.arm)
        found = (arm.quantities for arm in self.arms if (arm.task, arm.split, arm.k, arm.arm) == key)
        return next(found, {})

    def by_place(self) -> dict[Key, dict[str, Correlation]]:
        """The correlations by task, split and k, then by quantity."""
        found: dict[Key, dict[str, Correlation]] = {}
        for one in self.correlations:
            found.setdefault((one.task, one.split, one.k), {})[one.quantity] = one
        return found


def explain(comparison: Comparison, measurements: Measurements) -> Why:
    """Put what was measured beside what the arms reached."""
    values = {(*cell.key, cell.arm): _by_seed(cell, measurements) for cell in comparison.cells}
    arms = [
        Explained(*key, {name: summary(list(seeds.values())) for name, seeds in found.items()})
        for key, found in values.items()
        if found
    ]
    places = dict.fromkeys(cell.key for cell in comparison.cells)
    correlations = [
        _correlation(
            name, [(cell, values[*cell.key, cell.arm]) for cell in comparison.cells if cell.key == key], metric
        )
        for metric in [comparison.metric]
        for key in places
        for name in QUANTITIES
    ]
    known = tuple(found for found in correlations if found.n)
    return Why(measurements.ridge, measurements.pairs, measurements.lost, measurements.problems, tuple(arms), known)


def _by_seed(cell: Cell, measurements: Measurements) -> dict[str, dict[int | None, float]]:
    """Each quantity by seed, the mean over its students; seeds and quantities without one are left out."""
    found: dict[str, dict[int | None, float]] = {}
    for seed, results in cell.seeds.items():
        students = [(result.run.folder, result.score.student) for result in results]
        measured = [measurements.found[student] for student in students if student in measurements.found]
        for name in (*QUANTITIES, *OF_FAMILIES):
            values = [value for one in measured if (value := getattr(one, name)) is not None]
            if values:
                found.setdefault(name, {})[seed] = float(np.mean(values))
    return found


def _correlation(
    name: str, cells: Sequence[tuple[Cell, Mapping[str, Mapping[int | None, float]]]], metric: str
) -> Correlation:
    points = [
        (cell.arm, seed, value, cell.values[metric][seed])
        for cell, found in cells
        if not (cell.cut or cell.other_budget)
        for seed, value in found.get(name, {}).items()
        if metric in cell.values
    ]
    by_arm: dict[str, list[tuple[float, float]]] = {}
    for arm, _, *pair in points:
        by_arm.setdefault(arm, []).append((pair[0], pair[1]))
    means = [np.mean(pairs, axis=0) for pairs in by_arm.values()]
    # An arm at one seed is its own mean and says nothing about draws.
    centred = [np.asarray(pairs) - mean for pairs, mean in zip(by_arm.values(), means, strict=True) if len(pairs) > 1]
    together = [np.asarray(pairs) for pairs in by_arm.values()]
    rhos = (_rho(together), _rho([mean[None] for mean in means]), _rho(centred))
    return Correlation(*cells[0][0].key, name, metric, *rhos, tuple(points))


def _rho(pairs: Sequence[Floats]) -> float | None:
    """The rank correlation of the two columns of some blocks; differences of rounding only are ties."""
    if not pairs:
        return None
    first, second = np.round(np.concatenate(pairs), 12).T
    return rank_correlation(first.tolist(), second.tolist())
