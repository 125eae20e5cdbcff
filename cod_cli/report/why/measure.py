"""Measures, run by run, what the paper proves: the Fisher information of rows, and where students cross segments.

The stage `report` calls `measure`; each teacher is loaded once, each student once, and each text run once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from cod_cli.errors import CodError
from cod_cli.metrics import Floats, decisions, softmax
from cod_cli.mixes import Families
from cod_cli.models.inference import Progress
from cod_cli.models.load import load_classifier
from cod_cli.records import Counterfactual, Manifest, Student
from cod_cli.report.results import Evidence
from cod_cli.report.why import families, fisher
from cod_cli.report.why.crossing import Pair, Segments, crossings, share_and_gap
from cod_cli.report.why.explain import HELD_OUT, OWN, Measurement, Measurements
from cod_cli.report.why.fisher import features_of
from cod_cli.settings.shared import TeacherSpec
from cod_cli.store.run import Run
from cod_cli.teachers.local import WhiteBoxTeacher
from cod_cli.teachers.open import load_teacher
from cod_cli.training.trainset import Example, TrainSet, ablate, read_trainset

Students = Mapping[Path, Mapping[str, Student]]
_Two = tuple[float | None, float | None]


def students_of(evidence: Evidence) -> Students:
    """By run folder, each student of which is known how it was made."""
    found: dict[Path, dict[str, Student]] = defaultdict(dict)
    for result in evidence.results:
        if result.student is not None:
            found[result.run.folder][result.score.student] = result.student
    return found


def measure(students: Students, *, device: str, progress: Progress) -> Measurements:
    """Measure every student; what could not be measured is among the problems.

    Args:
        students: by run folder and name.
        device: where teachers and students run.
        progress: told of each student.
    """
    found: dict[tuple[Path, str], Measurement] = {}
    pairs: dict[str, list[int]] = {}
    lost = 0
    problems = _Problems()
    teachers = _Teachers(device)
    for folder, here in students.items():
        bench = _Bench(Run(folder), teachers, problems)
        for name, student in here.items():
            found[folder, name] = bench.measure(student)
            progress(1)
        for kind, n in bench.used.items():
            pairs.setdefault(kind, []).append(n)
        lost += bench.lost
    return Measurements(found, fisher.RIDGE, pairs, problems.told(), lost)


class _Problems:
    """What could not be measured, each told once, with the runs that it is true of."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[Path, str]] = {}

    def add(self, folder: Path, error: CodError) -> None:
        everywhere = error.message.replace(str(folder), "RUN")
        self._lines.setdefault(everywhere, {})[folder] = error.message

    def told(self) -> tuple[str, ...]:
        return tuple(_told(everywhere, runs) for everywhere, runs in self._lines.items())


def _told(everywhere: str, runs: Mapping[Path, str]) -> str:
    first, message = next(iter(runs.items()))
    if len(runs) > 1:
        return f"{everywhere} (in {len(runs)} runs, the first {first})"
    return message if str(first) in message else f"{first}: {message}"


