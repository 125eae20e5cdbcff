"""One table on a terminal and on the page."""

import pytest

from cod_cli.metrics import Summary
from cod_cli.report.rendering import Column, Group, Parts, Row, Table, exact, mean_std, text, to_html, to_rich
from tests.report.page.page_of import Node, numbers, read_page
from tests.terminal import on_terminal, piped


def table(*cells: Parts, columns: list[Column] | None = None) -> Table:
    given = columns or [Column("arm", words=True), *(Column(f"c\n{place}") for place in range(len(cells) - 1))]
    return Table("title", given, [Group([Row(cells)], "k = 8")], "† a mark\n‡ another")


def on_page(shown: Table) -> Node:
    return read_page(to_html(shown))


def test_a_number_is_shown_alike_and_the_page_has_it_exactly() -> None:
    shown = table(text("a"), exact(-0.1234, "-0.12"))
    assert piped(to_rich(shown)).splitlines()[4].split() == ["a", "-0.12"]
    cell = on_page(shown).table()["k = 8: a"]["c 0"]
    assert (cell.text, numbers(cell)) == ("−0.12", [-0.1234])


def test_where_there_is_nothing_each_place_has_its_dash() -> None:
    shown = table(text("a"), ())
    assert piped(to_rich(shown)).splitlines()[4].split() == ["a", "-"]
    assert on_page(shown).table()["k = 8: a"]["c 0"].text == "–"


def test_a_brief_column_leaves_out_deviations_on_a_terminal_only() -> None:
    shown = table(text("a"), mean_std(Summary(0.5, 0.1, 3)), columns=[Column("arm"), Column("x", brief=True)])
    assert "±" not in piped(to_rich(shown))
    assert on_page(shown).table()["k = 8: a"]["x"].text == "0.500 ± 0.100"


@pytest.mark.parametrize(
    ("only", "there"), [(None, (True, True)), ("terminal", (True, False)), ("page", (False, True))]
)
def test_a_column_may_stand_in_one_place_only(only: str | None, there: tuple[int, int]) -> None:
    shown = table(text("a"), text("here"), columns=[Column("arm"), Column("x", only=only)])  # type: ignore[arg-type]
    assert ("here" in piped(to_rich(shown)), "here" in on_page(shown).text) == there


def test_the_captions_explain_the_marks_in_both() -> None:
    assert [node.text for node in on_page(table(text("a"))).all("p")] == ["† a mark.", "‡ another."]
    assert "† a mark" in piped(to_rich(table(text("a"))))


def test_a_text_is_neither_markup_nor_html() -> None:
    hostile = "[bold]<b>x</b>[/bold]\x1b[2J"
    shown = table(text(hostile), columns=[Column(hostile, words=True)])
    assert "\x1b[2J" not in on_terminal(to_rich(shown), color_system=None)
    assert on_page(shown).all("b") == []


def test_no_number_is_cut_where_a_heading_from_elsewhere_is_long() -> None:
    columns = [Column("arm", words=True), *(Column("a very long name " * 2, width=12) for _ in range(4))]
    narrow = on_terminal(to_rich(table(text("an-arm"), *[text("100.0 ± 50.0")] * 4, columns=columns)))
    assert narrow.count("100.0 ± 50.0") == 4
