"""The teacher on held-out rows and pairs: its answers, asked for once, that students are compared with."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from cod_cli import metrics
from cod_cli.data.heldout import HeldOut
from cod_cli.data.source import local_path
from cod_cli.errors import CodError, PartialError
from cod_cli.llm.prices import Estimate
from cod_cli.records import Manifest, SoftLabel, digest, text_sha
from cod_cli.settings.shared import TeacherSpec
from cod_cli.store.run import Run
from cod_cli.teachers.base import Logits, Teacher
from cod_cli.teachers.calibration import calibrate_logits
from cod_cli.ui import Ui

OpenTeacher = Callable[[TeacherSpec], AbstractContextManager[Teacher]]


@dataclass(frozen=True)
class Pairs:
    """Texts that flip the teacher, each made from one of the rows that are scored.

    ``sources`` holds the place of that row, ``generators`` who wrote the text.
    """

    ids: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    sources: tuple[int, ...] = ()
    generators: tuple[str, ...] = ()

    @property
    def digest(self) -> str | None:
        """16 hex digits over all of it, None where there is no pair."""
        return digest([self.ids, self.texts, self.sources, self.generators]) if self.ids else None


def held_out_pairs(run: Run, rows: HeldOut, teacher: str | None) -> Pairs:
    """The pairs of `cod counterfact --held-out` whose real text is among ``rows``.

    Args:
        run: whose pairs.
        rows: what is scored; a pair whose text stands there otherwise, or not at all, is left out.
        teacher: fingerprint of the one who decides; pairs that were checked against another are left out.
    """
    places = {(row_id, text): place for place, (row_id, text) in enumerate(zip(rows.ids, rows.texts, strict=True))}
    found: list[tuple[str, str, int, str]] = []
    for held in run.held_out_files():
        made = held.rows.manifest()
        if made is None or not made.complete or teacher is None or made.teacher != teacher:
            continue
        texts = {shot.id: shot.text for shot in held.shots.read()}
        suffix = held.rows.path.stem.removeprefix("5-")
        for row in held.rows.read():
            place = places.get((row.shot_id or "", texts.get(row.shot_id or "", "")))
            if place is not None:
                found.append((f"{row.id}@{suffix}", row.text, place, row.generator))
    return Pairs(*(tuple(column) for column in zip(*found, strict=True))) if found else Pairs()


def boundary_agreement_by_generator(pairs: Pairs, teacher: Logits, student: Logits) -> dict[str, Any]:
    """``boundary_agreement`` over all pairs and, by generator, ``boundary_by_generator``; empty without a pair.

    Args:
        pairs: n of them.
        teacher: logits of the scored rows and, behind them, of the n texts.
        student: likewise.
    """
    if not pairs.ids:
        return {}

    def share(chosen: Sequence[int]) -> float:
        rows = len(teacher) - len(pairs.ids)
        sides = [pairs.sources[i] for i in chosen], [rows + i for i in chosen]
        first, second = ((teacher[side], student[side]) for side in sides)
        return round(metrics.boundary_agreement((first[0], second[0]), (first[1], second[1])), 6)

    by_generator = {
        name: share([i for i, generator in enumerate(pairs.generators) if generator == name])
        for name in dict.fromkeys(pairs.generators)
    }
    return {"boundary_agreement": share(range(len(pairs.ids))), "boundary_by_generator": by_generator}


@dataclass(frozen=True)
class Reference:
    """The teacher's logits for the held-out rows, calibrated as file 3 is, in the run's order of classes.

    ``all_logits`` has behind them those of the texts of ``pairs``.
    """

    name: str
    fingerprint: str
    all_logits: Logits
    pairs: Pairs

    @property
    def logits(self) -> Logits:
        """Those for the held-out rows."""
        return self.all_logits[: len(self.all_logits) - len(self.pairs.ids)]


@dataclass(frozen=True)
class Unasked:
    """An LLM that is the teacher and was not asked about some rows, since nobody said that it may cost something."""

    name: str
    rows: int

    def __str__(self) -> str:
        """What the user should know."""
        return (
            f"no agreement and no KL: {self.name} was not asked about {self.rows:,} of these rows, which would cost "
            "(--teacher-on-split; what it would: --dry-run)"
        )


def reference(
    run: Run,
    data: str,
    rows: HeldOut,
    labels: Sequence[str],
    open_teacher: OpenTeacher,
    ui: Ui,
    *,
    ask_llm: bool = False,
) -> Reference | Unasked | None:
    """The teacher that labelled file 3, asked for the rows that ``5-teacher.jsonl`` lacks; None where it is gone.

    Args:
        run: whose teacher.
        data, rows: what is scored, and where it is from.
        labels: the run's classes in order.
        open_teacher: makes it ready to be asked, within the limits of the command.
        ui: told of what is missing.
        ask_llm: whether one that costs money may be asked.

    Raises:
        PartialError: an LLM has not answered everything; all else is saved.
    """
    labeller = _labeller(run, labels)
    if labeller is None:
        ui.warn(f"{run.soft_labels.meta} names no teacher: no agreement and no KL")
        return None
    known = labeller.known()
    pairs = held_out_pairs(run, rows, labeller.fingerprint)
    texts = dict(zip((*rows.ids, *pairs.ids), (*rows.texts, *pairs.texts), strict=True))
    missing = _missing(texts, known)
    llm = labeller.spec.llm is not None
    if missing and llm and not ask_llm:
        return Unasked(labeller.spec.name, len(missing))
    if missing:
        try:
            known |= labeller.ask(missing, open_teacher, ui)
        except CodError as error:
            if llm:
                raise
            ui.warn(f"no agreement and no KL, for lack of the teacher: {error.message}")
            return None
        labeller.save(known)
    raw = np.array([known[i].logits for i in texts], dtype=np.float32)
    calibration = labeller.made.calibration
    if calibration is None:
        return Reference(labeller.spec.name, labeller.fingerprint, raw, pairs)
    if (calibration.data, calibration.split) == (str(local_path(data) or data), rows.split):
        ui.warn("the teacher was calibrated on these very rows: its ECE, Brier and KL flatter it")
    # Other values, other digits: KL is to the teacher as it is calibrated now.
    fitted = json.dumps([calibration.temperature, calibration.bias])
    logits = calibrate_logits(raw, labels, calibration).astype(np.float32)
    return Reference(labeller.spec.name, labeller.fingerprint + fitted, logits, pairs)


def estimate_reference(run: Run, rows: HeldOut, labels: Sequence[str], open_teacher: OpenTeacher) -> Estimate | None:
    """What asking an LLM that is the teacher about all rows would take; None where the teacher is none."""
    labeller = _labeller(run, labels)
    if labeller is None or labeller.spec.llm is None:
        return None
    pairs = held_out_pairs(run, rows, labeller.fingerprint)
    texts = dict(zip((*rows.ids, *pairs.ids), (*rows.texts, *pairs.texts), strict=True))
    with open_teacher(labeller.spec) as teacher:
        return teacher.estimate(list(_missing(texts, labeller.known()).values()))


def _missing(texts: Mapping[str, str], known: Mapping[str, SoftLabel]) -> dict[str, str]:
    return {i: text for i, text in texts.items() if i not in known or known[i].text_sha != text_sha(text)}


@dataclass(frozen=True)
class _Labeller:
    """The teacher that labelled file 3, as its manifest ``made`` tells, and what it has said of held-out rows."""

    run: Run
    labels: Sequence[str]
    made: Manifest
    spec: TeacherSpec
    fingerprint: str

    def known(self) -> dict[str, SoftLabel]:
        """Its answers to held-out rows so far, by id; those of another teacher are archived."""
        file, (spec, teacher, labels) = self.run.teacher_labels, (self.spec, self.fingerprint, list(self.labels))
        old = file.manifest()
        if old and (TeacherSpec.from_manifest(old.settings), old.teacher, old.labels) != (spec, teacher, labels):
            self.run.archive(file.path, file.meta)
        return {row.id: row for row in file.peek()}

    def ask(self, texts: Mapping[str, str], open_teacher: OpenTeacher, ui: Ui) -> dict[str, SoftLabel]:
        """Its answers to these texts, by id."""
        with open_teacher(self.spec) as teacher:
            if teacher.fingerprint != self.fingerprint:
                raise CodError(
                    f"{teacher.name} has changed since it labelled the shots",
                    f"label them anew: `{self.run.soft_labels.command} --force`",
                )
            with ui.progress("Asking the teacher", total=len(texts)) as advance:
                told = teacher.outputs(list(texts.values()), progress=advance)
            pairs = zip(texts.items(), told.rows, strict=True)
            found = {i: said.soft_label(i, text, teacher.fingerprint) for (i, text), said in pairs if said}
        if len(found) < len(texts):
            raise PartialError(
                f"{len(texts) - len(found)} of {len(texts)} rows are without an answer of {teacher.name}: "
                f"{told.reason}",
                "the same command asks again for just those",
            )
        return found

    def save(self, known: Mapping[str, SoftLabel]) -> None:
        """Write all that it has said."""
        file = self.run.teacher_labels
        manifest = file.begin(self.spec.record(), labels=list(self.labels), teacher=self.fingerprint)
        file.finish(manifest, known.values(), counts={"rows": len(known)})


def _labeller(run: Run, labels: Sequence[str]) -> _Labeller | None:
    """None where nobody labelled, or nobody wrote down who."""
    made = run.soft_labels.manifest()
    if made is None or made.teacher is None:
        return None
    spec = TeacherSpec.from_manifest(made.settings)
    return _Labeller(run, labels, made, spec, made.teacher) if spec.name else None
