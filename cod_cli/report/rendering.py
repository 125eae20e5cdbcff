"""A table as data, and the two places that show it: a terminal, by rich, and the page, as HTML.

A cell is a tuple of parts, each a text as it is shown and, for a number, its exact value, which the page holds for
whoever reads it by program. A cell without parts is one that has nothing to show: either place has its own dash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import rich.table
from rich.box import SIMPLE_HEAD
from rich.text import Text

from cod_cli.metrics import Summary
from cod_cli.report.page.markup import Child, Markup, capital, el, join, quantity
from cod_cli.ui import MISSING, number, printable

DASH = "–"  # For nothing, on the page.
_STYLES = {"better": "green", "worse": "red"}


@dataclass(frozen=True)
class Part:
    """A piece of a cell: a text or, with its exact ``value``, a number.

    What is ``small`` stands behind the number that the cell is about. ``tone`` is ``better``, ``worse`` or nothing.
    """

    shown: str
    value: float | None = None
    small: bool = False
    tone: str = ""


Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Column:
    """A column of numbers, set to the right and never cut, or of ``words``, set to the left and folded.

    Args:
        heading: on a terminal over two lines where it has two.
        page: its heading on the page, where that is another.
        words: whether it holds names and sentences.
        width: where its heading is a name from elsewhere, the letters that it may be folded to.
        brief: a terminal has no room for its small parts.
        only: the one place that has this column.
    """

    heading: str
    page: str | None = None
    words: bool = False
    width: int | None = None
    brief: bool = False
    only: Literal["terminal", "page"] | None = None


@dataclass(frozen=True)
class Row:
    """A cell for each column. ``style`` is rich's; on the page the first cell leads to the element ``link``."""

    cells: Sequence[Parts]
    style: str = ""
    link: str | None = None


@dataclass(frozen=True)
class Group:
    """Rows that belong together: on the page under a title where there is one, on a terminal set ``apart`` or not."""

    rows: Sequence[Row]
    title: str = ""
    apart: bool = False


@dataclass(frozen=True)
class Table:
    """Rows in groups under headings. ``title`` stands above it on a terminal; the page has headings of its own.

    Each line of ``caption`` says what a mark in the table means.
    """

    title: str
    columns: Sequence[Column]
    groups: Sequence[Group]
    caption: str = ""


def text(shown: str) -> Parts:
    """A cell of words."""
    return (Part(shown),)


def exact(value: float, shown: str | None = None) -> Parts:
    """A number as it is shown: as it is, where nothing else is given."""
    return (Part(str(value) if shown is None else shown, value),)


def measure(value: float | None, percent: bool = False, *, digits: int | None = None) -> Parts:
    """A number as `ui.number` shows it; nothing for none."""
    return () if value is None else exact(value, number(value, percent, digits=digits))


def mean_std(found: Summary | None, percent: bool = False, *, digits: int | None = None) -> Parts:
    """Mean ± sample std; nothing for none."""
    if found is None:
        return ()
    mean = measure(found.mean, percent, digits=digits)
    if found.std is None:
        return mean
    return *mean, Part(" ± ", small=True), Part(number(found.std, percent, digits=digits), found.std, small=True)


def plain(cell: Parts) -> str:
    """A cell as plain text, as a terminal without colours shows it."""
    return "".join(part.shown for part in cell) if cell else MISSING


def to_rich(table: Table) -> rich.table.Table:
    """The table for a terminal: no number is cut, whatever its width, and no text taken for markup."""
    made = rich.table.Table(
        title=printable(table.title),
        caption=printable(table.caption) if table.caption else None,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
        show_header=any(column.heading for column in table.columns),
    )
    places = [place for place, column in enumerate(table.columns) if column.only != "page"]
    for place in places:
        _add_column(made, table.columns[place])
    for group in table.groups:
        for row in group.rows:
            made.add_row(*(_to_text(row.cells[at], table.columns[at]) for at in places), style=row.style)
        if group.apart:
            made.add_section()
    return made


def _add_column(made: rich.table.Table, column: Column) -> None:
    heading = printable(column.heading)
    if column.words:
        made.add_column(heading, overflow="fold")
    elif column.width is not None:
        made.add_column(heading, justify="right", overflow="fold", min_width=column.width)
    else:
        made.add_column(heading, justify="right", no_wrap=True)


def _to_text(cell: Parts, column: Column) -> Text:
    shown = Text("" if cell else MISSING)
    for part in cell:
        if not (part.small and column.brief):
            piece = printable(part.shown)
            piece.stylize(_STYLES.get(part.tone, ""))
            shown.append_text(piece)
    return shown


def to_html(table: Table) -> Markup:
    """The table for the page, which scrolls sideways where the screen is narrow, its first column staying in sight."""
    places = [place for place, column in enumerate(table.columns) if column.only != "terminal"]
    headings = [table.columns[at].page or table.columns[at].heading.replace("\n", " ") for at in places]
    head = el("tr", *(el("th", heading or None, scope="col") for heading in headings))
    bodies = [_body(group, places) for group in table.groups]
    notes = [el("p", capital(line.rstrip(".")) + ".", class_="note") for line in table.caption.splitlines()]
    return join(el("div", el("table", el("thead", head), *bodies), class_="wide", tabindex="0"), *notes)


def _body(group: Group, places: Sequence[int]) -> Markup:
    title = el("th", group.title, scope="rowgroup", colspan=len(places))
    head = el("tr", title, class_="group") if group.title else None
    return el("tbody", head, *(_line(row, [row.cells[place] for place in places]) for row in group.rows))


def _line(row: Row, cells: Sequence[Parts]) -> Markup:
    name: Child = inline(cells[0])
    name = el("a", name, href=f"#{row.link}") if row.link else name
    return el("tr", el("th", name, scope="row"), *(el("td", inline(cell), class_=_side(cell)) for cell in cells[1:]))


def _side(cell: Parts) -> str | None:
    """What is no number is set to the left."""
    return "text" if cell and cell[0].value is None and len(plain(cell)) > 1 else None


def inline(cell: Parts) -> Markup:
    """A cell as it stands on the page, there or in a sentence."""
    runs = [(small, join(*map(_inline, parts))) for small, parts in groupby(cell, key=lambda part: part.small)]
    return join(*(el("small", shown) if small else shown for small, shown in runs)) if cell else join(DASH)


def _inline(part: Part) -> Child:
    shown: Child = part.shown if part.value is None else quantity(part.value, part.shown)
    return el("span", shown, class_=part.tone) if part.tone else shown
