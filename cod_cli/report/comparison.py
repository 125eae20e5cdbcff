"""Arms side by side at equal budget: means over seeds, and which differences to a baseline are more than luck."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from cod_cli.errors import CodError, UsageError
from cod_cli.evaluation.arms import names_apart, same_settings
from cod_cli.metrics import METRICS, Summary, f1_columns, summary
from cod_cli.mixes import OTHER_BUDGET
from cod_cli.report.results import Cost, Evidence, Result
from cod_cli.report.statistics import WORSE, Difference, McNemar, difference, holm, mcnemar, paired_differences, verdict

# Before the name of the generator that wrote the held-out pairs, in the name of a metric.
BY_GENERATOR = "boundary_agreement by "


SAME_SHOTS = (
    "results at different k share shots (those of a smaller k are among those of a larger): they repeat one another "
    "in part, so no wins are counted across k"
)


Place = tuple[str, str]
Key = tuple[str, str, int]
Unit = tuple[int | None, int | None]


@dataclass(frozen=True)
class Cell:
    """One arm on one task, split and k, over its seeds.

    ``seeds`` holds the results by seed: that of the shots, trainings on the same shots together; where there is one
    draw of shots only, that of the training. ``values`` holds each metric by seed, the mean over its results; boundary
    agreement also by generator, under `BY_GENERATOR` and its name, and F1 by class.
    ``other_budget`` says in what the arm's budget differs, None where it does not; ``cut`` marks students that are
    pieces of their teacher.
    """

    task: str
    split: str
    k: int
    arm: str
    method: str | None
    mix: str | None
    values: Mapping[str, Mapping[int | None, float]]
    other_budget: str | None
    cut: bool
    cost: Cost
    seeds: Mapping[int | None, tuple[Result, ...]]

    @property
    def results(self) -> tuple[Result, ...]:
        """All of them, seed after seed."""
        return tuple(result for group in self.seeds.values() for result in group)

    @property
    def key(self) -> Key:
        """Cells with equal ones can be compared."""
        return self.task, self.split, self.k

    @property
    def n(self) -> int:
        """How many seeds."""
        return max(map(len, self.values.values()), default=0)

    @property
    def generators(self) -> list[str]:
        """Who wrote the held-out pairs on which every student's agreement at the boundary was measured."""
        return [name.removeprefix(BY_GENERATOR) for name in self.values if name.startswith(BY_GENERATOR)]

    def metrics(self) -> dict[str, Summary]:
        """Mean and sample std over seeds of each metric that there is."""
        return {name: summary(list(values.values())) for name, values in self.values.items()}


@dataclass(frozen=True)
class Contrast:
    """An arm less the arm that it is compared with, on the seeds that both have.

    ``verdict`` is the decision in words after Holm's correction (``adjusted``) over all contrasts that were tested;
    ``unpaired`` counts seeds of either arm without a partner; ``rows`` is McNemar's test where each arm is one student.
    """

    task: str
    split: str
    k: int
    arm: str
    against: str
    metric: str
    difference: Difference | None
    adjusted: float | None
    verdict: str
    unpaired: int
    rows: McNemar | None

    @property
    def key(self) -> Key:
        """That of the two cells that are compared."""
        return self.task, self.split, self.k


@dataclass(frozen=True)
class Comparison:
    """Every cell and contrast of one report, decided by one ``metric``; ``notes`` say what a reader must know.

    ``cut_baseline`` is the baseline of the students that began as layers of their teacher. ``worse`` holds contrasts
    that macro F1 or MCC calls worse, each corrected over that metric's, where accuracy decides and does not.
    """

    metric: str
    baseline: str | None
    cells: tuple[Cell, ...]
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]
    cut_baseline: str | None = None
    worse: tuple[Contrast, ...] = ()

    @property
    def n_tested(self) -> int:
        """The contrasts that Holm's correction was made for."""
        return sum(contrast.adjusted is not None for contrast in self.contrasts)

    @property
    def places(self) -> list[Place]:
        """The tasks and splits, in order."""
        return list(dict.fromkeys((cell.task, cell.split) for cell in self.cells))

    def in_order(self) -> list[Cell]:
        """The cells of a task, then of a k: by start, its baseline first, what is not compared last."""
        first = (self.baseline, self.cut_baseline)
        return sorted(self.cells, key=lambda c: (c.key, c.cut, c.other_budget is not None, c.arm not in first))

    def at(self, place: Place) -> list[Cell]:
        """The cells of one task and split, in order."""
        return [cell for cell in self.in_order() if (cell.task, cell.split) == place]

    def contrasts_in_order(self) -> list[Contrast]:
        """The contrasts in the order of the cells that they are about."""
        order = {(*cell.key, cell.arm): index for index, cell in enumerate(self.in_order())}
        return sorted(self.contrasts, key=lambda contrast: order[*contrast.key, contrast.arm])


