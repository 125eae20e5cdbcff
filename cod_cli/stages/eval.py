"""`cod eval`: scores every finished student and the teacher on held-out rows."""

import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cod_cli.data.heldout import HeldOut, rows_to_score
from cod_cli.errors import CodError, UsageError
from cod_cli.evaluation.arms import arms
from cod_cli.evaluation.baselines import EncoderEntrant, LLMEntrant
from cod_cli.evaluation.entrants import (
    Entrant,
    StudentEntrant,
    TeacherEntrant,
    score,
    score_digest,
    student_fingerprint,
)
from cod_cli.evaluation.reference import Pairs, Reference, Unasked, estimate_reference, reference
from cod_cli.evaluation.scores import IN_CONTEXT, KNN, LINEAR, MAJORITY, TEACHER, ZERO_SHOT, ScoreBook, majority
from cod_cli.llm.client import Session
from cod_cli.llm.endpoint import endpoint_url
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Estimate, prices_path
from cod_cli.metrics import confusion, decisions
from cod_cli.records import Score, Student
from cod_cli.report.comparison import Comparison, compare
from cod_cli.report.results import read_run
from cod_cli.report.verdicts import verdicts
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.shared import BLACK_BOX, TeacherSpec
from cod_cli.store.run import Run
from cod_cli.teachers.base import Teacher
from cod_cli.teachers.llm import BlackBoxTeacher
from cod_cli.teachers.open import open_llm, open_teacher
from cod_cli.ui import Ui


