"""The files of a run and of a sweep: nobody else knows their names."""

import contextlib
import dataclasses
import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from cod_cli.errors import CodError
from cod_cli.records import (
    Attempt,
    Counterfactual,
    PoolText,
    Prediction,
    Record,
    Reply,
    Score,
    Shot,
    SoftLabel,
    Step,
    Student,
    SweepPlan,
    TeacherOrigin,
    TeacherReply,
)
from cod_cli.store.artifact import Artifact, PoolFile, SoftLabelFile
from cod_cli.store.jsonl import first_problem, read_records, write_records, write_text
from cod_cli.store.locks import alone

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class CounterfactualFiles:
    """The files of one set of texts made from shots: counterfactuals, a rival's rows, or pairs that are held out.

    ``attempts`` and ``replies`` hold what was tried and paid for on the way to ``rows``; ``shots`` are what it all
    was made from. ``semifactuals`` stand beside a run's own counterfactuals only.
    """

    rows: Artifact[Counterfactual]
    attempts: Path
    replies: Path
    shots: Artifact[Shot]
    semifactuals: Artifact[Counterfactual] | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """What is written beside the shots, the manifests included."""
        beside = (self.semifactuals.path, self.semifactuals.meta) if self.semifactuals else ()
        return self.rows.path, self.rows.meta, *beside, self.attempts, self.replies

    def read_attempts(self) -> list[Attempt]:
        """The attempts, empty where nothing was tried yet."""
        return read_records(self.attempts, Attempt) if self.attempts.exists() else []

    def read_replies(self) -> list[Reply]:
        """The replies of the LLM that wrote, a line torn by a kill left out."""
        return read_records(self.replies, Reply, torn_tail=True) if self.replies.exists() else []