def compare(evidence: Evidence, *, metric: str | None = None, baseline: str | None = None) -> Comparison:
    """Group the evidence into cells and test each arm against its baseline.

    Without ``baseline`` it is the sweep's, else plain distillation on the shots (method ``kd``, mix ``shots``); an arm
    of another method is compared with that method on the shots, where there is such an arm. Students cut from their
    teacher have such baselines of their own. Arms of another budget, and of another start, are never tested.

    Raises:
        UsageError: no arm of that name.
        CodError: the same arm, seed and k stands in two runs.
    """
    cells = _cells(evidence)
    chosen = _baseline(cells, evidence, baseline)
    starts = {cut: _baseline_of_start(cells, chosen, cut=cut) for cut in (False, True)}
    cells = [replace(cell, other_budget=_other_budget(cell, starts[cell.cut], cells, evidence)) for cell in cells]
    metric = metric or ("accuracy" if any("accuracy" in cell.values for cell in cells) else "agreement")
    pairs = [
        (cell, reference)
        for cell in cells
        if (reference := _reference(cell, cells, starts, chosen, fixed=baseline is not None)) is not None
    ]
    contrasts = _decide([_contrast(*pair, metric) for pair in pairs])
    worse = [contrast for other in ("macro_f1", "mcc") for contrast in _worse(pairs, other, contrasts)]
    return Comparison(
        metric=metric,
        baseline=chosen,
        cells=tuple(cells),
        contrasts=tuple(contrasts),
        notes=tuple(_notes(cells, chosen)),
        cut_baseline=starts[True],
        worse=tuple(worse) if metric == "accuracy" else (),
    )


def _worse(pairs: Sequence[tuple[Cell, Cell]], metric: str, contrasts: Sequence[Contrast]) -> list[Contrast]:
    """What ``metric`` calls worse although the contrasts, of the same pairs, do not."""
    found = _decide([_contrast(*pair, metric) for pair in pairs])
    return [own for own, other in zip(found, contrasts, strict=True) if own.verdict == WORSE and other.verdict != WORSE]


def _cells(evidence: Evidence) -> list[Cell]:
    groups: dict[tuple[str, str, int, str], list[Result]] = {}
    for arm, result in _named(evidence.results):
        score = result.score
        groups.setdefault((score.task, score.split, score.k or 0, arm), []).append(result)
    many = {key[:3] for key, group in groups.items() if len({result.draw for result in group}) > 1}
    order = sorted(groups, key=lambda key: key[:3])
    return [_cell(key, groups[key], by_draw=key[:3] in many) for key in order]


def _named(results: Sequence[Result]) -> list[tuple[str, Result]]:
    """Results with their arms: those of one name that were made by other settings, where these are known, apart."""
    alike: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        alike.setdefault((result.score.task, result.score.split, result.arm), []).append(result)

    def repeats(result: Result, group: Sequence[Result]) -> bool:
        place = result.run.folder, result.score.k, result.score.seed
        return place in [(other.run.folder, other.score.k, other.score.seed) for other in group]

    named = []
    for (*_, arm), of in alike.items():
        groups = same_settings(of, lambda result: result.student, repeats)
        names = names_apart(arm, [(group[0].student, group[0].score) for group in groups])
        named += [(name, result) for name, group in zip(names, groups, strict=True) for result in group]
    return named


