"""What an LLM is asked for: classes in turn, shots, topics and lengths that vary, by the seed alone."""

from collections import Counter

from cod_cli.pools.plan import Plan
from cod_cli.records import Shot
from tests.pools.writing import LABELS, SHOTS


def plan(seed: int = 0, shots: list[Shot] = SHOTS, max_tokens: int = 512) -> Plan:
    return Plan(shots, LABELS, seed, max_tokens)


def test_classes_come_in_turn() -> None:
    assert Counter(plan().wish(number).label for number in range(1, 21)) == {"negative": 10, "positive": 10}


def test_a_request_shows_shots_of_its_class_and_one_of_another() -> None:
    of = {shot.text: shot.label for shot in SHOTS}
    for number in range(1, 9):
        wish = plan().wish(number)
        assert {of[text] for text in wish.shots} == {wish.label}
        assert [of[text] for text in wish.others] != [wish.label]
        assert len(set(wish.shots)) == len(wish.shots) > 1


def test_shots_topics_and_lengths_vary_and_lengths_are_those_of_shots() -> None:
    wishes = [plan().wish(number) for number in range(1, 21)]
    assert min(len({wish.shots for wish in wishes}), len({wish.topic for wish in wishes})) > 10
    lengths = {len([word for word in shot.text.split() if word.isalpha()]) for shot in SHOTS}
    assert len({wish.length for wish in wishes}) > 1
    assert {wish.length for wish in wishes} <= lengths


def test_the_seed_alone_decides() -> None:
    assert [plan().wish(number) for number in (1, 2, 9)] == [plan().wish(number) for number in (1, 2, 9)]
    assert [plan(1).wish(number) for number in range(1, 9)] != [plan().wish(number) for number in range(1, 9)]


def test_long_texts_are_asked_for_fewer_at_a_time() -> None:
    long = [Shot(id="d/train/1", text="word " * 400, label="negative"), SHOTS[1]]
    assert plan().texts_each == 6
    assert plan(shots=long).texts_each == 1
    assert 1 < plan(shots=long, max_tokens=2500).texts_each < 6


def test_a_class_without_a_shot_is_asked_for_beside_those_of_others() -> None:
    shots = [shot for shot in SHOTS if shot.label == "negative"]
    wish = next(wish for number in (1, 2) if (wish := plan(shots=shots).wish(number)).label == "positive")
    assert (wish.shots, len(wish.others)) == ((), 1)


def test_scripts_without_spaces_have_words_too() -> None:
    wish = plan(shots=[Shot(id="a", text="这部电影很好看", label="positive"), SHOTS[0]]).wish(1)
    assert wish.topic
    assert wish.length > 1
