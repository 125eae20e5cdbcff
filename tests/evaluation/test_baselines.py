"""Baselines in the space of an encoder: vectors, votes and linear heads against computations by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer

from cod_cli.errors import CodError
from cod_cli.evaluation.baselines import CS, NEIGHBOURS, knn_logits, linear_logits, sentence_vectors
from cod_cli.models.load import load_encoder
from tests.models.tiny import Family, tiny_base

TEXTS = ["the film is bad .", "a lovely story about two friends .", "good acting ."]


def unit(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.parametrize("family", ["bert", "deberta", "qwen2"])
def test_a_text_is_the_mean_of_its_tokens_at_length_one(tmp_path: Path, family: Family) -> None:
    folder = tiny_base(tmp_path / "base", family=family)
    vectors = sentence_vectors(load_encoder(str(folder), device="cpu"), TEXTS, batch_size=2)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = hidden.mean(dim=0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)


def test_votes_are_weighted_by_cosine_with_one_vote_shared_by_all() -> None:
    # Two shots of class 0 at 0° and 60°, one of class 1 at 30°, one of class 2 opposite.
    probs = np.exp(knn_logits(unit(0), unit(0, 60, 30, 180), [0, 0, 1, 2], 3))[0]
    votes = [1 + 0.5 + 1 / 3, math.sqrt(3) / 2 + 1 / 3, 0 + 1 / 3]
    np.testing.assert_allclose(probs, np.array(votes) / sum(votes), atol=1e-6)


def test_only_the_nearest_vote() -> None:
    near, far = [float(10 + i) for i in range(NEIGHBOURS)], [50.0] * 20
    probs = np.exp(knn_logits(unit(0), unit(*far, *near), [1] * 20 + [0] * NEIGHBOURS, 2))[0]
    total = np.cos(np.radians(near)).sum()
    np.testing.assert_allclose(probs, [(total + 0.5) / (total + 1), 0.5 / (total + 1)], atol=1e-6)


def test_something_that_is_no_model_is_refused() -> None:
    with pytest.raises(CodError, match="there is no folder"):
        load_encoder("/nowhere/at/all", device="cpu")


def test_a_linear_head_is_logistic_regression_on_the_shots() -> None:
    shots, classes = unit(0, 10, 20, 90, 100, 110), [0, 0, 0, 1, 1, 1]
    probs = np.exp(linear_logits(unit(5, 50, 105), shots, classes, 2))
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
    assert probs[0, 0] > 0.9
    assert probs[2, 1] > 0.9
    fitted = [LogisticRegression(C=c).fit(shots, classes).predict_proba(unit(5, 50, 105)) for c in CS]
    assert any(np.allclose(probs, each, atol=1e-3) for each in fitted)


def test_the_shots_choose_a_weak_head_where_their_labels_are_noise() -> None:
    alternating = [0, 1] * 10
    probs = np.exp(linear_logits(unit(3, 33), unit(*range(0, 40, 2)), alternating, 2))
    np.testing.assert_allclose(probs, 0.5, atol=0.1)


def test_classes_with_one_shot_or_none_have_probabilities_too() -> None:
    one_each = np.exp(linear_logits(unit(0), unit(0, 90), [0, 1], 3))[0]
    assert one_each.argmax() == 0
    assert one_each[2] == pytest.approx(0.5 / 3.5)
    alone = np.exp(linear_logits(unit(0), unit(0, 90), [1, 1], 2))[0]
    np.testing.assert_allclose(alone, [0.5 / 3, 2.5 / 3], atol=1e-6)
