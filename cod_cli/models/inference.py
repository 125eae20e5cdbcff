"""Running a model on texts: tokens, padded batches of like length, and logits in the order of the texts."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast

import numpy as np
import torch

from cod_cli.errors import CodError
from cod_cli.models.batching import Encoding as Encoding
from cod_cli.models.batching import Progress as Progress
from cod_cli.models.batching import in_batches
from cod_cli.models.load import Classifier, Encoder, loading

T = TypeVar("T")
_SHOWN = 60  # characters of a text in an error


def encode(encoder: Encoder, texts: Sequence[str], max_length: int = 256) -> list[Encoding]:
    """Token ids and masks as the model takes them, cut to ``max_length`` tokens (or to what it can take), unpadded.

    Raises:
        CodError: a damaged tokenizer, or one that knows more tokens than the model.
    """
    if not texts:
        return []
    with loading(encoder.name):
        batch = encoder.tokenizer(list(texts), truncation=True, max_length=longest(encoder, max_length))
    _require_known(encoder, batch["input_ids"])
    accepted = inspect.signature(encoder.model.forward).parameters
    names = [name for name in batch if name in accepted]
    encodings = [{name: list(batch[name][index]) for name in names} for index in range(len(texts))]
    for encoding in encodings:
        # A decoder's tokenizer makes nothing of an empty text; a model needs one token at least.
        if not encoding["input_ids"]:
            encoding.update(input_ids=[cast(int, encoder.tokenizer.pad_token_id)], attention_mask=[1])
    return encodings


def word_tokens(encoder: Encoder, words: Sequence[str]) -> list[int | None]:
    """The token that each word is in the middle of a text; None where it is several, or unknown."""
    if not words:
        return []
    tokenizer = encoder.tokenizer
    encoded = tokenizer([f"a {word}" for word in words], add_special_tokens=False, return_offsets_mapping=True)
    found: list[int | None] = []
    for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        behind = [index for index, (start, end) in zip(ids, offsets, strict=True) if end > max(start, 2)]
        found.append(behind[0] if len(behind) == 1 and behind[0] != tokenizer.unk_token_id else None)
    return found


def _require_known(encoder: Encoder, token_ids: Iterable[Sequence[int]]) -> None:
    """Refuse tokens behind the embedding's last row: a token was added, most often for padding, and no row for it."""
    table = encoder.model.get_input_embeddings()
    largest = max(max(ids, default=0) for ids in (*token_ids, [cast(int, encoder.tokenizer.pad_token_id)]))
    if isinstance(table, torch.nn.Embedding) and largest >= table.num_embeddings:
        token = encoder.tokenizer.convert_ids_to_tokens(largest)
        raise CodError(
            f"{encoder.name}: its tokenizer's token {token!r} has the number {largest}, and the model knows "
            f"{table.num_embeddings} tokens",
            "save the tokenizer that the model was trained with; after adding a token, `resize_token_embeddings`",
        )


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
    # `tokenizer.pad` gives the same bits in twice the time, and each step of a training pads.
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


@torch.no_grad()
def batched_forward(
    encoder: Encoder,
    encodings: Sequence[Encoding],
    forward: Callable[[dict[str, torch.Tensor]], Iterable[T]],
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> list[T]:
    """What a model makes of each text, in the order of ``encodings``; batches hold texts of like length.

    Args:
        encoder: whose tokenizer pads, and on whose device.
        encodings: as `encode` gives them.
        forward: runs the model on a padded batch, (rows, tokens) each; one result for each of its rows.
        batch_size: rows in a batch.
        progress: told after each batch how many rows are done.
    """
    return in_batches(
        [len(encoding["input_ids"]) for encoding in encodings],
        lambda rows: forward(pad(encoder, [encodings[row] for row in rows])),
        batch_size=batch_size,
        progress=progress,
    )


def logits_of(
    classifier: Classifier,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    max_length: int = 256,
    progress: Progress | None = None,
) -> np.ndarray:
    """Raw logits [n, C] in float32, in the order of ``texts``.

    Raises:
        CodError: logits that are not finite.
    """

    def forward(batch: dict[str, torch.Tensor]) -> np.ndarray:
        logits: np.ndarray = classifier.model(**batch).logits.float().cpu().numpy()
        return logits

    encodings = encode(classifier, texts, max_length)
    rows = batched_forward(classifier, encodings, forward, batch_size=batch_size, progress=progress)
    return require_finite(classifier, texts, rows).reshape(len(texts), len(classifier.labels))


def require_finite(encoder: Encoder, texts: Sequence[str], rows: Sequence[np.ndarray]) -> np.ndarray:
    """What a model says of each text, [n, …] in float32; for those who keep, write or compare it.

    Raises:
        CodError: numbers that are not finite; names the model and the first such text.
    """
    values = np.array(rows, dtype=np.float32)
    broken = [index for index, row in enumerate(values) if not np.isfinite(row).all()]
    if broken:
        text = texts[broken[0]]
        raise CodError(
            f"{encoder.name} gives NaN or infinity for {len(broken)} of {len(texts)} texts; the first, text "
            f"{broken[0] + 1}: {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'!r}",
            "its weights are damaged or overflow in 32 bits: train or fetch the model again",
        )
    return values
