"""Replies as real models write them, and what is left of them."""

import time

import pytest

from cod_cli.counterfactuals.replies import Reading, read_reply
from cod_cli.llm.messages import MALFORMED, REFUSED, Choice

BAD = "the film is dull and far too long ."
GOOD = "the film is clever and far too short ."
TWO_LINES = "The room was dirty.\nThe staff was rude."
TWO_LINES_GOOD = "The room was clean.\nThe staff was kind."
STANZAS = "Cold was the night.\n\nNobody came."
STANZAS_GOOD = "Warm was the night.\n\nEverybody came."
QUOTED = '"A waste of time," she said.'


def read(reply: str, source: str = BAD, finish_reason: str | None = "stop") -> Reading:
    return read_reply(Choice(reply, finish_reason), source)


WRAPPED = [
    # As asked for.
    (BAD, GOOD, GOOD),
    (BAD, f"  {GOOD}\n", GOOD),
    # Quotes around it.
    (BAD, f'"{GOOD}"', GOOD),
    (BAD, f"'{GOOD}'", GOOD),
    (BAD, f"“{GOOD}”", GOOD),
    (BAD, f"`{GOOD}`", GOOD),
    ("Der Film ist öde.", "„Der Film ist schön.“", "Der Film ist schön."),
    ("Le film est nul.", "« Le film est bon. »", "Le film est bon."),
    # Quotes that belong to the text.
    (QUOTED, '"A treat for all," she said.', '"A treat for all," she said.'),
    ('she said "no" twice', 'she said "yes" twice', 'she said "yes" twice'),
    ('"bad" and "sad"', '"good" and "glad"', '"good" and "glad"'),
    ("he said it was bad", '"he said it was "good""', 'he said it was "good"'),
    ("it 's 'bad'", "it 's 'good'", "it 's 'good'"),
    # Tags and fences.
    (BAD, f"<text>{GOOD}</text>", GOOD),
    (BAD, f"<text>\n{GOOD}\n</text>", GOOD),
    (BAD, f"{GOOD}\n</text>", GOOD),
    (BAD, f"<text>\n{GOOD}", GOOD),
    (BAD, f"<edited_text>{GOOD}</edited_text>", GOOD),
    (BAD, f"<text>{BAD}</text>\n<edited>{GOOD}</edited>", GOOD),
    ("so bad<br />so long", "so good<br />so long", "so good<br />so long"),
    ("a <b>bad</b> film", "a <b>good</b> film", "a <b>good</b> film"),
    (BAD, f"```\n{GOOD}\n```", GOOD),
    (BAD, f"```text\n{GOOD}\n```", GOOD),
    (BAD, f"Sure! Here it is:\n\n```plaintext\n{GOOD}\n```\n\nI changed two words.", GOOD),
    (BAD, f"```{GOOD}```", GOOD),
    (BAD, f'{{"edited_text": "{GOOD}"}}', GOOD),
    (BAD, f"{GOOD}<|im_end|>", GOOD),
    (BAD, f"{GOOD}</s>", GOOD),
    # Introductions.
    (BAD, f"Sure, here is the edited text: {GOOD}", GOOD),
    (BAD, f"Sure! Here's the text with a positive sentiment:\n\n{GOOD}", GOOD),
    (BAD, f"Edited text: {GOOD}", GOOD),
    (BAD, f"**Edited text:** {GOOD}", GOOD),
    (BAD, f'Output: "{GOOD}"', GOOD),
    (BAD, f"positive: {GOOD}", GOOD),
    (BAD, f"Certainly!\n{GOOD}", GOOD),
    (BAD, f"Sure, {GOOD}", GOOD),
    (BAD, f"1. {GOOD}", GOOD),
    (BAD, f"- {GOOD}", GOOD),
    (BAD, "Edited text: what a wonderful evening", "what a wonderful evening"),
    ("Die Suppe war kalt.", "Bearbeiteter Text: Die Suppe war heiß.", "Die Suppe war heiß."),
    ("La sopa estaba fría.", "Aquí está el texto editado:\nLa sopa estaba rica.", "La sopa estaba rica."),
    ("这部电影很无聊。", "修改后的文本：这部电影很有趣。", "这部电影很有趣。"),
    ("Фильм очень скучный.", "Вот текст: Фильм очень смешной.", "Фильм очень смешной."),
    # Introductions that the source has too.
    ("Review: a dull film", "Review: a clever film", "Review: a clever film"),
    ("Sure, it is bad.", "Sure, it is good.", "Sure, it is good."),
    ("note : the plot is thin", "note : the plot is rich", "note : the plot is rich"),
    ("1. wash cold", "1. wash hot", "1. wash hot"),
    ("the verdict : dull", "the verdict : clever", "the verdict : clever"),
    # Explanations.
    (BAD, f"{GOOD}\n\nExplanation: I replaced dull by clever.", GOOD),
    (BAD, f"{GOOD}\n\nI changed 'dull' to 'clever' and 'long' to 'short'.", GOOD),
    (BAD, f"{GOOD}\n\nNote: the film is dull and far too long was negative .", GOOD),
    (BAD, f"{GOOD}\n\nChanges made:\n- dull -> clever\n- long -> short", GOOD),
    (BAD, f"The edited text is: {GOOD}", GOOD),
    (BAD, f"{GOOD} (changed dull to clever)", GOOD),
    (BAD, f"{GOOD}\nThis edit keeps the structure of the text.", GOOD),
    (BAD, f"{GOOD}\n\nLet me know if you need anything else!", GOOD),
    # The source repeated beside the edit.
    (BAD, f"Original: {BAD}\nEdited: {GOOD}", GOOD),
    (BAD, f"{BAD} → {GOOD}", GOOD),
    (BAD, f"{BAD}\n{GOOD}", GOOD),
    # More than was asked for.
    (BAD, f"{GOOD}\na joy from start to end .", GOOD),
    (BAD, f"{GOOD} i loved every minute of it .", GOOD),
    (BAD, f"1. {GOOD}\n2. the film is a gem and a joy to watch .", GOOD),
    # A sentence broken into lines.
    (BAD, "the film is clever\nand far too short .", GOOD),
    # Marks on the changed words.
    (BAD, "the film is **clever** and far too **short** .", GOOD),
    (BAD, "the film is ~~dull~~ clever and far too ~~long~~ short .", GOOD),
    # Several lines in, several lines out.
    (TWO_LINES, TWO_LINES_GOOD, TWO_LINES_GOOD),
    (TWO_LINES, f"Edited text:\n{TWO_LINES_GOOD}", TWO_LINES_GOOD),
    (TWO_LINES, f"{TWO_LINES_GOOD}\n\nI changed dirty and rude.", TWO_LINES_GOOD),
    (TWO_LINES, f'"{TWO_LINES_GOOD}"', TWO_LINES_GOOD),
    (STANZAS, STANZAS_GOOD, STANZAS_GOOD),
    (STANZAS, f"Sure!\n\n{STANZAS_GOOD}\n\nI hope this helps!", STANZAS_GOOD),
    ("title: no\ntext: dull", "title: yes\ntext: clever", "title: yes\ntext: clever"),
    # Reasoning models.
    (BAD, f"<think>dull must become clever.\nShort, too.</think>\n\n{GOOD}", GOOD),
    (BAD, f"dull must become clever</think>{GOOD}", GOOD),
    # Not English, not prefixed, not touched.
    ("映画はつまらない。", "映画はおもしろい。", "映画はおもしろい。"),
    ("الفيلم ممل جدا", "الفيلم ممتع جدا", "الفيلم ممتع جدا"),
    # What looks like a refusal or a comment but is an edit.
    ("i can not help but hate this film", "i can not help but love this film", "i can not help but love this film"),
    ("I'm sorry I went.", "I'm glad I went.", "I'm glad I went."),
    ("I'm glad I went there.", "I'm sorry I went there.", "I'm sorry I went there."),
    ("the text is dull", "the text is lively", "the text is lively"),
]


