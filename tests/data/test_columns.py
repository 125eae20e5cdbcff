from typing import Any

import pytest

from cod_cli.data.columns import Labelling, find_labels, find_text_columns, read_text
from cod_cli.data.files import Rows
from cod_cli.errors import CodError, UsageError
from cod_cli.settings.base import parse_names


def table(*columns: str, classes: dict[str, list[str]] | None = None) -> Rows:
    return Rows("a.csv", columns, lambda _: iter(()), class_names=classes)


def filled(*rows: dict[str, Any]) -> Rows:
    return Rows("a.csv", tuple(rows[0]), lambda _: enumerate(rows, start=1))


def named(labelling: Labelling, *values: Any) -> tuple[str | None, ...]:
    """The names of some raw labels, each in a row of its own."""
    names = []
    for value in values:
        row = {"label": value}
        raw = labelling.raw(row, "here")
        names.append(None if raw is None else labelling.name(raw, row, "here"))
    return tuple(names)


@pytest.mark.parametrize(
    ("columns", "found"),
    [(("id", "text"), "text"), (("sentence", "label"), "sentence"), (("sentence", "text"), "text")],
)
def test_the_text_column_is_found_by_its_name(columns: tuple[str, ...], found: str):
    assert find_text_columns(table(*columns)) == (found,)


def test_columns_that_are_asked_for_come_first_and_in_their_order():
    assert find_text_columns(table("text", "title", "body"), ["title", "body"]) == ("title", "body")


def test_a_wrong_text_column_lists_those_there_are_and_gives_an_option_to_paste():
    with pytest.raises(CodError) as caught:
        find_text_columns(table("id", "review text", "stars"))
    assert caught.value.message == "a.csv has no column 'text'; it has: id, review text, stars"
    assert str(caught.value.hint).endswith("--text-column 'review text'")


def test_a_wrong_label_column_does_not_propose_the_text():
    with pytest.raises(CodError) as caught:
        find_labels(table("labels_of_text", "stars"), None, None, None, ["labels_of_text"])
    assert str(caught.value.hint).endswith("--label-column stars")


TICKETS = [
    {"ticket_id": f"T-{number}", "queue": ("billing", "bug")[number % 2], "body": f"the {number}th thing went wrong"}
    for number in range(9)
]


def test_the_column_that_is_proposed_has_the_longest_texts_or_the_fewest_classes():
    with pytest.raises(CodError) as caught:
        find_text_columns(filled(*TICKETS))
    assert str(caught.value.hint).endswith("--text-column body")
    with pytest.raises(CodError) as caught:
        find_labels(filled(*TICKETS), None, None, None, ["body"])
    assert str(caught.value.hint).endswith("--label-column queue")


def test_a_typo_in_a_column_is_put_right_whatever_stands_in_the_others():
    with pytest.raises(CodError) as caught:
        find_text_columns(filled(*TICKETS), ["Ticketid"])
    assert str(caught.value.hint).endswith("--text-column ticket_id")


@pytest.mark.parametrize(("header", "name"), [("text;label", "semicolons"), ("text\tlabel", "tabs"), ("a|b", "bars")])
def test_a_header_of_one_column_with_other_separators_is_asked_about(header: str, name: str):
    with pytest.raises(CodError) as caught:
        find_text_columns(table(header))
    assert f"separated by {name}?" in str(caught.value.hint)


def test_a_wide_table_does_not_flood_the_message():
    with pytest.raises(CodError) as caught:
        find_text_columns(table(*(f"c{i}" for i in range(500))))
    assert caught.value.message.endswith("and 488 more")


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"title": "A", "stars": 4}, "title: A\nstars: 4"),
        ({"title": " A ", "stars": None}, "title: A"),
        ({"title": "", "stars": float("nan")}, ""),
    ],
)
def test_several_columns_become_lines_with_their_names(row: dict[str, Any], text: str):
    assert read_text(row, ["title", "stars"], "here") == text


