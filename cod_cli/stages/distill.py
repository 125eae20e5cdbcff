"""`cod distill`: trains a student on shots, CFEs and the teacher's soft labels."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from cod_cli.arms import TEACHER
from cod_cli.artifacts import Run, write_folder, write_origin
from cod_cli.batches import batches_per_epoch
from cod_cli.cards import student_card
from cod_cli.checkpoints import fingerprint
from cod_cli.embeddings import seen_rows_only
from cod_cli.errors import CodError, UsageError
from cod_cli.losses import hard_loss, soft_loss
from cod_cli.models import Classifier, Trunk, load_trunk, save_classifier
from cod_cli.records import Step, Student
from cod_cli.report import Ui
from cod_cli.settings import DistillSettings
from cod_cli.training import Batch, DivergedError, Feed, Objective, train, versions
from cod_cli.trainset import TrainSet, read_trainset


@dataclass(frozen=True)
class DistillResult:
    """The students of one command, in the order of their seeds.

    ``trained`` names those that were trained now; the others were already there. ``unflipped`` counts the CFEs left
    out because they do not flip the teacher, ``orphans`` those whose shot is gone.
    """

    folder: Path
    students: tuple[Student, ...]
    trained: tuple[str, ...]
    unflipped: int
    orphans: int


def distill(run: Run, settings: DistillSettings, ui: Ui) -> DistillResult:
    """Train a student for each seed and save it as an ordinary model folder in ``4-students/NAME/``.

    Raises:
        UsageError: an unknown mix, a name that is no folder name, a batch size smaller than a group.
        CodError: a stage's file is missing or does not fit; a student of that name was made otherwise.
        DivergedError: the loss is not finite any more; the last good weights are kept in ``NAME.diverged``.
    """
    names = _names(settings)
    data = read_trainset(run, settings.mix, keep_unflipped=settings.keep_unflipped)
    _report(run, data, settings, ui)
    start = fingerprint(settings.student)
    plans = [_plan(name, seed, data, start, settings) for name, seed in zip(names, settings.seeds, strict=True)]
    missing = [plan for plan in plans if settings.force or not _is_there(run, plan)]
    trunk = load_trunk(settings.student, data.labels, layers=settings.student_layers) if missing else None
    for plan in plans:
        if trunk is not None and plan in missing:
            _make(run, plan, data, trunk, settings, ui)
        else:
            ui.note(f"{run.student(plan.name)} is already there")
    return DistillResult(
        folder=run.students,
        students=tuple(run.read_student(plan.name) for plan in plans),
        trained=tuple(plan.name for plan in missing),
        unflipped=data.unflipped,
        orphans=data.orphans,
    )


def _names(settings: DistillSettings) -> list[str]:
    name = settings.name or f"{settings.method}-{settings.mix}"
    if name != Path(name).name or name.startswith("."):
        raise UsageError(f"--name is {name!r}", "give the name of a folder, without a path")
    if name == TEACHER:
        raise UsageError(f"--name is {name!r}, as the scores call the teacher", "give another name")
    return [name] if len(settings.seeds) == 1 else [f"{name}-s{seed}" for seed in settings.seeds]


def _report(run: Run, data: TrainSet, settings: DistillSettings, ui: Ui) -> None:
    for file in (run.shots, run.counterfactuals):
        if file.path.name in data.inputs and file.edited():
            ui.note(f"{file.path} was edited by hand since it was made")
    if data.unflipped:
        ui.note(f"{data.unflipped} CFEs do not flip the teacher and are left out (--keep-unflipped takes them)")
    if data.orphans:
        ui.warn(f"{data.orphans} CFEs are left out because their shots are not in {run.shots.path}")


def _plan(name: str, seed: int, data: TrainSet, start: str, settings: DistillSettings) -> Student:
    """The student as it will be: what is only known after training is still empty."""
    return Student(
        name=name,
        method=settings.method,
        mix=settings.mix,
        k=data.k,
        rows=len(data.rows),
        shots=data.shots,
        steps=settings.epochs * batches_per_epoch(data.groups, settings.batch_size),
        seed=seed,
        labels=data.labels,
        settings={key: value for key, value in settings.results().items() if key not in ("name", "seed")},
        inputs=data.inputs,
        rows_sha=data.sha(),
        student=start,
        teacher=data.teacher,
        cut_from_teacher=False,
        parameters=0,
        seconds=0.0,
        device=settings.device,
        threads=torch.get_num_threads(),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _is_there(run: Run, plan: Student) -> bool:
    """Whether this very student was trained before; one of the same name made otherwise is refused."""
    if plan.name not in run.student_names():
        return False
    old = run.read_student(plan.name)
    was, is_ = ({**student.settings, "seed": student.seed} for student in (old, plan))
    changes = [f"{key}: {was.get(key)} → {is_.get(key)}" for key in is_ | was if was.get(key) != is_.get(key)]
    if not changes and old.student != plan.student:
        changes = [f"the weights of {plan.settings['student']} have changed"]
    if not changes and old.rows_sha != plan.rows_sha:
        changes = ["the rows, their labels or their logits have changed"]
    if changes:
        raise CodError(
            f"{run.student(plan.name)} was trained otherwise ({'; '.join(changes)})",
            "give this student another --name, or --force to archive the old one",
        )
    return True


def _make(run: Run, plan: Student, data: TrainSet, trunk: Trunk, settings: DistillSettings, ui: Ui) -> None:
    classifier = trunk.student(seed=plan.seed, device=settings.device)
    history: list[Step] = []
    start = perf_counter()
    try:
        _train(classifier, plan, data, settings, ui, history)
    except DivergedError as error:
        kept = run.student(f"{plan.name}.diverged")
        with write_folder(kept, run) as folder:
            save_classifier(classifier, folder)
        raise DivergedError(error.message, f"give a lower --lr; the last good weights are in {kept}") from None
    student = plan.replace(
        parameters=classifier.model.num_parameters(),
        seconds=round(perf_counter() - start, 3),
        device=str(classifier.device),
    )
    with write_folder(run.student(plan.name), run) as folder:
        save_classifier(classifier, folder)
        student_card(student).save(folder / "README.md")
        write_origin(folder, student, history)
    ui.note(f"{run.student(plan.name)}: {student.rows} rows ({student.shots} real shots), {student.steps} steps")


def _train(
    classifier: Classifier, plan: Student, data: TrainSet, settings: DistillSettings, ui: Ui, history: list[Step]
) -> None:
    feed = Feed(classifier, data.groups, batch_size=settings.batch_size, max_length=settings.max_length, seed=plan.seed)
    steps = train(
        classifier.model,
        feed.epochs(settings.epochs),
        _objective(settings),
        steps=plan.steps,
        lr=settings.lr,
        seed=plan.seed,
    )
    with (
        seen_rows_only(classifier, feed.encodings.values()),
        ui.progress(f"Training {plan.name}", total=plan.steps) as advance,
    ):
        for step in steps:
            history.append(step)
            advance(1, detail=f"hard {step.hard:.3f}  soft {step.soft:.3f}  lr {step.lr:.1e}")


def _objective(settings: DistillSettings) -> Objective:
    def losses(output: Any, batch: Batch) -> dict[str, torch.Tensor]:
        soft = soft_loss(output.logits, batch.logits, alpha=settings.alpha, temperature=settings.temperature)
        return {"hard": hard_loss(output.logits, batch.labels), "soft": soft}

    return losses
