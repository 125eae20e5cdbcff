"""HTML and SVG as nested elements: whatever is not `Markup` already is text and stays text."""

import html
from collections.abc import Sequence

from cod_cli.metrics import METRICS, Summary
from cod_cli.report.comparison import Cell, Comparison
from cod_cli.report.tables import ordered
from cod_cli.ui import number

# Not printable for Python, but part of a text: spaces, and the joiners of Persian, Indic scripts and emoji.
_KEPT = "\n\t\xa0\u3000\u200c\u200d"
Child = str | int | float | None


class Markup(str):
    """Text that is HTML already, made by `el`."""


def el(name: str, /, *children: Child, **attributes: Child) -> Markup:
    """One element with its children; a child or attribute that is None is left out.

    Underscores in attribute names stand for hyphens, one at the end for none: ``class_="x" data_arm="y"``.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    inside = "".join(f' {key}="{escape(value)}"' for key, value in given.items())
    return Markup(f"<{name}{inside}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Children without an element around them."""
    return Markup(
        "".join(child if isinstance(child, Markup) else escape(child) for child in children if child is not None)
    )


def escape(value: Child) -> str:
    """A value as text, in an element or in quotes; control characters and lone surrogates are made visible."""
    return html.escape("".join(c if c in _KEPT or c.isprintable() else f"\\x{ord(c):02x}" for c in str(value)))


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
    return NOTHING if value is None else quantity(value, number(value, METRICS[metric].percent))


def spread(found: Summary | None, metric: str) -> Child:
    """Mean ± sample std of a metric, shares in %."""
    if found is None:
        return NOTHING
    std = found.std
    shown = el("small", " ± ", quantity(std, number(std, METRICS[metric].percent))) if std is not None else None
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
