"""Loading, running and saving classifiers: folders and Hub ids, tokenizers, devices, dtypes, layers."""

import inspect
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch

from cod_cli.models.load import Classifier, Encoder

Progress = Callable[[int], object]
Encoding = dict[str, list[int]]


def encode(encoder: Encoder, texts: Sequence[str], max_length: int = 256) -> list[Encoding]:
    """Token ids and masks as the model takes them, cut to ``max_length`` tokens (or to what it can take), unpadded."""
    if not texts:
        return []
    batch = encoder.tokenizer(list(texts), truncation=True, max_length=longest(encoder, max_length))
    accepted = inspect.signature(encoder.model.forward).parameters
    names = [name for name in batch if name in accepted]
    encodings = [{name: list(batch[name][index]) for name in names} for index in range(len(texts))]
    for encoding in encodings:
        # A decoder's tokenizer makes nothing of an empty text; a model needs one token at least.
        if not encoding["input_ids"]:
            encoding.update(input_ids=[cast(int, encoder.tokenizer.pad_token_id)], attention_mask=[1])
    return encodings


def longest(encoder: Encoder, max_length: int) -> int:
    """``max_length``, or the most tokens that tokenizer and position embeddings can take if that is less."""
    limits = [max_length, int(encoder.tokenizer.model_max_length)]
    for name, module in encoder.model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - offset)
    return min(limits)


def pad(encoder: Encoder, encodings: Sequence[Encoding]) -> dict[str, torch.Tensor]:
    """A batch on the encoder's device, padded on the right: each tensor [n, longest] of int64."""
    width = max(len(encoding["input_ids"]) for encoding in encodings)
    filler = {"input_ids": cast(int, encoder.tokenizer.pad_token_id)}
    batch = {}
    for name in encodings[0]:
        rows = [row[name] + [filler.get(name, 0)] * (width - len(row[name])) for row in encodings]
        batch[name] = on_device(torch.tensor(rows, dtype=torch.long), encoder.device)
    return batch


def on_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor there; to a GPU it travels from pinned memory while the CPU goes on."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@torch.inference_mode()
def logits_of(
    classifier: Classifier,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    max_length: int = 256,
    progress: Progress | None = None,
) -> np.ndarray:
    """Raw logits [n, C] in float32, in the order of ``texts``; batches hold texts of like length."""
    encodings = encode(classifier, texts, max_length)
    order = sorted(range(len(texts)), key=lambda index: len(encodings[index]["input_ids"]), reverse=True)
    logits = np.empty((len(texts), len(classifier.labels)), dtype=np.float32)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        output = classifier.model(**pad(classifier, [encodings[row] for row in rows]))
        logits[rows] = output.logits.float().cpu().numpy()
        if progress is not None:
            progress(len(rows))
    return logits
