"""The scores of a run on one split, and what each was made from: nobody is scored twice, nothing stale stays."""

from collections.abc import Collection, Sequence

from cod_cli.arms import TEACHER, base_name
from cod_cli.artifacts import Run
from cod_cli.byclass import with_f1
from cod_cli.heldout import HeldOut
from cod_cli.jsonl import write_records
from cod_cli.records import Prediction, Score


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

    def put(self, score: Score, digest: str, prediction: Prediction) -> None:
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
