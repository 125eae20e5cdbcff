"""`cod label`: the teacher's soft labels for shots and counterfactuals, once."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.llm.client import Session
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Estimate
from cod_cli.pools.writer import Agreement, agreement
from cod_cli.records import Calibration, Counterfactual, Manifest, PoolText, Shot, SoftLabel, text_sha
from cod_cli.settings.label import LabelSettings
from cod_cli.store.artifact import Artifact, SoftLabelFile
from cod_cli.store.jsonl import append_records, read_records, write_records
from cod_cli.store.run import Run
from cod_cli.teachers.base import Teacher
from cod_cli.teachers.calibration import renew_calibration
from cod_cli.teachers.open import open_teacher, teacher_usage, with_endpoint, with_recorded_teacher
from cod_cli.teachers.softlabels import flips_by_file3
from cod_cli.ui import Ui

Row = Shot | Counterfactual | PoolText
# Rows that are asked for, and then saved, in one go.
CHUNK = 256


@dataclass(frozen=True)
class LabelResult:
    """What `cod label` did.

    ``counts``: the ``shots``, ``counterfactuals``, ``rivals`` and, where there are some, ``semifactuals`` and texts of
    the ``pool`` that are labelled now; of their labels those ``reused`` from the files and the ``new`` ones, of which
    ``from_cache``; labels of rows that are ``gone``; and how many CFEs have ``flipped`` the teacher. ``accuracy`` is
    the teacher's on the shots, in [0, 1], by its raw logits.
    ``calibration`` is how students will read the labels, None for as they are. ``covered_mass`` is the mean over all
    rows of what fell on the classes (1 but for an LLM). ``memory_size`` counts what is kept of this sort of teacher for
    all runs, ``hit_rate`` is the share of the new labels that was there, None where none was new. ``usage`` and
    ``cost`` are those of an LLM, for this run, checks by `cod counterfact` included. ``asked`` says how far the teacher
    agrees with the classes that an LLM was asked for when it wrote the pool, None where none did.
    """

    run: Run
    teacher: str
    labels: list[str]
    counts: dict[str, int]
    accuracy: float
    calibration: Calibration | None
    covered_mass: float
    # Scripts read it from `--json` under this name.
    memory_size: int
    hit_rate: float | None
    usage: dict[str, int]
    cost: float | None
    seconds: float
    asked: Agreement | None = None


@dataclass(frozen=True)
class LabelPlan:
    """What labelling would take, of ``rows`` rows in all."""

    teacher: str
    rows: int
    estimate: Estimate


@dataclass(frozen=True)
class _Inputs:
    """The rows to label, and the files that they stand in."""

    shots: list[Shot]
    counterfactuals: list[Counterfactual]
    semifactuals: list[Counterfactual]
    rivals: list[Counterfactual]
    pool: list[PoolText]
    files: list[Artifact[Any]]

    def rows(self, labels: Sequence[str]) -> dict[str, Row]:
        """All rows by id, in order, each of one of these classes."""
        rows: dict[str, Row] = {}
        every: list[Shot | Counterfactual] = [*self.shots, *self.counterfactuals, *self.semifactuals, *self.rivals]
        for row in every:
            if row.id in rows and row.text != rows[row.id].text:
                raise CodError(f"the id {row.id!r} stands for two texts", "rename or delete one of the two rows")
            if row.label not in labels:
                hint = f"mend that row; the shots' labels are {', '.join(labels)}"
                raise CodError(f"{row.id} has the label {row.label!r}", hint)
            rows[row.id] = row
        return rows


def label(run: Run, settings: LabelSettings, ui: Ui) -> LabelResult | LabelPlan:
    """Write ``3-soft-labels.jsonl``: a row for each shot, CFE, semifactual and rival; asks only for what is missing.

    The texts of a pool have theirs in ``3-pool-soft-labels.jsonl``.

    Raises:
        UsageError: no teacher, neither asked for nor recorded.
        CodError: another teacher than that of the rows that are there, or an input that is not finished.
        PartialError: an LLM has not answered everything; all else is saved.
    """
    with nullcontext() if settings.dry_run else run.hold("cod label"):
        return _label(run, settings, ui)


def _label(run: Run, settings: LabelSettings, ui: Ui) -> LabelResult | LabelPlan:
    started = perf_counter()
    labels = run.shots.require().labels
    inputs = _read(run)
    rows = inputs.rows(labels)
    settings = with_endpoint(with_recorded_teacher(run, settings))
    with (
        Session(Limits.of(settings)) as session,
        open_teacher(
            settings.teacher_spec,
            labels,
            run.teacher_replies,
            session,
            shots=inputs.shots,
            device=settings.device,
            cache=settings.cache,
            batch_size=settings.batch_size,
        ) as teacher,
    ):
        if settings.dry_run:
            return _plan(run, inputs, rows, labels, teacher)
        work = _Work(run, settings, inputs, rows, labels, teacher)
        done = work.label(ui)
        return work.result(done, work.label_pool(ui), started)


def _plan(run: Run, inputs: _Inputs, rows: Mapping[str, Row], labels: Sequence[str], teacher: Teacher) -> LabelPlan:
    known, known_pool = (_known(file, labels, teacher) for file in (run.soft_labels, run.pool_labels))
    missing = [row for row in rows.values() if not _fits(known.get(row.id), row, labels)]
    missing += [row for row in inputs.pool if not _fits(known_pool.get(row.id), row, labels)]
    estimate = teacher.estimate([row.text for row in missing], [_family(row) for row in missing])
    if estimate is None:
        raise UsageError(f"--dry-run is about an LLM's cost, and {teacher.name} has none")
    return LabelPlan(teacher.name, len(rows) + len(inputs.pool), estimate)


@dataclass(frozen=True)
class _Filled:
    """The soft labels of a file by row, what it took, and why some are missing."""

    done: dict[str, SoftLabel]
    counts: dict[str, int]
    reason: str | None


@dataclass(frozen=True)
class _Work:
    """The labelling of one run by one teacher."""

    run: Run
    settings: LabelSettings
    inputs: _Inputs
    rows: Mapping[str, Row]
    labels: list[str]
    teacher: Teacher

    def label(self, ui: Ui) -> Mapping[str, SoftLabel]:
        """Write the file; its rows by id."""
        run, teacher = self.run, self.teacher
        _remark(run, self.inputs, teacher, ui)
        settings = self.settings
        calibration = renew_calibration(
            run,
            self.inputs.shots,
            teacher,
            method=settings.calibrate,
            data=settings.calibration_data,
            force=settings.force,
        )
        file, inputs = run.soft_labels, [file.path for file in self.inputs.files]
        manifest, filled = self._fill(file, self.rows, inputs, calibration, ui)
        counts = {
            "shots": len(self.inputs.shots),
            "counterfactuals": len(self.inputs.counterfactuals),
            "rivals": len(self.inputs.rivals),
            **filled.counts,
            "flipped": self._flipped(filled.done),
        }
        if self.inputs.semifactuals:
            counts["semifactuals"] = len(self.inputs.semifactuals)
        self._finish(file, manifest, filled, self.rows, counts)
        return filled.done

    def label_pool(self, ui: Ui) -> dict[str, int]:
        """Write the file of the pool's labels; what it counts, nothing where there is no pool."""
        pool = {row.id: row for row in self.inputs.pool}
        if not pool:
            return {}
        file = self.run.pool_labels
        manifest, filled = self._fill(file, pool, [self.run.pool.path], None, ui)
        counts = {"pool": len(pool), **filled.counts}
        self._finish(file, manifest, filled, pool, counts)
        return counts

    def _fill(
        self,
        file: SoftLabelFile,
        rows: Mapping[str, Row],
        inputs: Sequence[Path],
        calibration: Calibration | None,
        ui: Ui,
    ) -> tuple[Manifest, "_Filled"]:
        """Begin a file of soft labels, keep those that fit, and ask for the others."""
        teacher = self.teacher
        if self.settings.force:
            self.run.archive(file.path, file.meta)
        known = _known(file, self.labels, teacher)
        kept = {row.id: known[row.id] for row in rows.values() if _fits(known.get(row.id), row, self.labels)}
        manifest = file.begin(
            _results(file, self.settings, teacher),
            labels=self.labels,
            teacher=teacher.fingerprint,
            calibration=calibration,
            inputs=inputs,
        )
        write_records(file.path, kept.values())
        before = teacher.new_outputs
        asked, reason = _ask(file, [row for row in rows.values() if row.id not in kept], teacher, ui)
        counts = {
            "reused": len(kept),
            "new": len(asked),
            "from_cache": len(asked) - (teacher.new_outputs - before),
            "gone": len(known.keys() - rows.keys()),
        }
        told = {**kept, **asked}
        return manifest, _Filled({row_id: told[row_id] for row_id in rows if row_id in told}, counts, reason)

    def _flipped(self, done: Mapping[str, SoftLabel]) -> int:
        """How many CFEs flip the teacher from their shot; one whose shot is gone does not count."""
        found = flips_by_file3(self.inputs.counterfactuals, self.inputs.shots, done.values(), self.labels)
        return sum(flip.flipped for flip in found.values())

    def _finish(
        self,
        file: SoftLabelFile,
        manifest: Manifest,
        filled: "_Filled",
        rows: Mapping[str, Row],
        counts: dict[str, int],
    ) -> None:
        """Close the file, if every row has a label."""
        done, missing = filled.done, len(rows) - len(filled.done)
        usage, cost = teacher_usage(self.settings.teacher_spec, self.run.read_teacher_replies())
        file.finish(manifest, done.values(), complete=not missing, counts=counts, usage=usage, cost=cost)
        if missing:
            raise PartialError(
                f"{missing} of {len(rows)} rows are without a label of {self.teacher.name}: {filled.reason}",
                "the same command asks again for just those",
            )

    def result(self, done: Mapping[str, SoftLabel], pool: Mapping[str, int], started: float) -> LabelResult:
        """What was done; of the file and of the pool's together, what was new."""
        manifest = self.run.soft_labels.require()
        # What an LLM has taken for the pool, too, stands in the later manifest.
        last = self.run.pool_labels.require() if pool else manifest
        counts = manifest.counts | {name: n + manifest.counts.get(name, 0) for name, n in pool.items()}
        return LabelResult(
            run=self.run,
            teacher=self.teacher.name,
            labels=self.labels,
            counts=counts,
            accuracy=_accuracy(self.inputs.shots, done, self.labels),
            calibration=manifest.calibration,
            covered_mass=round(sum(soft.covered_mass for soft in done.values()) / len(done), 6),
            memory_size=self.teacher.cache_size,
            hit_rate=counts["from_cache"] / counts["new"] if counts["new"] else None,
            usage=last.usage,
            cost=last.cost,
            seconds=round(perf_counter() - started, 2),
            asked=agreement(self.run.pool_labels.read(), self.run.read_pool_replies(), self.labels) if pool else None,
        )