class Run:
    """One experiment's folder; every stage reads the previous stage's file and writes its own."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.shots = Artifact(self.folder, "1-shots", Shot, f"cod sample {folder}")
        self.counterfactuals = Artifact(self.folder, "2-counterfactuals", Counterfactual, f"cod counterfact {folder}")
        self.semifactuals = Artifact(self.folder, "2-semifactuals", Counterfactual, f"cod counterfact {folder}")
        self.pool = PoolFile(self.folder, "2-pool", PoolText, f"cod pool {folder}")
        self.pool_replies = self.folder / "2-pool-replies.jsonl"
        self.soft_labels = SoftLabelFile(self.folder, "3-soft-labels", SoftLabel, f"cod label {folder}")
        self.pool_labels = SoftLabelFile(self.folder, "3-pool-soft-labels", SoftLabel, f"cod label {folder}")
        self.teacher_labels = SoftLabelFile(self.folder, "5-teacher", SoftLabel, f"cod eval {folder}")
        self.teacher_replies = self.folder / "3-replies.jsonl"
        self.eval_replies = self.folder / "5-replies.jsonl"
        self.students = self.folder / "4-students"
        self.predictions = self.folder / "5-predictions.jsonl"
        self.scores = Artifact(self.folder, "5-scores", Score, f"cod eval {folder}")

    @contextlib.contextmanager
    def hold(self, work: str, *, shared: bool = False) -> Iterator[None]:
        """Keep other stages that write from this run meanwhile; a run that does not exist yet is nobody's.

        Args:
            work: what others are told is done here, ``cod eval``.
            shared: whether others may do the same, each on files of its own.

        Raises:
            CodError: another stage is at work.
        """
        if not self.folder.is_dir():
            yield
            return
        with alone(self.folder / ".lock", work, shared=shared):
            if not shared:  # whoever left half a file here was killed
                for path in self.folder.glob(".*.part"):
                    path.unlink(missing_ok=True)
            yield

    def hold_student(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Keep others from training a student of that name meanwhile, as `hold` does from the run."""
        return alone(self.students / f".{name}.lock", f"cod distill --name {name}")

    def student(self, name: str) -> Path:
        """The model folder of a student."""
        return self.students / name

    def student_names(self) -> list[str]:
        """The students whose training is finished, sorted."""
        names = (path.parent.name for path in self.students.glob("*/settings.yaml"))
        return sorted(name for name in names if not name.startswith("."))

    def read_student(self, name: str) -> Student:
        """How a finished student was made."""
        command = f"cod distill {self.folder} --name {name}"
        student = read_origin(self.student(name), Student, command)
        if student is None:
            raise CodError(f"{self.student(name)} is no finished student", f"train it: `{command}`")
        return student

    def has_weights(self, name: str) -> bool:
        """Whether a student can still be used; a sweep may have kept its scores only."""
        return any(self.student(name).glob("*.safetensors"))

    def drop_weights(self, name: str) -> None:
        """Delete a student's weights; how it was made and what it reached stay."""
        for path in self.student(name).glob("*.safetensors"):
            path.unlink()

    def read_predictions(self) -> list[Prediction]:
        """What students decided on each scored row, empty where nobody was scored."""
        return read_records(self.predictions, Prediction) if self.predictions.exists() else []

    @property
    def cfe_files(self) -> CounterfactualFiles:
        """The run's own counterfactuals, which `cod counterfact` writes."""
        return dataclasses.replace(self._made("2", self.counterfactuals, self.shots), semifactuals=self.semifactuals)

    def rival(self, kind: str) -> CounterfactualFiles:
        """The files of one rival, ``2-KIND.jsonl`` and those beside it, or as version 0.1 called them."""
        if kind == "pool-rows" and self.pool.is_old_rival() and not (self.folder / f"2-{kind}.meta.json").exists():
            kind = "pool"
        command = f"cod rival {self.folder} --kind {kind}"
        return self._made(f"2-{kind}", Artifact(self.folder, f"2-{kind}", Counterfactual, command), self.shots)

    def held_out(self, generator: str) -> CounterfactualFiles:
        """Pairs made from real rows that nobody trains on, ``5-held-out-GENERATOR.jsonl``; its shots are those rows."""
        name = f"5-held-out-{generator}"
        command = f"cod counterfact {self.folder} --held-out N --generator {generator}"
        rows = Artifact(self.folder, name, Counterfactual, command)
        return self._made(name, rows, Artifact(self.folder, f"{name}-rows", Shot, command))

    def _made(self, name: str, rows: Artifact[Counterfactual], shots: Artifact[Shot]) -> CounterfactualFiles:
        attempts, replies = (self.folder / f"{name}-{what}.jsonl" for what in ("attempts", "replies"))
        return CounterfactualFiles(rows, attempts, replies, shots)

    def held_out_files(self) -> list[CounterfactualFiles]:
        """Those of every generator that rows were held out for."""
        metas = sorted(self.folder.glob("5-held-out-*-rows.meta.json"))
        return [self.held_out(path.name.removeprefix("5-held-out-").removesuffix("-rows.meta.json")) for path in metas]

    def read_teacher_replies(self, path: Path | None = None) -> list[TeacherReply]:
        """What an LLM was paid for as a teacher (or in ``path``), a line torn by a kill left out."""
        path = path or self.teacher_replies
        return read_records(path, TeacherReply, torn_tail=True) if path.exists() else []

    def read_pool_replies(self) -> list[Reply]:
        """The replies of an LLM that wrote texts, a line torn by a kill left out."""
        return read_records(self.pool_replies, Reply, torn_tail=True) if self.pool_replies.exists() else []

    def rival_rows(self) -> list[Counterfactual]:
        """The rows of every rival's file; it is a rival's if it has a manifest."""
        names = sorted(path.name.removesuffix(".meta.json") for path in self.folder.glob("2-*.meta.json"))
        own = {self.counterfactuals.path.stem, self.semifactuals.path.stem}
        own |= set() if self.pool.is_old_rival() else {self.pool.path.stem}
        rivals = [self.rival(name.removeprefix("2-")) for name in names if name not in own]
        return [row for rival in rivals for row in rival.rows.peek()]

    @property
    def archived(self) -> Path:
        """Where files go that others take the place of."""
        return self.folder / "archive"

    def archive(self, *paths: Path) -> None:
        """Move files of the run out of the way, never delete them: into ``archive/<time>/``."""
        archive(self.archived, *paths)

    def archive_copies(self, *paths: Path) -> None:
        """Keep files as they are now in ``archive/<time>/``; they stay where they are, too."""
        archive(self.archived, *paths, keep=True)


def run_of(student: Path) -> Run | None:
    """The run that a student's folder stands in; None where it does not stand in one."""
    folder = student.expanduser().absolute().parent
    run = Run(folder.parent)
    return run if folder.name == run.students.name and run.shots.path.exists() else None


