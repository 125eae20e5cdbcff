"""Draws that a seed decides, the same ones on every version of Python."""

import math
import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from cod_cli.data.columns import listed
from cod_cli.data.source import Row
from cod_cli.errors import CodError, UsageError

T = TypeVar("T")


class Draws:
    """One draw after the other, as `random.Random` of the same seed makes them in CPython 3.11."""

    # The library promises no more than random() between versions of Python, and changed the others before: with them
    # a later Python would train other students and write other rows for the same seed.
    def __init__(self, seed: int | str) -> None:
        generator = random.Random(seed)
        self.random, self._bits = generator.random, generator.getrandbits

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        while (number := self._bits(n.bit_length())) >= n:
            pass
        return number

    def uniform(self, low: float, high: float) -> float:
        """A number between two."""
        return low + (high - low) * self.random()

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def shuffle(self, items: list[T]) -> None:
        """Put the items into another order, in place."""
        for last in reversed(range(1, len(items))):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """``k`` of the items, each at most once, in random order."""
        n = len(items)
        if n > 21 + (4 ** math.ceil(math.log(k * 3, 4)) if k > 5 else 0):  # few of many: draw anew what is drawn
            places: dict[int, None] = {}
            while len(places) < k:
                places[self.below(n)] = None
            return [items[place] for place in places]
        pool, drawn = list(items), []
        for left in range(n, n - k, -1):
            place = self.below(left)
            drawn.append(pool[place])
            pool[place] = pool[left - 1]
        return drawn


def shuffled(items: Iterable[T], seed: str) -> list[T]:
    """The items in an order that the seed alone decides; each one's place hangs on its position before."""
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
            f"-k {k} is below the number of classes ({len(labels)}: {listed(labels)})", f"use -k {len(labels)}"
        )
    order = shuffled(labels, f"{seed}")
    piles = {label: shuffled([row for row in rows if row.label == label], f"{seed} {label}") for label in order}
    most = min(len(piles[label]) * len(order) + place for place, label in enumerate(order))
    if k > most:
        there = listed([f"{label} {len(piles[label]):,}" for label in labels])
        way_out = f"-k {most} is the most that is balanced; " if most >= len(labels) else ""
        raise CodError(f"too few rows of a class for -k {k}: {there}", f"{way_out}-k all takes every row as it is")
    return [piles[order[i % len(order)]][i // len(order)] for i in range(k)]