def _read(run: Run) -> _Inputs:
    """Shots, CFEs, semifactuals and rivals; where `cod counterfact` was not begun there are but shots."""
    shots, cfes = run.shots.read(), run.counterfactuals
    if not shots:
        raise CodError(f"{run.shots.path} holds no shots", f"draw some: `{run.shots.command} --data DATA`")
    begun = cfes.meta.exists() or cfes.path.exists()
    beside = run.semifactuals.path.exists()
    return _Inputs(
        shots=shots,
        counterfactuals=cfes.read() if begun else [],
        # What `counterfact --for-mix cod` left open is finished by a run without it; its rows are good as they are.
        semifactuals=run.semifactuals.peek(),
        rivals=run.rival_rows(),
        pool=run.pool.read() if run.pool.manifest() else [],
        files=[run.shots, *([cfes] if begun else []), *([run.semifactuals] if beside else [])],
    )


def _remark(run: Run, inputs: _Inputs, teacher: Teacher, ui: Ui) -> None:
    """Say what the user may not be aware of."""
    files: list[Artifact[Any]] = [*inputs.files, run.soft_labels]
    for file in [*files, run.pool, run.pool_labels] if inputs.pool else files:
        if file.edited():
            ui.note(f"{file.path} was changed by hand since it was written; the labels follow it")
    checked = run.counterfactuals.manifest()
    if checked is not None and checked.teacher not in (None, teacher.fingerprint):
        ui.warn(f"{run.counterfactuals.path} was checked against another teacher: {checked.settings.get('teacher')}")
    if teacher.cache_problem:
        ui.warn(f"going on without the cache: {teacher.cache_problem}")


