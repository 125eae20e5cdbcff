"""Prompts: found, checked with all faults named, rendered without reading the data as a template."""

from pathlib import Path

import pytest

from cod_cli.counterfactuals.edits import edit_ratio
from cod_cli.data.tasks import TASKS
from cod_cli.errors import UsageError
from cod_cli.llm.prompts import (
    Prompt,
    Wish,
    class_messages,
    find_prompt,
    messages,
    parse_prompt,
    render_messages,
    shipped_names,
    writing_messages,
)
from cod_cli.mixes import RIVALS
from cod_cli.records import Shot

SHOT = Shot(id="d/train/1", text="a dull film", label="negative")
# The wordings that ask for CFEs; the others are for rivals, for semifactuals and for an LLM as teacher.
EDITS = [name for name in shipped_names() if name not in (*RIVALS, "pool", "semifactual", "teacher")]
GOOD = "description: d\nsystem: Classes are\\n$labels\nuser: Make $text from $label $target\n"


def parse(content: str) -> Prompt:
    return parse_prompt(content, "mine", "mine.yaml")


def test_every_family_of_tasks_has_four_wordings() -> None:
    families = {task.family for task in TASKS.values()} | {"topic", "generic"}
    wordings = ("", "-definition", "-find-words", "-short")
    assert sorted(f"{family}{wording}" for family in families for wording in wordings) == EDITS


@pytest.mark.parametrize(("before", "now"), [("-v2", "-definition"), ("-v3", "-find-words"), ("-v4", "-short")])
def test_a_wording_is_found_by_the_name_that_it_had_before(before: str, now: str) -> None:
    old, new = find_prompt(f"sentiment{before}"), find_prompt(f"sentiment{now}")
    assert (old.name, old.hash) == (f"sentiment{before}", new.hash)


@pytest.mark.parametrize("name", EDITS)
def test_a_shipped_prompt_is_valid_and_fences_the_text(name: str) -> None:
    prompt = find_prompt(name)
    assert prompt.description
    question = messages(prompt, SHOT, "positive", ["negative", "positive"])[-1]
    assert question["role"] == "user"
    assert "a dull film" in question["content"]
    assert "positive" in question["content"]
    assert "$" not in render_messages(messages(prompt, SHOT, "positive", ["negative", "positive"]))


@pytest.mark.parametrize("name", EDITS)
def test_the_demonstrations_of_a_shipped_prompt_are_small_edits(name: str) -> None:
    examples = find_prompt(name).examples
    assert bool(examples) != name.endswith("-short")
    for example in examples:
        assert 0 < edit_ratio(example.text, example.edit) <= 0.5


@pytest.mark.parametrize("name", [kind for kind in RIVALS if RIVALS[kind].llm])
def test_a_rivals_prompt_shows_texts_in_other_words(name: str) -> None:
    prompt = find_prompt(name)
    assert prompt.examples
    for example in prompt.examples:
        assert edit_ratio(example.text, example.edit) > 0.5
        assert (example.label == example.target) == (name == "paraphrase")
    target = SHOT.label if name == "paraphrase" else "positive"
    question = messages(prompt, SHOT, target, ["negative", "positive"])[-1]["content"]
    assert "a dull film" in question
    assert target in question
    assert ("positive" in question) == (name == "opposite")


def test_a_prompt_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert find_prompt(str(path)).name == "mine"


def test_an_unknown_prompt_is_an_error_that_lists_the_shipped_ones() -> None:
    with pytest.raises(UsageError) as caught:
        find_prompt("sentimental")
    assert "'sentimental'" in caught.value.message
    assert "sentiment" in str(caught.value.hint)


def test_name_and_hash_stand_for_the_content() -> None:
    assert str(parse(GOOD)).startswith("mine@")
    assert len(parse(GOOD).hash) == 8
    assert parse(GOOD).hash != parse(GOOD.replace("Make", "Turn")).hash


