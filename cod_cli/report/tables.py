"""The tables of a report: what arms reached by task and k, fidelity and calibration, F1 by class, differences, cost.

Each is built here once, and shown on a terminal (`report`) and on the page (`page/tables`) from the same cells; so is
the table of how good counterfactuals are, which `cod counterfact` and `cod show` print too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from cod_cli.counterfactuals.quality import Quality, QualityReport
from cod_cli.evaluation.arms import Arm
from cod_cli.evaluation.scores import MAJORITY, TEACHER
from cod_cli.metrics import METRICS, Summary, classes_in, f1_of
from cod_cli.metrics import confusion as count_confusion
from cod_cli.records import Score
from cod_cli.report.comparison import BY_GENERATOR, Cell, Comparison, Contrast, Place
from cod_cli.report.rendering import (
    Column,
    Group,
    Part,
    Parts,
    Row,
    Table,
    exact,
    mean_std,
    measure,
    text,
    to_rich,
)
from cod_cli.report.statistics import BETTER, WORSE
from cod_cli.ui import CUT_CAPTION, CUT_MARK, OTHER_MARK, number

OTHER_CAPTION = f"{OTHER_MARK} other budget than k rows and the baseline's steps: shown, never counted as a win"
# They stand above the arms.
YARDSTICKS = (TEACHER, MAJORITY)
# On the page tasks and k stand above a group of rows.
TASK = Column("task", words=True, only="terminal")
K = Column("k", only="terminal")
ARM = Column("arm", words=True)
Links = Mapping[tuple[object, ...], str]


def report(comparison: Comparison, yardsticks: Sequence[Score]) -> RenderableType:
    """All tables of a report, for a terminal; ``yardsticks`` are the scores of teachers and majorities."""
    tables = [
        *([means_by_k(comparison, yardsticks)] if len({cell.key for cell in comparison.cells}) > 1 else []),
        *side_by_side(comparison, yardsticks).values(),
        *f1_by_class(comparison, yardsticks).values(),
        *([by_generator(comparison)] if any(cell.generators for cell in comparison.cells) else []),
        *([differences(comparison)] if comparison.contrasts else []),
        cost(comparison),
    ]
    return Stack(*(piece for table in tables for piece in (to_rich(table), Text())))


def marked_name(cell: Cell) -> str:
    """The arm, with the marks of what it is not compared for."""
    return cell.arm + (f" {OTHER_MARK}" if cell.other_budget else "") + (f" {CUT_MARK}" if cell.cut else "")


def caption(cells: Sequence[Cell]) -> str:
    """What the marks in a table of these cells mean."""
    lines = [OTHER_CAPTION] * any(cell.other_budget for cell in cells) + [CUT_CAPTION] * any(cell.cut for cell in cells)
    return "\n".join(lines)


def spread(found: Summary | None, metric: str) -> Parts:
    """Mean ± sample std of a metric, shares in per cent."""
    return mean_std(found, METRICS[metric].percent)


def yardstick(yardsticks: Sequence[Score], name: str, place: Place, metric: str) -> float | None:
    """What the teacher, or the majority, reaches there; None where nobody knows."""
    here = (getattr(s, metric) for s in yardsticks if (s.student, s.task, s.split) == (name, *place))
    return next(here, None)


def of_arms(
    title: str,
    cells: Sequence[Cell],
    columns: Sequence[Column],
    values: Callable[[Cell], Sequence[Parts]],
    *,
    links: Links | None = None,
    with_task: bool = False,
    apart: bool = False,
) -> Table:
    """A row for each arm at each k, those of one k together.

    Args:
        title: on a terminal.
        cells: the arms, in order.
        columns: those behind the arm's name.
        values: a cell for each of them.
        links: by key and arm, where its name leads on the page.
        with_task: for cells of several tasks.
        apart: whether a terminal sets those of one k apart.
    """
    several = len({(cell.task, cell.split) for cell in cells}) > 1
    groups: dict[str, list[Row]] = {}
    for cell in cells:
        head = [*([text(cell.task)] if with_task else []), text(str(cell.k)), text(marked_name(cell))]
        row = Row([*head, *values(cell)], link=(links or {}).get((*cell.key, cell.arm)))
        groups.setdefault(_place(cell.key) if several else f"k = {cell.k}", []).append(row)
    lead = [*([TASK] if with_task else []), K, ARM]
    made = [Group(rows, name, apart) for name, rows in groups.items()]
    return Table(title, [*lead, *columns], made, caption(cells))


def _place(key: tuple[str, str, int]) -> str:
    return f"{key[0]}, {key[1]}, k = {key[2]}"


def means_by_k(comparison: Comparison, yardsticks: Sequence[Score]) -> Table:
    """The paper's table: a row for each task and arm, a column for each k."""
    metric, ks = METRICS[comparison.metric], sorted({cell.k for cell in comparison.cells})
    cells = {(cell.task, cell.split, marked_name(cell), cell.k): cell for cell in comparison.in_order()}
    groups = []
    for place in comparison.places:
        name, blank = text(", ".join(place)), [text("")] * (len(ks) - 1)
        known = {who: yardstick(yardsticks, who, place, metric.name) for who in YARDSTICKS}
        rows = [
            Row([name, text(who), *blank, measure(value, metric.percent)])
            for who, value in known.items()
            if value is not None
        ]
        arms = dict.fromkeys(key[2] for key in cells if key[:2] == place)
        own = [Row([name, text(arm), *(_with_n(cells.get((*place, arm, k)), metric.name) for k in ks)]) for arm in arms]
        groups.append(Group([*rows, *own], apart=True))
    title = f"{metric.title}{' in %' if metric.percent else ''}, mean ± sample std (seeds)"
    columns = [Column("task", words=True), ARM, *(Column(f"k = {k}") for k in ks)]
    return Table(title, columns, groups, caption(comparison.cells))


