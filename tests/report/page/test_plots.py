"""Charts: where things are drawn, against numbers worked out by hand."""

import math

import pytest

from cod_cli.metrics import reliability_bins
from cod_cli.report.page.charts import Bar, Point, Series, forest, histogram, lines, reliability, ticks
from tests.report.page.page_of import Node, read_page


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (53.6, 88.4, [50, 60, 70, 80, 90]),
        (-9.4, 22, [-10, 0, 10, 20, 30]),
        (0, 0.034, [0, 0.01, 0.02, 0.03, 0.04]),
        (5, 5, [4, 4.5, 5, 5.5, 6]),
    ],
)
def test_ticks_are_round_numbers_that_cover_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def at(node: Node, *names: str) -> list[float]:
    return [float(node.attributes[name]) for name in names]


def levels(chart: Node) -> dict[float, float]:
    """The height of each line of the grid by its number."""
    grid = [at(line, "y1")[0] for line in chart.all("line", class_="grid")]
    texts = [float(text.text) for text in chart.all("text", text_anchor="end", class_="tick")]
    return dict(zip(texts, grid, strict=True))


def test_k_is_on_a_log_scale_and_the_mean_between_its_grid_lines() -> None:
    points = (Point(8, 60, 55, 65), Point(16, 70, 65, 75), Point(64, 80, 80, 80))
    chart = read_page(lines([Series("cod", "t1", points)], title="Accuracy"))
    (x1, y1), (x2, _), (x3, y3) = (at(dot, "cx", "cy") for dot in chart.all("circle"))
    assert (x3 - x2) == pytest.approx(2 * (x2 - x1), abs=0.2)
    grid = levels(chart)
    assert (y1, y3) == (pytest.approx(grid[60], abs=0.1), pytest.approx(grid[80], abs=0.1))


def test_a_band_goes_there_along_its_upper_edge_and_back_along_the_lower() -> None:
    chart = read_page(lines([Series("cod", "t1", (Point(8, 60, 50, 70), Point(16, 70, 60, 80)))], title="Accuracy"))
    grid = levels(chart)
    corners = [tuple(map(float, pair.split(","))) for pair in chart.all("polygon")[0].attributes["points"].split()]
    assert [y for _, y in corners] == pytest.approx([grid[70], grid[80], grid[60], grid[50]], abs=0.1)


def test_the_teacher_is_a_dashed_level_inside_the_chart() -> None:
    chart = read_page(lines([Series("cod", "t1", (Point(8, 60, 50, 70),))], title="A", reference=("teacher", 88.4)))
    grid, (line,) = levels(chart), chart.all("line", class_="reference")
    assert grid[90] < at(line, "y1")[0] < grid[80]
    assert "teacher 88.4" in chart.text


def bar(mean: float, low: float | None, high: float | None, verdict: str = "better") -> Bar:
    return Bar("kd-cod", "t1", mean, low, high, verdict, verdict)


def scale(chart: Node) -> tuple[float, float]:
    """Where zero stands in a forest plot, and how wide a unit is."""
    zero = at(chart.all("line", class_="zero")[0], "x1")[0]
    marks = {text.text: at(text, "x")[0] for text in chart.all("text", class_="tick")}
    name = next(name for name in marks if name != "0")
    return zero, (marks[name] - zero) / float(name.replace("−", "-"))


def test_a_difference_and_its_interval_stand_on_the_scale_below() -> None:
    chart = read_page(forest([bar(8.0, 2.0, 14.0)], title="D", unit="points"))
    zero, unit = scale(chart)
    whisker, dot = chart.all("line", class_="whisker")[0], chart.all("circle")[0]
    assert at(whisker, "x1", "x2") == pytest.approx([zero + 2 * unit, zero + 14 * unit], abs=0.2)
    assert at(dot, "cx") == pytest.approx([zero + 8 * unit], abs=0.2)


def test_an_interval_far_wider_than_the_differences_is_cut_at_the_ends_of_the_scale_and_shown_as_cut() -> None:
    chart = read_page(forest([bar(2.0, -40.0, 44.0)], title="D", unit="points"))
    marks = [text.text for text in chart.all("text", class_="tick")]
    assert (marks[0], marks[-1]) == ("−10", "+10")
    zero, unit = scale(chart)
    (whisker,) = chart.all("line", class_="cut")
    assert at(whisker, "x1", "x2") == pytest.approx([zero - 10 * unit, zero + 10 * unit], abs=0.2)


def test_an_interval_that_fits_is_drawn_whole() -> None:
    chart = read_page(forest([bar(2.0, -5.9, 9.9)], title="D", unit="points"))
    assert (len(chart.all("line", class_="whisker")), chart.all("line", class_="cut")) == (1, [])


def test_a_difference_of_one_seed_has_no_whisker() -> None:
    chart = read_page(forest([bar(2.0, None, None, "not tested (n = 1)")], title="D", unit="points"))
    assert chart.all("line", class_="whisker") == []
    assert len(chart.all("circle")) == 1


def test_a_verdict_is_written_beside_the_name_in_its_colour() -> None:
    chart = read_page(forest([bar(8, 2, 14)], title="D", unit="points"))
    assert [text.text for text in chart.all("text", class_="better")] == ["better"]


def test_a_long_name_leaves_room_for_the_verdict_and_is_told_in_full_on_hovering() -> None:
    chart = read_page(forest([Bar("long" * 20, "t1", 1, 0, 2, "better")], title="D", unit="points"))
    (name,) = chart.all("text", class_="name")
    assert name.children[0] == ("long" * 20)[:25] + "…"
    assert name.all("title")[0].text == "long" * 20


def test_a_calibrated_bin_lies_on_the_diagonal_and_its_area_grows_with_its_rows() -> None:
    # 0.75 in one bin: three of four right; 0.95 in another: none of one.
    chart = read_page(reliability(reliability_bins([0.75] * 4 + [0.95], [1, 1, 1, 0, 0]), tone="t1", title="R"))
    (diagonal,) = chart.all("line", class_="reference")
    x1, x2, y1, y2 = at(diagonal, "x1", "x2", "y1", "y2")
    first, second = chart.all("circle")
    cx, cy, r = at(first, "cx", "cy", "r")
    assert (cx - x1) / (x2 - x1) == pytest.approx(0.75, abs=0.005)
    assert (cy - y1) / (y2 - y1) == pytest.approx(0.75, abs=0.005)
    assert at(second, "cy") == pytest.approx([y1], abs=0.1)
    assert (r - 2) / (at(second, "r")[0] - 2) == pytest.approx(math.sqrt(4), abs=0.05)


def test_a_histogram_counts_every_value_once_the_ends_included() -> None:
    chart = read_page(histogram([0, 0.05, 0.051, 0.5, 0.999, 1], tone="t1", title="M", unit="margin"))
    counts = [int(title.text.rsplit(": ")[-1]) for title in chart.all("title")[1:]]
    assert (sum(counts), counts[0], counts[1], counts[10], counts[19]) == (6, 1, 2, 1, 2)
    heights = [float(rect.attributes["height"]) for rect in chart.all("rect")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)


def test_each_chart_says_what_it_is_to_a_screen_reader() -> None:
    chart = read_page(histogram([0.5], tone="t1", title="Margins <of> shots", unit="margin")).all("svg")[0]
    assert (chart.attributes["role"], chart.attributes["aria-label"]) == ("img", "Margins <of> shots")