@pytest.mark.parametrize(("source", "reply", "text"), WRAPPED)
def test_the_edited_text_is_found_in_a_reply(source: str, reply: str, text: str) -> None:
    assert read(reply, source) == Reading(text)


def test_a_whole_rewrite_is_left_as_it_is() -> None:
    assert read("nothing here but joy from start to end").text == "nothing here but joy from start to end"


def test_a_text_that_came_back_unchanged_is_a_text() -> None:
    assert read(BAD).text == BAD
    assert read(f"Edited text: {BAD}").text == BAD


REJECTED = [
    ("", "empty"),
    (" \n ", "empty"),
    ("<text></text>", "empty"),
    ("```\n```", "empty"),
    ("<think>dull must become", "empty"),
    ("I'm sorry, but I can't assist with that.", "refused"),
    ("I’m sorry, but I can’t help with that request.", "refused"),
    ("Sorry, I cannot edit this text.", "refused"),
    ("As an AI language model, I don't have opinions on films.", "refused"),
    ("I cannot fulfil this request.", "refused"),
    ("I apologize, but this content is inappropriate.", "refused"),
    ("Unfortunately, I am unable to edit this.", "refused"),
    ("Lo siento, pero no puedo ayudarte con eso.", "refused"),
    ("Es tut mir leid, aber das kann ich nicht.", "refused"),
    ("对不起，我无法满足这个请求。", "refused"),
    ("The text is already positive.", "malformed"),
    ("No changes are needed.", "malformed"),
    ("Please provide the text you would like me to edit.", "malformed"),
]


