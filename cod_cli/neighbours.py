"""Nearest neighbours over the shots in a sentence encoder's space: what one would do without distilling at all.

A text is the mean of the encoder's last hidden states over its tokens, scaled to length 1 (the pooling of
sentence-transformers). Of the `N_NEIGHBOURS` shots nearest by cosine, or all where there are fewer, each votes for its
class with its cosine, negative ones with nothing; one vote shared by all classes keeps every probability above 0.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from cod_cli.models import Encoder, Progress, encode, pad

Floats = npt.NDArray[np.float32]

N_NEIGHBOURS = 5


@torch.inference_mode()
def sentence_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    max_length: int = 256,
    progress: Progress | None = None,
) -> Floats:
    """Unit vectors ``(n, hidden)`` in the order of ``texts``; batches hold texts of like length."""
    encodings = encode(encoder, texts, max_length)
    order = sorted(range(len(texts)), key=lambda index: len(encodings[index]["input_ids"]), reverse=True)
    vectors = np.empty((len(texts), encoder.model.config.get_text_config().hidden_size), dtype=np.float32)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = pad(encoder, [encodings[row] for row in rows])
        mask = batch["attention_mask"].unsqueeze(-1).float()
        hidden = encoder.model(**batch).last_hidden_state.float()
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        vectors[rows] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        if progress is not None:
            progress(len(rows))
    return vectors


def neighbour_logits(texts: Floats, shots: Floats, shot_classes: Sequence[int], classes: int) -> Floats:
    """Log-probabilities ``(n, classes)`` by the votes of the nearest shots.

    Args:
        texts: unit vectors (n, hidden).
        shots: unit vectors (k, hidden).
        shot_classes: the class index of each shot (k,).
        classes: how many classes there are.
    """
    cosines = texts @ shots.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :N_NEIGHBOURS]
    weights = np.take_along_axis(cosines, nearest, axis=1).clip(min=0)
    votes = np.eye(classes)[np.asarray(shot_classes)[nearest]]
    totals = (weights[..., None] * votes).sum(axis=1) + 1 / classes
    log_p: Floats = np.log(totals / totals.sum(axis=1, keepdims=True)).astype(np.float32)
    return log_p
