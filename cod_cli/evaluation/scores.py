"""The scores of a run on one split, and what each was made from: nobody is scored twice, nothing stale stays."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from cod_cli import metrics
from cod_cli.data.heldout import HeldOut
from cod_cli.evaluation.arms import base_name
from cod_cli.metrics import with_f1
from cod_cli.records import Prediction, Score
from cod_cli.store.jsonl import write_records
from cod_cli.store.run import Run
from cod_cli.teachers.base import Logits


def prediction(student: str, rows: HeldOut, logits: Logits) -> Prediction:
    """What one classifier decides on each row, from its logits ``(n, classes)`` in the run's order of classes."""
    return Prediction(
        student=student,
        task=rows.task,
        split=rows.split,
        rows=rows.digest,
        truth=list(rows.truth) if rows.truth is not None else None,
        decided=metrics.decisions(logits).tolist(),
        confidence=[round(value, 4) for value in metrics.softmax(logits).max(axis=-1).tolist()],
    )


def measure(logits: Logits, truth: Sequence[int] | None, teacher: Logits | None) -> dict[str, Any]:
    """The metrics of one classifier, by field of `Score`: those that need labels, and those that need a teacher.

    Args:
        logits: the classifier's, ``(n, classes)`` in the run's order of classes.
        truth: class indices ``(n,)``.
        teacher: the teacher's logits, like ``logits``.
    """
    found: dict[str, Any] = {}
    if truth is not None:
        decided, probs = metrics.decisions(logits), metrics.softmax(logits)
        found |= {
            "accuracy": metrics.accuracy(truth, decided),
            "macro_f1": metrics.macro_f1(truth, decided, logits.shape[1]),
            "mcc": metrics.mcc(truth, decided),
            "ece": metrics.ece(probs, truth),
            "brier": metrics.brier(probs, truth),
        }
    if teacher is not None:
        found |= {"agreement": metrics.agreement(teacher, logits), "kl": metrics.kl(teacher, logits)}
    return {name: round(value, 6) for name, value in found.items()}


TEACHER = "teacher"
# The kNN baseline over the shots: a row in the table of scores that is no student.
KNN = "neighbours"
# An LLM itself, without and with the shots in its prompt: likewise.
ZERO_SHOT, IN_CONTEXT = "zero-shot", "in-context"
# A linear head on a frozen encoder, fitted to the shots.
LINEAR = "linear"
# Always the scored split's most frequent class.
MAJORITY = "majority"
NO_STUDENTS = (TEACHER, MAJORITY, KNN, LINEAR, ZERO_SHOT, IN_CONTEXT)


def majority(
    truth: Sequence[int], labels: Sequence[str], task: str, split: str, teacher: Sequence[int] | None = None
) -> Score:
    """What always saying the most frequent class reaches; of equally frequent ones the first in order is said.

    It has no probabilities, so no KL, ECE or Brier score; `majority_class` tells which class it is.

    Args:
        truth: class indices of the scored rows ``(n,)``.
        labels: the classes in order.
        task, split: where those rows are from.
        teacher: what the teacher decides on them ``(n,)``, for the agreement.
    """
    decided = [int(np.bincount(truth, minlength=len(labels)).argmax())] * len(truth)
    f1 = metrics.f1(truth, decided, len(labels))
    found = {
        "accuracy": metrics.accuracy(truth, decided),
        "macro_f1": float(f1.mean()),
        "mcc": metrics.mcc(truth, decided),
        "agreement": None if teacher is None else metrics.accuracy(teacher, decided),
    }
    fields: dict[str, Any] = dict.fromkeys(name for name, field in Score.model_fields.items() if field.is_required())
    fields |= {name: None if value is None else round(value, 6) for name, value in found.items()}
    by_class = {label: round(float(value), 6) for label, value in zip(labels, f1, strict=True)}
    return Score(**{**fields, "student": MAJORITY, "task": task, "split": split, "n": len(truth), "f1": by_class})