@pytest.mark.parametrize(("reply", "status"), REJECTED)
def test_a_reply_without_an_edited_text_is_rejected_with_a_reason(reply: str, status: str) -> None:
    reading = read(reply)
    assert (reading.text, reading.status) == (None, status)
    assert reading.reason


def test_a_refusal_in_the_source_is_no_refusal_of_the_model() -> None:
    source = "I'm sorry, but I can't stand this film and its endless puns."
    assert read("I'm sorry, but I can't praise this great and witty film enough!", source).status is None


@pytest.mark.parametrize(
    ("choice", "status"),
    [
        (Choice("the film is", "length"), "truncated"),
        (Choice("", "length"), "truncated"),
        (Choice("", "content_filter"), "refused"),
        (Choice("I can't help with that.", REFUSED), "refused"),
        (Choice("", MALFORMED), "malformed"),
    ],
)
def test_the_finish_reason_decides_before_the_text(choice: Choice, status: str) -> None:
    assert read_reply(choice, BAD).status == status


def test_an_unknown_finish_reason_is_no_obstacle() -> None:
    assert read(GOOD, finish_reason=None).text == GOOD
    assert read(GOOD, finish_reason="eos").text == GOOD


RUNS = {
    "spaces": "the film is" + " " * 200_000 + "clever",
    "tabs": "the film is" + "\t" * 200_000 + "clever",
    "notes": "(note " * 40_000,
    "thoughts": "<think>" * 40_000,
    "tags": "<text>" * 40_000 + "</edit>",
    "end tokens": "</s> " * 40_000 + "x",
    "a fence": "```\n" + " " * 200_000 + "x",
    "lines": "a\n" * 100_000,
    "sentences": "A. " * 100_000,
    "an object": '{"a":' * 50_000,
    "ten megabytes": "the film is clever " * 500_000,
}


@pytest.mark.parametrize("reply", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("source", [BAD, "the film is dull . " * 200], ids=["short", "long"])
def test_no_reply_takes_long_to_be_read(reply: str, source: str) -> None:
    started = time.process_time()
    read(reply, source)
    # Seconds where this machine is slow; each of these took from sixteen seconds to minutes.
    assert time.process_time() - started < 5


def test_thoughts_are_left_out_wherever_they_stand_and_whether_they_end_or_not() -> None:
    assert read(f"so <think>a <think> b</think> c</think>{GOOD}").text == GOOD
    assert read(f"{GOOD}<thinking>is it so? </s>").text == GOOD
    assert read(f"a thought</think><think>another</think>{GOOD}").text == GOOD
    assert read(f"<think>{GOOD}").status == "empty"


def test_the_last_tag_that_is_closed_holds_the_text() -> None:
    assert read(f"<text>{BAD}</text> <edit> <output><text>{GOOD}</TEXT>").text == GOOD