def _cell(key: tuple[str, str, int, str], results: Sequence[Result], *, by_draw: bool) -> Cell:
    _refuse_doubles(key, results)
    first = results[0].score
    named = [(result.draw if by_draw else result.score.seed, result) for result in results]
    order = sorted(dict(named), key=lambda seed: (seed is None, seed or 0))
    seeds = {seed: tuple(result for name, result in named if name == seed) for seed in order}
    values = {
        name: {seed: float(np.mean([found[id(result)] for result in group])) for seed, group in seeds.items()}
        for name, found in _metric_values(results).items()
    }
    cut = any(result.cut for result in results)
    return Cell(*key, first.method, first.mix, values, None, cut, _mean_cost(results), seeds)


def _metric_values(results: Sequence[Result]) -> dict[str, dict[int, float]]:
    """Each metric that all of the results have, by ``id(result)``: also by generator of pairs, and by class."""
    by_generator = [result.score.boundary_by_generator or {} for result in results]
    columns = {name: [getattr(r.score, name) for r in results] for name in METRICS} | f1_columns(
        [r.score for r in results]
    )
    columns |= {BY_GENERATOR + name: [found.get(name) for found in by_generator] for name in by_generator[0]}
    return {
        name: dict(zip(map(id, results), column, strict=True)) for name, column in columns.items() if None not in column
    }


def _refuse_doubles(key: tuple[str, str, int, str], results: Sequence[Result]) -> None:
    seen: dict[Unit, Result] = {}
    for result in results:
        other = seen.setdefault((result.draw, result.score.seed), result)
        if other is not result:
            raise CodError(
                f"{key[3]} at k = {key[2]} with seed {result.score.seed} stands in both {other.run.folder} and "
                f"{result.run.folder}",
                "report on one of these folders, or train one of the two under another --name",
            )


def _mean_cost(results: Sequence[Result]) -> Cost:
    columns = {field.name: [getattr(result.cost, field.name) for result in results] for field in fields(Cost)}
    return Cost(**{name: None if None in column else float(np.mean(column)) for name, column in columns.items()})


def _baseline(cells: Sequence[Cell], evidence: Evidence, named: str | None) -> str | None:
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    if named is not None:
        if named not in arms:
            raise UsageError(f"--baseline {named}: there is no such arm", f"choose one of: {', '.join(arms)}")
        return named
    planned = [arm for arm in arms if arm in evidence.baselines]
    if len(planned) == 1:
        return planned[0]
    return _plain_of_start(cells, cut=False) or _plain_of_start(cells, cut=True)


def _baseline_of_start(cells: Sequence[Cell], chosen: str | None, *, cut: bool) -> str | None:
    """The chosen baseline where it is of that start, else that start's own."""
    own = any(cell.arm == chosen and cell.cut == cut for cell in cells)
    return chosen if own else _plain_of_start(cells, cut=cut)


def _plain_of_start(cells: Sequence[Cell], *, cut: bool) -> str | None:
    """Plain distillation on the shots: by ``kd`` or, where no student of that start is, by the only method there is."""
    methods = {cell.method for cell in cells if cell.mix == "shots" and cell.cut == cut}
    return _plain(cells, next(iter(methods)) if len(methods) == 1 else "kd", cut=cut)


def _plain(cells: Sequence[Cell], method: str | None, *, cut: bool) -> str | None:
    """The arm of that start that trains with this method on the shots.

    Where several do, the one named like it, else the one that trains for as many steps as the arm so named of either
    start: the shots for more steps, or cut and not trained, are no plain distillation.
    """
    named = [f"{method}-shots", "shots"]
    of = [c for c in cells if (c.method, c.mix, c.cut) == (method, "shots", cut)]
    arms = list(dict.fromkeys(c.arm for c in of))
    usual = {c.key: _steps(c) for c in cells if c.arm in named}
    for found in (arms, [arm for arm in arms if arm in named], _of_usual_steps(of, usual, arms)):
        if len(found) == 1:
            return found[0]
    return None


def _of_usual_steps(cells: Sequence[Cell], usual: Mapping[Key, set[int | None]], arms: Sequence[str]) -> list[str]:
    """The arms without those that train for other steps than is usual at any k."""
    other = {c.arm for c in cells if _steps(c) != usual.get(c.key)}
    return [arm for arm in arms if arm not in other]


def _steps(cell: Cell) -> set[int | None]:
    return {result.score.steps for result in cell.results}


