"""The revert pass and its certificate."""

import random
import zlib
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from cod_cli.counterfactuals.edits import apply, n_edits, spans, words
from cod_cli.counterfactuals.revert import Flip, Minimal, is_rewrite, minimise, salient_words
from cod_cli.metrics import flips


class FakeTeacher:
    """Logits by a function of the text; counts what it was asked."""

    cheap = True

    def __init__(self, score: Callable[[str], list[float]], classes: int = 2) -> None:
        self.labels = [f"class {i}" for i in range(classes)]
        self.score = score
        self.calls: list[list[str]] = []

    def logits(self, texts: Sequence[str], **_: object) -> npt.NDArray[np.float32]:
        self.calls.append(list(texts))
        return np.array([self.score(text) for text in texts], dtype=np.float32).reshape(len(texts), len(self.labels))


def reader(**weights: float) -> FakeTeacher:
    """A teacher of two classes that adds up the weights of the words, below zero for class 0."""
    return FakeTeacher(lambda text: [0.0, -0.5 + sum(weights.get(word, 0.0) for word in words(text))])


def only(source: str, text: str, teacher: FakeTeacher, target: int = 1) -> Minimal:
    [result] = minimise([Flip(source, text, target)], teacher)
    return result


def test_edits_that_the_flip_does_not_need_are_undone() -> None:
    teacher = reader(dumb=-1, smart=1)
    result = only("a dumb film about a cat and its friends", "a smart film on a dog and its friends", teacher)
    assert result == Minimal("a smart film about a cat and its friends", minimal=True)


def test_the_fewest_changed_words_win_over_the_fewest_spans() -> None:
    teacher = reader(w=0.6, x=0.3, y=0.3)
    source, text = "a b c d e f g h i j", "a x c y e f m n w j"
    assert only(source, text, teacher).text == "a x c y e f g h i j"


def test_of_equally_small_edits_the_most_confident_wins() -> None:
    assert only("a b c d e", "x b y d e", reader(x=1, y=2)).text == "a b y d e"


def test_edits_that_need_each_other_stay() -> None:
    teacher = reader(x=0.3, y=0.3)
    assert only("a b c", "x b y", teacher) == Minimal("x b y", minimal=True)


def test_a_counterfactual_is_never_emptied() -> None:
    teacher = FakeTeacher(lambda text: [0.0, 1.0 if text in ("", "good") else -1.0])
    assert only("bad", "good", teacher).text == "good"
    assert only("bad .", "good", teacher).text == "good"
    assert only("a b", "b c", FakeTeacher(lambda text: [0.0, 1.0 if text in ("", "b c") else -1.0])).text == "b c"


def test_a_text_written_anew_is_left_and_not_called_minimal() -> None:
    teacher = reader(smart=1)
    source, text = "this film is a dumb mess from start to end", "every smart joke of that picture works"
    assert is_rewrite(source, text)
    assert only(source, text, teacher) == Minimal(text, minimal=False)


def test_a_few_changed_words_of_a_short_text_are_no_rewrite() -> None:
    assert not is_rewrite("a dumb film", "one smart movie")
    assert only("a dumb film", "the smart movie", reader(smart=1)).minimal


def test_white_space_goes_back_to_the_sources_where_the_teacher_does_not_need_the_change() -> None:
    assert only("it 's dumb , really", "it 's smart, really , so", reader(smart=1)).text == "it 's smart, really"
    assert only("well , it 's dumb", "well, it 's smart", reader(smart=1)).text == "well , it 's smart"


def test_a_teacher_that_needs_the_white_space_gets_it() -> None:
    teacher = FakeTeacher(lambda text: [0.0, 1.0 if text == "well, smart" else -1.0])
    assert only("well , dumb", "well, smart", teacher).text == "well, smart"


def test_many_spans_are_undone_one_by_one_until_all_subsets_can_be_tried() -> None:
    source = " ".join(f"w{i} is here ," for i in range(9))
    text = " ".join(f"{'smart' if i == 4 else f'v{i}'} is here ," for i in range(9))
    teacher = reader(smart=1)
    assert only(source, text, teacher) == Minimal(source.replace("w4", "smart"), minimal=True)
    assert max(len(call) for call in teacher.calls) < 70


