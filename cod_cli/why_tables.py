"""What the paper proves, beside what the arms reached: the quantities, what they mean, how they go with the metric."""

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cod_cli.comparison import Cell, Comparison
from cod_cli.comparison_tables import NAMES, caption, marked_name, ordered
from cod_cli.metrics import Summary
from cod_cli.report import printable
from cod_cli.tables import HEADINGS, MISSING, bare_table, number, spread
from cod_cli.why import HELD_OUT, OWN, QUANTITIES, Correlation, Why

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
    table.add_column(HEADINGS[metric], justify="right", no_wrap=True)
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
    table = bare_table(f"Spearman's ρ with {NAMES[metric]} (points)", caption=Text(NO_P))
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
