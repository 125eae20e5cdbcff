"""Segments in embedding space, in each family of models."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cod_cli.errors import CodError
from cod_cli.models.inference import logits_of
from cod_cli.models.load import Classifier, load_classifier
from cod_cli.report.why.crossing import Pair, Segments, crossings
from tests.models.tiny import Family, tiny_classifier

# Word for word, so that no token is repeated; of several lengths.
PAIRS = [
    Pair("a dull story about two friends .", "a clever story about two friends .", 0, 1),
    Pair("dull acting .", "clever acting .", 0, 1),
    Pair("the film is weak .", "the film is strong .", 1, 0),
    Pair("dull acting .", "fine acting .", 0, 2),
]
LABELS = ("negative", "positive", "neutral")
ORDER = [0, 1, 2]
FAMILIES = ["bert", "distilbert", "deberta", "roberta", "modernbert", "qwen2"]


def load(folder: Path, family: Family = "bert") -> Classifier:
    return load_classifier(str(tiny_classifier(folder, labels=LABELS, family=family)), device="cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ends_are_the_texts_themselves(tmp_path: Path, family: Family) -> None:
    classifier = load(tmp_path, family)
    segments = Segments(classifier, PAIRS, ORDER, batch_size=3)
    rows = np.array([3, 0, 2, 1])
    for place, name in enumerate(("text", "counterfactual")):
        logits = logits_of(classifier, [getattr(PAIRS[row], name) for row in rows])
        expected = [logits[i, PAIRS[row].after] - logits[i, PAIRS[row].before] for i, row in enumerate(rows)]
        found = segments.margins(rows, np.full(4, float(place)))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_between_them_embeddings_are_mixed_whoever_else_is_in_the_batch(tmp_path: Path, family: Family) -> None:
    classifier = load(tmp_path, family)
    places = np.array([0.3, 0.5, 0.8, 0.1])
    found = Segments(classifier, PAIRS, ORDER).margins(np.arange(4), places)
    embed = classifier.model.get_input_embeddings()
    for pair, place, margin in zip(PAIRS, places, found, strict=True):
        ends = [classifier.tokenizer(t, return_tensors="pt")["input_ids"] for t in (pair.text, pair.counterfactual)]
        mixed = (1 - place) * embed(ends[0]) + place * embed(ends[1])
        with torch.no_grad():
            logits = classifier.model(inputs_embeds=mixed.float()).logits[0]
        assert margin == pytest.approx(float(logits[pair.after] - logits[pair.before]), rel=1e-3, abs=1e-5)


def test_classes_are_found_in_the_models_own_order(tmp_path: Path) -> None:
    classifier = load(tmp_path)
    rows, places = np.arange(4), np.full(4, 0.4)
    turned = [Pair(p.text, p.counterfactual, [2, 0, 1][p.before], [2, 0, 1][p.after]) for p in PAIRS]
    # Run class 2 is the model's 0, 0 its 1, 1 its 2.
    found = Segments(classifier, turned, [1, 2, 0]).margins(rows, places)
    np.testing.assert_allclose(found, Segments(classifier, PAIRS, ORDER).margins(rows, places), rtol=1e-5)


def test_a_teacher_crosses_its_pairs_and_a_copy_of_it_crosses_them_there(teacher_folder: Path) -> None:
    teacher, copy = (load_classifier(str(teacher_folder), device="cpu") for _ in range(2))
    pairs = [*PAIRS[:3], Pair("dull acting .", "what a clever acting !", 0, 1)]
    found = crossings(Segments(teacher, pairs, [0, 1]).margins, 4)
    assert ((found > 0) & (found < 1)).tolist() == [True, True, False, True]
    np.testing.assert_array_equal(found, crossings(Segments(copy, pairs, [0, 1]).margins, 4))


def test_a_third_class_that_it_likes_better_than_both_does_not_count(tmp_path: Path) -> None:
    classifier = load(tmp_path)
    rows, places = np.arange(3), np.full(3, 0.4)
    before = Segments(classifier, PAIRS[:3], ORDER).margins(rows, places)
    with torch.no_grad():
        classifier.model.classifier.bias[2] += 100
    np.testing.assert_allclose(Segments(classifier, PAIRS[:3], ORDER).margins(rows, places), before, rtol=1e-5)


def test_texts_are_cut_where_the_classifier_cuts_them(tmp_path: Path) -> None:
    classifier = load(tmp_path)
    long = [Pair("a dull story . " * 40, "a clever and strong story . " * 40, 0, 1)]
    assert Segments(classifier, long, ORDER, max_length=1000).margins(np.array([0]), np.array([0.5])).shape == (1,)
    short = [Pair("a dull", "a clever", 0, 1)]
    found = Segments(classifier, long, ORDER, max_length=4).margins(np.array([0]), np.array([0.0]))
    assert found == pytest.approx(Segments(classifier, short, ORDER).margins(np.array([0]), np.array([0.0])), rel=1e-4)


def test_a_model_that_takes_no_embeddings_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = load(tmp_path)
    segments = Segments(classifier, PAIRS, ORDER)

    def refuse(**batch: torch.Tensor) -> object:
        raise NotImplementedError

    monkeypatch.setattr(classifier.model, "forward", refuse)
    with pytest.raises(CodError, match=r"\(bert\) takes no embeddings"):
        segments.margins(np.array([0]), np.array([0.5]))
