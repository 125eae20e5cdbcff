"""Who writes counterfactuals: shot → candidate texts, one small protocol.

A generator proposes; whether a proposal flips the teacher, and what becomes of it, is decided above
(`counterfactuals.verify`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cod_cli.records import AttemptStatus, Shot


@dataclass(frozen=True)
class EditRequest:
    """One attempt at a case: a (shot, target) pair that a counterfactual is wanted for.

    Args:
        shot: the text to edit.
        target: the class that the edited text shall have.
        attempt: which attempt this is, from 1.
        feedback: what was wrong with the last attempt, in words for the writer; None on the first.
        prompt: which of the generator's prompts shall ask (``name@hash``), None where it has none.
        keep: a semifactual is wanted: ``target`` is the class that the text has, and shall keep.
    """

    shot: Shot
    target: str
    attempt: int
    feedback: str | None = None
    prompt: str | None = None
    keep: bool = False


@dataclass(frozen=True)
class EmptyReply:
    """A reply that holds no candidate text."""

    status: AttemptStatus
    reason: str | None


@dataclass(frozen=True)
class Proposal:
    """Candidate texts for a request, or a status and a reason where there is none.

    Status ``error`` means that there is no answer yet (server down, cap reached) and a later run asks
    again; every other status (``empty truncated refused malformed``) is a result. Where a request brings
    several replies, ``rejected`` holds those that neither ``texts`` nor ``status`` speak of.
    """

    request: EditRequest
    texts: tuple[str, ...]
    status: AttemptStatus | None = None
    reason: str | None = None
    rejected: tuple[EmptyReply, ...] = ()


class Generator(Protocol):
    """What writes counterfactuals: ``name`` (``openai:gpt-4o``, ``editor``, ``file``), ``prompts`` (each as
    ``name@hash``, a single None where it needs none), and the number of attempts that make sense with each of them.
    """

    name: str
    prompts: Sequence[str | None]
    max_attempts: int

    def propose(self, requests: Sequence[EditRequest]) -> Iterator[Proposal]:
        """One proposal for each request, in any order, as they arrive."""
        ...