def _reference(
    cell: Cell, cells: Sequence[Cell], starts: Mapping[bool, str | None], chosen: str | None, *, fixed: bool
) -> Cell | None:
    """The cell that this one is compared with; None for the baseline itself and where there is none."""
    at_hand = {other.arm: other for other in cells if other.key == cell.key}
    baseline = chosen if fixed else starts[cell.cut] or chosen
    same_method = any((other.arm, other.method) == (baseline, cell.method) for other in cells)
    own = None if fixed or same_method else _plain(cells, cell.method, cut=cell.cut)
    against = own if own in at_hand and own != cell.arm else baseline
    return None if against is None or against == cell.arm else at_hand.get(against)


def _other_budget(cell: Cell, baseline: str | None, cells: Sequence[Cell], evidence: Evidence) -> str | None:
    if cell.arm in evidence.other_budget or cell.mix in OTHER_BUDGET:
        return _budget(cell)
    if any(result.score.rows != cell.k for result in cell.results):
        return _budget(cell)
    base = next((other for other in cells if (other.key, other.arm) == (cell.key, baseline)), None)
    if base is not None and _steps(cell) != _steps(base):
        return _budget(cell)
    return None


def _budget(cell: Cell) -> str:
    counted = ({getattr(result.score, name) for result in cell.results} for name in ("rows", "steps"))
    rows, steps = (_range(numbers) for numbers in counted)
    return f"{rows} rows, {steps} steps"


def _range(numbers: Iterable[int | None]) -> str:
    known = sorted(number for number in numbers if number is not None)
    if not known:
        return "?"
    return str(known[0]) if known[0] == known[-1] else f"{known[0]}–{known[-1]}"


def _contrast(cell: Cell, reference: Cell, metric: str) -> Contrast:
    own, other = (side.values.get(metric, {}) for side in (cell, reference))
    differences = paired_differences(own, other)
    words = {
        "other budget, not counted": bool(cell.other_budget or reference.other_budget),
        "cut from its teacher, not compared": cell.cut != reference.cut,
        "no seed in common": not differences,
    }
    return Contrast(
        task=cell.task,
        split=cell.split,
        k=cell.k,
        arm=cell.arm,
        against=reference.arm,
        metric=metric,
        difference=difference(differences) if differences and cell.cut == reference.cut else None,
        adjusted=None,
        verdict=next((word for word, holds in words.items() if holds), ""),
        unpaired=len(own.keys() ^ other.keys()),
        rows=_row_by_row(cell, reference),
    )


def _decide(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts with Holm's p and the verdict, where there was none yet."""
    p_values = [None if c.verdict or c.difference is None else c.difference.p for c in contrasts]
    return [
        contrast
        if contrast.verdict or contrast.difference is None
        else replace(
            contrast,
            adjusted=p,
            verdict=verdict(contrast.difference, p, less_is_better=METRICS[contrast.metric].low_is_better),
        )
        for contrast, p in zip(contrasts, holm(p_values), strict=True)
    ]


def _row_by_row(cell: Cell, reference: Cell) -> McNemar | None:
    if len(cell.results) != 1 or len(reference.results) != 1 or cell.cut != reference.cut:
        return None
    one, two = cell.results[0].prediction, reference.results[0].prediction
    if one is None or two is None or one.rows != two.rows or one.truth is None:
        return None
    return mcnemar(np.equal(one.decided, one.truth), np.equal(two.decided, one.truth))


def _notes(cells: Sequence[Cell], baseline: str | None) -> list[str]:
    notes = []
    if baseline is None:
        notes.append("no arm is plain distillation on the shots, or several are: name one by --baseline to compare")
    places: dict[tuple[str, str], set[int]] = {}
    for cell in cells:
        places.setdefault((cell.task, cell.split), set()).add(cell.k)
    if any(len(ks) > 1 for ks in places.values()):
        notes.append(SAME_SHOTS)
    for key in dict.fromkeys(cell.key for cell in cells):
        here = [cell for cell in cells if cell.key == key]
        if len({result.draw for cell in here for result in cell.results}) == 1 and max(cell.n for cell in here) > 1:
            notes.append(f"{key[0]}, k = {key[2]}: one draw of shots; its seeds say nothing about other shots")
    return notes