def _with_n(cell: Cell | None, metric: str) -> Parts:
    found = cell.metrics().get(metric) if cell else None
    return (*spread(found, metric), Part(f" ({found.n})", small=True)) if found else ()


def side_by_side(comparison: Comparison, yardsticks: Sequence[Score], links: Links | None = None) -> dict[Place, Table]:
    """For each task and split fidelity and calibration beside accuracy, means over seeds; first the teacher's."""
    return {place: _side_by_side(place, comparison.at(place), yardsticks, links) for place in comparison.places}


def _side_by_side(place: Place, cells: Sequence[Cell], yardsticks: Sequence[Score], links: Links | None) -> Table:
    shown = [metric for name, metric in METRICS.items() if any(name in cell.values for cell in cells)]
    # A terminal has room for one deviation only.
    columns = [Column(metric.heading, brief=metric is not shown[0]) for metric in shown]

    def values(cell: Cell) -> list[Parts]:
        found = cell.metrics()
        return [exact(cell.n), *(spread(found.get(metric.name), metric.name) for metric in shown)]

    title = f"{', '.join(place)}: means over seeds, ± sample std of the first"
    table = of_arms(title, cells, [Column("seeds"), *columns], values, links=links, apart=True)
    first = []
    for who in YARDSTICKS:
        known = [measure(yardstick(yardsticks, who, place, metric.name), metric.percent) for metric in shown]
        first += [Row([text(""), text(who), text(""), *known])] if any(known) else []
    above = [Group(first, apart=True)] if first else []
    return Table(table.title, table.columns, [*above, *table.groups], table.caption)


# Classes in a table of which is taken for which.
MOST_CONFUSED = 12
# Columns of mean ± std that fit beside an arm's name into 80 characters.
MOST_COLUMNS = 4
LOWEST = 3
WIDEST = len("100.0 ± 50.0")


@dataclass(frozen=True)
class Line:
    """What an arm, or the teacher, reaches: ``found`` holds F1 by class under `f1_of`, beside other metrics."""

    name: str
    k: str
    found: Mapping[str, Summary]


def f1_by_class(comparison: Comparison, yardsticks: Sequence[Score]) -> dict[Place, Table]:
    """For each task and split where anybody's is known, F1 of each class."""
    tables = {}
    for place in comparison.places:
        taught = [s for s in yardsticks if (s.student, s.task, s.split) == (TEACHER, *place) and s.f1][:1]
        lines = [Line(TEACHER, "", Arm(TEACHER, (score,)).metrics()) for score in taught]
        cells = comparison.at(place)
        lines += [Line(marked_name(cell), str(cell.k), cell.metrics()) for cell in cells]
        tables[place] = by_class(", ".join(place), lines, caption(cells))
    return {place: table for place, table in tables.items() if table is not None}


