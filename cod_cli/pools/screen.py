"""Which texts may enter a pool, whoever they are from: no shot, nothing that is scored, no near-copies."""

import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import regex
from rapidfuzz import fuzz

from cod_cli.counterfactuals.contrast import near_key
from cod_cli.counterfactuals.edits import words
from cod_cli.data.heldout import scored_texts
from cod_cli.errors import CodError
from cod_cli.records import PoolText
from cod_cli.store.run import Run

# Two texts are near-copies where so many per cent of their characters stand in one order.
NEAR = 90.0
# Texts that share nine of ten words are compared with a probability of 0.999, those that share a third with one of
# 0.6: MinHash in bands of two (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4).
_BANDS, _PER_BAND = 8, 2
_PRIME = (1 << 31) - 1
_FACTORS = np.random.RandomState(0).randint(1, _PRIME, size=(_BANDS * _PER_BAND, 2)).astype(np.int64)


@dataclass(frozen=True)
class Gathered:
    """What one source gave.

    ``counts`` says how many texts were looked at and why some are left out; ``broken`` why there may be more, which
    the same command would fetch. ``usage`` and ``cost`` are an LLM's, ``short`` says why it wrote fewer than asked.
    """

    rows: list[PoolText]
    counts: dict[str, int]
    broken: CodError | None = None
    usage: dict[str, int] = field(default_factory=dict)
    cost: float | None = None
    short: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A text as it would be let in, ``cut`` if its end is gone; ``key`` is what equal texts share."""

    key: bytes
    text: str
    cut: bool


class Screen:
    """Lets each text in once, and counts in ``dropped`` why others are left out, for `REASONS`.

    ``cut`` counts the texts that were let in without their end.
    """

    REASONS = ("empty", "one_word", "shots", "scored", "near_copies")

    def __init__(
        self, *, shots: Iterable[str], scored: Iterable[str], pool: Iterable[str] = (), max_words: int = 256
    ) -> None:
        self.max_words = max_words
        self._begun_with = {"shots": list(shots), "scored": list(scored), "pool": list(pool)}
        self.dropped: Counter[str] = Counter()
        self.cut = 0
        self._known: dict[bytes, str] = {}
        self._near = _NearCopies()
        for reason, name in (("near_copies", "pool"), ("scored", "scored"), ("shots", "shots")):
            for text in map(self._shortened, self._begun_with[name]):
                self._known[_key(text)] = reason
                self._near.add(text, reason)

    @classmethod
    def of(cls, run: Run, pool: Sequence[PoolText], *, max_words: int) -> "Screen":
        """That of a run whose pool holds these texts already.

        Raises:
            CodError: the rows that are scored cannot be read.
        """
        shots, held = [row.text for row in run.shots.read()], scored_texts(run)
        return cls(shots=shots, scored=held, pool=[row.text for row in pool], max_words=max_words)

    def fresh(self) -> "Screen":
        """One that has let nothing in yet."""
        return Screen(**self._begun_with, max_words=self.max_words)

    def look(self, text: str) -> Candidate | None:
        """The text as it would be let in; None, and counted, where it may not.

        Cheap: it is asked about each row of a source.
        """
        whole = text.strip()
        text = self._shortened(whole)
        reason = self._reason(text)
        key = _key(text)
        reason = reason or self._known.get(key)
        if reason:
            self.dropped[reason] += 1
            return None
        return Candidate(key, text, cut=len(text) < len(whole))

    def admit(self, candidate: Candidate) -> bool:
        """Let a text in, unless it nearly equals one that was let in, a shot or a scored one."""
        reason = self._near.find(candidate.text)
        if reason:
            self.dropped[reason] += 1
            return False
        self._near.add(candidate.text, "near_copies")
        self._known[candidate.key] = "near_copies"
        self.cut += candidate.cut
        return True

    def let_in(self, text: str) -> str | None:
        """The text as it was let in by `look` and `admit`, None where it was not."""
        candidate = self.look(text)
        return candidate.text if candidate and self.admit(candidate) else None

    def counts(self) -> dict[str, int]:
        """Why texts were left out, and how many were cut."""
        return {**{reason: self.dropped[reason] for reason in self.REASONS}, "cut": self.cut}

    def _reason(self, text: str) -> str | None:
        if not text:
            return "empty"
        # A script without spaces has many words between two of them.
        return "one_word" if len(text.split(maxsplit=1)) < 2 and len(words(text)) < 2 else None

    def _shortened(self, text: str) -> str:
        """At most so many words: a model that reads as many tokens sees no more."""
        if len(text.split(maxsplit=self.max_words)) <= self.max_words:
            return text
        kept = regex.match(rf"(?:\S+\s+){{{self.max_words - 1}}}\S+", text)
        return kept.group() if kept else text


class _NearCopies:
    """Texts by what near-copies of them share."""

    def __init__(self) -> None:
        self._buckets: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        self._texts: list[tuple[str, str]] = []

    def add(self, text: str, reason: str) -> None:
        """Keep a text; ``reason`` is what `find` gives for its near-copies."""
        for bucket in _buckets(text):
            self._buckets[bucket].append(len(self._texts))
        self._texts.append((_plain(text), reason))

    def find(self, text: str) -> str | None:
        """The reason of a text that this one nearly equals."""
        places = dict.fromkeys(place for bucket in _buckets(text) for place in self._buckets.get(bucket, ()))
        plain = _plain(text)
        found = (reason for known, reason in map(self._texts.__getitem__, places) if _near(plain, known))
        return next(found, None)


def _key(text: str) -> bytes:
    return hashlib.blake2b(_plain(text).encode(), digest_size=16).digest()


def _near(one: str, other: str) -> bool:
    return fuzz.ratio(one, other, score_cutoff=NEAR) > 0


def _plain(text: str) -> str:
    return " ".join(near_key(text))


def _buckets(text: str) -> list[tuple[int, ...]]:
    """For each band its number and the least hashes of the text's words."""
    hashes = np.array([zlib.crc32(word.encode()) % _PRIME for word in set(near_key(text))], dtype=np.int64)
    if not len(hashes):
        return [(0,)]
    least = ((_FACTORS[:, :1] * hashes + _FACTORS[:, 1:]) % _PRIME).min(axis=1).reshape(_BANDS, _PER_BAND)
    return [(band, *map(int, values)) for band, values in enumerate(least)]
