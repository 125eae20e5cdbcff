"""Sections of the page that show what was reached: charts over k, every metric, what it took, calibration."""

from collections.abc import Mapping, Sequence

from cod_cli.metrics import METRICS, Bin, Summary, classes_in, f1_of
from cod_cli.report.comparison import BY_GENERATOR, Cell, Comparison
from cod_cli.report.page.charts import Point, Series, lines, reliability
from cod_cli.report.page.markup import (
    NOTHING,
    Child,
    Markup,
    anchors,
    body,
    capital,
    el,
    in_groups,
    join,
    measured,
    places,
    quantity,
    row,
    spread,
    table,
    tones,
)
from cod_cli.report.page.pairs import curve, curve_of
from cod_cli.report.results import Result
from cod_cli.report.tables import (
    ARROWS,
    COST,
    NO_P,
    OTHER_CAPTION,
    QUANTITY_NAMES,
    RHOS,
    marked_name,
    meanings,
    ordered,
    teacher_of,
)
from cod_cli.report.why.explain import QUANTITIES, Why
from cod_cli.ui import CUT_CAPTION, MISSING, number


def over_k(comparison: Comparison, teachers: Sequence[Result]) -> list[Child]:
    """Two charts for each task that has more than one k: accuracy and agreement, with ± std."""
    chosen = tones(comparison)
    shown: list[Child] = []
    for place in places(comparison):
        # A prompt without shots, k = 0, has no place on a log scale: it stands in the tables.
        cells = [cell for cell in comparison.cells if (cell.task, cell.split) == place and cell.k]
        if len({cell.k for cell in cells}) < 2:
            continue
        metrics = [name for name in ("accuracy", "agreement") if any(_drawn(cell, name, chosen) for cell in cells)]
        charts = [_chart(name, cells, chosen, teacher_of(teachers, *place, name)) for name in metrics]
        if not charts:
            continue
        here = {arm: tone for arm, tone in chosen.items() if any(cell.arm == arm for cell in cells)}
        left_out = len({cell.arm for cell in cells} - here.keys())
        more = f" {left_out} more arm{'s stand' if left_out > 1 else ' stands'} in the tables." if left_out else ""
        shown += [
            el("h3", f"{place[0]}, {place[1]}"),
            el("div", *charts, class_="charts"),
            _legend(here),
            el("p", f"Bands: ± one sample std over seeds.{more}", class_="note"),
        ]
    return shown


def _drawn(cell: Cell, metric: str, chosen: Mapping[str, str]) -> bool:
    return cell.arm in chosen and metric in cell.values


def _chart(metric: str, cells: Sequence[Cell], chosen: Mapping[str, str], teacher: float | None) -> Markup:
    series = []
    for arm, tone in chosen.items():
        found = [(cell.k, cell.metrics()[metric]) for cell in cells if cell.arm == arm and metric in cell.values]
        points = tuple(
            Point(k, 100 * s.mean, max(0, 100 * (s.mean - (s.std or 0))), min(100, 100 * (s.mean + (s.std or 0))))
            for k, s in sorted(found, key=lambda pair: pair[0])
        )
        series += [Series(arm, tone, points)] if points else []
    title = f"{capital(METRICS[metric].title)}, %"
    reference = ("teacher", 100 * teacher) if teacher is not None else None
    return el("figure", el("figcaption", title), lines(series, title=title, reference=reference))


def _legend(chosen: Mapping[str, str]) -> Markup:
    return el("p", *(el("span", el("i", class_=f"key {tone}"), arm) for arm, tone in chosen.items()), class_="legend")


def numbers(comparison: Comparison, teachers: Sequence[Result]) -> list[Child]:
    """Every metric of every arm at every k; an arm's name leads to its commands."""
    ids = anchors(comparison)
    shown: list[Child] = []
    for place in places(comparison):
        cells = [cell for cell in ordered(comparison) if (cell.task, cell.split) == place]
        metrics = [name for name in METRICS if any(name in cell.values for cell in cells)]
        headings = ["arm", "seeds", *(METRICS[name].heading.replace("\n", " ") for name in metrics)]
        taught = [teacher_of(teachers, *place, name) for name in metrics]
        bodies = []
        if any(value is not None for value in taught):
            cited = [measured(value, name) for value, name in zip(taught, metrics, strict=True)]
            bodies.append(body([row("teacher", ["", *cited])]))
        for title, group in in_groups(cells, with_place=False).items():
            rows = [_reached(cell, metrics, ids.get((*cell.key, cell.arm))) for cell in group]
            bodies.append(body(rows, title, len(headings)))
        shown += [el("h3", f"{place[0]}, {place[1]}"), table(headings, *bodies)]
    return [el("p", "Mean ± sample std over seeds."), *shown, *_captions(comparison.cells)]


def _reached(cell: Cell, metrics: Sequence[str], anchor: str | None) -> Markup:
    found = cell.metrics()
    values = [spread(found.get(name), name) for name in metrics]
    name = el("a", marked_name(cell), href=f"#{anchor}") if anchor else marked_name(cell)
    return row(name, [quantity(cell.n, str(cell.n)), *values])


