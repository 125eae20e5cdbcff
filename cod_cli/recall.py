"""The memory of opinions that an LLM was paid for, shared by all runs."""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from cod_cli.cache import Cache
from cod_cli.opinions import Opinion

Told = Literal["logprobs", "votes"]


class OpinionMemory:
    """Opinions by question; texts are not kept, only their hashes.

    Args:
        cache: where they are kept.
        origin: whose they are: 16 hex digits over model and endpoint.
        classes: how many each has.
        votes: how many one was made of, where it was made of votes.
    """

    def __init__(self, cache: Cache[bytes], origin: str, *, classes: int, votes: int) -> None:
        self._cache = cache
        self._origin, self._classes, self._votes = origin, classes, votes

    @property
    def problem(self) -> str | None:
        """Why nothing could be kept, None where all is well."""
        return self._cache.problem

    def __len__(self) -> int:
        return self._cache.count()

    def get_many(self, keys: Iterable[str]) -> dict[str, Opinion]:
        """The opinions on those questions that are there; log-probabilities rather than votes."""
        wanted = list(keys)
        found: dict[str, Opinion] = {}
        sources: tuple[Told, ...] = ("votes", "logprobs")
        for source in sources:
            places = {self._place(key, source): key for key in wanted}
            rows = self._cache.get_many(places)
            found |= {places[at]: read for at, row in rows.items() if (read := self._unpacked(row, source))}
        return found

    def put_many(self, opinions: Mapping[str, Opinion]) -> None:
        """Keep opinions by question."""
        self._cache.put_many({self._place(key, opinion.source): _packed(opinion) for key, opinion in opinions.items()})

    def _place(self, key: str, source: str) -> str:
        return f"{self._origin}:{key}:{f'votes{self._votes}' if source == 'votes' else source}"

    def _unpacked(self, row: bytes, source: Told) -> Opinion | None:
        if len(row) != 8 * (self._classes + 1):
            return None
        *logits, covered = np.frombuffer(row, dtype="<f8").tolist()
        return Opinion(tuple(logits), source, covered)


def _packed(opinion: Opinion) -> bytes:
    return np.array([*opinion.logits, opinion.covered_mass], dtype="<f8").tobytes()