def by_class(where: str, lines: Sequence[Line], caption: str = "") -> Table | None:
    """F1 by class in %, line by line; None where it is known of nobody."""
    known = [line for line in lines if classes_in(line.found)]
    classes = list(dict.fromkeys(name for line in known for name in classes_in(line.found)))
    if not classes:
        return None
    many = len(classes) > MOST_COLUMNS
    lowest = Column(f"lowest {LOWEST} of {len(classes)} classes", words=True, only="terminal")
    columns = [Column(name, width=WIDEST, only="page" if many else None) for name in classes]
    groups: dict[str, list[Row]] = {}
    for line in known:
        found = {name: line.found[f1_of(name)] for name in classes if f1_of(name) in line.found}
        cells = [*([_lowest(found)] if many else []), *(spread(found.get(name), "macro_f1") for name in classes)]
        groups.setdefault(line.k, []).append(Row([text(line.k), text(line.name), *cells]))
    made = [Group(rows, f"k = {k}" if k else "") for k, rows in groups.items()]
    title = f"F1 by class in %: {where}, mean ± sample std over seeds"
    return Table(title, [K, ARM, *([lowest] if many else []), *columns], made, caption)


def confusion(cell: Cell) -> Table | None:
    """The rows of each class by the class that an arm takes them for, its seeds together.

    None where nobody kept what was decided, where rows have no label, and for more classes than can be looked at.
    """
    kept = [(result.run, p) for result in cell.results if (p := result.prediction) is not None and p.truth is not None]
    labels = kept[0][0].scores.require().labels if kept else []
    if not 0 < len(labels) <= MOST_CONFUSED:
        return None
    counts = np.sum([count_confusion(p.truth or [], p.decided, len(labels)) for _, p in kept], axis=0)
    lines = [Row([text(label), *(exact(int(n)) for n in line)]) for label, line in zip(labels, counts, strict=True)]
    columns = [Column(f"{cell.arm}: is ↓  taken for →", words=True), *(Column(label, width=1) for label in labels)]
    return Table(f"Confusion of {cell.arm}", columns, [Group(lines)])


def _lowest(found: Mapping[str, Summary]) -> Parts:
    worst = sorted(found.items(), key=lambda item: item[1].mean)[:LOWEST]
    return text(", ".join(f"{name} {number(summary.mean, percent=True)}" for name, summary in worst))


def by_generator(comparison: Comparison) -> Table:
    """How often both members of a held-out pair are decided as the teacher does, by who wrote the pairs."""
    cells = [cell for cell in comparison.in_order() if cell.generators]
    generators = list(dict.fromkeys(name for cell in cells for name in cell.generators))

    def values(cell: Cell) -> list[Parts]:
        found = cell.metrics()
        return [spread(found.get(BY_GENERATOR + name), "boundary_agreement") for name in generators]

    title = "Boundary agreement in %, mean ± sample std, by who wrote the held-out pairs"
    columns = [Column(name, page=f"{name}, %") for name in generators]
    return of_arms(title, cells, columns, values, with_task=True)


def differences(comparison: Comparison) -> Table:
    """Each arm less what it is compared with, with its interval and the decision in words."""
    metric = METRICS[comparison.metric]
    names = {(*cell.key, cell.arm): marked_name(cell) for cell in comparison.cells}
    groups: dict[str, list[Row]] = {}
    for contrast in comparison.contrasts_in_order():
        row = Row(_test(contrast, names[*contrast.key, contrast.arm]))
        groups.setdefault(_place(contrast.key), []).append(row)
    columns = [
        *(TASK, K, Column("arm - against", words=True, only="terminal")),
        *(Column(heading, words=True, only="page") for heading in ("arm", "against")),
        Column("difference", page="difference, points" if metric.percent else None),
        Column("interval", page="95% interval"),
        Column("seeds", only="page"),
        Column("p"),
        Column("p\nHolm", page="p, Holm"),
        Column("in words", words=True),
    ]
    title = (
        f"Differences of {metric.title}{', in points' if metric.percent else ''}: paired by seed, 95% t interval, "
        f"paired t test with Holm's correction over {comparison.n_tested} contrasts"
    )
    return Table(title, columns, [Group(rows, name) for name, rows in groups.items()], caption(comparison.cells))


def _test(contrast: Contrast, name: str) -> list[Parts]:
    found = contrast.difference
    return [
        *(text(contrast.task), text(str(contrast.k)), text(f"{name} - {contrast.against}")),
        *(text(name), text(contrast.against)),
        change(found.mean if found else None, contrast.metric),
        interval(contrast),
        exact(found.n) if found else (),
        p_value(found.p if found else None),
        p_value(contrast.adjusted),
        words(contrast),
    ]


def change(value: float | None, metric: str) -> Parts:
    """A difference of a metric with its sign, shares in points."""
    if value is None:
        return ()
    return exact(value, f"{100 * value:+.1f}" if METRICS[metric].percent else f"{value:+.3f}")


def interval(contrast: Contrast) -> Parts:
    """The 95% t interval of a difference; nothing where there is none."""
    found = contrast.difference.interval if contrast.difference else None
    return _between(found.low, found.high, contrast.metric) if found else ()


