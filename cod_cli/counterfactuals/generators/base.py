"""Who writes counterfactuals: shot → candidate texts, one small protocol.

A generator proposes; whether a proposal flips the teacher, and what becomes of it, is decided above
(`counterfactuals.verify`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cod_cli.records import AttemptStatus, Shot


@dataclass(frozen=True)
class Need:
    """One counterfactual that is asked for.

    Args:
        shot: the text to edit.
        target: the class that the edited text shall have.
        attempt: which try this is, from 1.
        feedback: what was wrong with the last try, in words for the writer; None on the first.
        prompt: which of the generator's prompts shall ask (``name@hash``), None where it has none.
    """

    shot: Shot
    target: str
    attempt: int
    feedback: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Rejected:
    """A reply that holds no candidate text."""

    status: AttemptStatus
    reason: str | None


@dataclass(frozen=True)
class Proposal:
    """Candidate texts for a need, or a status and a reason where there is none.

    Status ``error`` means that there is no answer yet (server down, cap reached) and a later run asks
    again; every other status (``empty truncated refused malformed``) is a result. Where a request brings
    several replies, ``rejected`` holds those that neither ``texts`` nor ``status`` speak of.
    """

    need: Need
    texts: tuple[str, ...]
    status: AttemptStatus | None = None
    reason: str | None = None
    rejected: tuple[Rejected, ...] = ()


class Generator(Protocol):
    """What writes counterfactuals: ``name`` (``openai:gpt-4o``, ``editor``, ``file``), ``prompts`` (each as
    ``name@hash``, a single None where it needs none), and the number of tries that make sense with each of them.
    """

    name: str
    prompts: Sequence[str | None]
    max_attempts: int

    def propose(self, needs: Sequence[Need], *, progress: Callable[[int], object] | None = None) -> Iterator[Proposal]:
        """One proposal for each need, in any order, as they arrive."""
        ...
