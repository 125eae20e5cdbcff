"""Nearest neighbours over the shots: vectors and votes against a computation by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from cod_cli.errors import CodError
from cod_cli.evaluation.baselines import NEIGHBOURS, knn_logits, sentence_vectors
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