def _between(low: float, high: float, metric: str) -> Parts:
    return *change(low, metric), Part(" to "), *change(high, metric)


def p_value(value: float | None) -> Parts:
    """A p value to three digits."""
    return () if value is None else exact(value, "<.001" if value < 0.001 else f"{value:.3f}")


def words(contrast: Contrast) -> Parts:
    """The verdict, and with it what else was tested."""
    found, decided = contrast.difference, contrast.verdict in (BETTER, WORSE)
    parts = [Part(contrast.verdict, tone=contrast.verdict if decided else "")]
    if found is not None:
        parts += text(f" (n = {found.n})") if decided else ()
        parts += (Part("; Wilcoxon p = "), *p_value(found.wilcoxon)) if found.wilcoxon is not None else ()
        if found.bootstrap is not None:
            low, high = found.bootstrap.low, found.bootstrap.high
            parts += (Part("; bootstrap "), *_between(low, high, contrast.metric))
    if contrast.rows is not None:
        counted = f"{contrast.rows.only_first} rows only the one has right, {contrast.rows.only_second} only the other"
        parts += (Part(f"; these two students: {counted}, McNemar p = "), *p_value(contrast.rows.p))
    parts += text(f"; {contrast.unpaired} seeds without a partner") if contrast.unpaired else ()
    return tuple(parts)


def cost(comparison: Comparison) -> Table:
    """What a student of each arm took, on average over seeds; what nobody took has no column."""
    cells = comparison.in_order()
    shown = {name: show for name, show in COST.items() if any(part.value for c in cells for part in show(c))}
    columns = [Column(name) for name in shown]
    title = "What a student took, mean over seeds"
    return of_arms(title, cells, columns, lambda cell: [show(cell) for show in shown.values()], with_task=True)


COST: Mapping[str, Callable[[Cell], Parts]] = {
    "labelled\nshots": lambda c: measure(c.cost.shots, digits=0),
    "rows": lambda c: _mean(c, "rows"),
    "steps": lambda c: _mean(c, "steps"),
    "teacher\nqueries": lambda c: measure(c.cost.queries, digits=0),
    "LLM\ntokens": lambda c: measure(c.cost.tokens, digits=0),
    "cost": lambda c: measure(c.cost.money or None, digits=4),
    "train\ns": lambda c: measure(c.cost.seconds, digits=1),
    "rows\na second": lambda c: _mean(c, "rows_per_second"),
}


def _mean(cell: Cell, name: str) -> Parts:
    values: list[Any] = [getattr(result.score, name) for result in cell.results]
    return () if None in values else measure(sum(values) / len(values), digits=0)


QUALITY: Mapping[str, Callable[[Quality], Parts]] = {
    "requests": lambda q: exact(q.requests),
    "teacher wrong on the shot": lambda q: exact(q.teacher_wrong),
    "without an answer": lambda q: exact(q.unanswered),
    "accepted": lambda q: exact(q.accepted),
    "first answer flips %": lambda q: measure(q.first_flip_rate, percent=True),
    "flips in the end %": lambda q: measure(q.flip_rate, percent=True),
    "edit ratio, mean": lambda q: measure(q.edit_ratio_mean),
    "edit ratio, p90": lambda q: measure(q.edit_ratio_p90),
    "answers unchanged %": lambda q: measure(q.unchanged, percent=True),
    "negation-only edits %": lambda q: measure(q.negation_only, percent=True),
    "distinct edits %": lambda q: measure(q.distinct_edits, percent=True),
    "judge agrees %": lambda q: measure(q.judge_agrees, percent=True),
    "attempts per CFE": lambda q: measure(q.attempts_per_accepted, digits=2),
    "tokens per CFE": lambda q: measure(q.tokens_per_accepted, digits=1),
    "cost per CFE": lambda q: measure(q.cost_per_accepted, digits=6),
}


def quality(columns: Mapping[str, Quality]) -> Table:
    """How good counterfactuals are, a column for each group of them; what is known of none has no line."""
    rows = [Row([text(name), *map(show, columns.values())]) for name, show in QUALITY.items()]
    known = [row for row in rows if any(row.cells[1:])]
    headings = [Column("", words=True), *(Column(name, width=1) for name in columns)]
    return Table("Counterfactuals", headings, [Group(known)])


def parts_of(report: QualityReport) -> dict[str, Quality]:
    """The groups by target class and, where there are several, by prompt, each under its heading."""
    by_prompt = report.by_prompt if len(report.by_prompt) > 1 else {}
    return {f"to {name}": part for name, part in report.by_class.items()} | dict(by_prompt)
