"""From a candidate text to an accepted counterfactual or a reason: gates, teacher, revert pass, and the judge.

Also what must be known before: what the teacher says of the shots, and so which class each is to be edited into.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from cod_cli.counterfactuals.edits import column_names, edit_ratio, n_edits, spans, tokenize
from cod_cli.counterfactuals.revert import Flip, Minimal, minimise, salient_words
from cod_cli.errors import CodError, UsageError
from cod_cli.metrics import flips, softmax
from cod_cli.records import AttemptStatus, Counterfactual, Shot
from cod_cli.settings.shared import TeacherSpec
from cod_cli.teachers.base import Logits, Oracle, Teacher
from cod_cli.teachers.open import load_teacher

# A short text needs room: up to this many changed words are never "too far".
ALWAYS_NEAR = 3
# Farther away than any class.
_NEVER = -1e9
TAKEN = "the same text stands in the run already"


@dataclass(frozen=True)
class Candidate:
    """A text that ``prompt``, or somebody without one, proposes as the counterfactual of ``shot`` for ``target``."""

    shot: Shot
    target: str
    text: str
    prompt: str | None = None


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


def gate(
    candidate: Candidate, taken: Collection[str], max_edit_ratio: float, columns: Sequence[str] = ()
) -> tuple[AttemptStatus, str] | None:
    """Why a candidate need not be shown to the teacher, or None.

    Args:
        taken: texts that stand in the run already.
        max_edit_ratio: word-level edits allowed, as a share of the longer text's words; three words
            always are.
        columns: those whose names stand before their values in the texts: an edit must leave the names alone.
    """
    source, text = candidate.shot.text, candidate.text
    if not text.strip():
        return "empty", "the reply holds no text"
    if [token.text for token in tokenize(text)] == [token.text for token in tokenize(source)]:
        return "unchanged", "the text came back as it was"
    if text in taken:
        return "duplicate", TAKEN
    if column_names(text, columns) != column_names(source, columns):
        return "malformed", f"it changes the name of a column ({', '.join(columns)}); only the values may change"
    if n_edits(source, text) > ALWAYS_NEAR and (ratio := edit_ratio(source, text)) > max_edit_ratio:
        return "too-far", f"edit ratio {ratio:.2f} is above {max_edit_ratio:g}"
    return None


class Verifier:
    """Judges candidates against one teacher, or by the gates alone where there is none.

    Args:
        teacher: whom the CFEs must flip; None accepts whatever passes the gates.
        labels: the run's classes in order.
        max_edit_ratio: see `gate`.
        revert: whether needless edits are undone.
        columns: see `gate`.
    """

    def __init__(
        self,
        teacher: Oracle | None,
        labels: Sequence[str],
        *,
        max_edit_ratio: float,
        revert: bool = True,
        columns: Sequence[str] = (),
    ) -> None:
        self.teacher = teacher
        self.labels = list(labels)
        self.max_edit_ratio = max_edit_ratio
        self.revert = revert
        self.columns = columns

    def judge(self, candidates: Sequence[Candidate], taken: set[str]) -> list[Verdict]:
        """A verdict for each candidate, in order; the teacher sees all that pass the gates in one batch."""
        # Two prompts may find the same edit; two shots must not.
        seen: set[tuple[str | None, str, str]] = set()
        verdicts: list[Verdict | None] = []
        for candidate in candidates:
            rejected = gate(candidate, taken, self.max_edit_ratio, self.columns)
            mine = (candidate.prompt, candidate.target, candidate.text)
            if rejected is None and mine in seen:
                rejected = "duplicate", "another candidate is the same text"
            seen.add(mine)
            verdicts.append(Verdict(candidate, candidate.text, *rejected) if rejected else None)
        passed = [candidate for candidate, verdict in zip(candidates, verdicts, strict=True) if verdict is None]
        judged = iter(self.ask_teacher(passed))
        return [verdict or next(judged) for verdict in verdicts]

    def ask_teacher(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """Verdicts on candidates that passed the gates, in order."""
        if self.teacher is None:
            return [Verdict(c, c.text, "accepted") for c in candidates]
        families = [c.shot.id for c in candidates]
        before = self.teacher.logits([c.shot.text for c in candidates], families=families)
        after = self.teacher.logits([c.text for c in candidates], families=families)
        flipped = [flips(b, a, self.index_of(c)) for c, b, a in zip(candidates, before, after, strict=True)]
        reverted = iter(self._revert(candidates, flipped, self.teacher))
        texts = [next(reverted) if flip else None for flip in flipped]
        left = [m.text if m else c.text for m, c in zip(texts, candidates, strict=True)]
        final = self.teacher.logits(left, families=families)
        return [self._verdict(*row) for row in zip(candidates, texts, before, final, strict=True)]

    def _revert(self, candidates: Sequence[Candidate], flipped: Sequence[bool], teacher: Oracle) -> list[Minimal]:
        chosen = [c for c, flip in zip(candidates, flipped, strict=True) if flip]
        pairs = [Flip(c.shot.text, c.text, self.index_of(c), c.shot.id) for c in chosen]
        if not self.revert:
            return [Minimal(pair.text, minimal=len(spans(pair.source, pair.text)) == 1) for pair in pairs]
        return minimise(pairs, teacher)

    def _verdict(self, candidate: Candidate, reverted: Minimal | None, before: Logits, after: Logits) -> Verdict:
        target = self.index_of(candidate)
        return Verdict(
            candidate,
            reverted.text if reverted else candidate.text,
            "accepted" if reverted else "no-flip",
            None if reverted else f"the teacher reads it as {self.labels[int(after.argmax())]}",
            flipped=reverted is not None,
            p_before=round(float(softmax(before)[target]), 6),
            p_after=round(float(softmax(after)[target]), 6),
            minimal=reverted.minimal if reverted else None,
        )

    def feedback(self, verdict: Verdict) -> str:
        """What was wrong with a rejected text and, where many questions are cheap, the words to change.

        Those are the words that decide the rejected text, or the shot itself where that text is no step from it.
        """
        candidate = verdict.candidate
        said = f"An earlier edit does not do ({verdict.reason}): {candidate.text}"
        if self.teacher is None or not self.teacher.cheap:
            return said
        step = candidate.text if verdict.status == "no-flip" else candidate.shot.text
        found = ", ".join(salient_words(self.teacher, step, self.index_of(candidate)))
        return (
            f"{said}\nReplace at least these words, which speak against {candidate.target}: {found}" if found else said
        )

    def index_of(self, candidate: Candidate) -> int:
        """The place of its target among the labels."""
        return self.labels.index(candidate.target)


@dataclass(frozen=True)
class Readings:
    """What the teacher says of the shots, by shot id: its logits and the class it chooses; empty without a teacher."""

    logits: Mapping[str, Sequence[float]]
    chosen: Mapping[str, str]


def read_by(teacher: Teacher | None, shots: Sequence[Shot], labels: Sequence[str]) -> Readings:
    """Show the shots to the teacher."""
    rows = (
        teacher.logits([shot.text for shot in shots], families=[shot.id for shot in shots]).tolist() if teacher else []
    )
    logits = {shot.id: row for shot, row in zip(shots, rows, strict=False)}
    return Readings(logits, {shot_id: labels[row.index(max(row))] for shot_id, row in logits.items()})


def targets(shot: Shot, labels: Sequence[str], logits: Sequence[float] | None, target: str) -> list[str]:
    """The classes that a CFE of this shot is written for (DESIGN: nearest, all, or one label)."""
    others = [label for label in labels if label != shot.label]
    if target == "all" or (target == "nearest" and len(others) == 1):
        return others
    if target != "nearest":
        return [target] if target in others else []
    if logits is None:
        raise UsageError("--target nearest needs a teacher", "add --teacher, or use --target all")
    ranked = sorted(labels, key=lambda label: -logits[labels.index(label)])
    return [label for label in ranked if label not in (shot.label, ranked[0])][:1]


def assign_targets(
    shots: Sequence[Shot], labels: Sequence[str], logits: Mapping[str, Sequence[float]], target: str
) -> list[list[str]]:
    """For each shot the classes that a CFE of it is written for; ``logits`` are the teacher's, by shot id.

    ``balanced``: one class each, so that every class is a target as often as it is a label, and the targets are as
    near to their shots as that allows; a shot that could only be edited into its own class, or into the teacher's
    choice for it, goes to the nearest one instead. Everything else as `targets` has it.
    """
    if target != "balanced" or len(labels) < 3 or not logits:
        wanted = "nearest" if target == "balanced" else target
        return [targets(shot, labels, logits.get(shot.id), wanted) for shot in shots]
    nearness = np.array([_nearness(shot, labels, logits[shot.id]) for shot in shots])
    places = np.array([labels.index(shot.label) for shot in shots])  # a place for each class as often as it is a label
    _, chosen = linear_sum_assignment(nearness[:, places], maximize=True)
    return [
        [labels[place]] if row[place] > _NEVER else targets(shot, labels, logits[shot.id], "nearest")
        for shot, row, place in zip(shots, nearness, places[chosen], strict=True)
    ]


def _nearness(shot: Shot, labels: Sequence[str], logits: Sequence[float]) -> list[float]:
    """By how many logits each class is behind the teacher's choice, at most 0; the classes that are no target, last."""
    own = {shot.label, labels[int(np.argmax(logits))]}
    return [_NEVER if label in own else value - max(logits) for label, value in zip(labels, logits, strict=True)]


