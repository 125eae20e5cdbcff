"""A baseline without training: what the shots' nearest neighbours (kNN) say, in a sentence encoder's space."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from cod_cli.models.inference import Progress, batched_forward, encode
from cod_cli.models.load import Encoder

Floats = npt.NDArray[np.float32]
NEIGHBOURS = 5


def sentence_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    max_length: int = 256,
    progress: Progress | None = None,
) -> Floats:
    """Unit vectors ``(n, hidden)`` in the order of ``texts``: the mean of a text's last hidden states, normalised."""

    def forward(batch: dict[str, torch.Tensor]) -> Floats:
        mask = batch["attention_mask"].unsqueeze(-1).float()
        hidden = encoder.model(**batch).last_hidden_state.float()
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        vectors: Floats = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return vectors

    encodings = encode(encoder, texts, max_length)
    rows = batched_forward(encoder, encodings, forward, batch_size=batch_size, progress=progress)
    return np.array(rows, dtype=np.float32).reshape(len(texts), encoder.model.config.get_text_config().hidden_size)


def knn_logits(texts: Floats, shots: Floats, shot_classes: Sequence[int], classes: int) -> Floats:
    """Log-probabilities ``(n, classes)`` by the votes of the nearest shots.

    Args:
        texts: unit vectors (n, hidden).
        shots: unit vectors (k, hidden).
        shot_classes: the class index of each shot (k,).
        classes: how many classes there are.
    """
    cosines = texts @ shots.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
    weights = np.take_along_axis(cosines, nearest, axis=1).clip(min=0)
    votes = np.eye(classes)[np.asarray(shot_classes)[nearest]]
    totals = (weights[..., None] * votes).sum(axis=1) + 1 / classes
    log_p: Floats = np.log(totals / totals.sum(axis=1, keepdims=True)).astype(np.float32)
    return log_p
