"""Tables of arms side by side: reached by task and k, fidelity and calibration, differences in words, cost."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cod_cli.evaluation.scores import TEACHER, Arm, arms
from cod_cli.metrics import METRICS, Summary, classes_in, f1_of
from cod_cli.records import Score
from cod_cli.report.comparison import BY_GENERATOR, Cell, Comparison, Contrast
from cod_cli.report.results import Result
from cod_cli.report.statistics import BETTER, WORSE
from cod_cli.report.why.explain import HELD_OUT, OWN, QUANTITIES, Correlation, Why
from cod_cli.ui import CUT_CAPTION, CUT_MARK, MISSING, bare_table, number, printable

OTHER_MARK = "‡"
OTHER_CAPTION = f"{OTHER_MARK} other budget than k rows and the baseline's steps: shown, never counted as a win"


def spread(found: Summary | None, metric: str) -> str:
    """Mean ± sample std, shares in per cent; a dash for none."""
    if found is None:
        return MISSING
    std = "" if found.std is None else f" ± {number(found.std, METRICS[metric].percent)}"
    return number(found.mean, METRICS[metric].percent) + std


def report(comparison: Comparison, teachers: Sequence[Result]) -> RenderableType:
    """All tables of a report."""
    parts: list[RenderableType | None] = []
    if len({cell.k for cell in comparison.cells}) > 1 or len(_places(comparison)) > 1:
        parts.append(_reached(comparison, teachers))
    cells = ordered(comparison)
    places = _places(comparison)
    parts += [_side_by_side([c for c in cells if (c.task, c.split) == place], teachers) for place in places]
    parts += [_by_class([c for c in cells if (c.task, c.split) == place], teachers) for place in places]
    parts += [_by_generator(cells)] if any(cell.generators for cell in cells) else []
    parts += [_differences(comparison)] if comparison.contrasts else []
    parts.append(_cost(cells))
    return Group(*(piece for part in parts if part is not None for piece in (part, Text())))


def ordered(comparison: Comparison) -> list[Cell]:
    """The cells of a task, then of a k, the baseline first, what is not compared last."""
    return sorted(
        comparison.cells, key=lambda c: (c.key, c.cut, c.other_budget is not None, c.arm != comparison.baseline)
    )


def marked_name(cell: Cell) -> str:
    """The arm, with the marks of what it is not compared for."""
    return cell.arm + (f" {OTHER_MARK}" if cell.other_budget else "") + (f" {CUT_MARK}" if cell.cut else "")


def _places(comparison: Comparison) -> list[tuple[str, str]]:
    return list(dict.fromkeys((cell.task, cell.split) for cell in comparison.cells))


def _reached(comparison: Comparison, teachers: Sequence[Result]) -> Table:
    """The paper's table: a row for each task and arm, a column for each k."""
    metric, ks = comparison.metric, sorted({cell.k for cell in comparison.cells})
    unit = " in %" if METRICS[metric].percent else ""
    table = bare_table(f"{METRICS[metric].title}{unit}, mean ± sample std (seeds)", caption=caption(comparison.cells))
    for heading in ("task", "arm"):
        table.add_column(heading, overflow="fold")
    for k in ks:
        table.add_column(f"k = {k}", justify="right", no_wrap=True)
    cells = {(cell.task, cell.split, marked_name(cell), cell.k): cell for cell in ordered(comparison)}
    for task, split in _places(comparison):
        shown = f"{task}, {split}"
        teacher = teacher_of(teachers, task, split, metric)
        if teacher is not None:
            table.add_row(printable(shown), "teacher", *[""] * (len(ks) - 1), number(teacher, METRICS[metric].percent))
        for arm in dict.fromkeys(key[2] for key in cells if key[:2] == (task, split)):
            row = [_with_n(cells.get((task, split, arm, k)), metric) for k in ks]
            table.add_row(printable(shown), printable(arm), *row)
        table.add_section()
    return table


def teacher_of(teachers: Sequence[Result], task: str, split: str, metric: str) -> float | None:
    """What the teacher reaches there, None where nobody scored it."""
    here = (getattr(t.score, metric) for t in teachers if (t.score.task, t.score.split) == (task, split))
    return next(here, None)