def test_unknown_placeholders_are_reported_together_with_the_file() -> None:
    with pytest.raises(UsageError, match=r"mine\.yaml has unknown placeholders: \$class, \$txt"):
        parse("description: d\nsystem: $class\nuser: $txt $text ${class}\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD + "tone: kind\nname: x\n", "tone: Extra inputs are not permitted; name: Extra inputs"),
        ("description: d\nuser: $text\n", "system: Field required"),
        ("description: d\nsystem: 3\nuser: $text\n", "system: Input should be a valid string"),
        ("description: d\nsystem: costs 5$ a word\nuser: $text\n", "stray \\$ in system"),
        ("description: d\nsystem: s\nuser: flip it\n", "never gives the text"),
        (GOOD + "tone:\n", "tone: Extra inputs are not permitted"),
        (GOOD + "labels: {no: bad}\n", "labels.*key.*: Input should be a valid string"),
        (GOOD + "labels: [bad]\n", "labels: Input should be a valid dictionary"),
        (GOOD + "examples: {text: a}\n", "examples: Input should be a valid tuple"),
        (GOOD + "examples: [{text: a, edit: b}]\n", "examples.0.label: Field required; examples.0.target"),
        (GOOD + "examples: [b]\n", "examples.0: Input should be a valid dictionary"),
        ("user: [", "is no YAML"),
        ("just text", "is no prompt"),
        ("", "is no prompt"),
    ],
)
def test_a_bad_prompt_is_one_line_that_names_the_file(content: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse(content)
    assert caught.value.message.startswith("mine.yaml")
    assert "\n" not in caught.value.message


def test_keys_that_may_be_left_out_may_stand_empty() -> None:
    prompt = parse(GOOD + "labels:\nexamples:\n")
    assert (prompt.labels, prompt.examples) == ({}, ())


def test_an_unreadable_prompt_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"user: \xff\xfe")
    with pytest.raises(UsageError, match=r"mine\.yaml cannot be read"):
        find_prompt(str(path))


def test_a_dollar_sign_in_the_data_is_not_a_placeholder() -> None:
    shot = Shot(id="d/train/1", text="costs $label and $$5 ${text} $", label="$target")
    question = messages(parse(GOOD), shot, "$labels", ["$target", "$labels"])[-1]["content"]
    assert question == "Make costs $label and $$5 ${text} $ from $target $labels"


def test_labels_are_listed_with_their_descriptions_where_there_are_some() -> None:
    prompt = parse(GOOD + "labels: {negative: no good}\n")
    system = messages(prompt, SHOT, "positive", ["negative", "positive"])[0]["content"]
    assert system == "Classes are\\n- negative: no good\n- positive"


def test_an_empty_system_message_is_not_sent() -> None:
    prompt = parse('description: d\nsystem: ""\nuser: $text\n')
    assert [m["role"] for m in messages(prompt, SHOT, "positive", ["negative", "positive"])] == ["user"]


EXAMPLES = """examples:
- {text: poor, label: negative, target: positive, edit: rich}
- {text: rich, label: positive, target: neutral, edit: owned}
"""


def test_examples_become_turns_of_user_and_assistant() -> None:
    chat = messages(parse(GOOD + EXAMPLES), SHOT, "positive", ["negative", "positive", "neutral"])
    assert [m["role"] for m in chat] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert chat[1]["content"] == "Make poor from negative positive"
    assert chat[2]["content"] == "rich"


def test_examples_about_other_classes_are_left_out() -> None:
    chat = messages(parse(GOOD + EXAMPLES), SHOT, "positive", ["negative", "positive"])
    assert [m["content"] for m in chat if m["role"] == "assistant"] == ["rich"]


def test_where_no_example_fits_the_classes_all_show_how_to_edit() -> None:
    chat = messages(parse(GOOD + EXAMPLES), SHOT, "spam", ["ham", "spam"])
    assert [m["content"] for m in chat if m["role"] == "assistant"] == ["rich", "owned"]


