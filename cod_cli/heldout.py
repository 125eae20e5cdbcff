"""Which rows of a data source students are scored on, and the scores of a classifier's answers to them."""

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cod_cli import metrics
from cod_cli.data import Row, Table
from cod_cli.errors import CodError
from cod_cli.records import Prediction

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HeldOut:
    """Rows that no student was trained on. ``truth`` holds class indices; None where the rows have no labels.

    ``task`` is the task's name, else the source's; ``dropped`` counts the rows left out, by reason.
    """

    task: str
    split: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    truth: tuple[int, ...] | None
    dropped: dict[str, int]

    @property
    def digest(self) -> str:
        """16 hex digits over rows and labels: scores with equal digests are about the same rows."""
        content = json.dumps([self.ids, self.texts, self.truth])
        return hashlib.sha256(content.encode("utf-8")).hexdigest()[:16]


def held_out(
    table: Table, labels: Sequence[str], *, trained: Collection[str] = (), sampled: Collection[str] = ()
) -> HeldOut:
    """The rows of a table to score on; as soon as one has a label, those without are left out.

    Args:
        table: read with ``require_labels=False``.
        labels: the run's classes in order.
        trained: texts that a student may have seen.
        sampled: ids of rows that are shots.

    Raises:
        CodError: a label that is not among ``labels``, or no row is left.
    """
    labelled = any(row.label is not None for row in table.rows)
    reasons = [_reason(row, labelled, trained, sampled) for row in table.rows]
    rows = [row for row, reason in zip(table.rows, reasons, strict=True) if reason is None]
    dropped = Counter(vars(table.dropped)) + Counter(reason for reason in reasons if reason)
    where = str(table.file or f"{table.source}, split {table.split}")
    if not rows:
        counted = ", ".join(f"{n} {reason}" for reason, n in dropped.items())
        raise CodError(f"{where} has no row left to score on: {counted}", "name other rows: --data or --split")
    if labelled:
        _require_known(table, rows, labels, where)
    return HeldOut(
        task=table.task.name if table.task else table.source,
        split=table.split,
        ids=tuple(row.id for row in rows),
        texts=tuple(row.text for row in rows),
        truth=tuple(labels.index(str(row.label)) for row in rows) if labelled else None,
        dropped={reason: n for reason, n in dropped.items() if n},
    )


def predicted(student: str, rows: HeldOut, logits: Logits) -> Prediction:
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


def _reason(row: Row, labelled: bool, trained: Collection[str], sampled: Collection[str]) -> str | None:
    if row.id in sampled:
        return "sampled"
    if row.text in trained:
        return "trained"
    return "unlabelled" if labelled and row.label is None else None


def _require_known(table: Table, rows: Sequence[Row], labels: Sequence[str], where: str) -> None:
    unknown = sorted({str(row.label) for row in rows} - set(labels))
    if not unknown:
        return
    if len(table.labels) == len(labels):
        pairs = ",".join(f"{raw}={name}" for raw, name in zip(table.labels, labels, strict=True))
        hint = f"say what they are called, after checking this guess: --label-names {shlex.quote(pairs)}"
    else:
        pairs = ",".join(f"{raw}=NAME" for raw in unknown)
        hint = (
            f"name data of this run's classes: --data; or say what they are called: --label-names {shlex.quote(pairs)}"
        )
    raise CodError(f"{where} has the labels {', '.join(unknown)}; this run's are {', '.join(labels)}", hint)


def scored(logits: Logits, truth: Sequence[int] | None, teacher: Logits | None) -> dict[str, float]:
    """The metrics of one classifier, by field of `Score`: those that need labels, and those that need a teacher.

    Args:
        logits: the classifier's, ``(n, classes)`` in the run's order of classes.
        truth: class indices ``(n,)``.
        teacher: the teacher's logits, like ``logits``.
    """
    found: dict[str, float] = {}
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
