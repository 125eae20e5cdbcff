"""EDA and AEDA: what each operation may do to a text, and how often."""

from collections import Counter
from pathlib import Path

import pytest

from cod_cli.counterfactuals.edits import words
from cod_cli.counterfactuals.generators.augment import (
    MARKS,
    SYNONYMS,
    aeda,
    eda,
    embedding_synonyms,
    exchanged,
    open_augmenter,
)
from cod_cli.counterfactuals.generators.base import EditRequest
from cod_cli.counterfactuals.generators.editor import build_lexicon
from cod_cli.data.draw import Draws
from cod_cli.errors import CodError
from cod_cli.models.load import load_classifier
from cod_cli.records import Shot
from tests.models.tiny import vocabulary

TEXT = "The plot is thin , but its two leads carry the film with charm and a rare lightness of touch ."
WORDS = words(TEXT)


class Fixed(Draws):
    """A generator whose first choice, EDA's operation, is set."""

    def __init__(self, operation: str, seed: int) -> None:
        super().__init__(seed)
        self.operation: str | None = operation

    def choice(self, seq):  # type: ignore[no-untyped-def]
        operation, self.operation = self.operation, None
        return operation or super().choice(seq)


def synonyms(word: str) -> list[str]:
    return {"plot": ["story"], "the": ["one"], "film": ["movie"], "charm": ["grace"]}.get(word.lower(), [])


def rewritten(operation: str, seed: int, text: str = TEXT) -> list[str]:
    return words(eda(text, synonyms, Fixed(operation, seed)))


def test_aeda_puts_in_marks_and_leaves_every_word() -> None:
    for seed in range(50):
        text = aeda(TEXT, Draws(seed))
        assert words(text) == WORDS
        added = Counter(text.split()) - Counter(TEXT.split())
        assert 1 <= added.total() <= len(WORDS) // 3
        assert set(added) <= set(MARKS)


def test_aeda_may_put_in_from_one_mark_up_to_a_third_of_the_words() -> None:
    counts = {len(aeda(TEXT, Draws(seed)).split()) - len(TEXT.split()) for seed in range(300)}
    assert counts == set(range(1, len(WORDS) // 3 + 1))


def test_a_mark_before_the_first_word_leaves_a_space_behind_it() -> None:
    assert aeda("fine", Draws(0)).split()[1] == "fine"


def test_a_synonym_stands_wherever_the_word_stood_but_stop_words_stay() -> None:
    for seed in range(20):
        changed = [(a, b) for a, b in zip(WORDS, rewritten("replace", seed), strict=True) if a != b]
        assert len(changed) == 1  # max(1, int(0.1 · 19 words))
        assert changed[0] in {("plot", "story"), ("film", "movie"), ("charm", "grace")}


def test_insertion_adds_synonyms_of_words_of_the_text() -> None:
    places = set()
    for seed in range(60):
        found = rewritten("insert", seed)
        added = list((Counter(found) - Counter(WORDS)).elements())
        if added:  # now and then no word with a synonym is drawn
            assert added[0] in {"story", "one", "movie", "grace"}
            places.add(found.index(added[0]))
        assert [word for word in found if word not in added] == WORDS
    assert len(places) > 5


def test_a_swap_keeps_the_words_and_moves_two_of_them() -> None:
    for seed in range(20):
        found = rewritten("swap", seed)
        assert Counter(found) == Counter(WORDS)
        assert sum(a != b for a, b in zip(WORDS, found, strict=True)) == 2


def test_deletion_leaves_out_a_tenth_of_the_words_on_average() -> None:
    gone = [len(WORDS) - len(rewritten("delete", seed)) for seed in range(2000)]
    assert sum(gone) / len(gone) == pytest.approx(0.1 * len(WORDS), abs=3 * (0.09 * len(WORDS) / 2000) ** 0.5)


def test_deletion_never_leaves_nothing() -> None:
    assert all(words(eda("good film", synonyms, Fixed("delete", seed), alpha=1.0)) for seed in range(20))


def test_a_text_without_words_stays() -> None:
    assert eda("...", synonyms, Draws(0)) == aeda("...", Draws(0)) == "..."


def test_the_same_seed_writes_the_same_and_another_try_something_else(teacher_folder: Path) -> None:
    shot = Shot(id="d/train/1", text=TEXT, label="positive")

    def text(seed: str, attempt: int) -> str:
        [proposal] = open_augmenter("aeda", None, [], seed).propose([EditRequest(shot, "positive", attempt)])
        return proposal.texts[0]

    assert text("0", 1) == text("0", 1)
    assert len({text("0", 1), text("0", 2), text("1", 1)}) == 3


def test_synonyms_are_the_nearest_words_of_the_embedding_table(teacher_folder: Path) -> None:
    classifier = load_classifier(str(teacher_folder))
    lexicon = build_lexicon(classifier, vocabulary())
    near = embedding_synonyms(lexicon)
    place = lexicon.words.index("good")
    cosine = (lexicon.vectors @ lexicon.vectors[place]) / (lexicon.vectors.norm(dim=1) * lexicon.vectors[place].norm())
    ranked = [lexicon.words[i] for i in cosine.argsort(descending=True).tolist()]
    assert near("Good") == ranked[1 : SYNONYMS + 1]
    assert near("zeppelin") == []


def test_eda_refuses_a_teacher_without_an_embedding_table() -> None:
    with pytest.raises(CodError, match="embeddings"):
        open_augmenter("eda", None, [], "0")


def test_one_to_three_words_are_exchanged_with_their_capitals_and_all_else_stays() -> None:
    counts = Counter()
    for seed in range(200):
        text = exchanged(TEXT, ["zebra", "yak"], Draws(seed))
        changed = [(a, b) for a, b in zip(TEXT.split(), text.split(), strict=True) if a != b]
        counts[len(changed)] += 1
        assert all(
            b == ("Zebra" if b[0] == "Z" else "Yak") if a == "The" else b in ("zebra", "yak") for a, b in changed
        )
    assert set(counts) == {1, 2, 3}
    assert min(counts.values()) > 40


def test_a_text_without_words_and_the_names_of_columns_are_not_exchanged() -> None:
    assert exchanged("... !", ["zebra"], Draws(0)) == "... !"
    text = "title: Fine\nbody: dull"
    found = {exchanged(text, ["zebra"], Draws(seed), ["title", "body"]) for seed in range(40)}
    assert found == {"title: Zebra\nbody: dull", "title: Fine\nbody: zebra", "title: Zebra\nbody: zebra"}
