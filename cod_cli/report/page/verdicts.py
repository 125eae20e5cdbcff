"""Sections of the page that say which arms differ: in words, as forest plots, with every test."""

from collections.abc import Sequence

from cod_cli.metrics import METRICS
from cod_cli.report import tables
from cod_cli.report.comparison import Comparison, Contrast, Key
from cod_cli.report.page.charts import Bar, forest
from cod_cli.report.page.curves import tones
from cod_cli.report.page.markup import Child, Markup, capital, el, join, quantity
from cod_cli.report.rendering import inline, plain, to_html
from cod_cli.report.statistics import BETTER, WORSE
from cod_cli.report.tables import change, interval, p_value

# More of them that say nothing push aside what does.
MOST_OPEN = 15


def in_words(comparison: Comparison, sentences: Sequence[str]) -> list[Child]:
    """Who is best, in ``sentences``; what differs, each with its difference; then what a reader must know."""
    groups = {name: of for name, of in _by_verdict(comparison).items() if of}
    items = [_verdict(name, of, comparison) for name, of in groups.items()]
    unit = ", in points" if METRICS[comparison.metric].percent else ""
    what = f"Difference of {METRICS[comparison.metric].title}{unit}"
    lead = f"{what}, with its 95% interval (not corrected) and p after Holm's correction."
    notes = [el("p", capital(note) + ".", class_="note") for note in comparison.notes]
    best = [el("p", f"{line}.") for line in sentences]
    return [*best, *([el("p", lead), el("dl", *items, class_="verdicts")] if items else []), *notes]


def _verdict(name: str, contrasts: Sequence[Contrast], comparison: Comparison) -> Markup:
    head = el("dt", name, el("small", f" {len(contrasts)}"), class_=name.split()[0].lower())
    lines = [_sentence(contrast, comparison) for contrast in contrasts]
    if name in ("Better", "Worse") or len(lines) <= MOST_OPEN:
        return el("div", head, *(el("dd", *line) for line in lines))
    folded = el("details", el("summary", "Show all"), *(el("p", *line) for line in lines), class_="exact")
    return el("div", head, el("dd", folded, class_="folded"))


def _by_verdict(comparison: Comparison) -> dict[str, list[Contrast]]:
    found = comparison.contrasts_in_order()
    return {
        "Better": [c for c in found if c.verdict == BETTER],
        "Worse": [c for c in found if c.verdict == WORSE],
        "No difference shown": [c for c in found if c.verdict.startswith("no difference")],
        "Not tested": [c for c in found if c.verdict.startswith(("not tested", "no seed"))],
        "Not counted": [c for c in found if c.verdict.endswith(("not counted", "not compared"))],
    }


def _sentence(contrast: Contrast, comparison: Comparison) -> list[Child]:
    found, place = contrast.difference, f", {contrast.task}, {contrast.split}" if len(comparison.places) > 1 else ""
    facts: list[Child] = []
    if found is not None and found.interval is not None:
        facts += [inline(interval(contrast)), f"n = {found.n}"]
    if contrast.adjusted is not None:
        shown = plain(p_value(contrast.adjusted)).replace("<", "< ")
        facts.append(join("p " if "<" in shown else "p = ", quantity(contrast.adjusted, shown)))
    return [
        el("b", inline(change(found.mean if found else None, contrast.metric)), class_="amount"),
        el("span", el("b", contrast.arm), f" against {contrast.against} at k = {contrast.k}{place}"),
        el("span", *(el("span", fact) for fact in facts), class_="facts") if facts else None,
    ]


def differences(comparison: Comparison) -> list[Child]:
    """A forest plot for each task and k, and every test behind it."""
    groups: dict[Key, list[Contrast]] = {}
    for contrast in comparison.contrasts_in_order():
        if contrast.difference is not None:
            groups.setdefault(contrast.key, []).append(contrast)
    if not groups:
        return []
    charts = [_forest(place, of, comparison) for place, of in groups.items()]
    against = f"Each arm less {comparison.baseline}, or less the arm that is named" if comparison.baseline else "By arm"
    lead = (
        f"{against}: mean over seeds with its 95% t interval, not corrected; the words are the decision after "
        "Holm's correction, so an interval beside zero may yet show no difference."
    )
    tests = el("details", el("summary", "Every test"), to_html(tables.differences(comparison)), class_="exact")
    return [el("p", lead), el("div", *charts, class_="charts"), tests]


def _forest(place: Key, contrasts: Sequence[Contrast], comparison: Comparison) -> Markup:
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