class _Teachers:
    """Loads the teacher of a run, and keeps it for the next one."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._loaded: tuple[object, WhiteBoxTeacher | CodError] | None = None

    def of(self, made: Manifest) -> WhiteBoxTeacher:
        """The teacher that labelled a run.

        Raises:
            CodError: it is an LLM, it is gone, or it has changed.
        """
        spec = TeacherSpec.from_manifest(made.settings)
        if self._loaded is None or self._loaded[0] != (spec, made.labels):
            self._loaded = (spec, made.labels), _load(spec, made.labels, self.device)
        teacher = self._loaded[1]
        if isinstance(teacher, CodError):
            raise teacher
        if teacher.fingerprint != made.teacher:
            raise CodError(f"{teacher.name} has changed since it labelled the rows")
        return teacher


def _load(spec: TeacherSpec, labels: Sequence[str], device: str) -> WhiteBoxTeacher | CodError:
    if spec.llm is not None:
        return CodError(f"the teacher is {spec.name}, and nobody sees the features of an LLM behind an endpoint")
    try:
        return load_teacher(spec, labels, device=device, cache=False)
    except CodError as error:
        return CodError(f"the teacher is not at hand: {error.message}")


class _Bench:
    """One run: what its teacher says about the rows of each mix, and where it crosses each pair's segment.

    ``used`` says which pairs students were held against and how many they are, ``lost`` how many the teacher did not
    cross.
    """

    def __init__(self, run: Run, teachers: _Teachers, problems: _Problems) -> None:
        self.run = run
        self.used: dict[str, int] = {}
        self.lost = 0
        self._teachers, self._problems = teachers, problems
        self._rows: dict[tuple[str, bool, bool, Families, bool], TrainSet] = {}
        self._known: dict[str, Sequence[np.ndarray]] = {}
        self._information: dict[str, tuple[float, float]] = {}

    def measure(self, student: Student) -> Measurement:
        """What can be measured of one student."""
        uncertainty, log_det = self._try(self._of_rows, student)
        crossed, gap = self._try(self._crossing, student)
        by_shot, shot_bits = self._try(self._of_families, student)
        contrasts, side_by_side = self._try(self._contrasts, student)
        return Measurement(uncertainty, log_det, crossed, gap, by_shot, shot_bits, contrasts, side_by_side)

    def _try(self, count: Callable[[Student], _Two], student: Student) -> _Two:
        try:
            return count(student)
        except CodError as error:
            self._problems.add(self.run.folder, error)
            return None, None

    def _of_families(self, student: Student) -> _Two:
        """How far the shots alone tell the classes of the rows that a student trained on."""
        rows = _families(self._trainset(student).rows)
        return families.told_by_shot(rows), families.shot_information(rows)

    def _contrasts(self, student: Student) -> _Two:
        """The contrasts a batch, as it trained and side by side; of batches that are not recorded nothing is known."""
        made = student.settings
        size = made.get("batch_size")
        if size is None:
            return None, None
        drawn = ablate(
            self._trainset(student).groups,
            soft_labels="teacher",
            pairs=made.get("pairs", "together"),
            temperature=1.0,
            seed=student.seed,
            longest=size if made.get("families") == "together" else None,
        )
        groups = [_families(group) for group in drawn]
        rows = [row for group in groups for row in group]
        return families.contrasts_a_batch(groups, size), families.contrasts_side_by_side(rows, size)

    @cached_property
    def _label_manifest(self) -> Manifest:
        return self.run.soft_labels.require()

    @property
    def _teacher(self) -> WhiteBoxTeacher:
        return self._teachers.of(self._label_manifest)

    def _of_rows(self, student: Student) -> _Two:
        """Σ p(1 - p) and log det of the rows that a student trained on."""
        rows = self._trainset(student)
        key = rows.sha()
        if key not in self._information:
            features, logits = self._see([row.text for row in rows.rows])
            probs = softmax(logits)
            self._information[key] = float(fisher.uncertainty(probs).sum()), fisher.log_det(features, probs)
        return self._information[key]

    def _trainset(self, student: Student) -> TrainSet:
        """The rows as `cod distill` drew them, in the version that trained the student."""
        unflipped, judged = (bool(student.settings.get(name)) for name in ("keep_unflipped", "judged"))
        together: Families = student.settings.get("families", "balanced")
        old = student.versions.get("cod", "").startswith("0.1.")
        key = (student.mix, unflipped, judged, together, old)
        if key not in self._rows:
            self._rows[key] = read_trainset(
                self.run, student.mix, keep_unflipped=unflipped, judged=judged, families=together, as_in_0_1=old
            )
        rows = self._rows[key]
        # Files may have grown, or labels been calibrated, and these rows still be the same.
        if rows.inputs != student.inputs and rows.sha() != student.rows_sha:
            raise CodError(f"the rows that {student.name} trained on have changed since")
        return rows

    def _see(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Features and logits of the texts, each text run once."""
        teacher = self._teacher
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            found = features_of(teacher.classifier, new, batch_size=teacher.batch_size, max_length=teacher.max_length)
            self._known |= {text: row for text, *row in zip(new, *found, strict=True)}
        features, logits = zip(*(self._known[text] for text in texts), strict=True)
        return np.stack(features), np.stack(logits)

    def _crossing(self, student: Student) -> _Two:
        """The share of the teacher's crossings that a student shares, and how far off it is there."""
        if not self.run.has_weights(student.name):
            raise CodError("students whose weights were deleted are not asked where they cross")
        pairs, places = self._teacher_crossings
        if not pairs:
            return None, None
        folder = self.run.student(student.name)
        classifier = load_classifier(str(folder), device=self._teachers.device)
        if set(classifier.labels) != set(self._label_manifest.labels):
            raise CodError(f"{folder} has other classes than the run")
        order = [classifier.labels.index(label) for label in self._label_manifest.labels]
        segments = Segments(classifier, pairs, order, max_length=student.settings["max_length"])
        return share_and_gap(crossings(segments.margins, len(pairs)), places)

    @cached_property
    def _teacher_crossings(self) -> tuple[list[Pair], Floats]:
        """The pairs on whose segments the teacher crosses, and the places where it does."""
        kind, rows = _pairs(self.run, self._label_manifest)
        if not rows:
            return [], np.empty(0)
        teacher, labels = self._teacher, self._label_manifest.labels
        logits = self._see([text for text, _ in rows])[1][:, teacher.order]
        pairs = [
            Pair(text, row.text, int(before), labels.index(row.label))
            for (text, row), before in zip(rows, decisions(logits), strict=True)
        ]
        segments = Segments(teacher.classifier, pairs, teacher.order, max_length=teacher.max_length)
        found = crossings(segments.margins, len(pairs))
        kept = ~np.isnan(found)
        self.used[kind], self.lost = int(kept.sum()), int((~kept).sum())
        return [pair for pair, here in zip(pairs, kept, strict=True) if here], found[kept]


def _families(rows: Iterable[Example]) -> list[families.Row]:
    return [(row.shot, row.label) for row in rows]


def _pairs(run: Run, made: Manifest) -> tuple[str, list[tuple[str, Counterfactual]]]:
    """Which pairs there are, and each one's text and CFE: those held out for this teacher, else the run's own."""
    held = [
        source
        for source in run.held_out_files()
        if (manifest := source.rows.manifest()) and manifest.complete and manifest.teacher == made.teacher
    ]
    found = []
    for source in held or ([run.cfe_files] if run.counterfactuals.manifest() else []):
        texts = {shot.id: shot.text for shot in source.shots.read()}
        for row in source.rows.read():
            if row.label not in made.labels:
                raise CodError(f"{source.rows.path}: {row.id} has the label {row.label!r}, no class of the run")
            if row.shot_id in texts and not row.is_further:
                found.append((texts[row.shot_id], row))
    return HELD_OUT if held else OWN, found
