"""Replies with several texts as real models write them, and what is left of them."""

import json

import pytest

from cod_cli.llm.messages import MALFORMED, REFUSED, Choice
from cod_cli.pools.replies import Texts, read_texts

SHOWN = ["the film is dull and far too long .", "a clever , funny story ."]
LABELS = ["negative", "positive"]
A, B, C = "a slow evening at the lake .", "i can't recommend the soup .", "note how well she sings ."
STANZAS = ["Cold was the night.\nNobody came.", "Warm was the day.\nAll came."]


def read(reply: str, shown: list[str] = SHOWN, finish_reason: str | None = "stop") -> Texts:
    return read_texts(Choice(reply, finish_reason), shown, LABELS)


LISTS = [
    f"1. {A}\n2. {B}\n3. {C}",
    f"1) {A}\n2) {B}\n3) {C}\n",
    f"(1) {A}\n(2) {B}\n(3) {C}",
    f"- {A}\n- {B}\n- {C}",
    f"* {A}\n* {B}\n• {C}",
    f"1. {A}\n\n2. {B}\n\n3. {C}",
    f"  1. {A}\n  2. {B}\n  3. {C}",
    # Introduced, explained, thought about.
    f"Sure! Here are three new texts:\n\n1. {A}\n2. {B}\n3. {C}\n\nI hope these help! Let me know if you need more.",
    f"<think>\n1. is this right?\n</think>\n1. {A}\n2. {B}\n3. {C}",
    f"```\n1. {A}\n2. {B}\n3. {C}\n```",
    f"1. {A}\n2. {B}\n3. {C}<|im_end|>",
    # Wrapped: quotes, bold type, the class.
    f'1. "{A}"\n2. "{B}"\n3. "{C}"',
    f"1. **{A}**\n2. **{B}**\n3. **{C}**",
    f"**1.** {A}\n**2.** {B}\n**3.** {C}",
    f"1. Positive: {A}\n2. negative: {B}\n3. [positive] - {C}",
    f"1. {A} (positive)\n2. {B} (negative)\n3. {C} [Positive]",
    f"1. {A[:14]}\n   {A[15:]}\n2. {B}\n3. {C}",
    # Other forms than a list with marks.
    f"{A}\n{B}\n{C}",
    f"Here are the texts:\n{A}\n\n{B}\n\n{C}",
    f"<text>\n{A}\n</text>\n<text>\n{B}\n</text>\n<text>{C}</text>",
    f"<text>\n{A}\n</text>\n<text>\n{B}\n</text>\n<text>\n{C}",
    f"<neg>\n{A}\n</neg>\n\n<neg>\n{B}\n</neg>\n\n<neg>\n{C}\n</neg>",
    f"(text>\n{A}\n</text>\n(text>\n{B}\n</text>\n(text>\n{C}\n</text>",
    f"Here they are:\n<text>{A}</text>\nAnd two more:\n<text>{B}</text>\n<TEXT>{C}</TEXT>\nThat is all.",
    f"1. <text>{A}</text>\n2. <text>{B}</text>\n3. <text>{C}</text>",
    json.dumps([A, B, C]),
    json.dumps({"texts": [A, B, C]}),
    json.dumps({"1": A, "2": B, "3": C}),
    json.dumps([{"text": text, "label": "positive"} for text in (A, B, C)]),
    json.dumps([{"class": "positive", "review": text} for text in (A, B, C)]),
    "\n".join(json.dumps({"text": text}) for text in (A, B, C)),
    f"```json\n{json.dumps([A, B, C], indent=1)}\n```",
]


@pytest.mark.parametrize("reply", LISTS)
def test_several_texts_are_read_from_whatever_form_they_come_in(reply: str) -> None:
    assert read(reply) == Texts((A, B, C))


def test_marks_that_the_shown_texts_have_are_left_on() -> None:
    quoted = ['"so bad," she said .', '"fine"']
    assert read('1. "well done"\n2. he said "no"', quoted).texts == ('"well done"', 'he said "no"')
    assert read("1. **so** good\n2. bad", ["**very** good", "x"]).texts == ("**so** good", "bad")


def test_html_in_the_texts_is_part_of_them() -> None:
    assert read("1. a <b>good</b> film<br>\n2. so bad").texts == ("a <b>good</b> film<br>", "so bad")
    assert read("<b>good</b> film\n<b>bad</b> film", ["a <b>dull</b> film"]).texts == (
        "<b>good</b> film",
        "<b>bad</b> film",
    )


def test_texts_of_several_lines_keep_them() -> None:
    assert read("1. Old was the moon.\nIt shone.\n2. New was the sun.\nIt sank.", STANZAS).texts == (
        "Old was the moon.\nIt shone.",
        "New was the sun.\nIt sank.",
    )
    assert read("<text>\nOld was the moon.\nIt shone.\n</text>", STANZAS).texts == ("Old was the moon.\nIt shone.",)
    assert read("[text]\nOld was the moon.\nIt shone.\n[/text]", STANZAS).texts == ("Old was the moon.\nIt shone.",)
    assert read("Old was the moon.\nIt shone.\n\nNew was the sun.\nIt sank.", STANZAS).texts == (
        "Old was the moon.\nIt shone.",
        "New was the sun.\nIt sank.",
    )


def test_of_a_reply_that_was_cut_off_the_whole_texts_are_kept() -> None:
    assert read(f"1. {A}\n2. {B}\n3. note how", finish_reason="length").texts == (A, B)
    assert read(f"<text>{A}</text>\n<text>{B}</text>\n<text>note", finish_reason="length").texts == (A, B)
    assert read(f"<text>{A}</text>\n<text>{B}</text>", finish_reason="length").texts == (A, B)
    assert read("1. a slow eve", finish_reason="length").status == "truncated"
    assert read("", finish_reason="length").status == "truncated"


@pytest.mark.parametrize(
    ("reply", "finish_reason", "status"),
    [
        ("I'm sorry, but I can't write such texts.", "stop", "refused"),
        ("As an AI language model, I cannot do that.\nPlease ask for something else.", "stop", "refused"),
        ("I cannot write these.", REFUSED, "refused"),
        ("", "content_filter", "refused"),
        ("", MALFORMED, "malformed"),
        ("", "stop", "empty"),
        ("<think>\nhow many?", "stop", "empty"),
        ("Please provide the texts.", "stop", "malformed"),
        ("1. positive\n2. negative", "stop", "malformed"),
        ("1. ...\n2. --", "stop", "malformed"),
        ("[1, 2, {}]", "stop", "malformed"),
        ("<none>\n<none>", "stop", "malformed"),
    ],
)
def test_a_reply_without_a_text_says_why(reply: str, finish_reason: str, status: str) -> None:
    read_as = read(reply, finish_reason=finish_reason)
    assert (read_as.texts, read_as.status) == ((), status)
    assert read_as.reason


def test_json_nested_without_end_is_no_crash() -> None:
    assert read("[" * 100_000).status == "malformed"


@pytest.mark.parametrize("part", ["1. ", "\n \t", "(", "**", "<text>", "</text>", "```", "positive: ", '"', "- a\n\n"])
def test_a_long_reply_of_nothing_but_marks_is_read_to_its_end(part: str) -> None:
    """Were a pattern quadratic, this would take minutes."""
    assert isinstance(read(part * 60_000), Texts)
