"""Charts as inline SVG, drawn for a phone's width; colours come from the page's style sheet, by class.

A chart is 360 units wide and scales with its column. ``tone`` is the class of a series: ``t0`` to ``t7``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cod_cli.metrics import Bin
from cod_cli.report.page.markup import Markup, el, join

WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 14, 30
# From one name to the next.
_STEP = 34
# Of a name beside a verdict.
MOST_LETTERS = 26
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Point:
    """A mean at ``x`` with the band around it."""

    x: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    tone: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Bar:
    """A difference with its interval (None where there is none), under a name and its verdict in words.

    ``verdict`` is the class of the words: ``better``, ``worse`` or nothing.
    """

    name: str
    tone: str
    mean: float
    low: float | None
    high: float | None
    words: str
    verdict: str = ""


def lines(series: Sequence[Series], *, title: str, reference: tuple[str, float] | None = None) -> Markup:
    """Means against k (on a log scale) with bands, in %; ``reference`` is a dashed level such as a teacher's."""
    height = 230
    xs = sorted({point.x for line in series for point in line.points})
    values = [bound for line in series for point in line.points for bound in (point.low, point.high)]
    y_ticks = ticks(min(values), max([*values, *([reference[1]] if reference else [])]))
    x = _scale(math.log(xs[0]), math.log(xs[-1]), _LEFT + 14, WIDTH - _RIGHT - 14)
    y = _scale(y_ticks[0], y_ticks[-1], height - _BOTTOM, _TOP)
    parts = [_grid(y, y_ticks), *(_x_tick(x(math.log(k)), height, f"{k:g}") for k in xs)]
    parts.append(_label(WIDTH - _RIGHT, height - 3, "rows trained on (k)", "end"))
    if reference is not None:
        level = y(reference[1])
        parts.append(el("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=_px(level), y2=_px(level), class_="reference"))
        parts.append(_label(WIDTH - _RIGHT, level - 4, f"{reference[0]} {reference[1]:.1f}", "end"))
    parts += [_band(line, x, y) for line in series]
    parts += [_line(line, x, y) for line in series]
    return _svg(height, title, parts)


def forest(bars: Sequence[Bar], *, title: str, unit: str) -> Markup:
    """Differences as dots with intervals around a line at zero, each under its name and its verdict."""
    step, top = _STEP, 6
    height = top + step * len(bars) + _BOTTOM
    values = [value for bar in bars for value in (bar.mean, bar.low, bar.high) if value is not None]
    # An interval of two seeds can be as wide as the page: it is cut at three times the largest difference.
    reach = 3 * max([abs(bar.mean) for bar in bars] + [0.5])
    kept = [min(max(value, -reach), reach) for value in values]
    x_ticks = ticks(min([0.0, *kept]), max([0.0, *kept]))
    x = _scale(x_ticks[0], x_ticks[-1], 14, WIDTH - 14)
    parts = [_x_tick(x(value), height, f"{value:+g}".replace("-", "−") if value else "0") for value in x_ticks]
    for index, bar in enumerate(bars):
        parts.append(_bar(bar, top + step * index, x, (x_ticks[0], x_ticks[-1])))
    parts.append(_label(WIDTH - 14, height - 3, unit, "end"))
    return _svg(height, title, parts)


def levels(bars: Sequence[Bar], *, title: str, unit: str, reference: tuple[str, float] | None = None) -> Markup:
    """What each reaches as a dot with its band, under its name and in figures; ``reference`` is a dashed level."""
    step, top = _STEP, 18
    height = height_of_levels(len(bars))
    values = [value for bar in bars for value in (bar.mean, bar.low, bar.high) if value is not None]
    x_ticks = ticks(min(values), max([*values, *([reference[1]] if reference else [])]))
    x = _scale(x_ticks[0], x_ticks[-1], 14, WIDTH - 14)
    parts = [_x_tick(x(value), height, f"{value:g}") for value in x_ticks]
    if reference is not None:
        level, end = _px(x(reference[1])), height - _BOTTOM
        parts.append(el("line", x1=level, x2=level, y1=top, y2=_px(end), class_="reference"))
        anchor = "end" if x(reference[1]) > WIDTH / 2 else "start"
        parts.append(_label(x(reference[1]), top - 6, f"{reference[0]} {reference[1]:.1f}", anchor))
    for index, bar in enumerate(bars):
        parts.append(_bar(bar, top + step * index, x, (x_ticks[0], x_ticks[-1]), zero=False))
    parts.append(_label(WIDTH - 14, height - 3, unit, "end"))
    return _svg(height, title, parts)


def height_of_levels(bars: int) -> int:
    """How high `levels` are with so many bars, in the chart's units."""
    return 18 + _STEP * bars + _BOTTOM


def reliability(bins: Sequence[Bin], *, tone: str, title: str) -> Markup:
    """Accuracy against confidence, a dot for each bin, its area by the rows in it; on the diagonal all is well."""
    size, height = 200, 210
    x = _scale(0, 1, 34, size - 8)
    y = _scale(0, 1, height - _BOTTOM, 8)
    total = sum(found.n for found in bins)
    parts = [
        el("text", f"{100 * at:.0f}", x=28, y=_px(y(at) + 4), class_="tick", text_anchor="end") for at in (0, 0.5, 1)
    ]
    parts += [
        el("text", f"{100 * at:.0f}", x=_px(x(at)), y=height - 15, class_="tick", text_anchor="middle")
        for at in (0, 0.5, 1)
    ]
    parts.append(el("line", x1=_px(x(0)), y1=_px(y(0)), x2=_px(x(1)), y2=_px(y(1)), class_="reference"))
    for found in bins:
        if found.confidence is not None and found.accuracy is not None:
            radius = 2 + 12 * math.sqrt(found.n / total)
            says = f"confidence {found.confidence:.1%}, right {found.accuracy:.1%}, {found.n} rows"
            centre = {"cx": _px(x(found.confidence)), "cy": _px(y(found.accuracy))}
            parts.append(el("circle", el("title", says), r=_px(radius), class_=f"dot {tone}", **centre))
    parts.append(_label(size - 8, height - 3, "confidence, %", "end"))
    return _svg(height, title, parts, width=size)


def histogram(values: Sequence[float], *, tone: str, title: str, unit: str, bins: int = 20) -> Markup:
    """How many values lie in each of equal bins of [0, 1]."""
    height = 120
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int(value * bins)))] += 1
    x = _scale(0, bins, 14, WIDTH - 14)
    y = _scale(0, max([*counts, 1]), height - _BOTTOM, 16)
    parts = [_x_tick(x(at * bins), height, f"{at:g}") for at in (0, 0.25, 0.5, 0.75, 1)]
    parts.append(el("line", x1=_px(x(0)), x2=_px(x(bins)), y1=_px(y(0)), y2=_px(y(0)), class_="grid"))
    for index, count in enumerate(counts):
        box = {"x": _px(x(index) + 0.5), "width": _px(x(1) - x(0) - 1), "y": _px(y(count))}
        says = el("title", f"{index / bins:g} to {(index + 1) / bins:g}: {count}")
        parts.append(el("rect", says, height=_px(y(0) - y(count)), class_=f"block {tone}", **box))
        if count and count == max(counts):
            parts.append(_label(x(index + 0.5), y(count) - 3, str(count), "middle"))
    parts.append(_label(WIDTH - 14, height - 3, unit, "end"))
    return _svg(height, title, parts)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover ``low`` to ``high``."""
    if high - low < 1e-9:
        low, high = low - 1, high + 1
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    if high == low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _px(value: float) -> str:
    return f"{value:.1f}"


def _svg(height: float, title: str, parts: Sequence[Markup], width: float = WIDTH) -> Markup:
    view = {"viewBox": f"0 0 {width} {height}"}
    return el("svg", el("title", title), *parts, role="img", aria_label=title, **view)


def _label(x: float, y: float, text: str, anchor: str) -> Markup:
    return el("text", text, x=_px(x), y=_px(y), class_="label", text_anchor=anchor)


def _x_tick(x: float, height: float, text: str) -> Markup:
    return el("text", text, x=_px(x), y=_px(height - _BOTTOM + 14), class_="tick", text_anchor="middle")


def _grid(y: Scale, values: Sequence[float]) -> Markup:
    return join(
        *(
            join(
                el("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=_px(y(value)), y2=_px(y(value)), class_="grid"),
                el("text", f"{value:g}", x=_LEFT - 6, y=_px(y(value) + 4), class_="tick", text_anchor="end"),
            )
            for value in values
        )
    )


def _band(line: Series, x: Scale, y: Scale) -> Markup:
    there = [(point.x, point.high) for point in line.points]
    back = [(point.x, point.low) for point in reversed(line.points)]
    path = " ".join(f"{_px(x(math.log(k)))},{_px(y(value))}" for k, value in [*there, *back])
    return el("polygon", points=path, class_=f"band {line.tone}")


def _line(line: Series, x: Scale, y: Scale) -> Markup:
    places = [(_px(x(math.log(point.x))), _px(y(point.mean)), point) for point in line.points]
    dots = [
        el(
            "circle",
            el("title", f"{line.name}, k = {p.x:g}: {p.mean:.1f}"),
            cx=cx,
            cy=cy,
            r=3,
            class_=f"dot {line.tone}",
        )
        for cx, cy, p in places
    ]
    path = " ".join(f"{cx},{cy}" for cx, cy, _ in places)
    return join(el("polyline", points=path, class_=f"line {line.tone}"), *dots)


def _short(name: str) -> str:
    """A name that leaves room for the verdict beside it."""
    return name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"


def _bar(bar: Bar, top: float, x: Scale, limits: tuple[float, float], *, zero: bool = True) -> Markup:
    middle = top + 24
    parts = [
        el("text", _short(bar.name), el("title", bar.name), x=14, y=_px(top + 12), class_="name"),
        el("text", bar.words, x=WIDTH - 14, y=_px(top + 12), class_=f"words {bar.verdict}".strip(), text_anchor="end"),
    ]
    if zero:
        # Left out beside the name, which it would strike through.
        parts.append(el("line", x1=_px(x(0)), x2=_px(x(0)), y1=_px(middle - 7), y2=_px(middle + 7), class_="zero"))
    if bar.low is not None and bar.high is not None:
        low, high = max(bar.low, limits[0]), min(bar.high, limits[1])
        cut = "cut" if (low, high) != (bar.low, bar.high) else ""
        ends = {"x1": _px(x(low)), "x2": _px(x(high)), "y1": _px(middle), "y2": _px(middle)}
        parts.append(el("line", class_=f"whisker {bar.tone} {cut}".strip(), **ends))
    parts.append(
        el(
            "circle",
            el("title", f"{bar.name}: {bar.mean:{'+' if zero else ''}.1f}"),
            cx=_px(x(bar.mean)),
            cy=_px(middle),
            r=4,
            class_=f"dot {bar.tone}",
        )
    )
    return join(*parts)
