"""What `cod report --why` shows: what was measured beside what was reached, what it means, how the two go together."""

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from cod_cli.metrics import METRICS, Summary
from cod_cli.report.comparison import Cell, Comparison, Place
from cod_cli.report.rendering import Column, Group, Part, Parts, Row, Table, exact, mean_std, text, to_rich
from cod_cli.report.tables import K, of_arms, spread
from cod_cli.report.why.explain import HELD_OUT, OWN, QUANTITIES, Correlation, Why

QUANTITY_NAMES = {
    "uncertainty": "Σ p(1-p)",
    "log_det": "log det",
    "crossed": "crossed %",
    "gap": "gap",
    "by_shot": "by shot %",
    "shot_bits": "bits",
    "contrasts": "contrasts",
    "side_by_side": "side by side",
}
SHARES = ("crossed", "by_shot")
ARROWS = {1: "↑", -1: "↓"}


def report(found: Why, comparison: Comparison) -> RenderableType:
    """A table for each task, what its columns mean, and the correlations; nothing where nothing could be measured."""
    parts: list[RenderableType] = []
    if tables := quantities(found, comparison):
        parts += [*map(to_rich, tables.values()), _legend(meanings(found))]
        going_together = correlations(found, comparison)
        parts += [to_rich(going_together)] if going_together else []
    if tables := of_families(found, comparison):
        parts += [*map(to_rich, tables.values()), _legend(meanings_of_families(found))]
    return Stack(*(piece for part in parts for piece in (part, Text())))


def quantities(found: Why, comparison: Comparison) -> dict[Place, Table]:
    """For each task and split where something was measured: the metric that decides, and each quantity."""
    return _tables("Why", found.quantities, found, comparison)


def of_families(found: Why, comparison: Comparison) -> dict[Place, Table]:
    """The same for what families of rows, each a shot with its edits, give away and hold."""
    return _tables("Families", found.of_families, found, comparison)


def _tables(title: str, names: Sequence[str], found: Why, comparison: Comparison) -> dict[Place, Table]:
    columns = [Column(METRICS[comparison.metric].heading), *map(_column, names)]

    def values(cell: Cell) -> list[Parts]:
        here = found.of(cell)
        reached = spread(cell.metrics().get(comparison.metric), comparison.metric)
        return [reached, *(_spread(here.get(name), cell.n, percent=name in SHARES) for name in names)]

    cells = {
        place: [cell for cell in comparison.at(place) if found.of(cell).keys() & set(names)]
        for place in comparison.places
    }
    return {
        place: of_arms(f"{title}: {', '.join(place)}, mean ± sample std over seeds", of, columns, values, apart=True)
        for place, of in cells.items()
        if of
    }


def _column(name: str) -> Column:
    shown, arrow = QUANTITY_NAMES[name], _arrow(name)
    return Column(f"{shown}\n{arrow}", page=f"{shown} {arrow}") if arrow else Column(shown)


def _arrow(quantity: str) -> str:
    """Which way the paper's argument wants it, empty where it says nothing."""
    return ARROWS[QUANTITIES[quantity]] if quantity in QUANTITIES else ""


def _spread(found: Summary | None, seeds: int, *, percent: bool) -> Parts:
    """Mean ± std; behind it the number of seeds, where it is not that of the arm."""
    if found is None:
        return ()
    shown = mean_std(found, percent, digits=1 if percent else 2)
    return shown if found.n == seeds else (*shown, Part(f" ({found.n})", small=True))


def _legend(said: Mapping[str, str]) -> Grid:
    legend = Grid.grid(padding=(0, 2, 0, 0))
    legend.add_column(no_wrap=True)
    legend.add_column()
    for name, meaning in said.items():
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
    names = {name: f"{_name(name)} {_arrow(name)}" for name in found.quantities}
    arrows = {"↑ ↓": "more, or less, is what the paper's argument predicts of better students"}
    return arrows | {shown: said[name] for name, shown in names.items()}


def meanings_of_families(found: Why) -> dict[str, str]:
    """What each quantity about families that was measured means, by the name that it has in the tables."""
    said = {
        "by_shot": "share of the rows trained on whose class their shot alone tells, by the commonest class of its "
        "family (the shot and its edits): 100% for shots alone, 50% for balanced families of two classes",
        "shot_bits": "the same in bits, I(class; shot): what the words that a row shares with its family give away of "
        "its class before the words that decide are looked at; 0 is nothing",
        "contrasts": "pairs of rows in a batch that are of one family and unlike classes, so that little more than the "
        "deciding words differs: the mean over batches shuffled as they were trained on",
        "side_by_side": "the same, were the rows of a family to follow one another: most of a batch is then one text "
        "over and over",
    }
    return {_name(name): said[name] for name in found.of_families}


def _name(quantity: str) -> str:
    return QUANTITY_NAMES[quantity].removesuffix(" %")


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


def correlations(found: Why, comparison: Comparison) -> Table | None:
    """How each quantity goes with the metric, under the signs that the paper predicts; None where none can be told."""
    if all(one.rho is None for one in found.correlations):
        return None
    names = found.quantities
    signs = [exact(QUANTITIES[name], "+" if QUANTITIES[name] > 0 else "-") for name in names]
    groups = [Group([Row([text(""), text(""), text("predicted"), *signs])], apart=True)]
    for (task, split, k), here in found.by_place().items():
        lead = (text(f"{task}, {split}"), text(str(k)))
        rows = [
            Row([*lead, text(words), *(_rho(*pick(here[name])) if name in here else () for name in names)])
            for words, pick in RHOS.items()
        ]
        groups.append(Group(rows, f"{task}, {split}, k = {k}"))
    columns = [Column("task", words=True, only="terminal"), K, Column("", words=True), *map(Column, map(_name, names))]
    return Table(f"Spearman's ρ with {METRICS[comparison.metric].title} (points)", columns, groups, NO_P)


def _rho(rho: float | None, points: int) -> Parts:
    return () if rho is None else (*exact(rho, f"{rho:+.2f}"), Part(f" ({points})", small=True))
