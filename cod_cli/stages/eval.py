"""`cod eval`: scores every finished student and the teacher on held-out rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cod_cli.data.heldout import HeldOut, rows_to_score
from cod_cli.errors import CodError, UsageError
from cod_cli.evaluation.baselines import answers, neighbour_logits, open_rival, require_one_price, sentence_vectors
from cod_cli.evaluation.reference import Pairs, Reference, Unasked, followed, reference, unasked
from cod_cli.evaluation.scores import (
    IN_CONTEXT,
    NEIGHBOURS,
    TEACHER,
    ZERO_SHOT,
    Logits,
    ScoreBook,
    arms,
    predicted,
    scored,
)
from cod_cli.llm.client import Session
from cod_cli.llm.endpoint import endpoint_url
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Estimate
from cod_cli.metrics import METRICS
from cod_cli.models import folder
from cod_cli.models.inference import Progress, logits_of
from cod_cli.models.load import load_classifier, load_encoder
from cod_cli.records import Score, Student, digest
from cod_cli.settings.eval import EvalSettings
from cod_cli.store.jsonl import file_sha
from cod_cli.store.run import Run
from cod_cli.ui import Ui


@dataclass(frozen=True)
class EvalResult:
    """All scores on one split, the teacher's first.

    ``dropped`` counts the rows left out, by reason; ``new`` names who was scored in this call; ``cut`` the students
    that were cut from their teacher; ``teacher`` is the one compared with, None where there was none, and ``lacking``
    says so where it is an LLM that was not to be asked.
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
    lacking: str | None = None

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
class EvalPlan:
    """What asking LLMs about the split would take, by who is asked: the teacher, or a rival."""

    split: str
    rows: int
    estimates: dict[str, Estimate]


def evaluate(run: Run, settings: EvalSettings, ui: Ui) -> EvalResult | EvalPlan:
    """Score on one split whatever is not scored there yet; return all scores on it.

    Raises:
        CodError: no finished student, no row to score on, labels other than the run's, or a damaged student.
        PartialError: an LLM has not answered everything; all else is saved.
    """
    labels = run.shots.require().labels
    students = {name: run.read_student(name) for name in run.student_names()}
    if not students and settings.neighbours is None and settings.in_context is None:
        raise CodError(
            f"{run.students} holds no finished student", f"train one: `cod distill {run.folder} --student MODEL`"
        )
    require_one_price(run, settings)
    if settings.in_context is not None:
        endpoint_url(settings.base_url)  # refused before anything is scored
    if settings.force and not settings.dry_run:
        old = (run.scores, run.teacher_labels)
        run.archive(run.predictions, *(path for file in old for path in (file.path, file.meta)))
    data, rows = rows_to_score(
        run,
        labels,
        data=settings.data,
        split=settings.split,
        text_columns=settings.text_column,
        label_column=settings.label_column,
        label_names=settings.label_names,
    )
    ui.note(_what_is_used(data, rows))
    with Session(Limits.of(settings)) as session:
        if settings.dry_run:
            return EvalPlan(rows.split, len(rows.ids), _estimates(run, rows, labels, settings, session))
        return _evaluate(run, data, rows, labels, students, settings, ui, session)


def _estimates(
    run: Run, rows: HeldOut, labels: Sequence[str], settings: EvalSettings, session: Session
) -> dict[str, Estimate]:
    found = {}
    missing = unasked(run, rows, labels, settings, session)
    if missing is not None:
        found[TEACHER] = missing
    for name in (ZERO_SHOT, IN_CONTEXT) if settings.in_context else ():
        with open_rival(name, run, labels, settings, session) as rival:
            found[name] = rival.estimate(rows.texts)
    if not found:
        raise UsageError("--dry-run is about an LLM's cost, and none would be asked", "add --in-context openai:MODEL")
    return found


def _evaluate(
    run: Run,
    data: str,
    rows: HeldOut,
    labels: list[str],
    students: Mapping[str, Student],
    settings: EvalSettings,
    ui: Ui,
    session: Session,
) -> EvalResult:
    found = reference(run, data, rows, labels, settings, ui, session)
    lacking = str(found) if isinstance(found, Unasked) else None
    teacher = None if isinstance(found, Unasked) else found
    if lacking:
        ui.note(lacking)
    if teacher is None and rows.truth is None:
        raise CodError(
            "these rows have no labels and there is no teacher: nothing to score", "name labelled rows: --data"
        )
    book = ScoreBook(run, rows, labels)
    new = [
        *_score_teacher(book, teacher),
        *_score_neighbours(run, book, teacher, settings, ui),
        *_score_students(run, book, students, teacher, settings, ui),
        *_score_llm(run, book, teacher, settings, ui, session),
    ]
    book.close()
    return EvalResult(
        data=data,
        task=rows.task,
        split=rows.split,
        rows=len(rows.ids),
        dropped=rows.dropped,
        teacher=teacher.name if teacher else None,
        scores=book.of([*students, *_rivals(settings)]),
        new=tuple(new),
        cut=tuple(name for name, student in students.items() if student.cut_from_teacher),
        lacking=lacking,
    )