def test_more_spans_than_can_be_tried_are_not_called_minimal() -> None:
    source = " ".join(f"w{i} is here ," for i in range(8))
    text = source.replace("w", "v")
    teacher = reader(**{f"v{i}": 0.07 for i in range(8)})
    assert only(source, text, teacher) == Minimal(text, minimal=False)


def test_all_pairs_share_the_teachers_batches() -> None:
    teacher = reader(dumb=-1, smart=1)
    pairs = [Flip(f"the dumb film no. {i}", f"the smart film nr. {i}", 1) for i in range(20)]
    assert [result.text for result in minimise(pairs, teacher)] == [f"the smart film no. {i}" for i in range(20)]
    assert len(teacher.calls) <= 3


def test_no_pairs_are_no_work() -> None:
    assert minimise([], reader()) == []


def test_the_salient_words_are_those_without_which_the_teacher_leans_to_the_target() -> None:
    teacher = reader(dumb=-2, dull=-3, smart=1, so=-0.5)
    assert salient_words(teacher, "so dull , dumb but smart film", 1) == ["dull", "dumb", "so"]
    assert salient_words(teacher, "so dull , dumb but smart film", 1, n=1) == ["dull"]
    assert salient_words(teacher, "so dull , dumb but smart film", 0) == ["smart"]
    assert [len(call) for call in teacher.calls] == [7, 7, 7]


def test_the_only_word_is_salient_and_a_text_without_words_has_none() -> None:
    assert salient_words(reader(), "dumb !", 1) == ["dumb"]
    assert salient_words(reader(), "!?", 1) == []


@pytest.mark.parametrize("seed", range(10))
def test_the_certificate_agrees_with_brute_force_on_random_teachers(seed: int) -> None:
    rng = random.Random(seed)
    classes = 2 + seed % 3
    teacher = FakeTeacher(_random_score(seed, classes, linear=seed % 2 == 0), classes)
    pairs = [pair for pair in (_random_pair(rng, classes) for _ in range(200)) if _flips(pair, pair.text, teacher)]
    results = minimise(pairs, teacher)
    for pair, result in zip(pairs, results, strict=True):
        assert _flips(pair, result.text, teacher)
        assert n_edits(pair.source, result.text) <= n_edits(pair.source, pair.text)
        expected = not is_rewrite(pair.source, pair.text) and _nothing_smaller_flips(pair, result.text, teacher)
        assert result.minimal == expected
    assert any(result.minimal and result.text != pair.text for pair, result in zip(pairs, results, strict=True))


def _nothing_smaller_flips(pair: Flip, text: str, teacher: FakeTeacher) -> bool:
    every = range(len(spans(pair.source, text)))
    smaller = [apply(pair.source, text, kept) for n in every for kept in combinations(every, n)]
    return len(every) <= 6 and not any(trial and _flips(pair, trial, teacher) for trial in smaller)


def _random_score(seed: int, classes: int, *, linear: bool) -> Callable[[str], list[float]]:
    """A teacher without sense: a random weight for each word and class, or for each whole text."""

    def weights(text: str) -> npt.NDArray[np.float64]:
        return np.random.default_rng([seed, zlib.crc32(text.encode())]).normal(size=classes)

    def score(text: str) -> list[float]:
        return list(sum(map(weights, text.split()), np.zeros(classes)) if linear else weights(text))

    return score


def _random_pair(rng: random.Random, classes: int) -> Flip:
    source = [rng.choice("abcdefgh") for _ in range(rng.randint(1, 24))]
    text: list[str] = []
    for word in source:
        draw = rng.random()
        if draw > 0.4:
            text.append(word)
        elif draw > 0.15:
            text.append(rng.choice("ABCDEFGHabc"))
        elif draw > 0.08:
            text += [word, rng.choice("ABCDEFGHabc")]
    return Flip(" ".join(source), " ".join(text), rng.randrange(classes))


def _flips(pair: Flip, text: str, teacher: FakeTeacher) -> bool:
    before, after = teacher.logits([pair.source, text])
    return flips(before, after, pair.target)
