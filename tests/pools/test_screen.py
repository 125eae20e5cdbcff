"""Which texts may enter a pool."""

import pytest

from cod_cli.pools.screen import Screen

SHOT = "A warm and funny tale of two brothers who meet again after many long years apart."
SCORED = "The camera never once leaves the crowded boat, and nor will the patient viewer want to."


def screen(**changes: object) -> Screen:
    return Screen(**{"shots": [SHOT], "scored": [SCORED]} | changes)  # type: ignore[arg-type]


def let_in(by: Screen, *texts: str) -> list[str]:
    return [taken for text in texts if (taken := by.let_in(text))]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("  ", "empty"),
        ("Great!", "one_word"),
        (SHOT.upper(), "shots"),
        (SCORED.replace(",", " -"), "scored"),
        (SHOT.replace("funny", "funnier"), "shots"),
        (SCORED.replace("patient ", ""), "scored"),
    ],
)
def test_what_may_not_enter_is_counted_by_its_reason(text: str, reason: str) -> None:
    asked = screen()
    assert let_in(asked, text) == []
    assert {name: n for name, n in asked.counts().items() if n} == {reason: 1}


def test_near_copies_enter_once() -> None:
    asked = screen()
    first = "It begins well enough, then loses itself in speeches that nobody would ever give."
    assert let_in(asked, first, first.replace("well", "very well"), "Quite another text, then.", first.lower()) == [
        first,
        "Quite another text, then.",
    ]
    assert asked.counts()["near_copies"] == 2


def test_texts_of_the_pool_before_count_as_copies() -> None:
    asked = screen(pool=["An older text of the pool."])
    assert let_in(asked, "an older text of the pool") == []
    assert asked.counts()["near_copies"] == 1


def test_texts_that_share_words_only_are_no_copies() -> None:
    texts = ["the good film was good and the cast was fine", "the cast was bad and the good film was a fine mess"]
    assert let_in(screen(), *texts) == texts


def test_a_sentence_without_spaces_has_many_words() -> None:
    assert let_in(screen(), "这部电影很好看") == ["这部电影很好看"]


def test_a_long_text_is_cut_between_two_words_and_counted() -> None:
    asked = screen(max_words=3)
    assert let_in(asked, "one  two\nthree four five", "one two four") == ["one  two\nthree", "one two four"]
    assert asked.counts()["cut"] == 1


def test_a_shot_is_known_by_what_is_left_of_it() -> None:
    asked = screen(max_words=4)
    assert let_in(asked, SHOT) == []
    assert asked.counts()["shots"] == 1