def by_class(comparison: Comparison, teachers: Sequence[Result]) -> list[Child]:
    """F1 of each class of a task, where it is known."""
    shown: list[Child] = []
    for place in places(comparison):
        cells = [cell for cell in ordered(comparison) if (cell.task, cell.split) == place and classes_in(cell.values)]
        classes = list(dict.fromkeys(name for cell in cells for name in classes_in(cell.values)))
        headings = ["arm", *classes]
        taught = [t.score.f1 for t in teachers if (t.score.task, t.score.split) == place and t.score.f1][:1]
        bodies = [body([row("teacher", [measured(f1.get(c), "macro_f1") for c in classes])]) for f1 in taught]
        for title, group in in_groups(cells, with_place=False).items():
            rows = [_of_classes(cell, classes) for cell in group]
            bodies.append(body(rows, title, len(headings)))
        shown += [el("h3", f"{place[0]}, {place[1]}"), table(headings, *bodies)] if cells else []
    return [el("p", "F1 in %, mean ± sample std over seeds."), *shown] if shown else []


def _of_classes(cell: Cell, classes: Sequence[str]) -> Markup:
    found = cell.metrics()
    return row(marked_name(cell), [spread(found.get(f1_of(name)), "macro_f1") for name in classes])


def boundary(comparison: Comparison) -> list[Child]:
    """Agreement on both members of held-out pairs, by who wrote them."""
    cells = [cell for cell in ordered(comparison) if cell.generators]
    generators = list(dict.fromkeys(name for cell in cells for name in cell.generators))
    headings = ["arm", *(f"{name}, %" for name in generators)]
    bodies = []
    for title, group in in_groups(cells, with_place=len(places(comparison)) > 1).items():
        rows = [
            row(
                marked_name(cell),
                [spread(cell.metrics().get(BY_GENERATOR + name), "boundary_agreement") for name in generators],
            )
            for cell in group
        ]
        bodies.append(body(rows, title, len(headings)))
    lead = "How often a student decides both a text and its counterfactual as the teacher does, on pairs made from "
    lead += "the scored rows and trained on by nobody, by who wrote them."
    return [el("p", lead), table(headings, *bodies)] if bodies else []


def cost(comparison: Comparison) -> list[Child]:
    """What a student of each arm took."""
    cells = ordered(comparison)
    shown = {name: show for name, show in COST.items() if any(show(cell) not in (MISSING, "0") for cell in cells)}
    headings = ["arm", *(name.replace("\n", " ") for name in shown)]
    bodies = [
        body([row(marked_name(c), [_taken(show(c)) for show in shown.values()]) for c in group], title, len(headings))
        for title, group in in_groups(cells, with_place=len(places(comparison)) > 1).items()
    ]
    lead = "Means over seeds. Teacher queries: the texts trained on and those tried on the way to them."
    return [el("p", lead), table(headings, *bodies)]


def _taken(shown: str) -> Child:
    return NOTHING if shown == MISSING else quantity(float(shown), shown)


def _captions(cells: Sequence[Cell]) -> list[Child]:
    lines = [OTHER_CAPTION] * any(cell.other_budget for cell in cells) + [CUT_CAPTION] * any(cell.cut for cell in cells)
    return [el("p", f"{capital(line)}.", class_="note") for line in lines]


def calibration(comparison: Comparison, teachers: Sequence[Result]) -> list[Child]:
    """Reliability curves at the largest k of each task: the teacher, then the arms that stand out."""
    chosen = tones(comparison)
    shown: list[Child] = []
    for task, split in places(comparison):
        cells = [cell for cell in ordered(comparison) if (cell.task, cell.split) == (task, split)]
        k = max(cell.k for cell in cells)
        taught = curve([t.prediction for t in teachers if (t.score.task, t.score.split) == (task, split)][:1])
        charts = [_curve(taught, "t7", "teacher")] if taught else []
        for cell in cells:
            found = curve_of(cell) if cell.k == k and cell.arm in chosen else None
            charts += [_curve(found, chosen[cell.arm], cell.arm)] if found else []
        if charts:
            shown += [el("h3", f"{task}, {split}, k = {k}"), el("div", *charts, class_="charts small")]
    lead = (
        "How often a decision is right (up) at the confidence it is made with (across), in %: below the dashed line "
        "it is too sure. 15 bins, a dot's area by the rows in it, seeds pooled."
    )
    return [el("p", lead), *shown] if shown else []


def _curve(bins: Sequence[Bin], tone: str, name: str) -> Markup:
    return el("figure", el("figcaption", name), reliability(bins, tone=tone, title=f"Reliability of {name}"))


def reasons(found: Why | None, comparison: Comparison) -> list[Child]:
    """A table for each task, what its columns mean, and how they go with the metric over arms and seeds."""
    cells = [cell for cell in ordered(comparison) if found.of(cell)] if found else []
    if not cells or found is None:
        return []
    names = found.quantities
    headings = ["arm", METRICS[comparison.metric].heading.replace("\n", " ")]
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
        el("h3", f"Spearman's ρ with {METRICS[metric].title} (points)"),
        table(["", *(QUANTITY_NAMES[name].removesuffix(" %") for name in names)], body([predicted]), body(rows)),
        el("p", NO_P, class_="note"),
    ]


def _rho(rho: float | None, points: int) -> Child:
    if rho is None:
        return NOTHING
    return join(quantity(rho, f"{rho:+.2f}"), el("small", f" ({points})"))