class SweepFolder:
    """The folder of a sweep: ``sweep.json``, the grid that repeats it, and a run for each task, k and seed."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "sweep.json"
        self.grid = self.folder / "grid.yaml"
        self.lock = self.folder / ".lock"

    def run(self, folder: str) -> Run:
        """One of its runs, by its folder within the sweep's."""
        return Run(self.folder / folder)

    def traceback(self, folder: str, name: str) -> Path:
        """Where the traceback goes of what nobody foresaw, in an arm or a step of one of its runs."""
        return self.folder / folder / f"failed-{name}.txt"

    def read(self) -> SweepPlan | None:
        """What it compares, None where nothing was swept here yet."""
        if not self.path.exists():
            return None
        try:
            return SweepPlan.model_validate_json(self.path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise CodError(
                f"{self.path} is damaged: {first_problem(error)}", "delete it; the runs beside it are kept and used"
            ) from None

    def write(self, plan: SweepPlan, entries: dict[str, Any] | None = None) -> None:
        """Replace ``sweep.json`` atomically, and before it the grid's ``entries``, where they are given."""
        if entries is not None:
            write_text(self.grid, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True))
        write_text(self.path, json.dumps(plan.model_dump(), ensure_ascii=False, indent=1) + "\n")


def write_origin(folder: Path, origin: Student | TeacherOrigin, history: Iterable[Step]) -> None:
    """``settings.yaml`` and ``history.jsonl``, beside the files of the model that they tell of."""
    write_records(folder / "history.jsonl", history)
    write_text(folder / "settings.yaml", yaml.safe_dump(origin.model_dump(), sort_keys=False, allow_unicode=True))


# A report reads one for every student; libyaml, where PyYAML was built with it, takes a tenth of the time.
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_origin(folder: Path, record: type[R], command: str) -> R | None:
    """How a model folder was made, None where it does not say; ``command`` makes it anew."""
    path = folder / "settings.yaml"
    if not path.exists():
        return None
    try:
        return record.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=_YAML))
    except (ValidationError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise CodError(f"{path} is damaged: {first_problem(error)}", f"make it again: `{command} --force`") from None


@dataclass(frozen=True)
class Reading:
    """How a model was shown texts: from which columns, cut after how many tokens; empty and None where it is untold."""

    text_columns: tuple[str, ...] = ()
    max_length: int | None = None


def reading_of(model: str | Path) -> Reading:
    """What a model folder says of how its model was shown texts; nothing where `cod` did not write the folder."""
    path = Path(model).expanduser() / "settings.yaml"
    try:
        said = yaml.load(path.read_text(encoding="utf-8"), Loader=_YAML)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return Reading()
    settings = said.get("settings") if isinstance(said, dict) else None
    if not isinstance(settings, dict):
        return Reading()
    columns, length = said.get("text_column") or settings.get("text_column"), settings.get("max_length")
    names = columns if isinstance(columns, list) and all(isinstance(column, str) for column in columns) else ()
    return Reading(tuple(names), length if isinstance(length, int) and length >= 8 else None)


def archive(folder: Path, *paths: Path, keep: bool = False) -> None:
    """Move (or copy, to ``keep`` it) what is there of ``paths`` into a subfolder of ``folder`` named after the time."""
    present = [path for path in paths if path.exists()]
    if not present:
        return
    target = folder / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    target.mkdir(parents=True)
    for path in present:
        if keep:
            shutil.copy2(path, target / path.name)
        else:
            shutil.move(path, target / path.name)


def save_folder(path: Path, archived: Path, fill: Callable[[Path], None]) -> None:
    """Write a trained model to ``path``, whole or not at all; what stood there goes into ``archived``.

    Args:
        path: the model's folder.
        archived: as for `archive`.
        fill: writes the model into the folder that it is given.

    Raises:
        CodError: it could not be written there; the training is not lost, and the hint says where the model is.
    """
    try:
        with write_folder(path, archived) as folder:
            fill(folder)
    except OSError as error:
        spare = _save_elsewhere(fill)
        if spare is None:
            raise
        raise CodError(
            f"{path} cannot be written: {error.strerror}",
            f"what was trained is in {spare}: make room and move it, mv {shlex.quote(str(spare))} "
            f"{shlex.quote(str(path))}",
        ) from None


def _save_elsewhere(fill: Callable[[Path], None]) -> Path | None:
    """A folder for temporary files that was filled, None where that cannot be written either."""
    spare = None
    try:
        spare = Path(tempfile.mkdtemp(prefix="cod-"))
        fill(spare)
    except OSError:
        if spare is not None:
            shutil.rmtree(spare, ignore_errors=True)
        return None
    return spare


@contextlib.contextmanager
def write_folder(path: Path, archived: Path) -> Iterator[Path]:
    """A folder to fill, which appears at ``path`` whole or not at all; what stood there goes into ``archived``."""
    partial = path.with_name(f".{path.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        archive(archived, path)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
