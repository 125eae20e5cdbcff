"""The teacher on held-out rows: its answers, asked for once, that students are compared with."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cod_cli import metrics
from cod_cli.data.heldout import HeldOut
from cod_cli.data.source import local_path
from cod_cli.errors import CodError, PartialError
from cod_cli.evaluation.scores import Logits
from cod_cli.llm.client import Session
from cod_cli.llm.prices import Estimate
from cod_cli.records import Manifest, SoftLabel, digest, text_sha
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.shared import EndpointOptions, TeacherOptions
from cod_cli.store.run import Run
from cod_cli.teachers.calibration import calibrate_logits
from cod_cli.teachers.open import open_llm, open_teacher, soft_label
from cod_cli.ui import Ui


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


def followed(pairs: Pairs, teacher: Logits, student: Logits) -> dict[str, Any]:
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
    settings: EvalSettings,
    ui: Ui,
    session: Session,
) -> Reference | Unasked | None:
    """The teacher that labelled file 3, asked for the rows that ``5-teacher.jsonl`` lacks; None where it is gone.

    Args:
        run: whose teacher.
        data, rows: what is scored, and where it is from.
        labels: the run's classes in order.
        settings: an LLM is asked only where they say so.
        ui: told of what is missing.
        session: where an LLM is asked, within the limits of the command.

    Raises:
        PartialError: an LLM has not answered everything; all else is saved.
    """
    made = run.soft_labels.manifest()
    if made is None or made.teacher is None or not made.settings.get("teacher"):
        ui.warn(f"{run.soft_labels.meta} names no teacher: no agreement and no KL")
        return None
    known = _known(run, made, labels)
    pairs = held_out_pairs(run, rows, made.teacher)
    texts = dict(zip((*rows.ids, *pairs.ids), (*rows.texts, *pairs.texts), strict=True))
    missing = _missing(texts, known)
    llm = recorded_options(made, settings).llm is not None
    if missing and llm and not settings.teacher_on_split:
        return Unasked(made.settings["teacher"], len(missing))
    if missing:
        try:
            known |= _ask_teacher(run, made, labels, missing, settings, ui, session)
        except CodError as error:
            if llm:
                raise
            ui.warn(f"no agreement and no KL, for lack of the teacher: {error.message}")
            return None
        manifest = run.teacher_labels.begin(_asked(made), labels=list(labels), teacher=made.teacher)
        run.teacher_labels.finish(manifest, known.values(), counts={"rows": len(known)})
    raw = np.array([known[i].logits for i in texts], dtype=np.float32)
    calibration = made.calibration
    if calibration is None:
        return Reference(made.settings["teacher"], made.teacher, raw, pairs)
    if (calibration.data, calibration.split) == (str(local_path(data) or data), rows.split):
        ui.warn("the teacher was calibrated on these very rows: its ECE, Brier and KL flatter it")
    # Other values, other digits: KL is to the teacher as it is calibrated now.
    fitted = json.dumps([calibration.temperature, calibration.bias])
    logits = calibrate_logits(raw, labels, calibration).astype(np.float32)
    return Reference(made.settings["teacher"], made.teacher + fitted, logits, pairs)


def unasked(
    run: Run, rows: HeldOut, labels: Sequence[str], settings: EvalSettings, session: Session
) -> Estimate | None:
    """What asking an LLM that is the teacher about all rows would take; None where the teacher is none."""
    made = run.soft_labels.manifest()
    if made is None or made.teacher is None or not made.settings.get("teacher"):
        return None
    options = recorded_options(made, settings)
    if options.llm is None:
        return None
    pairs = held_out_pairs(run, rows, made.teacher)
    texts = dict(zip((*rows.ids, *pairs.ids), (*rows.texts, *pairs.texts), strict=True))
    with open_llm(options, labels, run.eval_replies, session, run.shots.read()) as teacher:
        return teacher.estimate(list(_missing(texts, _known(run, made, labels)).values()))


def _missing(texts: Mapping[str, str], known: Mapping[str, SoftLabel]) -> dict[str, str]:
    return {i: text for i, text in texts.items() if i not in known or known[i].text_sha != text_sha(text)}


def _asked(made: Manifest) -> dict[str, Any]:
    """How `cod label` called the teacher: what its answers depend on."""
    names = ("teacher", "teacher_labels", "max_length", *sorted(TeacherOptions.OF_LLMS))
    return {name: made.settings[name] for name in names if name in made.settings}


def recorded_options(made: Manifest, settings: EvalSettings) -> LabelSettings:
    """The options by which `cod label` called the teacher, with the limits of this command."""
    limits = {field.name: getattr(settings, field.name) for field in dataclasses.fields(EndpointOptions)}
    return LabelSettings(**{**limits, **_asked(made)}, batch_size=settings.batch_size)


def _known(run: Run, made: Manifest, labels: Sequence[str]) -> dict[str, SoftLabel]:
    """The teacher's answers to held-out rows so far, by id; those of another teacher are archived."""
    old = run.teacher_labels.manifest()
    if old is not None and (old.teacher, old.settings, old.labels) != (made.teacher, _asked(made), list(labels)):
        run.archive(run.teacher_labels.path, run.teacher_labels.meta)
    return {row.id: row for row in run.teacher_labels.peek()}


def _ask_teacher(
    run: Run,
    made: Manifest,
    labels: Sequence[str],
    texts: Mapping[str, str],
    settings: EvalSettings,
    ui: Ui,
    session: Session,
) -> dict[str, SoftLabel]:
    with open_teacher(
        recorded_options(made, settings),
        labels,
        run.eval_replies,
        session,
        shots=run.shots.read(),
        batch_size=settings.batch_size,
        note=ui.note,
    ) as teacher:
        if teacher.fingerprint != made.teacher:
            raise CodError(
                f"{teacher.name} has changed since it labelled the shots",
                f"label them anew: `{run.soft_labels.command} --force`",
            )
        with ui.progress("Asking the teacher", total=len(texts)) as advance:
            told = teacher.outputs(list(texts.values()), progress=advance)
        pairs = zip(texts.items(), told.rows, strict=True)
        found = {row_id: soft_label(row_id, text, said, teacher) for (row_id, text), said in pairs if said}
    if len(found) < len(texts):
        raise PartialError(
            f"{len(texts) - len(found)} of {len(texts)} rows are without an answer of {teacher.name}: {told.reason}",
            "the same command asks again for just those",
        )
    return found
