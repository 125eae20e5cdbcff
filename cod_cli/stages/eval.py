"""`cod eval`: scores every finished student and the teacher on held-out rows."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from cod_cli import checkpoints
from cod_cli.arms import METRICS, TEACHER, arms
from cod_cli.artifacts import Run
from cod_cli.boundary import Pairs, followed, held_out_pairs
from cod_cli.data import local_path
from cod_cli.errors import CodError
from cod_cli.heldout import HeldOut, Logits, predicted, rows_to_score, scored
from cod_cli.jsonl import file_sha
from cod_cli.models import Progress, load_classifier, logits_of
from cod_cli.records import Manifest, Score, SoftLabel, Student, text_sha
from cod_cli.report import Ui
from cod_cli.scaling import scaled
from cod_cli.scorebook import ScoreBook
from cod_cli.settings import EvalSettings, LabelSettings
from cod_cli.teachers import load_teacher


@dataclass(frozen=True)
class EvalResult:
    """All scores on one split, the teacher's first.

    ``dropped`` counts the rows left out, by reason; ``new`` names who was scored in this call; ``cut`` the students
    that were cut from their teacher; ``teacher`` is the one compared with, None where there was none.
    """

    data: str
    task: str
    split: str
    rows: int
    dropped: dict[str, int]
    teacher: str | None
    scores: tuple[Score, ...]
    new: tuple[str, ...]
    cut: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The same numbers for `--json`, with mean and sample std over the seeds of an arm."""
        document = {field: value for field, value in vars(self).items() if field != "scores"}
        document["scores"] = [score.model_dump() for score in self.scores]
        document["arms"] = [
            {"name": arm.name, "n": len(arm.scores)} | {name: vars(value) for name, value in arm.metrics().items()}
            for arm in arms(self.scores)
            if len(arm.scores) > 1
        ]
        return document


@dataclass(frozen=True)
class _Reference:
    """The teacher's logits for the held-out rows, calibrated as file 3 is, in the run's order of classes.

    ``all_logits`` has behind them those of the texts of ``pairs``.
    """

    name: str
    fingerprint: str
    all_logits: Logits
    pairs: Pairs

    @property
    def logits(self) -> Logits:
        return self.all_logits[: len(self.all_logits) - len(self.pairs.ids)]


def evaluate(run: Run, settings: EvalSettings, ui: Ui) -> EvalResult:
    """Score on one split whatever is not scored there yet; return all scores on it.

    Raises:
        CodError: no finished student, no row to score on, labels other than the run's, or a damaged student.
    """
    labels = run.shots.require().labels
    students = {name: run.read_student(name) for name in run.student_names()}
    if not students:
        raise CodError(
            f"{run.students} holds no finished student", f"train one: `cod distill {run.folder} --student MODEL`"
        )
    if settings.force:
        old = (run.scores, run.teacher_labels)
        run.archive(run.predictions, *(path for file in old for path in (file.path, file.meta)))
    data, rows = rows_to_score(run, settings, labels)
    ui.note(_what_is_used(data, rows))
    teacher = _reference(run, data, rows, labels, settings, ui)
    if teacher is None and rows.truth is None:
        raise CodError(
            "these rows have no labels and there is no teacher: nothing to score", "name labelled rows: --data"
        )
    book = ScoreBook(run, rows, labels)
    new = [*_score_teacher(book, teacher), *_score_students(run, book, students, teacher, settings, ui)]
    book.close()
    return EvalResult(
        data=data,
        task=rows.task,
        split=rows.split,
        rows=len(rows.ids),
        dropped=rows.dropped,
        teacher=teacher.name if teacher else None,
        scores=book.of(students),
        new=tuple(new),
        cut=tuple(name for name, student in students.items() if student.cut_from_teacher),
    )


def _what_is_used(data: str, rows: HeldOut) -> str:
    names = {"sampled": "sampled as shots", "trained": "equal to a trained text"}
    left_out = ", ".join(f"{n} {names.get(reason, reason)}" for reason, n in rows.dropped.items())
    unlabelled = "" if rows.truth else ", without labels: agreement and KL only"
    return (
        f"Scoring on {data}, split {rows.split}: {len(rows.ids):,} rows"
        + (f" (left out: {left_out})" if left_out else "")
        + unlabelled
    )


def _reference(
    run: Run, data: str, rows: HeldOut, labels: Sequence[str], settings: EvalSettings, ui: Ui
) -> _Reference | None:
    """The teacher that labelled file 3, asked for the rows that ``5-teacher.jsonl`` lacks; None where it is gone."""
    made = run.soft_labels.manifest()
    if made is None or made.teacher is None or not made.settings.get("teacher"):
        ui.warn(f"{run.soft_labels.meta} names no teacher: no agreement and no KL")
        return None
    known = _known(run, made, labels)
    pairs = held_out_pairs(run, rows, made.teacher)
    texts = dict(zip((*rows.ids, *pairs.ids), (*rows.texts, *pairs.texts), strict=True))
    missing = {i: text for i, text in texts.items() if i not in known or known[i].text_sha != text_sha(text)}
    if missing:
        try:
            known |= _ask_teacher(made, labels, missing, settings, ui)
        except CodError as error:
            ui.warn(f"no agreement and no KL, for lack of the teacher: {error.message}")
            return None
        manifest = run.teacher_labels.begin(_asked(made), labels=list(labels), teacher=made.teacher)
        run.teacher_labels.finish(manifest, known.values(), counts={"rows": len(known)})
    raw = np.array([known[i].logits for i in texts], dtype=np.float32)
    calibration = made.calibration
    if calibration is None:
        return _Reference(made.settings["teacher"], made.teacher, raw, pairs)
    if (calibration.data, calibration.split) == (str(local_path(data) or data), rows.split):
        ui.warn("the teacher was calibrated on these very rows: its ECE, Brier and KL flatter it")
    # Other values, other digits: KL is to the teacher as it is calibrated now.
    fitted = json.dumps([calibration.temperature, calibration.bias])
    logits = scaled(raw, labels, calibration).astype(np.float32)
    return _Reference(made.settings["teacher"], made.teacher + fitted, logits, pairs)


