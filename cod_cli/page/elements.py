"""What the sections of the page are built of: numbers that carry their exact value, tables, colours of arms."""

from collections.abc import Sequence

from cod_cli.comparison import Cell, Comparison
from cod_cli.comparison_tables import ordered
from cod_cli.metrics import Summary
from cod_cli.page.markup import Child, Markup, el, join
from cod_cli.tables import PERCENT, number

# Lines in one chart that can still be told apart.
MOST_LINES = 6
NOTHING = "–"
Place = tuple[str, str]


def places(comparison: Comparison) -> list[Place]:
    """The tasks and splits in order."""
    return list(dict.fromkeys((cell.task, cell.split) for cell in comparison.cells))


def tones(comparison: Comparison) -> dict[str, str]:
    """A colour for each arm that stands out, the same one everywhere: the baseline, then those at most k."""
    cells = ordered(comparison)
    ks = {arm: len({cell.k for cell in cells if cell.arm == arm}) for arm in dict.fromkeys(cell.arm for cell in cells)}
    mixes = {cell.arm: cell.mix for cell in cells}
    first = sorted(ks, key=lambda arm: (arm != comparison.baseline, -ks[arm], mixes[arm] != "cod"))
    return {arm: f"t{index}" for index, arm in enumerate(first[:MOST_LINES])}


def anchors(comparison: Comparison) -> dict[tuple[object, ...], str]:
    """The id of each cell's commands on the page, by its key and arm; none where no student left its settings."""
    recorded = (cell for cell in ordered(comparison) if any(result.student for result in cell.results))
    return {(*cell.key, cell.arm): f"made-{index}" for index, cell in enumerate(recorded, start=1)}


def quantity(value: float, shown: str) -> Markup:
    """A number as it is shown, with its exact value beside it for whoever reads the page by program."""
    return el("data", minus(shown), value=repr(value))


def measured(value: float | None, metric: str) -> Child:
    """A value of a metric, shares in %."""
    return NOTHING if value is None else quantity(value, number(value, metric in PERCENT))


def spread(found: Summary | None, metric: str) -> Child:
    """Mean ± sample std of a metric, shares in %."""
    if found is None:
        return NOTHING
    std = found.std
    shown = el("small", " ± ", quantity(std, number(std, metric in PERCENT))) if std is not None else None
    return join(measured(found.mean, metric), shown)


def minus(text: str) -> str:
    """A number with a proper minus sign."""
    return text.replace("-", "−")


def capital(text: str) -> str:
    """A sentence's first letter."""
    return text[:1].upper() + text[1:]


def table(headings: Sequence[str], *bodies: Markup) -> Markup:
    """A table that scrolls sideways where the screen is narrow; its first column stays in sight."""
    head = el("tr", *(el("th", heading or None, scope="col") for heading in headings))
    return el("div", el("table", el("thead", head), *bodies), class_="wide", tabindex="0")


def body(rows: Sequence[Markup], title: str | None = None, columns: int = 1) -> Markup:
    """Lines that belong together, under a title across all ``columns``."""
    head = el("tr", el("th", title, scope="rowgroup", colspan=columns), class_="group") if title else None
    return el("tbody", head, *rows)


def row(name: Child, cells: Sequence[Child]) -> Markup:
    """A line of a table; what is no number is set to the left."""
    return el("tr", el("th", name, scope="row"), *(el("td", cell, class_=_side(cell)) for cell in cells))


def _side(cell: Child) -> str | None:
    if isinstance(cell, Markup):
        return None if cell.startswith("<data") else "text"
    return "text" if isinstance(cell, str) and len(cell) > 1 else None


def in_groups(cells: Sequence[Cell], *, with_place: bool) -> dict[str, list[Cell]]:
    """The cells by k, and by task where there are several, under the words that say so."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        title = f"{cell.task}, {cell.split}, k = {cell.k}" if with_place else f"k = {cell.k}"
        groups.setdefault(title, []).append(cell)
    return groups
