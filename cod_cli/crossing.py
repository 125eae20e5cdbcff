"""Where a classifier's decision changes on the segment between two texts. Numbers in, numbers out.

Hamman et al. 2025 (arXiv 2510.21631), Lemma 1: between a text x and its counterfactual x', in embedding space, there is
a point where the teacher is undecided. Where the student is undecided on the same segment can be told likewise.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
# Of the segments ``rows`` (m,), at the places t (m,) in [0, 1]: the logit of the class behind the boundary less that of
# the class before it (m,).
Margins = Callable[[Indices, Floats], Floats]

# Halvings of the segment: the place is right to 2^-9, a five-hundredth of it.
STEPS = 8


def crossings(margins: Margins, n: int, steps: int = STEPS) -> Floats:
    """The places t ``(n,)`` where the margins pass zero from below, by bisection; not a number where they do not.

    A segment is crossed where its margin is negative at t = 0 and positive at t = 1. Where it passes zero more than
    once in between, one of those places is found.
    """
    ends = np.zeros(n), np.ones(n)
    everything = np.arange(n)
    crossed = (margins(everything, ends[0]) < 0) & (margins(everything, ends[1]) > 0)
    rows = everything[crossed]
    low, high = (end[crossed] for end in ends)
    for _ in range(steps if len(rows) else 0):
        middle = (low + high) / 2
        before = margins(rows, middle) < 0
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    found = np.full(n, np.nan)
    found[rows] = (low + high) / 2
    return found


def align(first: Sequence[int], second: Sequence[int], special: Collection[int] = ()) -> tuple[list[int], list[int]]:
    """Two token sequences brought to one length, position by position, so that points between them can be taken.

    Tokens that both have stay opposite each other. Where a run of tokens became another, the shorter one is stretched
    by repeating its tokens; where one side has none, it repeats the token before, or behind if that is ``special``.

    Args:
        first: token ids, at least one.
        second: likewise.
        special: ids that carry no text, such as [CLS].
    """
    one: list[int] = []
    two: list[int] = []
    for start, end, other_start, other_end in _runs(first, second):
        length = max(end - start, other_end - other_start)
        one += _stretched(first, start, end, length, special)
        two += _stretched(second, other_start, other_end, length, special)
    return one, two


def _runs(first: Sequence[int], second: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Where each run of equal or of changed tokens begins and ends, in either sequence."""
    runs: list[tuple[bool, int, int, int, int]] = []
    for op in Levenshtein.opcodes(first, second):
        equal, start, other_start = op.tag == "equal", op.src_start, op.dest_start
        if runs and not equal and not runs[-1][0]:
            _, start, _, other_start, _ = runs.pop()
        runs.append((equal, start, op.src_end, other_start, op.dest_end))
    return [run[1:] for run in runs]


def _stretched(tokens: Sequence[int], start: int, end: int, length: int, special: Collection[int]) -> list[int]:
    if start == end:
        before = start > 0 and tokens[start - 1] not in special
        return [tokens[start - 1 if before or start == len(tokens) else start]] * length
    return [tokens[start + i * (end - start) // length] for i in range(length)]