def _with_n(cell: Cell | None, metric: str) -> str:
    found = cell.metrics().get(metric) if cell else None
    return MISSING if found is None else f"{spread(found, metric)} ({found.n})"


def _side_by_side(cells: Sequence[Cell], teachers: Sequence[Result]) -> Table:
    """Fidelity and calibration beside accuracy, means over seeds."""
    first = cells[0]
    shown = [name for name in METRICS if any(name in cell.values for cell in cells)]
    table = bare_table(
        f"{first.task}, {first.split}: means over seeds, ± sample std of the first", caption=caption(cells)
    )
    table.add_column("k", justify="right")
    table.add_column("arm", overflow="fold")
    for heading in ("seeds", *(METRICS[name].heading for name in shown)):
        table.add_column(heading, justify="right", no_wrap=True)
    values = [teacher_of(teachers, first.task, first.split, name) for name in shown]
    if any(value is not None for value in values):
        numbers = [number(value, METRICS[name].percent) for value, name in zip(values, shown, strict=True)]
        table.add_row("", "teacher", "", *numbers, end_section=True)
    for k in dict.fromkeys(cell.k for cell in cells):
        for cell in (cell for cell in cells if cell.k == k):
            found = cell.metrics()
            means = [number(found[n].mean if n in found else None, METRICS[n].percent) for n in shown]
            means[0] = spread(found.get(shown[0]), shown[0])
            table.add_row(str(k), printable(marked_name(cell)), str(cell.n), *means)
        table.add_section()
    return table


def _by_class(cells: Sequence[Cell], teachers: Sequence[Result]) -> Table | None:
    """F1 of each class; None where nobody's is known."""
    task, split = cells[0].task, cells[0].split
    taught = [t.score for t in teachers if (t.score.task, t.score.split) == (task, split) and t.score.f1][:1]
    lines = [Line(TEACHER, "", Arm(TEACHER, (score,)).metrics()) for score in taught]
    lines += [Line(marked_name(cell), str(cell.k), cell.metrics()) for cell in cells]
    return by_class(f"{task}, {split}", lines, caption=caption(cells))


def _by_generator(cells: Sequence[Cell]) -> Table:
    """How often both members of a held-out pair are decided as the teacher does, by who wrote the pairs."""
    generators = list(dict.fromkeys(name for cell in cells for name in cell.generators))
    table = bare_table("Boundary agreement in %, mean ± sample std, by who wrote the held-out pairs")
    for heading in ("task", "k", "arm"):
        table.add_column(heading, overflow="fold")
    for name in generators:
        table.add_column(printable(name), justify="right", no_wrap=True)
    for cell in (cell for cell in cells if cell.generators):
        values = [spread(cell.metrics().get(BY_GENERATOR + name), "boundary_agreement") for name in generators]
        table.add_row(printable(cell.task), str(cell.k), printable(marked_name(cell)), *values)
    return table


