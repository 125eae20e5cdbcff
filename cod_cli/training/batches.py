"""Records become batches: a mix picks groups of rows, and a group is never torn apart.

A group is a shot together with its CFEs, so that a pair that straddles the teacher's boundary is always seen in
one gradient step.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor

from cod_cli.data.draw import Draws
from cod_cli.errors import UsageError
from cod_cli.models.inference import encode, on_device, pad
from cod_cli.models.load import Classifier
from cod_cli.training.processes import Processes
from cod_cli.training.trainset import Group

S = TypeVar("S", bound=Sequence[Any])


def batches_per_epoch(groups: Sequence[Sequence[Any]], batch_size: int) -> int:
    """``ceil(rows / batch_size)``: the same number of steps for every arm of as many rows.

    Raises:
        UsageError: there are fewer groups than that, so that a batch would be empty.
    """
    n_batches = -(-sum(map(len, groups)) // batch_size)
    if len(groups) < n_batches:
        largest = max(map(len, groups))
        raise UsageError(
            f"--batch-size {batch_size} makes {n_batches} batches of only {len(groups)} groups (a shot and its CFEs)",
            f"give --batch-size {largest} or more",
        )
    return n_batches


def pack(groups: Sequence[S], n_batches: int) -> list[list[S]]:
    """Whole groups, in their order, in exactly ``n_batches`` batches, none empty.

    Each is filled until it has its even share of the rows, so that it exceeds ``ceil(rows / n_batches)`` by less
    than its last group. There must be at least as many groups as batches.
    """
    rows = sum(map(len, groups))
    batches: list[list[S]] = [[]]
    placed = 0
    for index, group in enumerate(groups):
        full = placed * n_batches >= rows * len(batches)
        # The groups that are left are just enough to begin each of the remaining batches with one.
        scarce = len(groups) - index == n_batches - len(batches)
        if batches[-1] and (full or scarce):
            batches.append([])
        batches[-1].append(group)
        placed += len(group)
    return batches


def random_batches(
    groups: Sequence[S], n_batches: int, rng: Draws, length: Callable[[S], int], spread: float | None
) -> list[list[S]]:
    """The batches of one epoch, in a new random order: whole groups, those of like length together.

    Groups are packed in the order of their lengths, each stretched at random by up to ``spread`` (0.3: 30%) either way,
    so that there is little padding, and yet other company in every epoch. Without ``spread`` any order is as likely.
    """
    if spread is None:
        return pack(rng.sample(groups, len(groups)), n_batches)
    noisy = [(length(group) * rng.uniform(1 - spread, 1 + spread), index) for index, group in enumerate(groups)]
    batches = pack([groups[index] for _, index in sorted(noisy)], n_batches)
    return rng.sample(batches, n_batches)


# How far lengths are stretched when rows of like length are put together (see `random_batches`): a few rows need
# much of it to find new company in every epoch, thousands hardly any.
SPREAD = 0.3
SPREAD_OF_MANY = 0.1
MANY = 1000


@dataclass(frozen=True)
class Batch:
    """Padded rows on the model's device; ``ids`` name them.

    ``inputs`` are (rows, tokens) each, ``labels`` (rows,), ``logits`` the teacher's (rows, classes). ``weight`` is what
    a mean over them counts for where several processes share a batch.
    """

    ids: tuple[str, ...]
    inputs: Mapping[str, Tensor]
    labels: Tensor
    logits: Tensor
    weight: float = 1.0


class BatchLoader:
    """Tokenised groups of rows, dealt out as padded batches, epoch after epoch.

    Args:
        classifier: whose tokenizer and device to use.
        groups: rows that share a batch; see `batches.random_batches` for the order of each epoch.
        batch_size: rows in a batch, exceeded by less than a group.
        max_length: longest text in tokens.
        seed: of the order.
        by_length: groups of like length share a batch. Edits of one text are all as long as it: where they are groups
            of their own they would stand side by side, and students of such batches fall to one class.
    """

    def __init__(
        self,
        classifier: Classifier,
        groups: Sequence[Group],
        *,
        batch_size: int,
        max_length: int,
        seed: int,
        by_length: bool = True,
    ) -> None:
        rows = list(chain.from_iterable(groups))
        self._classifier = classifier
        self._groups = groups
        self._random = Draws(seed)
        self._spread = None if not by_length else SPREAD if len(groups) < MANY else SPREAD_OF_MANY
        self.n_batches = batches_per_epoch(groups, batch_size)
        self.encodings = dict(
            zip([row.id for row in rows], encode(classifier, [row.text for row in rows], max_length), strict=True)
        )

    def epochs(self, n: int) -> Iterator[Iterator[Batch]]:
        """The batches of ``n`` epochs."""
        for _ in range(n):
            batches = random_batches(self._groups, self.n_batches, self._random, self._length, self._spread)
            yield map(self._collate, batches)

    def _length(self, group: Group) -> int:
        return max(len(self.encodings[row.id]["input_ids"]) for row in group)

    def _collate(self, groups: Iterable[Group]) -> Batch:
        rows = list(chain.from_iterable(groups))
        device = self._classifier.device
        return Batch(
            ids=tuple(row.id for row in rows),
            inputs=pad(self._classifier, [self.encodings[row.id] for row in rows]),
            labels=on_device(torch.tensor([row.label for row in rows]), device),
            logits=on_device(torch.tensor([row.logits for row in rows]), device),
        )


def share_of(batch: Batch, processes: Processes) -> Batch:
    """One process's rows of a batch; where there are fewer rows than processes, the first one without weight."""
    if processes.count == 1:
        return batch
    total = len(batch.ids)
    mine = list(range(processes.rank, total, processes.count))
    rows = torch.tensor(mine or [0], device=batch.labels.device)
    return Batch(
        ids=tuple(batch.ids[row] for row in mine or [0]),
        inputs={name: tensor[rows] for name, tensor in batch.inputs.items()},
        labels=batch.labels[rows],
        logits=batch.logits[rows],
        weight=len(mine) * processes.count / total,
    )
