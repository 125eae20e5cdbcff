"""What the arms of a comparison reach, as one SVG file that stands by itself: for a README, or a slide."""

from collections.abc import Sequence
from pathlib import Path

from cod_cli.errors import CodError
from cod_cli.evaluation.scores import TEACHER
from cod_cli.metrics import METRICS
from cod_cli.records import Score
from cod_cli.report.comparison import Comparison, Key
from cod_cli.report.page.charts import WIDTH, height_of_levels, levels
from cod_cli.report.page.curves import bars_of, tones
from cod_cli.report.page.markup import Child, Markup, el, join
from cod_cli.report.tables import yardstick

_MARGIN, _TITLE = 12, 22


def picture(comparison: Comparison, yardsticks: Sequence[Score]) -> str:
    """An SVG document: a chart for each task and k, two beside each other, with accuracy by arm, ± std over seeds.

    Raises:
        CodError: no arm has an accuracy.
    """
    keys = dict.fromkeys(cell.key for cell in comparison.in_order())
    charts = [made for key in keys if (made := _chart(key, comparison, yardsticks)) is not None]
    if not charts:
        raise CodError("no arm has an accuracy to draw", "score with labels: `cod eval RUN --data LABELLED`")
    parts, bottom = [], _MARGIN
    for first in range(0, len(charts), 2):
        row = charts[first : first + 2]
        for column, (chart, height) in enumerate(row):
            left = _MARGIN + column * (WIDTH + 2 * _MARGIN)
            parts.append(el("svg", chart, x=left, y=bottom, width=WIDTH, height=height))
        bottom += max(height for _, height in row) + _MARGIN
    width = min(2, len(charts)) * (WIDTH + 2 * _MARGIN)
    ground = el("rect", width=width, height=bottom, style="fill: var(--paper)")
    style = el("style", Markup(Path(__file__).with_name("chart.css").read_text(encoding="utf-8")))
    size: dict[str, Child] = {"viewBox": f"0 0 {width} {bottom}", "width": width, "height": bottom}
    return el("svg", style, ground, *parts, xmlns="http://www.w3.org/2000/svg", **size)


def _chart(key: Key, comparison: Comparison, yardsticks: Sequence[Score]) -> tuple[Markup, int] | None:
    """The chart of one task and k under its title, and how high both are; None where there is no accuracy."""
    bars = bars_of([cell for cell in comparison.cells if cell.key == key], "accuracy", tones(comparison))
    if not bars:
        return None
    task, split, k = key
    title, height = f"{task}, {split}, k = {k}", height_of_levels(len(bars))
    taught = yardstick(yardsticks, TEACHER, (task, split), "accuracy")
    reference = None if taught is None else ("teacher", 100 * taught)
    chart = levels(bars, title=title, unit=f"{METRICS['accuracy'].title}, %, ± std", reference=reference)
    drawn = el("svg", chart, y=_TITLE, width=WIDTH, height=height)
    return join(el("text", title, x=14, y=14, class_="name"), drawn), _TITLE + height
