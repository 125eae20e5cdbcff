"""The section of the page about why it works, or not: what the paper proves, measured, beside what the arms reached."""

from collections.abc import Mapping, Sequence

from cod_cli.comparison import Cell, Comparison
from cod_cli.comparison_tables import NAMES, marked_name, ordered
from cod_cli.metrics import Summary
from cod_cli.page.elements import NOTHING, body, in_groups, places, quantity, row, spread, table
from cod_cli.page.markup import Child, Markup, el, join
from cod_cli.tables import HEADINGS, number
from cod_cli.why import QUANTITIES, Why
from cod_cli.why_tables import ARROWS, NO_P, QUANTITY_NAMES, RHOS, meanings


def reasons(found: Why | None, comparison: Comparison) -> list[Child]:
    """A table for each task, what its columns mean, and how they go with the metric over arms and seeds."""
    cells = [cell for cell in ordered(comparison) if found.of(cell)] if found else []
    if not cells or found is None:
        return []
    names = found.quantities
    headings = ["arm", HEADINGS[comparison.metric].replace("\n", " ")]
    headings += [f"{QUANTITY_NAMES[name]} {ARROWS[QUANTITIES[name]]}" for name in names]
    bodies = []
    for title, group in in_groups(cells, with_place=len(places(comparison)) > 1).items():
        rows = [_measured(cell, found.of(cell), names, comparison.metric) for cell in group]
        bodies.append(body(rows, title, len(headings)))
    legend = [join(el("dt", name), el("dd", meaning)) for name, meaning in meanings(found).items()]
    return [
        el("p", "Mean ± sample std over seeds."),
        table(headings, *bodies),
        el("dl", *legend, class_="legend-list"),
        *_correlations(found, comparison.metric),
    ]


def _measured(cell: Cell, found: Mapping[str, Summary], names: Sequence[str], metric: str) -> Markup:
    values = [_summary(found.get(name), cell.n, percent=name == "crossed") for name in names]
    return row(marked_name(cell), [spread(cell.metrics().get(metric), metric), *values])


def _summary(found: Summary | None, seeds: int, *, percent: bool) -> Child:
    """Mean ± std; behind it the number of seeds, where it is not that of the arm."""
    if found is None:
        return NOTHING
    digits = 1 if percent else 2
    parts: list[Child] = [quantity(found.mean, number(found.mean, percent, digits=digits))]
    if found.std is not None:
        parts.append(el("small", " ± ", quantity(found.std, number(found.std, percent, digits=digits))))
    return join(*parts, el("small", f" ({found.n})") if found.n != seeds else None)


def _correlations(found: Why, metric: str) -> list[Child]:
    names = found.quantities
    if not any(one.rho is not None for one in found.correlations):
        return []
    predicted = row("predicted", ["+" if QUANTITIES[name] > 0 else "−" for name in names])
    rows = [
        row(
            f"{task}, {split}, k = {k}: {words}",
            [_rho(*pick(here[name])) if name in here else NOTHING for name in names],
        )
        for (task, split, k), here in found.by_place().items()
        for words, pick in RHOS.items()
    ]
    return [
        el("h3", f"Spearman's ρ with {NAMES[metric]} (points)"),
        table(["", *(QUANTITY_NAMES[name].removesuffix(" %") for name in names)], body([predicted]), body(rows)),
        el("p", NO_P, class_="note"),
    ]


def _rho(rho: float | None, points: int) -> Child:
    if rho is None:
        return NOTHING
    return join(quantity(rho, f"{rho:+.2f}"), el("small", f" ({points})"))