class Judge:
    """Says of which class a text is; ``name`` is the model with its fingerprint, as manifests have it."""

    def __init__(self, model: Teacher) -> None:
        self.name = f"{model.name}@{model.fingerprint}"
        self._model = model

    def judge(self, cfes: Sequence[Counterfactual]) -> list[Counterfactual]:
        """The CFEs with the class that the judge gives them."""
        chosen = self._model.logits([cfe.text for cfe in cfes]).argmax(1) if cfes else []
        return [cfe.replace(judge=self._model.labels[index]) for cfe, index in zip(cfes, chosen, strict=True)]


def load_judge(
    spec: TeacherSpec,
    labels: Sequence[str],
    *,
    writer: str | None,
    teacher: Teacher | None,
    device: str = "auto",
    cache: bool = True,
) -> Judge:
    """The judge of ``--judge``: a model of one's own, loaded as a teacher is.

    Args:
        spec: which.
        labels: the run's classes in order.
        writer: the LLM that writes the CFEs, None where none does.
        teacher: who decides whether they flip, None where nobody does.
        device: where the judge runs.
        cache: whether its logits are kept for other runs.

    Raises:
        UsageError: the judge is the LLM that writes, or the teacher itself, or ``--judge-labels`` are wrong.
        CodError: no such model, or its classes are not the run's.
    """
    if writer is not None and spec.llm == writer:
        raise UsageError(f"--judge {spec.name} is the LLM that writes", "let another model judge")
    try:
        model = load_teacher(spec, labels, device=device, cache=cache, role="judge")
    except CodError as error:
        raise type(error)(f"--judge {spec.name}: {error.message}", error.hint) from None
    if teacher is not None and model.fingerprint == teacher.fingerprint:
        raise UsageError(f"--judge {spec.name} is the teacher itself, which agrees with all that flips it")
    return Judge(model)
