"""Sections of the page that show what was reached: in words, as charts, as tables, with the commands."""

from collections.abc import Sequence

from cod_cli.comparison import Cell, Comparison, Contrast
from cod_cli.comparison_tables import (
    COST,
    NAMES,
    OTHER_CAPTION,
    marked_name,
    ordered,
    signed,
    spread,
    teacher_of,
    words,
)
from cod_cli.evidence import Evidence, Result
from cod_cli.page.commands import texts_of, training_of
from cod_cli.page.markup import Child, Markup, el, join
from cod_cli.page.plots import Bar, Point, Series, forest, lines
from cod_cli.statistics import BETTER, WORSE
from cod_cli.tables import CUT_CAPTION, HEADINGS, MISSING, PERCENT

# Lines in one chart that can still be told apart.
MOST_LINES = 6
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


def in_words(comparison: Comparison) -> list[Child]:
    """The verdicts as sentences, then what a reader must know."""
    groups = {
        "Better": [c for c in comparison.contrasts if c.verdict == BETTER],
        "Worse": [c for c in comparison.contrasts if c.verdict == WORSE],
        "No difference shown": [c for c in comparison.contrasts if c.verdict.startswith("no difference")],
        "Not tested": [c for c in comparison.contrasts if c.verdict.startswith(("not tested", "no seed"))],
        "Not counted": [c for c in comparison.contrasts if c.verdict.endswith(("not counted", "not compared"))],
    }
    items = [
        join(el("dt", name, class_=name.split()[0].lower()), *(el("dd", *_sentence(c, comparison)) for c in group))
        for name, group in groups.items()
        if group
    ]
    notes = [el("p", _capital(note) + ".", class_="note") for note in comparison.notes]
    return [el("dl", *items, class_="verdicts") if items else None, *notes]


def _sentence(contrast: Contrast, comparison: Comparison) -> list[Child]:
    found, percent = contrast.difference, contrast.metric in PERCENT
    where = f" at k = {contrast.k}" + (f", {contrast.task} {contrast.split}" if len(places(comparison)) > 1 else "")
    amount: Child = None
    if found is not None:
        unit = " points" if percent else ""
        amount = f": {signed(found.mean, percent=percent)}{unit}"
        if found.interval is not None:
            low, high = (signed(bound, percent=percent) for bound in vars(found.interval).values())
            amount += f" ({low} to {high}, n = {found.n})"
    return [el("b", contrast.arm), f" against {contrast.against}{where}{amount or ''}"]


def over_k(comparison: Comparison, teachers: Sequence[Result]) -> list[Child]:
    """Two charts for each task that has more than one k: the deciding metric and agreement, with ± std."""
    chosen = tones(comparison)
    shown: list[Child] = []
    for place in places(comparison):
        cells = [cell for cell in comparison.cells if (cell.task, cell.split) == place]
        if len({cell.k for cell in cells}) < 2:
            continue
        metrics = [name for name in dict.fromkeys(("accuracy", "agreement")) if any(name in c.values for c in cells)]
        charts = [_chart(name, cells, chosen, teacher_of(teachers, *place, name)) for name in metrics]
        left_out = {cell.arm for cell in cells} - chosen.keys()
        shown += [
            el("h3", f"{place[0]}, {place[1]}"),
            el("div", *charts, class_="charts"),
            _legend({arm: tone for arm, tone in chosen.items() if any(cell.arm == arm for cell in cells)}),
            el(
                "p",
                f"Bands: ± one sample std over seeds. {len(left_out)} more arms stand in the tables.",
                class_="note",
            )
            if left_out
            else el("p", "Bands: ± one sample std over seeds.", class_="note"),
        ]
    return shown


def _chart(metric: str, cells: Sequence[Cell], chosen: dict[str, str], teacher: float | None) -> Markup:
    series = []
    for arm, tone in chosen.items():
        found = [(cell.k, cell.metrics()[metric]) for cell in cells if cell.arm == arm and metric in cell.values]
        points = tuple(
            Point(k, 100 * s.mean, 100 * (s.mean - (s.std or 0)), 100 * (s.mean + (s.std or 0)))
            for k, s in sorted(found, key=lambda pair: pair[0])
        )
        series += [Series(arm, tone, points)] if points else []
    title = f"{_capital(NAMES[metric])}, %"
    reference = ("teacher", 100 * teacher) if teacher is not None else None
    return el("figure", el("figcaption", title), lines(series, title=title, reference=reference))


def _legend(chosen: dict[str, str]) -> Markup:
    return el("p", *(el("span", el("i", class_=f"key {tone}"), arm) for arm, tone in chosen.items()), class_="legend")


