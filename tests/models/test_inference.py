"""Texts in batches of like length, and their results in the order in which the texts came."""

import pytest
import torch

from cod_cli.models.inference import batched_forward, encode
from cod_cli.models.load import Classifier, load_classifier
from tests.models.tiny import tiny_classifier

TEXTS = ["good", "a long story about two friends and their sister", "a film", "an old film about friends", "bad"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load_classifier(str(tiny_classifier(tmp_path_factory.mktemp("model"))), device="cpu")


def test_each_text_gets_its_own_result_and_the_longest_come_first(classifier: Classifier) -> None:
    encodings = encode(classifier, TEXTS)
    shapes: list[tuple[int, ...]] = []

    def lengths(batch: dict[str, torch.Tensor]) -> list[int]:
        shapes.append(tuple(batch["input_ids"].shape))
        return batch["attention_mask"].sum(1).tolist()

    done: list[int] = []
    found = batched_forward(classifier, encodings, lengths, batch_size=2, progress=done.append)
    assert found == [len(encoding["input_ids"]) for encoding in encodings]
    longest = sorted(found, reverse=True)
    assert shapes == [(2, longest[0]), (2, longest[2]), (1, longest[4])]
    assert done == [2, 2, 1]


def test_no_gradient_is_kept_and_results_can_be_trained_on(classifier: Classifier) -> None:
    rows = batched_forward(classifier, encode(classifier, TEXTS), lambda batch: classifier.model(**batch).logits)
    assert len(rows) == len(TEXTS)
    assert not any(row.requires_grad or row.is_inference() for row in rows)


def test_a_batch_that_loses_a_row_is_an_error(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="shorter"):
        batched_forward(classifier, encode(classifier, TEXTS), lambda batch: batch["input_ids"][1:])


def test_no_texts_give_no_results(classifier: Classifier) -> None:
    assert batched_forward(classifier, [], lambda batch: batch["input_ids"]) == []
