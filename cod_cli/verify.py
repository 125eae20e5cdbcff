"""From a candidate text to an accepted counterfactual or a reason: gates, teacher, revert pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cod_cli.edits import edit_ratio, n_edits, tokenize
from cod_cli.metrics import softmax
from cod_cli.records import AttemptStatus, Shot
from cod_cli.revert import Minimal, minimise
from cod_cli.teachers import Teacher, flips

# A short text needs room: up to this many changed words are never "too far".
ALWAYS_NEAR = 3


@dataclass(frozen=True)
class Candidate:
    """A text that somebody proposes as the counterfactual of ``shot`` for the class ``target``."""

    shot: Shot
    target: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate; ``text`` is what is left after the revert pass.

    ``p_before`` and ``p_after`` are the teacher's P(target); all of ``flipped p_before p_after minimal``
    are None where no teacher was asked.
    """

    candidate: Candidate
    text: str
    status: AttemptStatus
    reason: str | None = None
    flipped: bool | None = None
    p_before: float | None = None
    p_after: float | None = None
    minimal: bool | None = None


def gate(candidate: Candidate, taken: set[str], max_edit_ratio: float) -> tuple[AttemptStatus, str] | None:
    """Why a candidate need not be shown to the teacher, or None.

    Args:
        taken: texts that stand in the run already.
        max_edit_ratio: word-level edits allowed, as a share of the longer text's words; three words
            always are.
    """
    source, text = candidate.shot.text, candidate.text
    if not text.strip():
        return "empty", "the reply holds no text"
    if [token.text for token in tokenize(text)] == [token.text for token in tokenize(source)]:
        return "unchanged", "the text came back as it was"
    if text in taken:
        return "duplicate", "the same text stands in the run already"
    if n_edits(source, text) > ALWAYS_NEAR and (ratio := edit_ratio(source, text)) > max_edit_ratio:
        return "too-far", f"edit ratio {ratio:.2f} is above {max_edit_ratio:g}"
    return None


class Verifier:
    """Judges candidates against one teacher, or by the gates alone where there is none.

    Args:
        teacher: whom the CFEs must flip; None accepts whatever passes the gates.
        labels: the run's classes in order.
        max_edit_ratio: see `gate`.
    """

    def __init__(self, teacher: Teacher | None, labels: Sequence[str], *, max_edit_ratio: float) -> None:
        self.teacher = teacher
        self.labels = list(labels)
        self.max_edit_ratio = max_edit_ratio

    def judge(self, candidates: Sequence[Candidate], taken: set[str]) -> list[Verdict]:
        """A verdict for each candidate, in order; the teacher sees all that pass the gates in one batch."""
        seen = set(taken)
        verdicts: list[Verdict | None] = []
        for candidate in candidates:
            rejected = gate(candidate, seen, self.max_edit_ratio)
            seen.add(candidate.text)
            verdicts.append(Verdict(candidate, candidate.text, *rejected) if rejected else None)
        passed = [candidate for candidate, verdict in zip(candidates, verdicts, strict=True) if verdict is None]
        judged = iter(self._ask_teacher(passed))
        return [verdict or next(judged) for verdict in verdicts]

    def _ask_teacher(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        if self.teacher is None:
            return [Verdict(c, c.text, "accepted") for c in candidates]
        before = self.teacher.logits([c.shot.text for c in candidates])
        after = self.teacher.logits([c.text for c in candidates])
        verdicts = [self._verdict(c, b, a) for c, b, a in zip(candidates, before, after, strict=True)]
        return self._revert(verdicts)

    def _verdict(
        self, candidate: Candidate, before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]
    ) -> Verdict:
        target = self.labels.index(candidate.target)
        flipped = flips(before, after, target)
        reason = None if flipped else f"the teacher still says {self.labels[int(after.argmax())]}"
        return Verdict(
            candidate,
            candidate.text,
            "accepted" if flipped else "no-flip",
            reason,
            flipped=flipped,
            p_before=round(float(softmax(before)[target]), 6),
            p_after=round(float(softmax(after)[target]), 6),
        )