@pytest.mark.parametrize(
    ("value", "text"), [(" a \n", "a"), (None, ""), (7, "7"), ("\ud83d!", "?!"), ("é\u2028b", "é\u2028b")]
)
def test_a_text_can_be_written_as_utf_8_and_has_no_space_around_it(value: Any, text: str):
    assert read_text({"text": value}, ["text"], "here") == text


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"a"])
def test_a_list_is_neither_a_text_nor_a_label(value: Any):
    with pytest.raises(CodError, match="line 3: column 'text'"):
        read_text({"text": value}, ["text"], "a.jsonl, line 3")
    with pytest.raises(CodError, match="line 3: column 'label'"):
        Labelling("label").raw({"label": value}, "a.jsonl, line 3")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["good", " bad "], ("good", "bad")),
        ([1, 0], ("1", "0")),
        ([1.0, "0.0"], ("1", "0")),
        ([True, False], ("true", "false")),
        ([-1, "-1.0"], ("-1", "-1")),
        ([0.5, "1.05"], ("0.5", "1.05")),
        ([None, float("nan"), "", " "], (None, None, None, None)),
    ],
)
def test_labels_are_named_whatever_their_type(values: list[Any], names: tuple[str | None, ...]):
    assert named(Labelling("label"), *values) == names


@pytest.mark.parametrize(
    ("values", "order"),
    [
        (["b", "a", "c"], ("a", "b", "c")),
        (["10", "9", "2"], ("2", "9", "10")),
        ([1, 0, -1], ("-1", "0", "1")),
        (["10", "9", "x"], ("10", "9", "x")),
    ],
)
def test_classes_stand_in_the_order_of_their_numbers_else_of_their_names(values: list[Any], order: tuple[str, ...]):
    labelling = Labelling("label")
    named(labelling, *values)
    assert labelling.order() == order


def test_given_names_close_the_set_and_merge_labels_of_one_name():
    labelling = find_labels(table("text", "label"), None, "1=bad,2=bad,5=good", None, ["text"])
    assert named(labelling, 5, "2", 1.0, "good") == ("good", "bad", "bad", "good")
    assert labelling.order() == ("bad", "good")
    with pytest.raises(CodError) as caught:
        named(labelling, 3)
    assert caught.value.message == "here: label '3' is none of 1, 2, 5"
    assert "--label-names 1=bad,2=bad,5=good,3=NAME" in str(caught.value.hint)


def test_names_are_ordered_by_number_even_if_given_otherwise():
    assert find_labels(table("label"), None, "1=positive,0=negative", None, []).order() == ("negative", "positive")


def test_the_names_that_the_data_give_are_used_and_minus_one_is_no_label():
    labelling = find_labels(table("text", "label", classes={"label": ["neg", "pos"]}), None, None, None, ["text"])
    assert named(labelling, 1, 0, -1) == ("pos", "neg", None)
    assert labelling.order() == ("neg", "pos")


def test_a_column_of_label_texts_names_the_numbers():
    labelling = find_labels(table("text", "label", "label_text"), None, None, None, ["text"])
    for number, name in ((2, "c"), (0, "z"), (1, "a")):
        assert labelling.name(str(number), {"label": number, "label_text": name}, "here") == name
    assert labelling.order() == ("z", "a", "c")


def test_given_names_win_over_those_in_the_data():
    rows = table("label", "label_text", classes={"label": ["neg", "pos"]})
    assert named(find_labels(rows, None, "0=bad,1=good", None, []), 0, 1) == ("bad", "good")


def test_names_are_read_from_an_option():
    assert parse_names("--label-names", "0=not spam, 1 = a=b") == {"0": "not spam", "1": "a=b"}


@pytest.mark.parametrize("text", ["", "0", "0=", "=a", "0=a,", "0=a,0=b", "0=a;1=b,2"])
def test_names_of_another_form_are_a_usage_error_that_quotes_the_option(text: str):
    with pytest.raises(UsageError, match="--label-names") as caught:
        parse_names("--label-names", text)
    assert "0=negative,1=positive" in str(caught.value.hint)
