"""Drawing a pool from a data source of any length, read once from its first row to its last."""

import hashlib
import heapq
import itertools
from dataclasses import dataclass

from cod_cli.data.source import TextSource
from cod_cli.errors import CodError
from cod_cli.pools.screen import Candidate, Screen
from cod_cli.store.jsonl import TornLineError
from cod_cli.ui import Advance

# Candidates beyond those asked for, in the place of near-copies among them.
_SPARE = 1000
# Where near-copies are so many that too few texts remain, the source is read again for four times as many candidates;
# so often at most, or a source of nothing else would be held whole.
_PASSES = 3
# Rows between two signs of life.
_TICK = 1000


@dataclass(frozen=True)
class Drawn:
    """Texts of a source with their ids, in the order of the draw; ``rows`` were read, ``torn`` was its last line.

    ``screen`` has counted why others are left out, ``broken`` is what kept the rest from being read.
    """

    texts: list[tuple[str, str]]
    rows: int
    torn: bool
    screen: Screen
    broken: CodError | None


def draw_texts(source: TextSource, n: int, seed: int, screen: Screen, progress: Advance) -> Drawn:
    """At most n texts that the screen lets in, of each distinct text with the same probability.

    Each text gets a number that it and the seed decide, and those with the least are taken: the draw does not hang on
    the order of the rows, nor on how often a text stands there, and that for a smaller n is the beginning of that for a
    larger one (bottom-k sampling: Cohen and Kaplan, PODC 2007). No more than a few texts for each wanted one are held.

    Raises:
        CodError: not even the first row can be read.
    """
    size = 2 * n + _SPARE
    for passes in itertools.count(1):
        reading = _Reading(source, size, seed, screen)
        reading.run(progress)
        texts = reading.admitted(n)
        if len(texts) == n or not reading.full or reading.broken or passes == _PASSES:
            break
        screen, size = screen.fresh(), 4 * size
    return Drawn(texts, reading.rows, reading.torn, screen, reading.broken)


class _Reading:
    """One pass over a source that holds the ``size`` candidates with the least numbers; ``full``: it let others go."""

    def __init__(self, source: TextSource, size: int, seed: int, screen: Screen) -> None:
        self.source, self.size, self.seed, self.screen = source, size, seed, screen
        self.rows = 0
        self.full = self.torn = False
        self.broken: CodError | None = None
        # The greatest number first; a text's number stands there once, however often the text is read.
        self._held: list[tuple[int, str, Candidate]] = []
        self._numbers: set[int] = set()

    def run(self, progress: Advance) -> None:
        """Read all rows, or those before the source breaks off."""
        try:
            for row_id, text in self.source.read():
                self.rows += 1
                if self.rows % _TICK == 0:
                    progress(_TICK)
                candidate = self.screen.look(text or "")
                if candidate:
                    self._hold(row_id, candidate)
        except TornLineError:
            self.torn = True
        except CodError as error:
            if not self.rows:
                raise
            self.broken = error

    def _hold(self, row_id: str, candidate: Candidate) -> None:
        number = _number(self.seed, candidate.key)
        if number in self._numbers or (len(self._held) == self.size and number > -self._held[0][0]):
            self.full |= number not in self._numbers
            return
        self._numbers.add(number)
        entry = (-number, row_id, candidate)
        if len(self._held) < self.size:
            heapq.heappush(self._held, entry)
            return
        self.full = True
        self._numbers.discard(-heapq.heapreplace(self._held, entry)[0])

    def admitted(self, n: int) -> list[tuple[str, str]]:
        """At most n that are near-copies of nothing, those with the least numbers first."""
        candidates = ((row_id, held) for _, row_id, held in sorted(self._held, key=lambda entry: -entry[0]))
        admitted = ((row_id, held.text) for row_id, held in candidates if self.screen.admit(held))
        return list(itertools.islice(admitted, n))


def _number(seed: int, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=seed.to_bytes(8)).digest())
