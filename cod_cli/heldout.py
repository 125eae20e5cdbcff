"""Which rows of a data source students are scored on, and the scores of a classifier's answers to them."""

import hashlib
import json
import random
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cod_cli import metrics
from cod_cli.artifacts import Run
from cod_cli.data import Row, Table, eval_splits, load_table, local_path
from cod_cli.errors import CodError
from cod_cli.records import Prediction, Shot
from cod_cli.settings import CounterfactSettings, EvalSettings

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


def rows_to_score(run: Run, settings: EvalSettings, labels: Sequence[str]) -> tuple[str, HeldOut]:
    """The data source that is scored on, and its rows: by default the source that the shots were drawn from."""
    sampled = run.shots.require().settings
    data = settings.data or str(sampled["data"])
    same = (local_path(data) or data) == (local_path(str(sampled["data"])) or sampled["data"])
    # What `cod sample` was told about the columns holds for its own source only.
    columns: dict[str, Any] = sampled if same else {}
    table = load_table(
        data,
        split=settings.split,
        default_splits=eval_splits(data),
        text_columns=settings.text_column or columns.get("text_column") or (),
        label_column=settings.label_column or columns.get("label_column"),
        label_names=settings.label_names or columns.get("label_names"),
        require_labels=False,
    )
    shots = run.shots.read()
    made = [*run.counterfactuals.peek(), *run.rival_rows()]
    trained = {shot.text.strip() for shot in shots} | {row.text.strip() for row in made}
    return data, held_out(table, labels, trained=trained, sampled={shot.id for shot in shots} if same else ())


def hold_out(run: Run, settings: CounterfactSettings, labels: Sequence[str]) -> Run:
    """The run with labelled rows of the scored split in the place of its shots, drawn by the seed; made only once.

    Those for fewer rows are the first of those for more. Rows equal to a trained text are left out.

    Raises:
        CodError: the split has no labels, or other rows were held out before.
    """
    held = run.held_out(settings.generator)
    if settings.force and not settings.dry_run:
        run.archive(held.shots.path, held.shots.meta)
    wanted = {"held_out": settings.held_out, "split": settings.split, "seed": settings.seed}
    old = held.shots.check(wanted)
    if old is not None and old.complete and held.shots.path.exists():
        return held
    data, rows = rows_to_score(run, EvalSettings(split=settings.split), labels)
    if rows.truth is None:
        raise CodError(f"{data}, split {rows.split}, has no labels to edit away from", "name a labelled split: --split")
    everything = [
        Shot(id=row_id, text=text, label=labels[place])
        for row_id, text, place in zip(rows.ids, rows.texts, rows.truth, strict=True)
    ]
    rng = random.Random(f"held out {settings.seed}")
    keys = [rng.random() for _ in everything]
    drawn = [everything[i] for i in sorted(range(len(keys)), key=keys.__getitem__)[: settings.held_out]]
    manifest = held.shots.begin(wanted, labels=list(labels), seed=settings.seed)
    held.shots.finish(manifest, drawn, counts={"rows": len(everything), "held_out": len(drawn)})
    return held


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


def scored(logits: Logits, truth: Sequence[int] | None, teacher: Logits | None) -> dict[str, Any]:
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