def _differences(comparison: Comparison) -> Table:
    """Each arm less what it is compared with, with its interval and the decision in words."""
    metric = comparison.metric
    points = ", in points" if METRICS[metric].percent else ""
    table = bare_table(
        f"Differences of {METRICS[metric].title}{points}: paired by seed, 95% t interval, paired t test with Holm's "
        f"correction over {comparison.tested} contrasts",
        caption=caption(comparison.cells),
    )
    table.add_column("task", overflow="fold")
    table.add_column("k", justify="right")
    table.add_column("arm - against", overflow="fold")
    for heading in ("difference", "interval", "p", "p\nHolm"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("in words", overflow="fold")
    names = {(*cell.key, cell.arm): marked_name(cell) for cell in comparison.cells}
    order = {(*cell.key, cell.arm): index for index, cell in enumerate(ordered(comparison))}
    for contrast in sorted(comparison.contrasts, key=lambda c: order[c.task, c.split, c.k, c.arm]):
        table.add_row(*_difference_row(contrast, names[contrast.task, contrast.split, contrast.k, contrast.arm]))
    return table


def _difference_row(contrast: Contrast, name: str) -> list[RenderableType]:
    found, percent = contrast.difference, METRICS[contrast.metric].percent
    interval = found.interval if found else None
    return [
        printable(contrast.task),
        str(contrast.k),
        printable(f"{name} - {contrast.against}"),
        signed(found.mean if found else None, percent=percent),
        f"{signed(interval.low, percent=percent)} to {signed(interval.high, percent=percent)}" if interval else MISSING,
        p_value(found.p if found else None),
        p_value(contrast.adjusted),
        words(contrast),
    ]


def words(contrast: Contrast) -> Text:
    """The verdict, and with it what else was tested."""
    style = {BETTER: "green", WORSE: "red"}.get(contrast.verdict, "")
    text = Text(contrast.verdict, style)
    found = contrast.difference
    if contrast.verdict in (BETTER, WORSE) and found is not None:
        text.append(f" (n = {found.n})")
    if found is not None and found.wilcoxon is not None:
        text.append(f"; Wilcoxon p = {p_value(found.wilcoxon)}")
    if found is not None and found.bootstrap is not None:
        low, high = (
            signed(bound, percent=METRICS[contrast.metric].percent) for bound in vars(found.bootstrap).values()
        )
        text.append(f"; bootstrap {low} to {high}")
    if contrast.rows is not None:
        text.append(
            f"; these two students: {contrast.rows.only_first} rows only the one has right, "
            f"{contrast.rows.only_second} only the other, McNemar p = {p_value(contrast.rows.p)}"
        )
    if contrast.unpaired:
        text.append(f"; {contrast.unpaired} seeds without a partner")
    return text


def signed(value: float | None, *, percent: bool) -> str:
    """A difference with its sign, shares in points."""
    if value is None:
        return MISSING
    return f"{100 * value:+.1f}" if percent else f"{value:+.3f}"


def p_value(value: float | None) -> str:
    """A p value to three digits; a dash for none."""
    if value is None:
        return MISSING
    return "<.001" if value < 0.001 else f"{value:.3f}"


def _cost(cells: Sequence[Cell]) -> Table:
    """What a student of each arm took, on average over seeds."""
    table = bare_table("What a student took, mean over seeds", caption=caption(cells))
    table.add_column("task", overflow="fold")
    table.add_column("k", justify="right")
    table.add_column("arm", overflow="fold")
    shown = {name: cell for name, cell in COST.items() if any(cell(c) not in (MISSING, "0") for c in cells)}
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for cell in cells:
        table.add_row(
            printable(cell.task), str(cell.k), printable(marked_name(cell)), *(f(cell) for f in shown.values())
        )
    return table


COST: Mapping[str, Callable[[Cell], str]] = {
    "labelled\nshots": lambda c: number(c.cost.shots, digits=0),
    "rows": lambda c: _mean(c, "rows"),
    "steps": lambda c: _mean(c, "steps"),
    "teacher\nqueries": lambda c: number(c.cost.queries, digits=0),
    "LLM\ntokens": lambda c: number(c.cost.tokens, digits=0),
    "cost": lambda c: MISSING if not c.cost.money else f"{c.cost.money:.4f}",
    "train\ns": lambda c: number(c.cost.seconds, digits=1),
}


def _mean(cell: Cell, name: str) -> str:
    values: list[Any] = [getattr(result.score, name) for result in cell.results]
    return MISSING if None in values else f"{sum(values) / len(values):.0f}"


def caption(cells: Sequence[Cell]) -> Text | None:
    """What the marks in a table of these cells mean."""
    lines = [OTHER_CAPTION] * any(cell.other_budget for cell in cells) + [CUT_CAPTION] * any(cell.cut for cell in cells)
    return Text("\n".join(lines)) if lines else None


# Columns of mean ± std that fit beside an arm's name into 80 characters.
MOST_COLUMNS = 4
LOWEST = 3


@dataclass(frozen=True)
class Line:
    """What an arm, or the teacher, reaches: ``found`` holds F1 by class under `f1_of`, beside other metrics."""

    name: str
    k: str
    found: Mapping[str, Summary]


def scores(rows: Sequence[Score], cut: Collection[str] = ()) -> RenderableType:
    """A table for each task and split, a line for each arm; nothing where nobody's F1 by class is known."""
    parts: list[RenderableType] = []
    for task, split in dict.fromkeys((row.task, row.split) for row in rows):
        here = [row for row in rows if (row.task, row.split) == (task, split)]
        of = sorted(arms(here), key=lambda arm: (arm.name != TEACHER, arm.scores[0].student in cut))
        marks = [f" {CUT_MARK}" if arm.scores[0].student in cut else "" for arm in of]
        lines = [
            Line(arm.name + mark, MISSING if arm.scores[0].k is None else str(arm.scores[0].k), arm.metrics())
            for arm, mark in zip(of, marks, strict=True)
        ]
        table = by_class(f"{task}, {split}", lines, caption=Text(CUT_CAPTION) if any(marks) else None)
        parts += [Text(), table] if table else []
    return Group(*parts)


def by_class(where: str, lines: Sequence[Line], *, caption: Text | None = None) -> Table | None:
    """F1 by class in %, line by line; None where it is known of nobody."""
    known = [line for line in lines if classes_in(line.found)]
    classes = list(dict.fromkeys(name for line in known for name in classes_in(line.found)))
    if not classes:
        return None
    table = bare_table(f"F1 by class in %: {where}, mean ± sample std over seeds", caption=caption)
    table.add_column("k", justify="right")
    table.add_column("arm", overflow="fold")
    if len(classes) > MOST_COLUMNS:
        table.add_column(f"lowest {LOWEST} of {len(classes)} classes", overflow="fold")
    else:
        for name in classes:
            table.add_column(printable(name), justify="right", overflow="fold", min_width=len("100.0 ± 50.0"))
    for line in known:
        found = {name: line.found[f1_of(name)] for name in classes if f1_of(name) in line.found}
        cells = [_lowest(found)] if len(classes) > MOST_COLUMNS else [spread(found.get(c), "macro_f1") for c in classes]
        table.add_row(line.k, printable(line.name), *cells)
    return table


def _lowest(found: Mapping[str, Summary]) -> Text:
    worst = sorted(found.items(), key=lambda item: item[1].mean)[:LOWEST]
    return printable(", ".join(f"{name} {number(summary.mean, percent=True)}" for name, summary in worst))


QUANTITY_NAMES = {"uncertainty": "Σ p(1-p)", "log_det": "log det", "crossed": "crossed %", "gap": "gap"}
ARROWS = {1: "↑", -1: "↓"}


def why(found: Why, comparison: Comparison) -> RenderableType:
    """A table for each task, what its columns mean, and the correlations; nothing where nothing could be measured."""
    cells = [cell for cell in ordered(comparison) if found.of(cell)]
    if not cells:
        return Group()
    parts: list[RenderableType] = []
    for place in dict.fromkeys((cell.task, cell.split) for cell in cells):
        here = [cell for cell in cells if (cell.task, cell.split) == place]
        parts += [_quantities(here, found, comparison.metric), Text()]
    parts += [_legend(found), Text()]
    if any(correlation.rho is not None for correlation in found.correlations):
        parts += [_correlations(found, comparison.metric), Text()]
    return Group(*parts)


def _quantities(cells: Sequence[Cell], found: Why, metric: str) -> Table:
    table = bare_table(f"Why: {cells[0].task}, {cells[0].split}, mean ± sample std over seeds", caption=caption(cells))
    table.add_column("k", justify="right")
    table.add_column("arm", overflow="fold")
    table.add_column(METRICS[metric].heading, justify="right", no_wrap=True)
    for name in found.quantities:
        table.add_column(f"{QUANTITY_NAMES[name]}\n{ARROWS[QUANTITIES[name]]}", justify="right", no_wrap=True)
    for k in dict.fromkeys(cell.k for cell in cells):
        for cell in (cell for cell in cells if cell.k == k):
            values = found.of(cell)
            numbers = [_spread(values.get(name), cell.n, percent=name == "crossed") for name in found.quantities]
            reached = spread(cell.metrics().get(metric), metric)
            table.add_row(str(k), printable(marked_name(cell)), reached, *numbers)
        table.add_section()
    return table


def _spread(found: Summary | None, seeds: int, *, percent: bool) -> str:
    """Mean ± std; behind it the number of seeds, where it is not that of the arm."""
    if found is None:
        return MISSING
    digits = 1 if percent else 2
    std = "" if found.std is None else f" ± {number(found.std, percent, digits=digits)}"
    return number(found.mean, percent, digits=digits) + std + ("" if found.n == seeds else f" ({found.n})")


def _legend(found: Why) -> Table:
    """What each column says; the arrows are what the paper predicts of better students."""
    legend = Table.grid(padding=(0, 2, 0, 0))
    legend.add_column(no_wrap=True)
    legend.add_column()
    for name, meaning in meanings(found).items():
        legend.add_row(name, meaning)
    return legend


def meanings(found: Why) -> dict[str, str]:
    """What the arrows, and each quantity that was measured, mean, by the name that it has in the tables."""
    lost = f" ({found.lost} pairs are left out, since the teacher does not once they are aligned)" if found.lost else ""
    said = {
        "uncertainty": "how unsure the teacher is of the rows trained on, summed: near its boundary a row adds 0.25, "
        "a clear one hardly anything (with more than two classes ½(1 - Σ p²))",
        "log_det": f"log det(I + F/λ) with λ = {found.ridge:g}, in nats; F = Σ p(1-p) zzᵀ is the Fisher information of "
        "the rows about a linear classifier on the teacher's features z: also counts in how many directions they tell",
        "crossed": "share of pairs (text, CFE), aligned token by token, between which the student changes its decision "
        f"as the teacher does (with more than two classes: its order of these two): {_pairs(found.pairs)}{lost}",
        "gap": "how far from the teacher's place it does so, on the way from text (0) to CFE (1) in embedding space; "
        "over the crossed pairs only, so with few of them it says little",
    }
    names = {name: f"{QUANTITY_NAMES[name].removesuffix(' %')} {ARROWS[QUANTITIES[name]]}" for name in found.quantities}
    arrows = {"↑ ↓": "more, or less, is what the paper's argument predicts of better students"}
    return arrows | {shown: said[name] for name, shown in names.items()}


def _pairs(pairs: Mapping[str, Sequence[int]]) -> str:
    """How many pairs of which kind in a run."""
    what = {
        HELD_OUT: "held-out pairs a run",
        OWN: "pairs a run, its own shots and CFEs, which some arms trained on (hold others out: cod counterfact RUN "
        "--held-out 100)",
    }
    told = (f"{f'{min(n)} to {max(n)}' if min(n) < max(n) else n[0]} {what[kind]}" for kind, n in pairs.items())
    return " or ".join(told)


NO_P = (
    "Between arms: of their means over seeds. Within arms: each point less its arm's mean, so other draws of the same "
    "recipe. No p: points of one seed share their shots, so they are fewer than they seem."
)


RHOS: Mapping[str, Callable[[Correlation], tuple[float | None, int]]] = {
    "between arms": lambda c: (c.between, c.arms),
    "within arms": lambda c: (c.within, c.n),
    "all together": lambda c: (c.rho, c.n),
}


def _correlations(found: Why, metric: str) -> Table:
    table = bare_table(f"Spearman's ρ with {METRICS[metric].title} (points)", caption=Text(NO_P))
    for heading in ("task", "k", ""):
        table.add_column(heading, overflow="fold")
    for name in found.quantities:
        table.add_column(QUANTITY_NAMES[name].removesuffix(" %"), justify="right", no_wrap=True)
    signs = ("+" if QUANTITIES[name] > 0 else "-" for name in found.quantities)
    table.add_row("predicted", "", "", *signs, end_section=True)
    for (task, split, k), here in found.by_place().items():
        for words, pick in RHOS.items():
            told = (pick(here[name]) if name in here else (None, 0) for name in found.quantities)
            shown = [MISSING if rho is None else f"{rho:+.2f} ({n})" for rho, n in told]
            table.add_row(printable(f"{task}, {split}"), str(k), words, *shown)
    return table
