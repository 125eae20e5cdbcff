"""What the paper proves, beside what the arms reached: the quantities, what they mean, how they go with the metric."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cod_cli.comparison import Cell, Comparison
from cod_cli.comparison_tables import NAMES, caption, marked_name, ordered, spread
from cod_cli.metrics import Summary
from cod_cli.report import printable
from cod_cli.tables import HEADINGS, MISSING, bare_table, number
from cod_cli.why import HELD_OUT, OWN, QUANTITIES, Correlation, Why

Key = tuple[str, str, int, str]

QUANTITY_NAMES = {"uncertainty": "Σ p(1-p)", "log_det": "log det", "crossed": "crossed %", "gap": "gap"}
ARROWS = {1: "↑", -1: "↓"}


def why(found: Why, comparison: Comparison) -> RenderableType:
    """A table for each task, what its columns mean, and the correlations; nothing where nothing could be measured."""
    explained = {(arm.task, arm.split, arm.k, arm.arm): arm.quantities for arm in found.arms}
    cells = [cell for cell in ordered(comparison) if (*cell.key, cell.arm) in explained]
    if not cells:
        return Group()
    parts: list[RenderableType] = []
    for place in dict.fromkeys((cell.task, cell.split) for cell in cells):
        here = [cell for cell in cells if (cell.task, cell.split) == place]
        parts += [_quantities(here, explained, comparison.metric), Text()]
    parts += [_legend(found), Text()]
    if any(correlation.rho is not None for correlation in found.correlations):
        parts += [_correlations(found.correlations, comparison.metric), Text()]
    return Group(*parts)


def _quantities(cells: Sequence[Cell], explained: Mapping[Key, Mapping[str, Summary]], metric: str) -> Table:
    table = bare_table(f"Why: {cells[0].task}, {cells[0].split}, mean ± sample std over seeds", caption=caption(cells))
    table.add_column("k", justify="right")
    table.add_column("arm", overflow="fold")
    table.add_column(HEADINGS[metric], justify="right", no_wrap=True)
    for name, sign in QUANTITIES.items():
        table.add_column(f"{QUANTITY_NAMES[name]}\n{ARROWS[sign]}", justify="right", no_wrap=True)
    for k in dict.fromkeys(cell.k for cell in cells):
        for cell in (cell for cell in cells if cell.k == k):
            found = explained[*cell.key, cell.arm]
            numbers = [_spread(found.get(name), cell.n, percent=name == "crossed") for name in QUANTITIES]
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
    lost = f" ({found.lost} pairs left out: aligned token by token, the teacher does not)" if found.lost else ""
    said = {
        "uncertainty": "how unsure the teacher is of the rows trained on, summed: near its boundary a row adds 0.25, "
        "a clear one hardly anything (with more than two classes ½(1 - Σ p²))",
        "log_det": f"log det(I + F/λ) with λ = {found.ridge:g}, in nats; F = Σ p(1-p) zzᵀ is the Fisher information of "
        "the rows about a linear classifier on the teacher's features z: also counts in how many directions they tell",
        "crossed": f"share of {_pairs(found.pairs)} between whose two texts the student, too, changes sides" + lost,
        "gap": "how far apart student and teacher change sides there, from text (0) to CFE (1) in embedding space; "
        "over the pairs that the student crosses only, so with few of them it says little",
    }
    measured = [name for name in QUANTITIES if any(name in arm.quantities for arm in found.arms)]
    names = {name: f"{QUANTITY_NAMES[name].removesuffix(' %')} {ARROWS[QUANTITIES[name]]}" for name in measured}
    arrows = {"↑ ↓": "more, or less, is what the paper's argument predicts of better students"}
    return arrows | {names[name]: said[name] for name in measured}


def _pairs(pairs: Mapping[str, Sequence[int]]) -> str:
    """How many pairs of which kind in a run."""
    what = {
        HELD_OUT: "held-out pairs",
        OWN: "pairs of shot and CFE (some arms trained on them; hold others out: cod counterfact RUN --held-out 100)",
    }
    told = (f"a run's {f'{min(n)} to {max(n)}' if min(n) < max(n) else n[0]} {what[kind]}" for kind, n in pairs.items())
    return " or ".join(told)


def _correlations(found: Sequence[Correlation], metric: str) -> Table:
    table = bare_table(
        f"Spearman's ρ with {NAMES[metric]} over arms and seeds (points)",
        caption=Text("no p: points of one seed share their shots, so they are fewer than they seem"),
    )
    for heading in ("task", "k"):
        table.add_column(heading, overflow="fold")
    for name in QUANTITIES:
        table.add_column(QUANTITY_NAMES[name].removesuffix(" %"), justify="right", no_wrap=True)
    table.add_row("predicted", "", *("+" if sign > 0 else "-" for sign in QUANTITIES.values()), end_section=True)
    by_place: dict[tuple[str, str, int], dict[str, Correlation]] = {}
    for one in found:
        by_place.setdefault((one.task, one.split, one.k), {})[one.quantity] = one
    for (task, split, k), here in by_place.items():
        table.add_row(printable(f"{task}, {split}"), str(k), *(_rho(here.get(name)) for name in QUANTITIES))
    return table


def _rho(found: Correlation | None) -> str:
    return MISSING if found is None or found.rho is None else f"{found.rho:+.2f} ({found.n})"
