"""Texts in batches of like length, whoever runs them: torch, or onnxruntime without it."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Progress = Callable[[int], object]
Encoding = dict[str, list[int]]
T = TypeVar("T")


def in_batches(
    lengths: Sequence[int],
    run: Callable[[Sequence[int]], Iterable[T]],
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> list[T]:
    """What ``run`` gives for each text, in the order of ``lengths``.

    Args:
        lengths: of the texts, in tokens.
        run: takes the indices of a batch, gives one result for each.
        batch_size: texts in a batch.
        progress: told after each batch how many texts are done.
    """
    # The longest first: memory that does not suffice fails at once.
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    found: dict[int, T] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        found.update(zip(rows, run(rows), strict=True))
        if progress is not None:
            progress(len(rows))
    return [found[index] for index in range(len(lengths))]
