"""The scores of a run on one split, and what each was made from: nobody is scored twice, nothing stale stays."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cod_cli import metrics
from cod_cli.data.heldout import HeldOut
from cod_cli.metrics import METRICS, Summary, f1_columns, summary, with_f1
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
NO_STUDENTS = (TEACHER, KNN, ZERO_SHOT, IN_CONTEXT)


@dataclass(frozen=True)
class Arm:
    """The scores of one arm on one split, in their order; ``name`` is the students' without the seed."""

    name: str
    scores: tuple[Score, ...]

    def metrics(self) -> dict[str, Summary]:
        """Mean and sample standard deviation over seeds of each metric that every student has, F1 by class too."""
        columns = {name: [getattr(score, name) for score in self.scores] for name in METRICS}
        columns |= f1_columns(self.scores)
        return {name: summary(values) for name, values in columns.items() if None not in values}


@dataclass(frozen=True)
class Reached:
    """What an arm of a sweep reached on one task at one k, over its seeds: accuracy in [0, 1]."""

    task: str
    arm: str
    k: int
    other_budget: bool
    summary: Summary


def arms(scores: Iterable[Score]) -> list[Arm]:
    """Group the scores of students that share all but the seed and the suffix ``-s<seed>`` of their name."""
    groups: dict[tuple[object, ...], list[Score]] = {}
    for score in scores:
        same = (score.method, score.mix, score.k, score.rows, score.shots, score.steps, score.task, score.split)
        groups.setdefault((base_name(score), *same), []).append(score)
    return [Arm(base_name(group[0]), tuple(group)) for group in groups.values()]


def base_name(score: Score) -> str:
    """The student's name without the suffix that tells seeds apart."""
    return score.student if score.seed is None else score.student.removesuffix(f"-s{score.seed}")


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

    def close(self) -> None:
        """Mark the file as complete."""
        self._save(complete=True)

    def of(self, names: Collection[str]) -> tuple[Score, ...]:
        """The scores of those students and of the teacher on this split, the teacher's first."""
        return tuple(
            s for s in self._in_order() if s.student in (TEACHER, *names) and self._key(s.student) == _place(s)
        )

    def _key(self, name: str) -> tuple[str, str, str]:
        return self.rows.task, self.rows.split, name

    def _in_order(self) -> list[Score]:
        scores = self._scores.values()
        return sorted(
            scores, key=lambda s: (s.task, s.split, s.student != TEACHER, base_name(s), s.seed or 0, s.student)
        )

    def _save(self, *, complete: bool) -> None:
        manifest = self._file.manifest() or self._file.begin({}, labels=list(self.labels))
        self._file.finish(manifest.replace(inputs=self._digests), self._in_order(), complete=complete)


def _place(score: Score | Prediction) -> tuple[str, str, str]:
    return score.task, score.split, score.student
