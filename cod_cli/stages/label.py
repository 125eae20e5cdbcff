"""`cod label`: the teacher's soft labels for shots and counterfactuals, once."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from cod_cli.artifacts import Artifact, Run
from cod_cli.calibration import SHOTS, calibrate
from cod_cli.errors import CodError
from cod_cli.jsonl import append_records, read_records, write_records
from cod_cli.records import Calibration, Counterfactual, Shot, SoftLabel, text_sha
from cod_cli.report import Ui
from cod_cli.scaling import TEMPERATURES
from cod_cli.settings import LabelSettings
from cod_cli.sources import with_recorded_teacher
from cod_cli.teachers import WhiteBoxTeacher, flips, load_teacher

Row = Shot | Counterfactual

# Fewer labelled rows make a rough temperature.
FEW_ROWS = 50

# Rows that are asked for, and then saved, in one go.
CHUNK = 256


@dataclass(frozen=True)
class LabelResult:
    """What `cod label` did.

    ``counts``: the ``shots``, ``counterfactuals`` and ``rivals`` that are labelled now; of their labels those
    ``reused`` from the file and the ``new`` ones, of which ``from_cache``; labels of rows that are ``gone``; and how
    many CFEs have ``flipped`` the teacher. ``accuracy`` is the teacher's on the shots, in [0, 1], by its raw logits.
    ``calibration`` is how students will read the labels, None for as they are.
    """

    run: Run
    teacher: str
    labels: list[str]
    counts: dict[str, int]
    accuracy: float
    calibration: Calibration | None
    seconds: float


@dataclass(frozen=True)
class _Inputs:
    """The rows to label, and the files that they stand in."""

    shots: list[Shot]
    counterfactuals: list[Counterfactual]
    rivals: list[Counterfactual]
    files: list[Artifact[Any]]

    def rows(self, labels: Sequence[str]) -> dict[str, Row]:
        """All rows by id, in order, each of one of these classes."""
        rows: dict[str, Row] = {}
        every: list[Row] = [*self.shots, *self.counterfactuals, *self.rivals]
        for row in every:
            if row.id in rows and row.text != rows[row.id].text:
                raise CodError(f"the id {row.id!r} stands for two texts", "rename or delete one of the two rows")
            if row.label not in labels:
                hint = f"mend that row; the shots' labels are {', '.join(labels)}"
                raise CodError(f"{row.id} has the label {row.label!r}", hint)
            rows[row.id] = row
        return rows


def label(run: Run, settings: LabelSettings, ui: Ui) -> LabelResult:
    """Write ``3-soft-labels.jsonl``: a row for each shot, CFE and rival; only what is missing is asked for.

    Raises:
        UsageError: no teacher, neither asked for nor recorded.
        CodError: another teacher than that of the rows that are there, or an input that is not finished.
    """
    started = perf_counter()
    labels = run.shots.require().labels
    inputs = _read(run)
    rows = inputs.rows(labels)
    settings = with_recorded_teacher(run, settings)
    teacher = load_teacher(settings, labels, batch_size=settings.batch_size)
    _remark(run, inputs, teacher, ui)
    calibration = _calibration(run, inputs, settings, teacher, ui)
    if settings.force:
        run.archive(run.soft_labels.path, run.soft_labels.meta)
    known = _known(run, labels, teacher)
    kept = {row.id: known[row.id] for row in rows.values() if _fits(known.get(row.id), row, labels)}
    manifest = run.soft_labels.begin(
        _results(run, settings, teacher),
        labels=labels,
        teacher=teacher.fingerprint,
        calibration=calibration,
        inputs=[file.path for file in inputs.files],
    )
    write_records(run.soft_labels.path, kept.values())
    asked = _ask(run, [row for row in rows.values() if row.id not in kept], teacher, ui)
    done = {**kept, **asked}
    counts = {
        "shots": len(inputs.shots),
        "counterfactuals": len(inputs.counterfactuals),
        "rivals": len(inputs.rivals),
        "reused": len(kept),
        "new": len(asked),
        "from_cache": len(asked) - teacher.scored,
        "gone": len(known.keys() - rows.keys()),
        "flipped": _flipped(inputs, done, labels),
    }
    run.soft_labels.finish(manifest, [done[row_id] for row_id in rows], counts=counts)
    accuracy = _accuracy(inputs.shots, done, labels)
    return LabelResult(run, teacher.name, labels, counts, accuracy, calibration, round(perf_counter() - started, 2))


def _read(run: Run) -> _Inputs:
    """Shots, CFEs and rivals; where `cod counterfact` was not begun there are but shots."""
    shots, cfes = run.shots.read(), run.counterfactuals
    if not shots:
        raise CodError(f"{run.shots.path} holds no shots", f"draw some: `{run.shots.command} --data DATA`")
    begun = cfes.meta.exists() or cfes.path.exists()
    return _Inputs(
        shots=shots,
        counterfactuals=cfes.read() if begun else [],
        rivals=run.rival_rows(),
        files=[run.shots, cfes] if begun else [run.shots],
    )


def _remark(run: Run, inputs: _Inputs, teacher: WhiteBoxTeacher, ui: Ui) -> None:
    """Say what the user may not be aware of."""
    for file in (*inputs.files, run.soft_labels):
        if file.edited():
            ui.note(f"{file.path} was changed by hand since it was written; the labels follow it")
    checked = run.counterfactuals.manifest()
    if checked is not None and checked.teacher not in (None, teacher.fingerprint):
        ui.warn(f"{run.counterfactuals.path} was checked against another teacher: {checked.settings.get('teacher')}")
    if teacher.cache_problem:
        ui.warn(f"going on without the cache: {teacher.cache_problem}")


def _calibration(
    run: Run, inputs: _Inputs, settings: LabelSettings, teacher: WhiteBoxTeacher, ui: Ui
) -> Calibration | None:
    """As asked for; else as it was fitted before, for this teacher."""
    old = None if settings.force else run.soft_labels.manifest()
    before = old.calibration if old is not None and old.teacher == teacher.fingerprint else None
    if settings.calibrate is None:
        return before
    if settings.calibrate == "none":
        found = None
    else:
        found = calibrate(settings.calibrate, teacher, run, inputs.shots, settings.calibration_data)
        if found.rows < FEW_ROWS:
            ui.warn(f"{found.rows} rows say little about calibration")
        if found.method == "temperature" and min(abs(found.temperature - end) for end in TEMPERATURES) < 0.01:
            ui.warn(f"the temperature is at the end of its range: {found.temperature:.2f}")
        if found.data == SHOTS and teacher.source == "logits":
            ui.warn("measured on the shots, which the teacher may have been trained on: that flatters it")
    if found != before and run.student_names():
        ui.note("the calibration has changed: students that are there were trained with the old one")
    return found


def _results(run: Run, settings: LabelSettings, teacher: WhiteBoxTeacher) -> dict[str, Any]:
    """The settings for the manifest; the same teacher under another path is no other teacher."""
    results = settings.results()
    old = run.soft_labels.manifest()
    if old is not None and old.teacher == teacher.fingerprint:
        results["teacher"] = old.settings.get("teacher", settings.teacher)
    return results


def _known(run: Run, labels: Sequence[str], teacher: WhiteBoxTeacher) -> dict[str, SoftLabel]:
    """The soft labels that are there, by id; those of other classes or in another order do not count."""
    old = run.soft_labels.manifest()
    if old is None or old.labels != list(labels) or not run.soft_labels.path.exists():
        return {}
    rows = read_records(run.soft_labels.path, SoftLabel, torn_tail=not old.complete)
    return {row.id: row for row in rows if row.teacher == teacher.fingerprint}


def _fits(soft: SoftLabel | None, row: Row, labels: Sequence[str]) -> bool:
    return soft is not None and soft.text_sha == text_sha(row.text) and len(soft.logits) == len(labels)


def _ask(run: Run, rows: Sequence[Row], teacher: WhiteBoxTeacher, ui: Ui) -> dict[str, SoftLabel]:
    """Soft labels for these rows, appended to the file chunk by chunk."""
    asked: dict[str, SoftLabel] = {}
    if not rows:
        return asked
    # Texts of like length in one chunk pad each other little; `finish` puts all rows in their order.
    rows = sorted(rows, key=lambda row: len(row.text), reverse=True)
    with ui.progress("Asking the teacher", total=len(rows)) as advance:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            logits = teacher.logits([row.text for row in chunk], progress=advance)
            fresh = [_soft_label(row, values.tolist(), teacher) for row, values in zip(chunk, logits, strict=True)]
            append_records(run.soft_labels.path, fresh)
            asked.update((soft.id, soft) for soft in fresh)
    return asked


def _soft_label(row: Row, logits: list[float], teacher: WhiteBoxTeacher) -> SoftLabel:
    return SoftLabel(
        id=row.id,
        text_sha=text_sha(row.text),
        logits=[round(value, 6) for value in logits],
        teacher=teacher.fingerprint,
        source=teacher.source,
        covered_mass=1.0,
    )


def _accuracy(shots: Sequence[Shot], softs: dict[str, SoftLabel], labels: Sequence[str]) -> float:
    chosen = [labels[max(range(len(labels)), key=softs[shot.id].logits.__getitem__)] for shot in shots]
    return sum(choice == shot.label for choice, shot in zip(chosen, shots, strict=True)) / len(shots)


def _flipped(inputs: _Inputs, softs: dict[str, SoftLabel], labels: Sequence[str]) -> int:
    """How many CFEs flip the teacher from their shot; one whose shot is gone does not count."""
    shots = {shot.id for shot in inputs.shots}
    return sum(
        flips(softs[cfe.shot_id].logits, softs[cfe.id].logits, labels.index(cfe.label))
        for cfe in inputs.counterfactuals
        if cfe.shot_id is not None and cfe.shot_id in shots
    )
