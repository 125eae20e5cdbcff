"""How a teacher is calibrated: on which texts it is asked, what is fitted, and what that does to its probabilities."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cod_cli.artifacts import Run
from cod_cli.data import load_table, local_path
from cod_cli.errors import CodError, UsageError
from cod_cli.heldout import HeldOut, held_out
from cod_cli.records import Calibration, Shot
from cod_cli.scaling import TEMPERATURES, cross_fitted, fit_bias, fit_temperature, quality, scaled
from cod_cli.settings import LabelSettings
from cod_cli.teachers import AnyTeacher, Teacher

# Inputs that say nothing (Zhao et al. 2021).
CONTENT_FREE = ("N/A", "[MASK]", "")
FOLDS = 10
SHOTS = "shots"
# Fewer labelled rows make a rough temperature.
FEW_ROWS = 50


@dataclass(frozen=True)
class _Labelled:
    """Rows whose class is known: class indices ``truth``; ``data`` and ``split`` say where they are from.

    ``families`` are the ids of the shots that they are: no demonstration beside themselves.
    """

    data: str
    split: str | None
    texts: list[str]
    truth: list[int]
    families: list[str | None]


def recalibrated(
    run: Run,
    shots: Sequence[Shot],
    settings: LabelSettings,
    teacher: AnyTeacher,
    *,
    note: Callable[[str], object],
    warn: Callable[[str], object],
) -> Calibration | None:
    """How a run's labels will be read: as asked for; else as it was fitted before, for this teacher."""
    old = None if settings.force else run.soft_labels.manifest()
    before = old.calibration if old is not None and old.teacher == teacher.fingerprint else None
    if settings.calibrate is None:
        return before
    if settings.calibrate == "none":
        found = None
    else:
        found = calibrate(settings.calibrate, teacher, run, shots, settings.calibration_data)
        for doubt in _doubts(found, teacher):
            warn(doubt)
    if found != before and run.student_names():
        note("the calibration has changed: students that are there were trained with the old one")
    return found


def _doubts(found: Calibration, teacher: AnyTeacher) -> Iterator[str]:
    if found.rows < FEW_ROWS:
        yield f"{found.rows} rows say little about calibration"
    if found.method == "temperature" and min(abs(found.temperature - end) for end in TEMPERATURES) < 0.01:
        yield f"the temperature is at the end of its range: {found.temperature:.2f}"
    if found.data == SHOTS and teacher.source == "logits":
        yield "measured on the shots, which the teacher may have been trained on: that flatters it"


def calibrate(
    method: Literal["contextual", "temperature"],
    teacher: Teacher,
    run: Run,
    shots: Sequence[Shot],
    data: str | None,
) -> Calibration:
    """Fit what turns a teacher's raw logits into honest probabilities.

    Args:
        method: ``contextual`` asks it about inputs without content; ``temperature`` about labelled rows.
        teacher: any; its ``logits`` are all that is needed.
        run: whose shots and CFEs are no held-out rows.
        shots: the labelled rows where there are no others.
        data: a source of held-out labelled rows; of several splits ``validation`` is read.

    Raises:
        UsageError: a temperature is to be fitted on shots that the teacher may have been trained on.
        CodError: no such data, or no labelled row in it.
    """
    labels = list(teacher.labels)
    if data is None and method == "temperature" and teacher.source == "logits":
        raise UsageError(
            "--calibrate temperature needs labelled rows that the teacher was not trained on, as it may have been on "
            "the shots: on its own training rows a model is nearly always right",
            "name some that are not scored later: --calibration-data FILE",
        )
    rows = _held_out(run, labels, data) if data else _of_shots(shots, labels)
    raw = np.asarray(teacher.logits(rows.texts, families=rows.families), dtype=np.float64)
    if method == "contextual":
        bias = fit_bias(teacher.logits(list(CONTENT_FREE)))
        fitted = _calibration(
            method, rows, bias={name: round(b, 6) for name, b in zip(labels, bias.tolist(), strict=True)}
        )
        after = scaled(raw, labels, fitted)
    else:
        fitted = _calibration(method, rows, temperature=round(fit_temperature(raw, rows.truth), 6))
        # Not by the temperature that these very rows chose.
        after = cross_fitted(raw, rows.truth, len(raw) if data is None else min(FOLDS, len(raw)))
    return fitted.replace(before=quality(raw, rows.truth), after=quality(after, rows.truth))


def _calibration(
    method: Literal["contextual", "temperature"],
    rows: _Labelled,
    *,
    temperature: float = 1.0,
    bias: dict[str, float] | None = None,
) -> Calibration:
    return Calibration(
        method=method,
        temperature=temperature,
        bias=bias or {},
        data=rows.data,
        split=rows.split,
        rows=len(rows.texts),
        before={},
        after={},
    )


def _of_shots(shots: Sequence[Shot], labels: Sequence[str]) -> _Labelled:
    if len(shots) < 2:
        raise CodError("one shot is too few to calibrate on", "name labelled rows: --calibration-data FILE")
    texts, truth = [shot.text for shot in shots], [labels.index(shot.label) for shot in shots]
    return _Labelled(SHOTS, None, texts, truth, [shot.id for shot in shots])


def _held_out(run: Run, labels: Sequence[str], data: str) -> _Labelled:
    """The labelled rows of a source that are no text of this run's."""
    rows = _rows(run, labels, data)
    if rows.truth is None:
        raise CodError(f"{data} has no labels", "name a file of labelled rows: --calibration-data FILE")
    if len(rows.texts) < 2:
        raise CodError(f"{data} has one row that can be used", "name a file of more labelled rows")
    return _Labelled(
        str(local_path(data) or data), rows.split, list(rows.texts), list(rows.truth), [None] * len(rows.texts)
    )


def _rows(run: Run, labels: Sequence[str], data: str) -> HeldOut:
    shots = run.shots.read()
    sampled = run.shots.require().settings
    own = {shot.text for shot in shots} | {row.text.strip() for row in run.counterfactuals.peek()}
    try:
        # As the shots' source was read; a file of other columns has `text` and `label`.
        table = load_table(
            data,
            default_splits=("validation",),
            text_columns=sampled.get("text_column") or (),
            label_column=sampled.get("label_column"),
            label_names=sampled.get("label_names"),
        )
        return held_out(table, labels, trained=own)
    except CodError as error:
        raise type(error)(
            f"--calibration-data: {error.message}",
            "give one file of labelled rows, with columns and labels as in the shots' source",
        ) from None
