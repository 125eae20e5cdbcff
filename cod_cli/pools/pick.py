"""Which of more texts than are wanted are taken: those that lie far from one another, or as many of each class."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cod_cli.evaluation.baselines import Vectors

# Texts to choose from for each that is taken: an encoder reads them all, and a teacher may be asked about all.
CHOICE = 10
# Texts that a teacher is asked about in one go.
_CHUNK = 256


def spread(vectors: Vectors, n: int, seed: int) -> list[int]:
    """The rows of n vectors that cover where all of them lie: of n clusters (k-means) the one nearest to each middle.

    A cluster may be empty: then the vector that is farthest from those taken stands for it.

    Args:
        vectors: unit vectors (m, hidden).
        n: how many are taken, at most.
        seed: of the first middles.
    """
    if len(vectors) <= n:
        return list(range(len(vectors)))
    from sklearn.cluster import MiniBatchKMeans

    fitted = MiniBatchKMeans(n, random_state=seed % 2**32, n_init=3, batch_size=max(1024, 2 * n)).fit(vectors)
    away = np.linalg.norm(vectors - fitted.cluster_centers_[fitted.labels_], axis=1)
    nearest: dict[int, int] = {}
    for row in np.argsort(away, kind="stable").tolist():
        nearest.setdefault(int(fitted.labels_[row]), row)
    taken = list(nearest.values())
    closeness = (vectors @ vectors[taken].T).max(axis=1)
    while len(taken) < n:
        closeness[taken] = np.inf
        taken.append(int(closeness.argmin()))
        closeness = np.maximum(closeness, vectors @ vectors[taken[-1]])
    return sorted(taken)


@dataclass(frozen=True)
class Balanced:
    """The rows taken, in order, how many are of each class, and how many texts the teacher was asked about."""

    rows: list[int]
    of: dict[str, int]
    asked: int


def balance(
    texts: Sequence[str], n: int, labels: Sequence[str], ask: Callable[[Sequence[str]], Sequence[int]]
) -> Balanced:
    """Take n texts, as many of each class as there are, at most n/C, by the teacher's choices.

    The teacher is asked about one text after the other until every class has its share; what a rare one leaves free
    the others take.

    Args:
        texts: to choose from, in the order in which they are asked about.
        n: how many are taken, at most.
        labels: the C classes.
        ask: the class index that the teacher chooses, of each text.
    """
    share = [n // len(labels) + (place < n % len(labels)) for place in range(len(labels))]
    chosen: list[int] = []
    for part in _parts(texts):
        if all(chosen.count(place) >= share[place] for place in range(len(labels))):
            break
        chosen += ask(part)
    places: dict[int, list[int]] = {place: [] for place in range(len(labels))}
    for row, place in enumerate(chosen):
        places[place].append(row)
    rows = [row for place, found in places.items() for row in found[: share[place]]]
    rest = sorted(set(range(len(chosen))) - set(rows))
    rows = sorted([*rows, *rest[: n - len(rows)]])
    counts = Counter(labels[chosen[row]] for row in rows)
    return Balanced(rows, {label: counts[label] for label in labels}, len(chosen))


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
