"""What the last linear layer sees, in each family of models."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cod_cli.errors import CodError
from cod_cli.models.inference import logits_of
from cod_cli.models.load import load_classifier
from cod_cli.report.why.fisher import features_of
from tests.models.tiny import Family, sentences, tiny_classifier

TEXTS = [text for text, _ in sentences(7, seed=1)]
HEADS = {
    "bert": "classifier",
    "distilbert": "classifier",
    "deberta": "classifier",
    "roberta": "classifier.out_proj",
    "modernbert": "classifier",
    "qwen2": "score",
}


@pytest.mark.parametrize("family", HEADS)
def test_the_head_makes_the_logits_of_them(tmp_path: Path, family: Family) -> None:
    labels = ("negative", "neutral", "positive")
    classifier = load_classifier(str(tiny_classifier(tmp_path, labels=labels, family=family)), device="cpu")
    features, logits = features_of(classifier, TEXTS, batch_size=3)
    assert features.shape == (7, 32)
    np.testing.assert_allclose(logits, logits_of(classifier, TEXTS), rtol=1e-4, atol=1e-5)
    head = classifier.model.get_submodule(HEADS[family])
    with torch.no_grad():
        np.testing.assert_allclose(head(torch.tensor(features)).numpy(), logits, rtol=1e-4, atol=1e-5)


def test_an_encoders_are_pooled_and_a_decoders_are_the_last_tokens(tmp_path: Path) -> None:
    bert = load_classifier(str(tiny_classifier(tmp_path / "bert")), device="cpu")
    qwen = load_classifier(str(tiny_classifier(tmp_path / "qwen", family="qwen2")), device="cpu")
    for row, text in enumerate(TEXTS):
        with torch.no_grad():
            pooled = bert.model.bert(**bert.tokenizer(text, return_tensors="pt")).pooler_output[0]
            last = qwen.model.model(**qwen.tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1]
        np.testing.assert_allclose(features_of(bert, TEXTS)[0][row], pooled.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(features_of(qwen, TEXTS)[0][row], last.numpy(), rtol=1e-4, atol=1e-5)


def test_nothing_stays_hooked_to_the_model(tmp_path: Path) -> None:
    classifier = load_classifier(str(tiny_classifier(tmp_path)), device="cpu")
    features_of(classifier, TEXTS)
    assert not any(module._forward_pre_hooks for module in classifier.model.modules())


def test_a_model_that_does_more_behind_its_last_layer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = load_classifier(str(tiny_classifier(tmp_path)), device="cpu")
    forward = classifier.model.forward

    def squashed(**batch: torch.Tensor) -> object:
        output = forward(**batch)
        output.logits = 10 * torch.tanh(output.logits)
        return output

    monkeypatch.setattr(classifier.model, "forward", squashed)
    monkeypatch.setattr("cod_cli.report.why.fisher.encode", lambda c, texts, n: [dict(c.tokenizer(t)) for t in texts])
    with pytest.raises(CodError, match=r"\(bert\) last linear layer cannot be told"):
        features_of(classifier, TEXTS)