def differences(comparison: Comparison) -> list[Child]:
    """A forest plot for each task and k: every contrast with its interval."""
    chosen, metric = tones(comparison), comparison.metric
    scale = 100 if metric in PERCENT else 1
    unit = "points" if metric in PERCENT else NAMES[metric]
    order = {(*cell.key, cell.arm): index for index, cell in enumerate(ordered(comparison))}
    charts = []
    for key in dict.fromkeys((c.task, c.split, c.k) for c in comparison.contrasts):
        here = [c for c in comparison.contrasts if (c.task, c.split, c.k) == key and c.difference is not None]
        here.sort(key=lambda c: order[c.task, c.split, c.k, c.arm])
        bars = [
            Bar(
                name=contrast.arm
                if contrast.against == comparison.baseline
                else f"{contrast.arm} − {contrast.against}",
                tone=chosen.get(contrast.arm, "t7"),
                mean=scale * found.mean,
                low=scale * found.interval.low if found.interval else None,
                high=scale * found.interval.high if found.interval else None,
                words=contrast.verdict,
            )
            for contrast in here
            if (found := contrast.difference) is not None
        ]
        title = f"{key[0]}, {key[1]}, k = {key[2]}"
        if bars:
            charts.append(el("figure", el("figcaption", title), forest(bars, title=title, unit=unit)))
    if not charts:
        return []
    against = f"Each arm less {comparison.baseline}, or the arm that is named" if comparison.baseline else "Each arm"
    lead = f"{against}: mean over seeds with its 95% t interval (not corrected); the words are after Holm's correction."
    return [el("p", lead), el("div", *charts, class_="charts")]


def numbers(comparison: Comparison, teachers: Sequence[Result]) -> list[Child]:
    """Every metric of every arm at every k, and the test beside it."""
    contrasts = {(c.task, c.split, c.k, c.arm): c for c in comparison.contrasts}
    shown: list[Child] = []
    for place in places(comparison):
        cells = [cell for cell in ordered(comparison) if (cell.task, cell.split) == place]
        metrics = [name for name in HEADINGS if any(name in cell.values for cell in cells)]
        headings = [
            "k",
            "arm",
            "seeds",
            *(HEADINGS[name].replace("\n", " ") for name in metrics),
            "difference, in words",
        ]
        taught = [teacher_of(teachers, *place, name) for name in metrics]
        rows = [row(["", "teacher", "", *(_plain(v, n) for v, n in zip(taught, metrics, strict=True)), ""])]
        for cell in cells:
            found, contrast = cell.metrics(), contrasts.get((*cell.key, cell.arm))
            values = [spread(found.get(name), name) for name in metrics]
            link = el("a", marked_name(cell), href=f"#{anchor(cell)}")
            rows.append(row([cell.k, link, cell.n, *values, _decision(contrast)]))
        shown += [el("h3", f"{place[0]}, {place[1]}"), table(headings, rows)]
    return [*shown, *_captions(comparison.cells)]


def cost(comparison: Comparison) -> list[Child]:
    """What a student of each arm took."""
    cells = ordered(comparison)
    shown = {name: show for name, show in COST.items() if any(show(cell) not in (MISSING, "0") for cell in cells)}
    rows = [row([cell.task, cell.k, marked_name(cell), *(show(cell) for show in shown.values())]) for cell in cells]
    lead = "Means over seeds. Teacher queries: the texts trained on and those tried on the way to them."
    return [el("p", lead), table(["task", "k", "arm", *(name.replace("\n", " ") for name in shown)], rows)]


def commands(evidence: Evidence, comparison: Comparison) -> list[Child]:
    """For each arm at each k what made its students, as the runs' manifests recorded it."""
    sweeps = [el("pre", plan.command) for plan in evidence.plans]
    lead = ["Swept by:", *sweeps] if sweeps else []
    blocks = [
        el("details", el("summary", f"{cell.task}, k = {cell.k}, {cell.arm}"), el("pre", text), id=anchor(cell))
        for cell in ordered(comparison)
        if (text := _script(cell))
    ]
    intro = "What made each number, as it was recorded: shots and texts first, then each student and its scores."
    return [
        *([el("p", intro)] if blocks else []),
        *(el("p", c) if not isinstance(c, Markup) else c for c in lead),
        *blocks,
    ]


def _script(cell: Cell) -> str:
    parts = []
    for result in cell.results:
        training = training_of(result)
        parts += [*texts_of(result.run, cell.mix), *training, ""] if training else []
    return "\n".join(parts).strip()


def anchor(cell: Cell) -> str:
    """The id of an arm's commands on the page."""
    return "-".join(("made", cell.task, cell.split, str(cell.k), cell.arm)).replace(" ", "-")


def table(headings: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """A table that scrolls sideways where the screen is narrow."""
    head = el("tr", *(el("th", heading, scope="col") for heading in headings))
    return el("div", el("table", el("thead", head), el("tbody", *rows)), class_="wide")


def row(cells: Sequence[Child]) -> Markup:
    """A line of a table; what is no number is set to the left."""
    return el("tr", *(el("td", cell, class_=None if _is_number(cell) else "text") for cell in cells))


def _is_number(cell: Child) -> bool:
    return not isinstance(cell, str) or cell[:1].isdigit() or cell[:1] in ("-", "<")


def _decision(contrast: Contrast | None) -> Markup | None:
    if contrast is None:
        return None
    amount = signed(contrast.difference.mean if contrast.difference else None, percent=contrast.metric in PERCENT)
    tone = contrast.verdict if contrast.verdict in (BETTER, WORSE) else None
    return el("span", f"{amount} · {words(contrast).plain}", class_=tone)


def _captions(cells: Sequence[Cell]) -> list[Child]:
    lines = [OTHER_CAPTION] * any(cell.other_budget for cell in cells) + [CUT_CAPTION] * any(cell.cut for cell in cells)
    return [el("p", line, class_="note") for line in lines]


def _plain(value: float | None, name: str) -> str:
    if value is None:
        return MISSING
    return f"{100 * value:.1f}" if name in PERCENT else f"{value:.3f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
