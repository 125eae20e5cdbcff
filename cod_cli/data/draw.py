"""Draws that a seed decides, the same ones on every version of Python."""

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from cod_cli.data.source import Row
from cod_cli.errors import CodError, UsageError

T = TypeVar("T")


def shuffled(items: Iterable[T], seed: str) -> list[T]:
    """The items in an order that the seed alone decides; each one's place hangs on its position before."""
    # Only random() itself is promised to stay the same between versions of Python: not shuffle(), not sample().
    rng = random.Random(seed)
    keyed = [(rng.random(), item) for item in items]
    return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]


def draw(rows: Sequence[Row], labels: Sequence[str], k: int, seed: int) -> list[Row]:
    """Draw k rows, the classes in turn, so that their counts differ by at most one.

    The rows for a smaller k are a prefix of those for a larger one. A class's draw depends on its own rows and the
    seed alone.

    Raises:
        UsageError: k is below the number of classes.
        CodError: a class has too few rows.
    """
    if k < len(labels):
        raise UsageError(
            f"-k {k} is below the number of classes ({len(labels)}: {', '.join(labels)})", f"use -k {len(labels)}"
        )
    order = shuffled(labels, f"{seed}")
    piles = {label: shuffled([row for row in rows if row.label == label], f"{seed} {label}") for label in order}
    most = min(len(piles[label]) * len(order) + place for place, label in enumerate(order))
    if k > most:
        there = ", ".join(f"{label} {len(piles[label]):,}" for label in labels)
        way_out = f"-k {most} is the most that is balanced; " if most >= len(labels) else ""
        raise CodError(f"too few rows of a class for -k {k}: {there}", f"{way_out}-k all takes every row as it is")
    return [piles[order[i % len(order)]][i // len(order)] for i in range(k)]
