"""How far a row's class can be told from the shot that it stems from, and which contrasts a batch holds.

A contrast is a pair of rows of one family (a shot and its edits) and of unlike classes: only the words that decide, and
few others, differ between them. Rows are given as (family, class).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import comb, log2
from typing import TypeAlias

from cod_cli.training.batches import pack

Row: TypeAlias = tuple[str, int]


def told_by_shot(rows: Sequence[Row]) -> float:
    """The share of rows whose class is told right by whoever knows of each its shot alone, and says its commonest."""
    return sum(max(of.values()) for of in _by_family(rows).values()) / len(rows)


def shot_information(rows: Sequence[Row]) -> float:
    """I(class; shot) in bits over the rows: 0 where every family is mixed as all rows are."""
    within = sum(sum(of.values()) * _entropy(of.values()) for of in _by_family(rows).values()) / len(rows)
    # Rounding may leave a hair below zero, which no information is.
    return max(0.0, _entropy(Counter(label for _, label in rows).values()) - within)


def contrasts_a_batch(groups: Sequence[Sequence[Row]], batch_size: int) -> float:
    """How many contrasts a batch holds on average, where groups, never torn apart, are shuffled as training does.

    Exact for rows one by one (contrast sets) and where no family stands in two groups (pairs), else nearly so.
    """
    sizes = _batch_sizes(sum(map(len, groups)), batch_size)
    within = sum(map(_contrasts, groups))
    across = _contrasts([row for group in groups for row in group]) - within
    return (within + across * _together(sizes)) / len(sizes)


def contrasts_side_by_side(rows: Sequence[Row], batch_size: int) -> float:
    """As `contrasts_a_batch`, were each family's rows, shuffled among themselves, to follow one another in batches."""
    sizes = _batch_sizes(len(rows), batch_size)
    ends = list(accumulate(sizes))
    found, start = 0.0, 0
    for of in _by_family(rows).values():
        end = start + sum(of.values())
        shares = [min(end, last) - max(start, last - size) for last, size in zip(ends, sizes, strict=True)]
        found += _unlike(of) * _together([share for share in shares if share > 0])
        start = end
    return found / len(sizes)


def _by_family(rows: Iterable[Row]) -> dict[str, Counter[int]]:
    """How many rows of each class a family has."""
    found: dict[str, Counter[int]] = {}
    for family, label in rows:
        found.setdefault(family, Counter())[label] += 1
    return found


def _entropy(counts: Iterable[int]) -> float:
    counts = list(counts)
    return sum(n / sum(counts) * log2(sum(counts) / n) for n in counts)


def _contrasts(rows: Iterable[Row]) -> int:
    return sum(map(_unlike, _by_family(rows).values()))


def _unlike(counts: Counter[int]) -> int:
    """Pairs of unlike classes among rows of which so many are of each class."""
    return comb(counts.total(), 2) - sum(comb(n, 2) for n in counts.values())


def _batch_sizes(rows: int, batch_size: int) -> list[int]:
    """As `training.batches` cuts rows one by one."""
    return list(map(len, pack([(row,) for row in range(rows)], -(-rows // batch_size))))


def _together(sizes: Sequence[int]) -> float:
    """The chance that two of the rows that were dealt at random into parts of these sizes share one."""
    total = sum(sizes)
    return sum(comb(size, 2) for size in sizes) / comb(total, 2) if total > 1 else 0.0
