"""Which words may stand for each other, as far as the texts of the source tell."""

import logging
import random

import pytest
import torch

from cod_cli.counterfactuals.edits import tokenize
from cod_cli.counterfactuals.generators import wordclass
from cod_cli.counterfactuals.generators.wordclass import WordClasses, learn_classes

THINGS = [f"{root}o" for root in ("lam", "tir", "bes", "nul", "kap", "rov", "dim", "fes")]
DEEDS = [f"{root}ez" for root in ("mor", "pal", "sig", "tov", "lur", "ban", "cif", "hod")]


def texts(n: int = 400) -> list[str]:
    """A made-up language: *un THING DEED un THING .*, with a name inside now and then."""
    rng = random.Random(0)
    names = ["Brunda", "Celk"]
    texts = []
    for _ in range(n):
        first, second = rng.choice(THINGS), rng.choice(names) if rng.random() < 0.2 else f"un {rng.choice(THINGS)}"
        texts.append(f"Un {first} {rng.choice(DEEDS)} {second} .")
    return texts


def vectors(words: list[str]) -> torch.Tensor:
    """Embeddings that say nothing."""
    return torch.randn(len(words), 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> WordClasses:
    monkeypatch.setattr(wordclass, "ENOUGH_WORDS", 4)
    words = [*THINGS, *DEEDS]
    return learn_classes(words, vectors(words), texts())


def test_words_with_like_neighbours_may_stand_for_each_other(classes: WordClasses) -> None:
    alike = classes.alike([*THINGS, *DEEDS], vectors([*THINGS, *DEEDS]))
    n = len(THINGS)
    assert alike[:n, :n].all()
    assert alike[n:, n:].all()
    assert not alike[:n, n:].any()
    assert not alike[n:, :n].any()


def test_an_ending_tells_of_a_word_that_the_texts_do_not_have(classes: WordClasses) -> None:
    alike = classes.alike(["Golo", "golez"], torch.zeros(2, 8))
    assert alike.sum(1).tolist() == [len(THINGS), len(DEEDS)]
    assert alike[0, 0]


@pytest.mark.parametrize(
    ("text", "position", "name"),
    [
        ("un lamo morez Brunda .", 3, True),
        ("Celk morez un lamo .", 0, True),
        ("un lamo morez Quast .", 3, True),
        ("Lamo morez un tiro .", 0, False),
        ("un LAMO morez .", 1, False),
        ("Quast morez un tiro .", 0, False),
    ],
)
def test_names_are_told_by_their_capitals_inside_sentences(
    text: str, position: int, name: bool, classes: WordClasses
) -> None:
    assert classes.fixed(tokenize(text), position) is name


@pytest.mark.parametrize("write", [str.title, str.upper, str.lower])
def test_capitals_say_nothing_where_every_word_or_none_has_one(write: "type[str]") -> None:
    found = learn_classes(["lamo"], vectors(["lamo"]), [write(text) for text in texts()])
    assert not found.fixed(tokenize("un lamo morez Brunda ."), 3)


def test_a_word_with_letters_that_the_source_does_not_use_is_foreign() -> None:
    words = ["lamo", "lamó", "ламо"]
    found = learn_classes(words, vectors(words), texts(800))
    assert found.alike(["tiro"], vectors(["tiro"])).tolist() == [[True, False, False]]
    few = learn_classes(["quast"], vectors(["quast"]), texts(4))
    assert few.alike(["tiro"], vectors(["tiro"])).all(), "they need not have every letter"


def test_with_few_texts_it_says_that_parts_of_speech_cannot_be_told(caplog: pytest.LogCaptureFixture) -> None:
    words = [*THINGS, *DEEDS]
    with caplog.at_level(logging.INFO):
        found = learn_classes(words, vectors(words), texts())
    assert found.alike(["lamo"], vectors(["lamo"])).all()
    assert "too few texts" in caplog.text


def test_without_any_text_every_word_will_do() -> None:
    assert learn_classes(["lamo"], vectors(["lamo"]), []).alike(["tiro"], vectors(["tiro"])).all()