def _asked(made: Manifest) -> dict[str, Any]:
    """How `cod label` called the teacher: what its answers depend on."""
    return {name: made.settings[name] for name in ("teacher", "teacher_labels", "max_length")}


def _known(run: Run, made: Manifest, labels: Sequence[str]) -> dict[str, SoftLabel]:
    """The teacher's answers to held-out rows so far, by id; those of another teacher are archived."""
    old = run.teacher_labels.manifest()
    if old is not None and (old.teacher, old.settings, old.labels) != (made.teacher, _asked(made), list(labels)):
        run.archive(run.teacher_labels.path, run.teacher_labels.meta)
    return {row.id: row for row in run.teacher_labels.peek()}


def _ask_teacher(
    made: Manifest, labels: Sequence[str], texts: Mapping[str, str], settings: EvalSettings, ui: Ui
) -> dict[str, SoftLabel]:
    asked = LabelSettings(**_asked(made), device=settings.device, cache=settings.cache)
    teacher = load_teacher(asked, labels, batch_size=settings.batch_size)
    if teacher.fingerprint != made.teacher:
        raise CodError(f"{teacher.name} has changed since it labelled the shots")
    with ui.progress("Asking the teacher", total=len(texts)) as advance:
        logits = teacher.logits(list(texts.values()), progress=advance)
    return {
        row_id: SoftLabel(
            id=row_id,
            text_sha=text_sha(text),
            logits=[round(value, 6) for value in row.tolist()],
            teacher=teacher.fingerprint,
            source=teacher.source,
            covered_mass=1.0,
        )
        for (row_id, text), row in zip(texts.items(), logits, strict=True)
    }


def _score_teacher(book: ScoreBook, teacher: _Reference | None) -> list[str]:
    """Score the teacher where there are labels and it is not in the book; its name if it was scored."""
    if teacher is None or book.rows.truth is None:
        return []
    digest = _digest(teacher.fingerprint, book.rows.digest, teacher)
    if book.holds(TEACHER, digest):
        return []
    score = _score(TEACHER, None, book.rows, scored(teacher.logits, book.rows.truth, None))
    book.put(score, digest, predicted(TEACHER, book.rows, teacher.logits))
    return [TEACHER]


def _score_students(
    run: Run,
    book: ScoreBook,
    students: Mapping[str, Student],
    teacher: _Reference | None,
    settings: EvalSettings,
    ui: Ui,
) -> list[str]:
    """Score the students that are not in the book, saving after each; their names."""
    kept = [name for name in students if run.has_weights(name)]
    for name in students.keys() - set(kept):
        ui.note(f"{run.student(name)} has no weights any more: its scores stay as they are")
    digests = {name: _digest(_student_digest(run, name), book.rows.digest, teacher) for name in kept}
    stale = [name for name, digest in digests.items() if not book.holds(name, digest)]
    if not stale:
        ui.note("No student is left to score")
        return []
    pairs = teacher.pairs if teacher else Pairs()
    texts = [*book.rows.texts, *pairs.texts]
    with ui.progress("Scoring", total=len(stale) * len(texts)) as advance:
        for name in stale:
            everything = _answers(run, students[name], texts, book.labels, settings, partial(advance, detail=name))
            logits = everything[: len(book.rows.ids)]
            found = scored(logits, book.rows.truth, teacher.logits if teacher else None)
            found |= followed(pairs, teacher.all_logits, everything) if teacher else {}
            book.put(_score(name, students[name], book.rows, found), digests[name], predicted(name, book.rows, logits))
    return stale


def _answers(
    run: Run,
    student: Student,
    texts: Sequence[str],
    labels: Sequence[str],
    settings: EvalSettings,
    progress: Progress,
) -> Logits:
    """A student's logits in the run's order of classes."""
    folder = run.student(student.name)
    classifier = load_classifier(str(folder), device=settings.device)
    if set(classifier.labels) != set(labels):
        raise CodError(
            f"{folder} has the classes {', '.join(classifier.labels)}, the shots have {', '.join(labels)}",
            f"train it again: `cod distill {run.folder} --name {student.name} --force`",
        )
    logits = logits_of(
        classifier,
        texts,
        batch_size=settings.batch_size,
        max_length=student.settings["max_length"],
        progress=progress,
    )
    return logits[:, [classifier.labels.index(label) for label in labels]]


def _score(name: str, student: Student | None, rows: HeldOut, found: Mapping[str, Any]) -> Score:
    made = ("method", "mix", "k", "rows", "shots", "steps", "seed", "seconds")
    fields: dict[str, Any] = {field: getattr(student, field) if student else None for field in made}
    measured: dict[str, Any] = {field: found.get(field) for field in (*METRICS, "boundary_by_generator")}
    return Score(student=name, task=rows.task, split=rows.split, n=len(rows.ids), **fields, **measured)


def _student_digest(run: Run, name: str) -> str:
    """Other weights or other settings, other digits."""
    return checkpoints.fingerprint(run.student(name)) + file_sha(run.student(name) / "settings.yaml")


def _digest(who: str, rows: str, teacher: _Reference | None) -> str:
    """16 hex digits over all that a score depends on."""
    parts = [who, rows, teacher.fingerprint if teacher else None]
    if teacher is not None and teacher.pairs.digest and who != teacher.fingerprint:
        parts.append(teacher.pairs.digest)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
