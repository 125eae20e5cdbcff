"""Model cards: what a folder says of its model, shown as it is."""

import pytest

from cod_cli.models.card import teacher_card
from cod_cli.records import TeacherOrigin


def card(*labels: str, source: str = "reviews.csv") -> str:
    teacher = TeacherOrigin.model_construct(
        rows=8,
        source=source,
        split="train",
        steps=2,
        parameters=9,
        labels=list(labels),
        settings={"model": "a/b"},
        validation=[],
    )
    return str(teacher_card("t", teacher))


def test_a_card_names_its_labels() -> None:
    assert "Labels: negative, very_positive\n" in card("negative", "very_positive")


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("<script>x</script>", r"\<script\>x\</script\>"),
        ("[here](http://a)", r"\[here\](http://a)"),
        ("a\n# b", "a # b"),
        ("x\u202ey", "x y"),
        ("a*b`c&amp;", r"a\*b\`c\&amp;"),
    ],
)
def test_no_label_becomes_markdown_or_html(label: str, shown: str) -> None:
    assert f"Labels: {shown}, other\n" in card(label, "other")


def test_what_stands_in_a_row_of_the_table_ends_no_cell() -> None:
    assert r"rows of a\|b, split" in card("x", "y", source="a|b")