def _rivals(settings: EvalSettings) -> list[str]:
    """Who is scored that is no student."""
    return [*([NEIGHBOURS] if settings.neighbours else []), *([ZERO_SHOT, IN_CONTEXT] if settings.in_context else [])]


def _what_is_used(data: str, rows: HeldOut) -> str:
    names = {"sampled": "sampled as shots", "trained": "equal to a trained text"}
    left_out = ", ".join(f"{n} {names.get(reason, reason)}" for reason, n in rows.dropped.items())
    unlabelled = "" if rows.truth else ", without labels: agreement and KL only"
    return (
        f"Scoring on {data}, split {rows.split}: {len(rows.ids):,} rows"
        + (f" (left out: {left_out})" if left_out else "")
        + unlabelled
    )


def _score_teacher(book: ScoreBook, teacher: Reference | None) -> list[str]:
    """Score the teacher where there are labels and it is not in the book; its name if it was scored."""
    if teacher is None or book.rows.truth is None:
        return []
    digest = _digest(teacher.fingerprint, book.rows.digest, teacher)
    if book.holds(TEACHER, digest):
        return []
    score = _score(TEACHER, None, book.rows, scored(teacher.logits, book.rows.truth, None))
    book.put(score, digest, predicted(TEACHER, book.rows, teacher.logits))
    return [TEACHER]


def _score_neighbours(
    run: Run, book: ScoreBook, teacher: Reference | None, settings: EvalSettings, ui: Ui
) -> list[str]:
    """Score what the shots' nearest neighbours say where that was asked for; its name if it was scored."""
    if settings.neighbours is None:
        return []
    shots = run.shots.read()
    of = json.dumps([[shot.text, shot.label] for shot in shots])
    digest = _digest(folder.fingerprint(settings.neighbours) + of, book.rows.digest, teacher)
    if book.holds(NEIGHBOURS, digest):
        return []
    encoder = load_encoder(settings.neighbours, device=settings.device)
    pairs = teacher.pairs if teacher else Pairs()
    texts = [*(shot.text for shot in shots), *book.rows.texts, *pairs.texts]
    with ui.progress("Looking for neighbours", total=len(texts)) as advance:
        vectors = sentence_vectors(encoder, texts, batch_size=settings.batch_size, progress=advance)
    k = len(shots)
    known = [book.labels.index(shot.label) for shot in shots]
    everything = neighbour_logits(vectors[k:], vectors[:k], known, len(book.labels))
    logits = everything[: len(book.rows.ids)]
    found = scored(logits, book.rows.truth, teacher.logits if teacher else None)
    found |= followed(pairs, teacher.all_logits, everything) if teacher else {}
    score = _score(NEIGHBOURS, None, book.rows, found).replace(k=k, rows=k, shots=k)
    book.put(score, digest, predicted(NEIGHBOURS, book.rows, logits))
    return [NEIGHBOURS]


def _score_llm(
    run: Run, book: ScoreBook, teacher: Reference | None, settings: EvalSettings, ui: Ui, session: Session
) -> list[str]:
    """Score the LLM of ``--in-context`` itself, without and with shots in its prompt; the rivals that were scored."""
    new = []
    for name in (ZERO_SHOT, IN_CONTEXT) if settings.in_context else ():
        with open_rival(name, run, book.labels, settings, session, ui.note) as rival:
            digest = _digest(rival.fingerprint, book.rows.digest, teacher)
            if book.holds(name, digest):
                continue
            with ui.progress(f"Asking {rival.name} ({name})", total=len(book.rows.ids)) as advance:
                told = answers(run, rival, book.rows, settings, advance)
        found = scored(told.logits, book.rows.truth, teacher.logits if teacher else None)
        shots = rival.shown
        made = {"method": "prompt", "k": shots, "rows": shots, "shots": shots, "usage": told.usage, "cost": told.cost}
        score = _score(name, None, book.rows, found).replace(**made)
        book.put(score, digest, predicted(name, book.rows, told.logits))
        new.append(name)
    return new


def _score_students(
    run: Run,
    book: ScoreBook,
    students: Mapping[str, Student],
    teacher: Reference | None,
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
    return folder.fingerprint(run.student(name)) + file_sha(run.student(name) / "settings.yaml")


def _digest(who: str, rows: str, teacher: Reference | None) -> str:
    """16 hex digits over all that a score depends on."""
    parts = [who, rows, teacher.fingerprint if teacher else None]
    if teacher is not None and teacher.pairs.digest and who != teacher.fingerprint:
        parts.append(teacher.pairs.digest)
    return digest(parts)
