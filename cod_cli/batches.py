"""Records become batches: a mix picks groups of rows, and a group is never torn apart.

A group is a shot together with its CFEs, so that a pair that straddles the teacher's boundary is always seen in
one gradient step.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cod_cli.errors import CodError, UsageError
from cod_cli.kinds import OTHER_BUDGET, RIVALS, require_mix
from cod_cli.records import Counterfactual, Shot, SoftLabel, text_sha

Row = Shot | Counterfactual
S = TypeVar("S", bound=Sequence[Any])


@dataclass(frozen=True)
class Example:
    """A row to train on: its class index, and the teacher's raw logits in the same order of classes."""

    id: str
    text: str
    label: int
    logits: tuple[float, ...] = ()


Group = list[Example]


def select(mix: str, shots: Sequence[Shot], counterfactuals: Iterable[Counterfactual]) -> list[list[Row]]:
    """The groups of rows that a mix trains on, in the order of the shots.

    ``shots`` takes the k shots, ``all`` adds every CFE, ``cod`` always takes exactly k rows: it walks the shots
    and takes each with its CFEs; at the first group that does not fit, the rows still free go to that shot and the
    next ones, alone. A CFE whose shot is not there is left out. A rival takes its rows in the place of CFEs; of real
    texts, made from no shot, k/2 beside as many shots, or all beside all where the budget is another.
    """
    require_mix(mix)
    if mix == "shots":
        return [[shot] for shot in shots]
    if mix in RIVALS and RIVALS[mix].real:
        return _beside(shots, list(counterfactuals), everything=mix in OTHER_BUDGET)
    derived = defaultdict(list)
    for counterfactual in counterfactuals:
        derived[counterfactual.shot_id].append(counterfactual)
    groups: list[list[Row]] = [[shot, *derived[shot.id]] for shot in shots]
    return groups if mix == "all" else _equal_budget(groups)


def _beside(shots: Sequence[Shot], texts: Sequence[Row], *, everything: bool) -> list[list[Row]]:
    """Shots and real texts, each alone; where the texts are too few, shots fill up."""
    taken = texts if everything else texts[: len(shots) // 2]
    kept = shots if everything else shots[: len(shots) - len(taken)]
    return [[row] for row in (*kept, *taken)]


def _equal_budget(groups: list[list[Row]]) -> list[list[Row]]:
    taken: list[list[Row]] = []
    free = len(groups)
    for index, group in enumerate(groups):
        if len(group) > free:
            return taken + [[shot] for shot, *_ in groups[index : index + free]]
        taken.append(group)
        free -= len(group)
    return taken


def join(
    rows: Iterable[Row],
    labels: Sequence[str],
    soft_labels: Iterable[SoftLabel],
    soft_order: Sequence[str],
    *,
    command: str,
) -> dict[str, Example]:
    """Rows by their id, with class indices and teacher logits; joined by id and text hash.

    Args:
        rows: shots and CFEs.
        labels: the student's classes in order.
        soft_labels: all that the teacher labelled; those of other rows are ignored.
        soft_order: the classes that the logits of ``soft_labels`` stand for, in order.
        command: what to run where a soft label is missing or belongs to another text.

    Raises:
        CodError: the classes differ, or a row has no soft label for its text.
    """
    if set(labels) != set(soft_order):
        raise CodError(
            f"the soft labels are for the classes {', '.join(soft_order)}, the shots have {', '.join(labels)}",
            f"label them with a teacher of these classes: `{command} --force`",
        )
    by_id = {soft.id: soft for soft in soft_labels}
    order = [soft_order.index(label) for label in labels]
    indices = {label: index for index, label in enumerate(labels)}

    def example(row: Row) -> Example:
        soft = by_id.get(row.id)
        if soft is None:
            raise CodError(f"{row.id} has no soft label", f"fill it in: `{command}`")
        if soft.text_sha != text_sha(row.text):
            raise CodError(f"the soft label of {row.id} was made for another text", f"fill it in: `{command}`")
        if row.label not in indices:
            raise CodError(f"{row.id} has the label {row.label!r}, not one of: {', '.join(labels)}", "mend that row")
        return Example(row.id, row.text, indices[row.label], tuple(soft.logits[i] for i in order))

    return {row.id: example(row) for row in rows}


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
    groups: Sequence[S], n_batches: int, rng: random.Random, length: Callable[[S], int], spread: float
) -> list[list[S]]:
    """The batches of one epoch, in a new random order: whole groups, those of like length together.

    Groups are packed in the order of their lengths, each stretched at random by up to ``spread`` (0.3: 30%) either way,
    so that there is little padding, and yet other company in every epoch.
    """
    noisy = [(length(group) * rng.uniform(1 - spread, 1 + spread), index) for index, group in enumerate(groups)]
    batches = pack([groups[index] for _, index in sorted(noisy)], n_batches)
    return rng.sample(batches, n_batches)
