"""What a classifier's last linear layer sees: its pooled features, whatever the family."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cod_cli.errors import CodError
from cod_cli.models import Classifier, encode, pad


@torch.inference_mode()
def features_of(
    classifier: Classifier, texts: Sequence[str], *, batch_size: int = 32, max_length: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """The input of the last linear layer and its raw logits, ``(n, d)`` and ``(n, C)``, float32, in the texts' order.

    A decoder's head looks at every token: its features are those at the last one, by which it decides.

    Raises:
        CodError: the logits are not what a last linear layer makes of its input.
    """
    encodings = encode(classifier, texts, max_length)
    order = sorted(range(len(texts)), key=lambda index: len(encodings[index]["input_ids"]), reverse=True)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    with _watching(classifier) as seen:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = pad(classifier, [encodings[row] for row in rows])
            logits = classifier.model(**batch).logits
            features = _pooled(seen, logits, batch["attention_mask"], classifier)
            pairs = zip(features.float().cpu().numpy(), logits.float().cpu().numpy(), strict=True)
            found.update(zip(rows, pairs, strict=True))
    features, logits = zip(*(found[index] for index in range(len(texts))), strict=True)
    return np.stack(features), np.stack(logits)


@contextmanager
def _watching(classifier: Classifier) -> Iterator[dict[str, Any]]:
    """Keeps, while within, the linear layer with a column for each class that ran last, and its input."""
    seen: dict[str, Any] = {}
    classes = len(classifier.labels)

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["layer"], seen["input"] = module, inputs[0]

    heads = [m for m in classifier.model.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    hooks = [module.register_forward_pre_hook(keep) for module in heads]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _pooled(seen: dict[str, Any], logits: Tensor, mask: Tensor, classifier: Classifier) -> Tensor:
    """The features by which each text was decided."""
    features: Tensor | None = seen.get("input")
    if features is not None and features.dim() == 3:
        features = features[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]
    if features is None or not torch.allclose(seen["layer"](features), logits, rtol=1e-3, atol=1e-3):
        family = classifier.model.config.model_type
        raise CodError(f"this model's ({family}) last linear layer cannot be told", "use a teacher of another family")
    return features
