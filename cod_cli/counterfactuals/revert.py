"""The revert pass: undo edited spans of a counterfactual while it still flips the teacher."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from cod_cli.counterfactuals.edits import Span, apply, edit_ratio, n_edits, spans, tokenize, words
from cod_cli.metrics import flips
from cod_cli.teachers.base import Oracle

# Up to so many spans every subset is tried: at most 63 texts a pair.
EXHAUSTIVE = 6
# … and where each text costs money up to so many: at most 6.
FRUGAL = 3
# A text is written anew, not edited, where more than this share of the words changed, and more than these few.
REWRITE_RATIO = 0.5
REWRITE_WORDS = 3


@dataclass(frozen=True)
class Flip:
    """A text and its counterfactual for the class ``target`` (index in the teacher's label order).

    ``family`` is the id of the shot that both belong to.
    """

    source: str
    text: str
    target: int
    family: str | None = None


@dataclass(frozen=True)
class Minimal:
    """What is left of a counterfactual; ``minimal`` certifies that no proper subset of its edited spans flips."""

    text: str
    minimal: bool


def minimise(pairs: Sequence[Flip], teacher: Oracle) -> list[Minimal]:
    """Undo edited spans of counterfactuals that flip the teacher, as many as possible.

    Up to six spans all subsets are tried and the one with the fewest changed tokens wins (the most
    confident of equals); with more, single spans are undone, the longest first, until six are left or
    none can go; three where the teacher is not cheap. A text written anew is left as it is: half of it undone is no
    sentence.

    Returns:
        one result for each pair, in order; every text flips the teacher if the given one did.
    """
    texts = [pair.text for pair in pairs]
    certified = [False] * len(pairs)
    exhaustive = EXHAUSTIVE if teacher.cheap else FRUGAL
    before = teacher.logits([pair.source for pair in pairs], families=[pair.family for pair in pairs])
    active = [i for i, pair in enumerate(pairs) if not is_rewrite(pair.source, pair.text)]
    while active:
        # The spans of what is left may be cut otherwise than before, so each result is looked at again.
        partials = [_partials(pairs[i].source, texts[i], exhaustive) for i in active]
        families = [pairs[i].family for i, found in zip(active, partials, strict=True) for _ in found]
        logits = teacher.logits([partial.text for found in partials for partial in found], families=families)
        remaining, start = [], 0
        for i, found in zip(active, partials, strict=True):
            after = logits[start : start + len(found)]
            start += len(found)
            best = _smallest_flip(found, before[i], after, pairs[i].target)
            if best is None:
                certified[i] = len(spans(pairs[i].source, texts[i])) <= exhaustive
            else:
                texts[i] = best.text
                remaining.append(i)
        active = remaining
    return [Minimal(text, minimal) for text, minimal in zip(texts, certified, strict=True)]


def is_rewrite(source: str, text: str) -> bool:
    """Whether the text was written anew: more than half of the longer text's words changed, and more than three."""
    return n_edits(source, text) > REWRITE_WORDS and edit_ratio(source, text) > REWRITE_RATIO


@dataclass(frozen=True)
class _Partial:
    """The counterfactual with some spans undone, and how many changed tokens are left."""

    text: str
    size: int


def _partials(source: str, text: str, exhaustive: int) -> list[_Partial]:
    """The texts with fewer spans edited: every proper subset but the empty one, or one span less where there are many.

    With them, where it differs, the text with all its edits and the source's white space elsewhere.
    """
    found = spans(source, text)
    fewest = 1 if len(found) <= exhaustive else len(found) - 1
    subsets = (kept for n in range(fewest, len(found) + 1) for kept in combinations(range(len(found)), n))
    partials = (_Partial(apply(source, text, kept), sum(_size(found[i]) for i in kept)) for kept in subsets)
    return [partial for partial in partials if partial.text not in (text, "")]


def _size(span: Span) -> int:
    return max(span.source_end - span.source_start, span.target_end - span.target_start)


def _smallest_flip(
    partials: Sequence[_Partial], before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], target: int
) -> _Partial | None:
    flipped = [i for i, row in enumerate(after) if flips(before, row, target)]
    if not flipped:
        return None
    return partials[min(flipped, key=lambda i: (partials[i].size, -_margin(after[i], target)))]


def salient_words(teacher: Oracle, text: str, target: int, n: int = 3) -> list[str]:
    """The words that speak most against the class ``target``: without them the teacher leans towards it (occlusion).

    Returns:
        at most ``n`` words, the most decisive first.
    """
    tokens = tokenize(text)
    places = [i for i, token in enumerate(tokens) if words(token.text)]
    if len(places) < 2:
        return [tokens[i].text for i in places]
    without = ["".join(t.space + t.text for t in tokens[:i] + tokens[i + 1 :]).strip() for i in places]
    whole, *rest = teacher.logits([text, *without])
    gains = {i: _margin(row, target) - _margin(whole, target) for i, row in zip(places, rest, strict=True)}
    decisive = sorted((i for i in places if gains[i] > 0), key=lambda i: -gains[i])
    return list(dict.fromkeys(tokens[i].text for i in decisive))[:n]


def _margin(logits: npt.NDArray[np.float32], target: int) -> float:
    """How far the target is ahead of the best other class, in logits."""
    return float(logits[target] - np.delete(logits, target).max())