def _results(file: SoftLabelFile, settings: LabelSettings, teacher: Teacher) -> dict[str, Any]:
    """The settings for the manifest; the same teacher under another path is no other teacher."""
    results = settings.results()
    old = file.manifest()
    if old is not None and old.teacher == teacher.fingerprint:
        results["teacher"] = old.settings.get("teacher", settings.teacher)
    return results


def _known(file: SoftLabelFile, labels: Sequence[str], teacher: Teacher) -> dict[str, SoftLabel]:
    """The soft labels that are there, by id; those of other classes or in another order do not count."""
    old = file.manifest()
    if old is None or old.labels != list(labels) or not file.path.exists():
        return {}
    rows = read_records(file.path, SoftLabel, torn_tail=not old.complete)
    return {row.id: row for row in rows if row.teacher == teacher.fingerprint}


def _fits(soft: SoftLabel | None, row: Row, labels: Sequence[str]) -> bool:
    return soft is not None and soft.text_sha == text_sha(row.text) and soft.fits(len(labels))


def _ask(file: SoftLabelFile, rows: Sequence[Row], teacher: Teacher, ui: Ui) -> tuple[dict[str, SoftLabel], str | None]:
    """Soft labels for these rows, appended to the file chunk by chunk; and why some are missing."""
    asked: dict[str, SoftLabel] = {}
    reason = None
    if not rows:
        return asked, reason
    # Texts of like length in one chunk pad each other little; `finish` puts all rows in their order.
    rows = sorted(rows, key=lambda row: len(row.text), reverse=True)
    with ui.progress("Asking the teacher", total=len(rows)) as advance:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            texts, families = [row.text for row in chunk], [_family(row) for row in chunk]
            told = teacher.outputs(texts, families=families, progress=advance)
            fresh = [
                said.soft_label(row.id, row.text, teacher.fingerprint)
                for row, said in zip(chunk, told.rows, strict=True)
                if said
            ]
            append_records(file.path, fresh)
            asked.update((soft.id, soft) for soft in fresh)
            reason = told.reason or reason
    return asked, reason


def _family(row: Row) -> str | None:
    """The shot that a row is or stems from."""
    if isinstance(row, PoolText):
        return None
    return row.id if isinstance(row, Shot) else row.shot_id


def _accuracy(shots: Sequence[Shot], softs: Mapping[str, SoftLabel], labels: Sequence[str]) -> float:
    chosen = [labels[max(range(len(labels)), key=softs[shot.id].logits.__getitem__)] for shot in shots]
    return sum(choice == shot.label for choice, shot in zip(chosen, shots, strict=True)) / len(shots)