@dataclass(frozen=True)
class EvalResult:
    """All scores on one split, the teacher's first.

    ``dropped`` counts the rows left out, by reason; ``new`` names who was scored in this call; ``students`` says by
    name how each was made, and ``other_budget`` which are not of their baseline's budget; ``teacher`` is the one
    compared with, None where there was none, and ``lacking`` says so where it is an LLM that was not to be asked;
    ``verdicts`` say what it comes to. ``confusion`` holds by name, where it was asked for, rows by true class, then by
    the class decided for, both in the order of ``labels``.
    """

    data: str
    task: str
    split: str
    rows: int
    dropped: dict[str, int]
    teacher: str | None
    scores: tuple[Score, ...]
    new: tuple[str, ...]
    lacking: str | None = None
    labels: tuple[str, ...] = ()
    students: Mapping[str, Student] = field(default_factory=dict)
    other_budget: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    confusion: Mapping[str, list[list[int]]] | None = None

    @property
    def cut(self) -> tuple[str, ...]:
        """The students that were cut from their teacher."""
        return tuple(name for name, student in self.students.items() if student.cut_from_teacher)

    def as_json(self) -> dict[str, Any]:
        """The same numbers for `--json`, with mean and sample std over the seeds of an arm."""
        document = {name: value for name, value in vars(self).items() if name not in ("scores", "students", "labels")}
        document["cut"] = self.cut
        if self.confusion is None:
            del document["confusion"]
        document["scores"] = [score.model_dump() for score in self.scores]
        document["arms"] = [
            {"name": arm.name, "n": len(arm.scores)} | {name: vars(value) for name, value in arm.metrics().items()}
            for arm in arms(self.scores, self.students)
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
    with nullcontext() if settings.dry_run else run.hold("cod eval"):
        return _evaluate(run, settings, ui)


def _evaluate(run: Run, settings: EvalSettings, ui: Ui) -> EvalResult | EvalPlan:
    labels = run.shots.require().labels
    students = {name: run.read_student(name) for name in run.student_names()}
    if not students and not any((settings.neighbours, settings.linear, settings.in_context)):
        raise CodError(
            f"{run.students} holds no finished student", f"train one: `cod distill {run.folder} --student MODEL`"
        )
    _require_one_price(run, settings)
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
        field = _Field(run, data, rows, labels, students, settings, session, ui)
        if settings.dry_run:
            return EvalPlan(rows.split, len(rows.ids), field.estimates())
        return field.result(*field.score())


def _require_one_price(run: Run, settings: EvalSettings) -> None:
    """Refuse one price for two LLMs: the one of ``--in-context``, and the teacher where it is asked, too."""
    made = run.soft_labels.manifest() if settings.teacher_on_split else None
    teacher = str(made.settings.get("teacher")) if made else ""
    asked = sorted({name for name in (settings.in_context or "", teacher) if name.startswith(BLACK_BOX)})
    if settings.price is not None and len(asked) > 1:
        raise UsageError(
            f"--price is for one LLM, and two are asked: {' and '.join(asked)}",
            f"ask one after the other, or write both prices into {prices_path()}",
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


@dataclass(frozen=True)
class _Field:
    """All that may be scored on one split, and how it is asked."""

    run: Run
    data: str
    rows: HeldOut
    labels: list[str]
    students: Mapping[str, Student]
    settings: EvalSettings
    session: Session
    ui: Ui
    pace: dict[str, float] = field(default_factory=dict)

    def estimates(self) -> dict[str, Estimate]:
        """What asking LLMs would take, by who is asked."""
        found = {}
        of_teacher = estimate_reference(self.run, self.rows, self.labels, self._open_teacher)
        if of_teacher is not None:
            found[TEACHER] = of_teacher
        for name in self._llms():
            with self._open_llm(name) as llm:
                found[name] = llm.estimate(self.rows.texts)
        if not found:
            raise UsageError(
                "--dry-run is about an LLM's cost, and none would be asked", "add --in-context openai:MODEL"
            )
        return found

    def score(self) -> tuple[ScoreBook, list[str], Reference | Unasked | None]:
        """Score whoever is not in the book; the book, who was scored, and with which teacher they are compared."""
        found = reference(
            self.run,
            self.data,
            self.rows,
            self.labels,
            self._open_teacher,
            self.ui,
            ask_llm=self.settings.teacher_on_split,
        )
        if isinstance(found, Unasked):
            self.ui.note(str(found))
        teacher = found if isinstance(found, Reference) else None
        if teacher is None and self.rows.truth is None:
            raise CodError(
                "these rows have no labels and there is no teacher: nothing to score", "name labelled rows: --data"
            )
        book, new = ScoreBook(self.run, self.rows, self.labels), []
        for name in book.forget(self.students):
            self.ui.note(f"{self.run.student(name)} is gone: its scores are, too (as they were: {self.run.archived})")
        # An LLM's journal is closed also where scoring it fails.
        with closing(self._entrants(teacher, book)) as entrants:
            for entrant in entrants:
                digest = score_digest(entrant, self.rows, teacher)
                if not book.holds(entrant.name, digest):
                    book.put(*score(entrant, self.rows, teacher), digest)
                    new.append(entrant.name)
        if new and self.rows.truth is not None:
            book.put_majority(self._majority(teacher))
        book.close()
        return book, new, found

    def _majority(self, teacher: Reference | None) -> Score:
        decided = None if teacher is None else decisions(teacher.logits).tolist()
        return majority(self.rows.truth or (), self.labels, self.rows.task, self.rows.split, decided)

    def result(self, book: ScoreBook, new: list[str], found: Reference | Unasked | None) -> EvalResult:
        """All scores on the split, and what was done for them."""
        teacher = found if isinstance(found, Reference) else None
        scores = self._shown(book, teacher)
        compared = self._compare(scores)
        return EvalResult(
            data=self.data,
            task=self.rows.task,
            split=self.rows.split,
            rows=len(self.rows.ids),
            dropped=self.rows.dropped,
            teacher=teacher.name if teacher else None,
            scores=scores,
            new=tuple(new),
            lacking=str(found) if isinstance(found, Unasked) else None,
            labels=tuple(self.labels),
            students=self.students,
            other_budget=tuple(c.score.student for cell in compared.cells if cell.other_budget for c in cell.results),
            verdicts=tuple(verdicts(compared, scores, self.pace)),
            confusion=self._confusion(book, [score.student for score in scores]) if self.settings.confusion else None,
        )

    def _shown(self, book: ScoreBook, teacher: Reference | None) -> tuple[Score, ...]:
        """The teacher, the majority also where the file was written before there was that row, then all others."""
        scores = book.of([*self.students, *self._encoders(), *self._llms()])
        if self.rows.truth is None:
            return scores
        first = [score for score in scores if score.student == TEACHER]
        others = [score for score in scores if score.student not in (TEACHER, MAJORITY)]
        return (*first, self._majority(teacher), *others)

    def _compare(self, scores: Sequence[Score]) -> Comparison:
        """These scores as `cod report` compares them, read from disk with what each was made from."""
        evidence = read_run(self.run)
        shown = {(score.student, score.task, score.split) for score in scores}
        results = [r for r in evidence.results if (r.score.student, r.score.task, r.score.split) in shown]
        return compare(dataclasses.replace(evidence, results=tuple(results)))

    def _confusion(self, book: ScoreBook, names: Sequence[str]) -> dict[str, list[list[int]]]:
        """By student, from what was decided on each row; nothing without labels."""
        known = [row for row in book.decisions(names) if row.truth is not None]
        return {row.student: confusion(row.truth or (), row.decided, len(self.labels)) for row in known}

    def _entrants(self, teacher: Reference | None, book: ScoreBook) -> Generator[Entrant, None, None]:
        """Who may be scored, in order; each is to be scored before the next is asked for."""
        settings = self.settings
        if teacher is not None and self.rows.truth is not None:
            yield TeacherEntrant(teacher)
        for name, encoder in self._encoders().items():
            shots = self.run.shots.read()
            yield EncoderEntrant(name, encoder, shots, self.labels, settings.device, settings.batch_size, self.ui)
        yield from self._stale_students(teacher, book)
        for name in self._llms():
            with self._open_llm(name) as llm:
                yield LLMEntrant(name, llm, self.run, self.ui)

    def _stale_students(self, teacher: Reference | None, book: ScoreBook) -> Iterator[StudentEntrant]:
        """The students that are not in the book, under one bar of progress."""
        kept = {name: student for name, student in self.students.items() if self.run.has_weights(name)}
        for name in [name for name in self.students if name not in kept]:
            self.ui.note(f"{self.run.student(name)} has no weights any more: its scores stay as they are")
        entrants = [self._student(name, student) for name, student in kept.items()]
        stale = [one for one in entrants if not book.holds(one.name, score_digest(one, self.rows, teacher))]
        if not stale:
            self.ui.note("No student is left to score")
            return
        texts = len(self.rows.ids) + len((teacher.pairs if teacher else Pairs()).ids)
        with self.ui.progress("Scoring", total=len(stale) * texts) as advance:
            for entrant in stale:
                yield dataclasses.replace(entrant, progress=partial(advance, detail=entrant.name))

    def _student(self, name: str, student: Student) -> StudentEntrant:
        made_of = student_fingerprint(self.run, name)
        how = self.settings.device, self.settings.batch_size
        return StudentEntrant(self.run, student, self.labels, made_of, *how, pace=self.pace)

    def _encoders(self) -> dict[str, str]:
        """The encoders whose space a baseline reads, by the name under which it is scored."""
        wanted = {KNN: self.settings.neighbours, LINEAR: self.settings.linear}
        return {name: encoder for name, encoder in wanted.items() if encoder is not None}

    def _llms(self) -> tuple[str, ...]:
        """The names under which the LLM of ``--in-context`` is scored."""
        return (ZERO_SHOT, IN_CONTEXT) if self.settings.in_context else ()

    def _open_llm(self, name: str) -> BlackBoxTeacher:
        """The LLM of ``--in-context`` without shots in its prompt, or with."""
        settings, shots = self.settings, self.run.shots.read()
        spec = TeacherSpec(
            settings.in_context or "",
            prompt=settings.teacher_prompt,
            demos=0 if name == ZERO_SHOT else settings.demos or len(shots),
            votes=settings.votes,
            url=settings.base_url,
            price=settings.price,
        )
        return open_llm(spec, self.labels, self.run.eval_replies, self.session, shots, cache=settings.cache)

    def _open_teacher(self, spec: TeacherSpec) -> AbstractContextManager[Teacher]:
        """The teacher that a manifest records, within this command's limits."""
        settings = self.settings
        return open_teacher(
            dataclasses.replace(spec, url=spec.url or settings.base_url, price=settings.price),
            self.labels,
            self.run.eval_replies,
            self.session,
            shots=self.run.shots.read(),
            device=settings.device,
            cache=settings.cache,
            batch_size=settings.batch_size,
        )
