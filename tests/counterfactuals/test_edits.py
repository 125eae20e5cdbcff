"""Words, distances and spans of edits."""

import random

import pytest

from cod_cli.counterfactuals import edits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a stirring , funny film .", ["a", "stirring", "funny", "film"]),
        ("don't re-do it’s x² 3.5", ["don't", "re", "do", "it’s", "x²", "3", "5"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
        ("हिन्दी में लिखा", ["हिन्दी", "में", "लिखा"]),
        ("தமிழ் நூல்", ["தமிழ்", "நூல்"]),
        ("می\u200cخواهم برود", ["می\u200cخواهم", "برود"]),
        ("한국어 좋다", ["한국어", "좋다"]),
        ("12年の東京・バー", ["12", "年", "の", "東", "京", "バ", "ー"]),
        ("𠮷野", ["𠮷", "野"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("❤️ 👩‍👩‍👧 !", []),
    ],
)
def test_words_are_unicode_words_and_single_characters_of_scripts_without_spaces(
    text: str, expected: list[str]
) -> None:
    assert edits.words(text) == expected


def test_tokens_keep_marks_on_their_letter_and_an_emoji_whole() -> None:
    assert [t.text for t in edits.tokenize("ok ❤️ 👩‍👩‍👧, wo n't")] == ["ok", "❤️", "👩‍👩‍👧", ",", "wo", "n't"]


def test_tokens_with_their_spaces_give_any_text_back() -> None:
    rng = random.Random(0)
    blocks = [(32, 127), (0x300, 0x370), (0x900, 0x1200), (0x2000, 0x2070), (0x3000, 0x3100), (0x1F300, 0x1F900)]
    for _ in range(500):
        text = "".join(chr(rng.randrange(*rng.choice(blocks))) for _ in range(12))
        tokens = edits.tokenize(text)
        assert "".join(token.space + token.text for token in tokens) == text.rstrip()
        assert all(not token.space.strip() and token.text.strip() for token in tokens)


def test_the_edit_ratio_is_word_edits_over_the_words_of_the_longer_text() -> None:
    assert edits.n_edits("a dumb film .", "a very smart film !") == 2
    assert edits.edit_ratio("a dumb film .", "a very smart film !") == 2 / 4
    assert edits.edit_ratio("a very smart film", "film") == 3 / 4
    assert edits.edit_ratio("", "") == 0
    assert edits.edit_ratio("!", "?") == 1
    assert edits.edit_ratio("東京は好き", "東京は嫌い") == 2 / 5


def test_spans_are_maximal_runs_of_changed_tokens() -> None:
    source, target = "it is a dull , weak film", "it was a clever and strong film indeed"
    found = edits.spans(source, target)
    assert [(s.source_start, s.source_end, s.target_start, s.target_end) for s in found] == [
        (1, 2, 1, 2),
        (3, 6, 3, 6),
        (7, 7, 7, 8),
    ]
    assert edits.spans(source, source) == []


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ((), "it is dull , and weak ."),
        ((0,), "it was dull , and weak ."),
        ((1,), "it is dull , but strong ."),
        ((0, 1), "it was dull , but strong ."),
    ],
)
def test_apply_edits_the_kept_spans_only(kept: tuple[int, ...], expected: str) -> None:
    assert edits.apply("it is dull , and weak .", "it was dull , but strong .", kept) == expected


def test_apply_leaves_white_space_alone_but_behind_an_edit() -> None:
    source, target = "it 's dull , and the end is weak .", "It's dull, and the end is strong."
    assert edits.apply(source, target, [len(edits.spans(source, target)) - 1]) == "it 's dull , and the end is strong."
    assert edits.apply("so bad , really", "so, really", [0]) == "so, really"
    assert edits.apply("bad film", "film", [0]) == "film"
    assert edits.apply("film", "film, good", [0]) == "film, good"


def test_apply_with_no_span_is_the_source_and_with_all_spans_the_target_words() -> None:
    rng = random.Random(1)
    pieces = ["a", "b", "c", ",", "don't", "東", "."]
    for _ in range(500):
        source, target = (
            "".join(rng.choice(["", " ", "  "]) + rng.choice(pieces) for _ in range(rng.randint(1, 8))).strip()
            for _ in range(2)
        )
        every = range(len(edits.spans(source, target)))
        assert edits.apply(source, target, ()) == source
        assert "".join(edits.apply(source, target, every).split()) == "".join(target.split())


@pytest.mark.parametrize(
    ("source", "target", "pieces"),
    [
        ("a dull film", "a fine film", ["a ", "-dull", " ", "+fine", " film"]),
        ("works", "never works", ["+never", " works"]),
        ("never works", "works", ["-never", " ", "works"]),
        ("很好", "很坏", ["很", "-好", "+坏"]),
        ("the same", "the same", ["the same"]),
    ],
)
def test_what_changed_is_told_apart_in_reading_order(source: str, target: str, pieces: list[str]) -> None:
    signs = {"kept": "", "removed": "-", "added": "+"}
    assert [signs[change] + piece for piece, change in edits.pieces(source, target)] == pieces


def test_the_names_of_columns_are_found_where_a_line_begins_with_one() -> None:
    text = "subject: no subject: here\nbody: a body\nother: x"
    assert edits.column_names(text, ("subject", "body")) == ["subject", "body"]
    places = sorted(edits.column_tokens(text, ("subject", "body")))
    assert [edits.tokenize(text)[i].text for i in places] == ["subject", "body"]
    assert edits.column_names(text, ()) == []
