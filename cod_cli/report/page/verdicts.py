"""Sections of the page that say which arms differ: in words, as forest plots, with every test."""

from collections.abc import Sequence

from cod_cli.metrics import METRICS
from cod_cli.report.comparison import Comparison, Contrast
from cod_cli.report.page.charts import Bar, forest
from cod_cli.report.page.markup import (
    NOTHING,
    Child,
    Markup,
    body,
    capital,
    el,
    join,
    minus,
    places,
    quantity,
    row,
    table,
    tones,
)
from cod_cli.report.statistics import BETTER, WORSE
from cod_cli.report.tables import marked_name, ordered, p_value, signed, words

# More of them that say nothing push aside what does.
MOST_OPEN = 15
Place = tuple[str, str, int]


def in_words(comparison: Comparison) -> list[Child]:
    """The verdicts, each with its difference, then what a reader must know."""
    groups = {name: of for name, of in _by_verdict(comparison).items() if of}
    items = [_verdict(name, of, comparison) for name, of in groups.items()]
    unit = ", in points" if METRICS[comparison.metric].percent else ""
    what = f"Difference of {METRICS[comparison.metric].title}{unit}"
    lead = f"{what}, with its 95% interval (not corrected) and p after Holm's correction."
    notes = [el("p", capital(note) + ".", class_="note") for note in comparison.notes]
    return [*([el("p", lead), el("dl", *items, class_="verdicts")] if items else []), *notes]


def _verdict(name: str, contrasts: Sequence[Contrast], comparison: Comparison) -> Markup:
    head = el("dt", name, el("small", f" {len(contrasts)}"), class_=name.split()[0].lower())
    lines = [_sentence(contrast, comparison) for contrast in contrasts]
    if name in ("Better", "Worse") or len(lines) <= MOST_OPEN:
        return el("div", head, *(el("dd", *line) for line in lines))
    folded = el("details", el("summary", "Show all"), *(el("p", *line) for line in lines), class_="exact")
    return el("div", head, el("dd", folded, class_="folded"))


def _by_verdict(comparison: Comparison) -> dict[str, list[Contrast]]:
    found = _in_order(comparison)
    return {
        "Better": [c for c in found if c.verdict == BETTER],
        "Worse": [c for c in found if c.verdict == WORSE],
        "No difference shown": [c for c in found if c.verdict.startswith("no difference")],
        "Not tested": [c for c in found if c.verdict.startswith(("not tested", "no seed"))],
        "Not counted": [c for c in found if c.verdict.endswith(("not counted", "not compared"))],
    }


def _in_order(comparison: Comparison) -> list[Contrast]:
    order = {(*cell.key, cell.arm): index for index, cell in enumerate(ordered(comparison))}
    return sorted(comparison.contrasts, key=lambda c: order[c.task, c.split, c.k, c.arm])


def _sentence(contrast: Contrast, comparison: Comparison) -> list[Child]:
    found, percent = contrast.difference, METRICS[contrast.metric].percent
    place = f", {contrast.task}, {contrast.split}" if len(places(comparison)) > 1 else ""
    facts: list[Child] = []
    if found is not None and found.interval is not None:
        low, high = (_difference(bound, percent=percent) for bound in (found.interval.low, found.interval.high))
        facts += [join(low, " to ", high), f"n = {found.n}"]
    if contrast.adjusted is not None:
        shown = p_value(contrast.adjusted)
        facts.append(join("p ", quantity(contrast.adjusted, f"< {shown[1:]}" if shown[0] == "<" else f"= {shown}")))
    return [
        el("b", _difference(found.mean, percent=percent) if found else NOTHING, class_="amount"),
        el("span", el("b", contrast.arm), f" against {contrast.against} at k = {contrast.k}{place}"),
        el("span", *(el("span", fact) for fact in facts), class_="facts") if facts else None,
    ]


def _difference(value: float, *, percent: bool) -> Markup:
    return quantity(value, signed(value, percent=percent))


def differences(comparison: Comparison) -> list[Child]:
    """A forest plot for each task and k, and every test behind it."""
    groups: dict[Place, list[Contrast]] = {}
    for contrast in _in_order(comparison):
        if contrast.difference is not None:
            groups.setdefault((contrast.task, contrast.split, contrast.k), []).append(contrast)
    if not groups:
        return []
    charts = [_forest(place, of, comparison) for place, of in groups.items()]
    against = f"Each arm less {comparison.baseline}, or less the arm that is named" if comparison.baseline else "By arm"
    lead = (
        f"{against}: mean over seeds with its 95% t interval, not corrected; the words are the decision after "
        "Holm's correction, so an interval beside zero may yet show no difference."
    )
    tests = el("details", el("summary", "Every test"), _tests(groups, comparison), class_="exact")
    return [el("p", lead), el("div", *charts, class_="charts"), tests]


def _forest(place: Place, contrasts: Sequence[Contrast], comparison: Comparison) -> Markup:
    metric, chosen = METRICS[comparison.metric], tones(comparison)
    scale = 100 if metric.percent else 1
    bars = [
        Bar(
            name=c.arm if c.against == comparison.baseline else f"{c.arm} − {c.against}",
            tone=chosen.get(c.arm, "t7"),
            mean=scale * found.mean,
            low=scale * found.interval.low if found.interval else None,
            high=scale * found.interval.high if found.interval else None,
            words=c.verdict,
            verdict=c.verdict if c.verdict in (BETTER, WORSE) else "",
        )
        for c in contrasts
        if (found := c.difference) is not None
    ]
    title = f"{place[0]}, {place[1]}, k = {place[2]}"
    unit = metric.title + (", points" if metric.percent else "")
    return el("figure", el("figcaption", title), forest(bars, title=f"Differences, {title}", unit=unit))


def _tests(groups: dict[Place, list[Contrast]], comparison: Comparison) -> Markup:
    marks = {(*cell.key, cell.arm): marked_name(cell) for cell in comparison.cells}
    unit = ", points" if METRICS[comparison.metric].percent else ""
    headings = ["arm", "against", f"difference{unit}", "95% interval", "seeds", "p", "p, Holm", "in words"]
    bodies = []
    for place, of in groups.items():
        rows = [row(marks[*place, c.arm], _test(c)) for c in of]
        bodies.append(body(rows, f"{place[0]}, {place[1]}, k = {place[2]}", len(headings)))
    return table(headings, *bodies)


def _test(contrast: Contrast) -> list[Child]:
    found, percent = contrast.difference, METRICS[contrast.metric].percent
    if found is None:
        return [contrast.against, *[NOTHING] * 5, contrast.verdict]
    ends = (found.interval.low, found.interval.high) if found.interval else None
    verdict = contrast.verdict if contrast.verdict in (BETTER, WORSE) else None
    return [
        contrast.against,
        _difference(found.mean, percent=percent),
        join(_difference(ends[0], percent=percent), " to ", _difference(ends[1], percent=percent)) if ends else NOTHING,
        quantity(found.n, str(found.n)),
        *(quantity(p, p_value(p)) if p is not None else NOTHING for p in (found.p, contrast.adjusted)),
        el("span", minus(words(contrast).plain), class_=verdict),
    ]