def test_a_prompt_keeps_its_files_text_to_start_another_from() -> None:
    prompt = parse(GOOD + EXAMPLES)
    assert prompt.source == GOOD + EXAMPLES
    assert parse(prompt.source).hash == prompt.hash


# Asking for a class


def test_a_question_about_a_class_lists_the_codes_and_shows_demonstrations_as_turns() -> None:
    demos = [Shot(id="a", text="a fine film", label="positive"), Shot(id="b", text="$text", label="negative")]
    chat = class_messages(find_prompt("teacher"), "a dull $label film", ["negative", "positive"], ["A", "B"], demos)
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "A = negative: the writer disapproves\nB = positive: the writer approves" in chat[0]["content"]
    assert [chat[2]["content"], chat[4]["content"]] == ["B", "A"]
    assert "a fine film" in chat[1]["content"]
    assert "<text>\n$text\n</text>" in chat[3]["content"]
    assert "a dull $label film" in chat[-1]["content"]


def test_classes_without_a_description_stand_by_their_names() -> None:
    chat = class_messages(find_prompt("teacher"), "x", ["ham", "spam"], ["A", "B"])
    assert "A = ham\nB = spam" in chat[0]["content"]


@pytest.mark.parametrize("name", ["sentiment", "paraphrase"])
def test_a_prompt_that_asks_for_a_text_is_no_question(name: str) -> None:
    with pytest.raises(UsageError, match="is no question about a text's class"):
        class_messages(find_prompt(name), "x", ["negative", "positive"], ["A", "B"])


# Asking for new texts

WISH = Wish("positive", ("a $fine film", "a clever one"), ("a dull film",), "lake, evening", 12, 5)
WRITING = """description: d
system: Classes are $labels
user: |
  $n of $label like $shots
  but not $others, $length words about $topic
  nor $before
"""


def test_the_shipped_prompt_for_new_texts_fences_the_shots_and_says_what_is_wanted() -> None:
    chat = writing_messages(find_prompt("pool"), WISH, ["negative", "positive"], ["an old idea"])
    assert "- negative: the writer disapproves\n- positive: the writer approves" in chat[0]["content"]
    for part in ("<text>\na $fine film\n</text>", "a dull film", "5", "12 words", "lake, evening", "- an old idea"):
        assert part in chat[1]["content"]


def test_every_placeholder_of_a_prompt_for_new_texts_is_filled() -> None:
    chat = writing_messages(parse(WRITING), WISH, ["negative", "positive"], ["an old idea"])
    fenced = "\n<text>\na $fine film\n</text>\n<text>\na clever one\n</text>"
    assert chat[1]["content"] == (
        f"5 of positive like {fenced}\n"
        "but not \n<text>\na dull film\n</text>, 12 words about lake, evening\nnor \n- an old idea"
    )


def test_a_line_about_nothing_is_left_out() -> None:
    chat = writing_messages(parse(WRITING), WISH, ["negative", "positive"])
    assert "nor" not in chat[1]["content"]
    assert "12 words about lake" in chat[1]["content"]


def test_a_prompt_for_new_texts_takes_other_placeholders_than_one_for_edits() -> None:
    with pytest.raises(UsageError, match=r"unknown placeholders: \$target, \$text") as caught:
        parse("description: d\nsystem: make it $target\nuser: $shots $text\n")
    assert "$before" in str(caught.value.hint)
    with pytest.raises(UsageError, match="has examples"):
        parse(WRITING + EXAMPLES)


def test_a_prompt_of_another_sort_does_not_ask_for_new_texts() -> None:
    with pytest.raises(UsageError, match="sentiment does not ask for new texts"):
        writing_messages(find_prompt("sentiment"), WISH, ["negative", "positive"])
    assert not find_prompt("pool").asks_for_class