def majority_class(score: Score) -> str:
    """The class that `majority` says: the only one with an F1."""
    by_class = score.f1 or {}
    return max(by_class, key=by_class.__getitem__)


class ScoreBook:
    """``5-scores.jsonl`` and, beside it, ``5-predictions.jsonl``, opened at one split.

    Its manifest holds under ``inputs``, by ``task/split/student``, the digest of what that score was made from.
    """

    def __init__(self, run: Run, rows: HeldOut, labels: Sequence[str]) -> None:
        self.rows = rows
        self.labels = labels
        self._run = run
        self._file = run.scores
        manifest = run.scores.manifest()
        self._digests = manifest.inputs if manifest else {}
        self._predictions = {_place(row): row for row in run.read_predictions()}
        self._scores = {_place(s): with_f1(s, self._predictions.get(_place(s)), labels) for s in run.scores.peek()}

    def holds(self, name: str, digest: str) -> bool:
        """Whether a score is there that was made from the same things."""
        return self._key(name) in self._scores and self._digests.get("/".join(self._key(name))) == digest

    def put(self, score: Score, prediction: Prediction, digest: str) -> None:
        """Replace a score and what it was counted from, and save; the score last, since it says that all is there.

        F1 by class is added to it.
        """
        self._predictions[self._key(score.student)] = prediction
        write_records(self._run.predictions, self._predictions.values())
        self._scores[self._key(score.student)] = with_f1(score, prediction, self.labels)
        self._digests = {**self._digests, "/".join(self._key(score.student)): digest}
        self._save(complete=False)

    def put_majority(self, score: Score) -> None:
        """Keep that row, too; what was decided for it can be told from its class."""
        self._scores[self._key(score.student)] = score

    def forget(self, students: Collection[str]) -> tuple[str, ...]:
        """Drop the scores of all students but these, on every split, and save; the names of those that were dropped.

        What both files held before goes into the run's archive first.
        """
        gone = {place for place in self._scores if place[2] not in (*students, *NO_STUDENTS)}
        if not gone:
            return ()
        self._run.archive_copies(self._file.path, self._file.meta, self._run.predictions)
        self._scores = {place: score for place, score in self._scores.items() if place not in gone}
        self._digests = {name: made for name, made in self._digests.items() if tuple(name.rsplit("/", 2)) not in gone}
        self._predictions = {place: row for place, row in self._predictions.items() if place not in gone}
        write_records(self._run.predictions, self._predictions.values())
        self._save(complete=False)
        return tuple(sorted({student for _, _, student in gone}))

    def decisions(self, names: Collection[str]) -> tuple[Prediction, ...]:
        """What the teacher and those students decided on this split, in the order of ``names``."""
        places = [self._key(name) for name in (TEACHER, *names)]
        return tuple(self._predictions[place] for place in places if place in self._predictions)

    def close(self) -> None:
        """Mark the file as complete."""
        self._save(complete=True)

    def of(self, names: Collection[str]) -> tuple[Score, ...]:
        """The scores of those students, of the majority and of the teacher on this split, the teacher's first."""
        wanted = {self._key(name) for name in (TEACHER, MAJORITY, *names)}
        return tuple(score for score in self._in_order() if _place(score) in wanted)

    def _key(self, name: str) -> tuple[str, str, str]:
        return self.rows.task, self.rows.split, name

    def _in_order(self) -> list[Score]:
        first = {TEACHER: 0, MAJORITY: 1}
        return sorted(
            self._scores.values(),
            key=lambda s: (s.task, s.split, first.get(s.student, len(first)), base_name(s), s.seed or 0, s.student),
        )

    def _save(self, *, complete: bool) -> None:
        manifest = self._file.manifest() or self._file.begin({}, labels=list(self.labels))
        self._file.finish(manifest.replace(inputs=self._digests), self._in_order(), complete=complete)


def _place(score: Score | Prediction) -> tuple[str, str, str]:
    return score.task, score.split, score.student
