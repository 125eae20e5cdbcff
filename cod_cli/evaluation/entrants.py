"""Whoever is scored on held-out rows, and how: the teacher and students; `evaluation.baselines` has who is neither."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from cod_cli.data.heldout import HeldOut
from cod_cli.errors import CodError
from cod_cli.evaluation.reference import Pairs, Reference, boundary_agreement_by_generator
from cod_cli.evaluation.scores import TEACHER, measure, prediction
from cod_cli.metrics import METRICS
from cod_cli.models import folder
from cod_cli.models.inference import Progress, logits_of
from cod_cli.models.load import load_classifier
from cod_cli.records import Prediction, Score, Student, digest
from cod_cli.store.jsonl import file_sha
from cod_cli.store.run import Run
from cod_cli.teachers.base import Logits

# The fields of `Score` that say how somebody was made; null for who was not made like that.
_MADE = ("method", "mix", "k", "rows", "shots", "steps", "seed", "seconds")


class Entrant(Protocol):
    """Somebody to score. A model is loaded, and an LLM asked, when its logits are wanted."""

    @property
    def name(self) -> str:
        """Under which it stands among the scores."""
        ...

    @property
    def fingerprint(self) -> str:
        """Other answers, other digits."""
        ...

    @property
    def on_pairs(self) -> bool:
        """Whether it is shown the held-out pairs, too: not where that costs money."""
        ...

    def logits(self, texts: Sequence[str]) -> Logits:
        """What it says of each text ``(n, classes)``, in the run's order of classes."""
        ...

    def made(self) -> Mapping[str, Any]:
        """How it was made and what it took, by field of `Score`; asked for after ``logits``."""
        ...


def score_digest(entrant: Entrant, rows: HeldOut, teacher: Reference | None) -> str:
    """16 hex digits over all that a score depends on."""
    parts = [entrant.fingerprint, rows.digest, teacher.fingerprint if teacher else None]
    if teacher is not None and teacher.pairs.digest and entrant.fingerprint != teacher.fingerprint:
        parts.append(teacher.pairs.digest)
    return digest(parts)


def score(entrant: Entrant, rows: HeldOut, teacher: Reference | None) -> tuple[Score, Prediction]:
    """Ask an entrant about the rows and, where it may be, about the texts of the held-out pairs; measure what it says.

    Args:
        entrant: who.
        rows: what is scored.
        teacher: with whom it is compared, unless it is the teacher itself.
    """
    compared = None if entrant.name == TEACHER else teacher
    pairs = compared.pairs if compared and entrant.on_pairs else Pairs()
    everything = entrant.logits([*rows.texts, *pairs.texts])
    logits = everything[: len(rows.ids)]
    found = measure(logits, rows.truth, compared.logits if compared else None)
    if compared is not None:
        found |= boundary_agreement_by_generator(pairs, compared.all_logits, everything)
    fields = dict.fromkeys((*_MADE, *METRICS)) | found | dict(entrant.made())
    made = Score(student=entrant.name, task=rows.task, split=rows.split, n=len(rows.ids), **fields)
    return made, prediction(entrant.name, rows, logits)


@dataclass(frozen=True)
class TeacherEntrant:
    """The teacher itself, which has answered already."""

    reference: Reference
    name: str = TEACHER
    on_pairs: bool = False

    @property
    def fingerprint(self) -> str:
        """That of its answers, calibrated as they are."""
        return self.reference.fingerprint

    def logits(self, texts: Sequence[str]) -> Logits:
        """For the held-out rows, which ``texts`` are."""
        return self.reference.logits

    def made(self) -> Mapping[str, Any]:
        """Nothing is known of it."""
        return {}


@dataclass(frozen=True)
class StudentEntrant:
    """A student whose weights are there.

    Args:
        run: where it was trained.
        student: how.
        labels: the run's classes in order.
        fingerprint: see `student_fingerprint`.
        device, batch_size: how it is asked.
        progress: told of each text.
        pace: keeps how many texts a second it decides, by name.
    """

    run: Run
    student: Student
    labels: Sequence[str]
    fingerprint: str
    device: str
    batch_size: int
    progress: Progress | None = None
    pace: dict[str, float] = field(default_factory=dict)
    on_pairs: bool = True

    @property
    def name(self) -> str:
        """As it was trained."""
        return self.student.name

    def logits(self, texts: Sequence[str]) -> Logits:
        """Load it and ask it.

        Raises:
            CodError: it is damaged, or of other classes than the run.
        """
        place = self.run.student(self.name)
        classifier = load_classifier(str(place), device=self.device)
        if set(classifier.labels) != set(self.labels):
            raise CodError(
                f"{place} has the classes {', '.join(classifier.labels)}, the shots have {', '.join(self.labels)}",
                f"train it again: `cod distill {self.run.folder} --name {self.name} --force`",
            )
        started = perf_counter()
        logits = logits_of(
            classifier,
            texts,
            batch_size=self.batch_size,
            max_length=self.student.settings["max_length"],
            progress=self.progress,
        )
        self.pace[self.name] = len(texts) / max(perf_counter() - started, 1e-9)
        return logits[:, [classifier.labels.index(label) for label in self.labels]]

    def made(self) -> Mapping[str, Any]:
        """How it was trained, and how fast it decides."""
        made = {name: getattr(self.student, name) for name in _MADE}
        return made | {"rows_per_second": round(self.pace[self.name], 1)}


def student_fingerprint(run: Run, name: str) -> str:
    """Other weights or other settings, other digits; all weights are read for it."""
    return folder.fingerprint(run.student(name)) + file_sha(run.student(name) / "settings.yaml")
