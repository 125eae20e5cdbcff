"""Sections of the page that are charts of arms: what they reach against k, and how honest their confidence is."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cod_cli.evaluation.scores import TEACHER
from cod_cli.metrics import METRICS, Bin, reliability_bins
from cod_cli.records import Prediction, Score
from cod_cli.report.comparison import Cell, Comparison
from cod_cli.report.page.charts import Bar, Point, Series, levels, lines, reliability
from cod_cli.report.page.markup import Child, Markup, capital, el
from cod_cli.report.rendering import plain
from cod_cli.report.results import Result
from cod_cli.report.tables import marked_name, spread, yardstick

_SPREAD = "Bands: ± one sample std over seeds."
# Lines in one chart that can still be told apart.
MOST_LINES = 6


def tones(comparison: Comparison) -> dict[str, str]:
    """A colour for each arm that stands out, the same one everywhere: the baseline, then those at most k."""
    cells = comparison.in_order()
    ks = {arm: len({cell.k for cell in cells if cell.arm == arm}) for arm in dict.fromkeys(cell.arm for cell in cells)}
    mixes = {cell.arm: cell.mix for cell in cells}
    first = sorted(ks, key=lambda arm: (arm != comparison.baseline, -ks[arm], mixes[arm] != "cod"))
    return {arm: f"t{index}" for index, arm in enumerate(first[:MOST_LINES])}


def over_k(comparison: Comparison, yardsticks: Sequence[Score]) -> list[Child]:
    """Two charts for each task, accuracy and agreement with ± std: against k, or by arm where there is one k."""
    chosen = tones(comparison)
    shown: list[Child] = []
    for place in comparison.places:
        # A prompt without shots, k = 0, has no place on a log scale: it stands in the tables.
        cells = [cell for cell in comparison.cells if (cell.task, cell.split) == place and cell.k]
        ks = {cell.k for cell in cells}
        if not ks:
            continue
        metrics = [name for name in ("accuracy", "agreement") if any(_can_draw(cell, name, chosen) for cell in cells)]
        if not metrics:
            continue
        if len(ks) == 1:
            charts = [reached(cells, name, chosen, yardstick(yardsticks, TEACHER, place, name)) for name in metrics]
            said = f"{place[0]}, {place[1]}, k = {ks.pop()}"
            shown += [el("h3", said), el("div", *charts, class_="charts"), el("p", _SPREAD, class_="note")]
            continue
        charts = [_chart(name, cells, chosen, yardstick(yardsticks, TEACHER, place, name)) for name in metrics]
        here = {arm: tone for arm, tone in chosen.items() if any(cell.arm == arm for cell in cells)}
        left_out = len({cell.arm for cell in cells} - here.keys())
        more = f" {left_out} more arm{'s stand' if left_out > 1 else ' stands'} in the tables." if left_out else ""
        shown += [
            el("h3", f"{place[0]}, {place[1]}"),
            el("div", *charts, class_="charts"),
            _legend(here),
            el("p", f"{_SPREAD}{more}", class_="note"),
        ]
    return shown


def _can_draw(cell: Cell, metric: str, chosen: Mapping[str, str]) -> bool:
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


def reached(cells: Sequence[Cell], metric: str, chosen: Mapping[str, str], teacher: float | None) -> Markup:
    """What arms reach at one k in a metric that is a share, beside the teacher."""
    title = capital(METRICS[metric].title)
    reference = ("teacher", 100 * teacher) if teacher is not None else None
    bars = bars_of(cells, metric, chosen)
    drawn = levels(bars, title=f"{title}, %", unit=f"{METRICS[metric].title}, %", reference=reference)
    return el("figure", el("figcaption", f"{title}, %"), drawn)


def bars_of(cells: Sequence[Cell], metric: str, chosen: Mapping[str, str]) -> list[Bar]:
    """What each arm reaches in a metric that is a share, in %, with ± std; the best first."""
    found = [(cell, cell.metrics()[metric]) for cell in cells if metric in cell.values]
    return [
        Bar(
            name=marked_name(cell),
            tone=chosen.get(cell.arm, "t7"),
            mean=100 * s.mean,
            low=None if s.std is None else max(0, 100 * (s.mean - s.std)),
            high=None if s.std is None else min(100, 100 * (s.mean + s.std)),
            words=plain(spread(s, metric)),
        )
        for cell, s in sorted(found, key=lambda pair: -pair[1].mean)
    ]


def _legend(chosen: Mapping[str, str]) -> Markup:
    return el("p", *(el("span", el("i", class_=f"key {tone}"), arm) for arm, tone in chosen.items()), class_="legend")


def calibration(comparison: Comparison, teachers: Sequence[Result]) -> list[Child]:
    """Reliability curves at the largest k of each task: the teacher, then the arms that stand out."""
    chosen = tones(comparison)
    shown: list[Child] = []
    for place in comparison.places:
        cells = comparison.at(place)
        k = max(cell.k for cell in cells)
        taught = curve([t.prediction for t in teachers if (t.score.task, t.score.split) == place][:1])
        charts = [_curve(taught, "t7", "teacher")] if taught else []
        for cell in cells:
            found = curve_of(cell) if cell.k == k and cell.arm in chosen else None
            charts += [_curve(found, chosen[cell.arm], cell.arm)] if found else []
        if charts:
            shown += [el("h3", f"{place[0]}, {place[1]}, k = {k}"), el("div", *charts, class_="charts small")]
    lead = (
        "How often a decision is right (up) at the confidence it is made with (across), in %: below the dashed line "
        "it is too sure. 15 bins, a dot's area by the rows in it, seeds pooled."
    )
    return [el("p", lead), *shown] if shown else []


def _curve(bins: Sequence[Bin], tone: str, name: str) -> Markup:
    return el("figure", el("figcaption", name), reliability(bins, tone=tone, title=f"Reliability of {name}"))


def curve(predictions: Iterable[Prediction | None]) -> list[Bin] | None:
    """The reliability of some students, their rows pooled; None where nobody kept what they decided, or no label."""
    kept = [row for row in predictions if row is not None and row.truth is not None]
    if not kept:
        return None
    confidence = np.concatenate([row.confidence for row in kept])
    right = np.concatenate([np.equal(row.decided, row.truth or []) for row in kept])
    return reliability_bins(confidence, right)


def curve_of(cell: Cell) -> list[Bin] | None:
    """The reliability of an arm's students together."""
    return curve(result.prediction for result in cell.results)
