"""What every teacher offers: how probable each class is for a text, in the run's label order, and what it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from cod_cli.llm.prices import Estimate
from cod_cli.records import SoftLabel, text_sha

if TYPE_CHECKING:  # It pulls in torch, and what reads scores needs none.
    from cod_cli.models.inference import Progress

Source = Literal["logits", "logprobs", "votes"]


@dataclass(frozen=True)
class Output:
    """What a teacher says of one text.

    ``logits`` has one number a class in label order; an LLM's are log-probabilities. ``covered_mass`` is the share of
    its probability, or of its votes, that fell on the classes at all; at 0 nothing was said, and all classes are alike.
    """

    logits: tuple[float, ...]
    source: Source
    covered_mass: float = 1.0

    def soft_label(self, row_id: str, text: str, teacher: str) -> SoftLabel:
        """As it stands on disk for a row; ``teacher`` is a fingerprint."""
        return SoftLabel(
            id=row_id,
            text_sha=text_sha(text),
            logits=[round(value, 6) for value in self.logits],
            teacher=teacher,
            source=self.source,
            covered_mass=round(self.covered_mass, 6),
        )


@dataclass(frozen=True)
class Outputs:
    """An output for each text, None where there is none yet; ``reason`` then says why."""

    rows: tuple[Output | None, ...]
    reason: str | None = None


Logits = npt.NDArray[np.float32]


class Oracle(Protocol):
    """What the search for edits and their checks need of a teacher."""

    @property
    def cheap(self) -> bool:
        """Whether asking costs no money, so that many texts may be tried."""
        ...

    def logits(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: "Progress | None" = None
    ) -> Logits:
        """Raw logits [n, C], float32; ``families`` are the ids of the shots that the texts are or stem from."""
        ...


class Teacher(Oracle, Protocol):
    """Whose decisions a student learns: a model of one's own, or an LLM; what both kinds offer.

    ``logits`` has a row for each text and a column for each of ``labels``; ``fingerprint`` changes with whatever
    changes them.
    """

    @property
    def name(self) -> str:
        """The model folder, Hub id or LLM as the user wrote it."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The run's classes in order."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits."""
        ...

    @property
    def source(self) -> Literal["logits", "logprobs", "votes"]:
        """Where the numbers come from."""
        ...

    @property
    def queries(self) -> int:
        """How many different texts it was asked about, answers from a cache included."""
        ...

    @property
    def new_outputs(self) -> int:
        """How many texts it was asked about whose output no cache had."""
        ...

    @property
    def cache_size(self) -> int:
        """Outputs that its cache holds for all runs, those of other teachers of its sort included."""
        ...

    @property
    def cache_problem(self) -> str | None:
        """Why nothing could be kept, None where all is well."""
        ...

    def outputs(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: "Progress | None" = None
    ) -> Outputs:
        """What it says of each text, as far as it answers; ``progress`` is told of each text that is settled."""
        ...

    def estimate(
        self, texts: Sequence[str], families: Sequence[str | None] | None = None, *, anew: bool = False
    ) -> Estimate | None:
        """What asking about these texts would take, None where it costs nothing; ``anew``: as if nobody had asked."""
        ...
