"""`cod distill`: trains a student on shots, CFEs and the teacher's soft labels."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from cod_cli.counterfactuals import harm
from cod_cli.errors import CodError, UsageError
from cod_cli.evaluation.scores import NO_STUDENTS
from cod_cli.mixes import ENOUGH_STEPS_FOR_TWO, MANY, RIVALS, of_edits, require_equal_budget
from cod_cli.models.card import student_card
from cod_cli.models.folder import fingerprint
from cod_cli.models.load import (
    Backbone,
    Classifier,
    classes_of,
    load_backbone,
    load_classifier,
    load_config,
    require_savable,
    save_classifier,
)
from cod_cli.models.trainable import add_lora, merge_lora, seen_rows_only
from cod_cli.records import Energy, Step, Student
from cod_cli.settings.distill import DistillSettings, default_name
from cod_cli.settings.shared import TeacherSpec
from cod_cli.store.artifact import Artifact, changed_settings
from cod_cli.store.run import Run, save_folder, write_origin
from cod_cli.teachers.local import map_labels
from cod_cli.training.batches import BatchLoader, batches_per_epoch
from cod_cli.training.energy import energy_meter
from cod_cli.training.loop import DivergedError, train, versions
from cod_cli.training.method import why_not_layers
from cod_cli.training.objective import (
    Objective,
    TeacherLayers,
    Terms,
    kd_objective,
    learn_filters,
    lwd_objective,
    read_layers,
    ted_objective,
)
from cod_cli.training.trainset import Group, TrainSet, ablate, read_trainset
from cod_cli.ui import Ui


@dataclass(frozen=True)
class DistillResult:
    """The students of one command, in the order of their seeds.

    ``trained`` names those that were trained now; the others were already there. ``unflipped`` counts the CFEs left
    out because they do not flip the teacher, ``orphans`` those whose shot is gone, ``rejected`` those that ``--judged``
    leaves out, ``turned`` the semifactuals that do flip it, ``surplus`` the rows left over where families are balanced.
    """

    folder: Path
    students: tuple[Student, ...]
    trained: tuple[str, ...]
    unflipped: int
    orphans: int
    rejected: int
    turned: int
    surplus: int


def distill(run: Run, settings: DistillSettings, ui: Ui) -> DistillResult:
    """Train a student for each seed and save it as an ordinary model folder in ``4-students/NAME/``.

    Raises:
        UsageError: an unknown mix, a name that is no folder name, a batch size smaller than a group, a teacher whose
            layers cannot be matched.
        CodError: a stage's file is missing or does not fit; a student of that name was made otherwise; the mix would
            train on other rows or steps than it says.
        DivergedError: the loss is not finite any more; the last good weights are kept in ``NAME.diverged``.
    """
    _check_name(settings)
    # Others may train here, too, if they train other students.
    with run.hold("cod distill", shared=True), ExitStack() as held:
        shared = _Shared(run, settings, ui)
        _report(shared)
        shared.settings = _with_steps(shared)
        settings = shared.settings = _with_method(shared)
        plans = [_plan(name, seed, shared) for name, seed in zip(_names(settings), settings.seeds, strict=True)]
        for plan in plans:
            held.enter_context(run.hold_student(plan.name))
        missing = [plan for plan in plans if settings.force or not _is_there(shared, plan)]
        for plan in plans:
            if plan in missing:
                _make(plan, shared)
            else:
                ui.note(f"{run.student(plan.name)} is already there")
    return DistillResult(
        folder=run.students,
        students=tuple(run.read_student(plan.name) for plan in plans),
        trained=tuple(plan.name for plan in missing),
        unflipped=shared.data.left_out.unflipped,
        orphans=shared.data.left_out.orphans,
        rejected=shared.data.left_out.rejected,
        turned=shared.data.left_out.turned,
        surplus=shared.data.left_out.surplus,
    )


class _Shared:
    """What the students of one command have in common, read once."""

    def __init__(self, run: Run, settings: DistillSettings, ui: Ui) -> None:
        self.run = run
        self.settings = settings
        self.ui = ui
        self.data: TrainSet = read_trainset(
            run,
            settings.mix,
            keep_unflipped=settings.keep_unflipped,
            judged=settings.judged,
            families=settings.families,
        )
        self.layers: TeacherLayers | None = None

    @cached_property
    def start(self) -> str:
        """The model that students start from."""
        return self.settings.student or self.teacher

    @cached_property
    def start_fingerprint(self) -> str:
        return fingerprint(self.start)

    @cached_property
    def backbone(self) -> Backbone:
        labels, layers = self.data.labels, self.settings.kept_layers
        if self.settings.init == "pretrained":
            return load_backbone(self.start, labels, layers=layers)
        renamed = TeacherSpec.from_manifest(self.run.soft_labels.require().settings).labels
        head = map_labels(classes_of(load_config(self.start)), labels, renamed)
        return load_backbone(self.start, labels, layers=layers, head=head)

    @property
    def teacher_name(self) -> str:
        """The teacher as `cod label` recorded it, or where it lies now; empty where nobody recorded it."""
        return self.settings.teacher or self.run.soft_labels.require().settings.get("teacher") or ""

    @cached_property
    def teacher(self) -> str:
        """Where the model that made the soft labels lies."""
        labelled, name = self.run.soft_labels.require(), self.teacher_name
        if TeacherSpec(name).llm:
            raise UsageError(f"the teacher is {name}: nobody sees its layers", "use --method kd and --student")
        if not name:
            raise CodError(f"{self.run.soft_labels.meta} does not say who the teacher is", "name it with --teacher")
        if fingerprint(name) != labelled.teacher:
            raise CodError(
                f"{name} is not the teacher that labelled {self.run.soft_labels.path}",
                f"give the right one with --teacher, or label anew: `{self.run.soft_labels.command} --teacher {name}`",
            )
        return name

    def layers_for(self, student: Classifier, loader: BatchLoader) -> TeacherLayers:
        """The teacher's hidden states, computed for the first student."""
        if self.layers is None:
            teacher = load_classifier(self.teacher, device=self.settings.device)
            with self.ui.progress("Reading the teacher's layers", total=len(loader.encodings)) as advance:
                self.layers = read_layers(
                    teacher,
                    student,
                    loader,
                    self.data.rows,
                    method=self.settings.method,
                    max_length=self.settings.max_length,
                    chosen=self.settings.matched_layers,
                    progress=advance,
                )
        return self.layers


def _check_name(settings: DistillSettings) -> None:
    name = settings.name
    if name in NO_STUDENTS:
        raise UsageError(f"--name is {name!r}, as the scores call what is no student", "give another name")


def _names(settings: DistillSettings) -> list[str]:
    name = settings.name or default_name(settings.method, settings.mix, settings.init)
    return [name] if len(settings.seeds) == 1 else [f"{name}-s{seed}" for seed in settings.seeds]


def _with_steps(shared: _Shared) -> DistillSettings:
    """The settings with the steps that two sources take, where the run has contrast sets and a pool."""
    settings, data = shared.settings, shared.data
    by_default = settings.steps is None and settings.epochs is None
    if by_default and settings.mix == "all" and data.pool and len(data.rows) > data.pool + data.shots:
        return dataclasses.replace(settings, steps=ENOUGH_STEPS_FOR_TWO)
    return settings


def _with_method(shared: _Shared) -> DistillSettings:
    """The settings with the method that ``auto`` stands for, which is said."""
    settings = shared.settings
    if settings.method != "auto":
        return settings
    why_not = _why_kd(shared)
    if why_not is None:
        shared.ui.note("--method lwd: the student reads texts as its teacher does, so it can follow its layers, too")
        return dataclasses.replace(settings, method="lwd")
    shared.ui.note(f"--method kd: {why_not}")
    if settings.beta is not None or settings.layers is not None:
        raise UsageError(f"--beta and --layers need hidden layers to follow; {why_not}", "leave them out")
    return dataclasses.replace(settings, method="kd")


def _why_kd(shared: _Shared) -> str | None:
    """Why a student follows no hidden layers where nobody named a method; None where it does."""
    settings = shared.settings
    if shared.run.shots.require().cod_version.startswith("0.1."):
        return "the run is one of version 0.1, which trained by kd unless told otherwise"
    if settings.steps == 0:
        return "nothing is trained"
    if TeacherSpec(shared.teacher_name).llm:
        return f"nobody sees the layers of {shared.teacher_name}"
    try:
        teacher = shared.teacher
    except CodError as error:
        if settings.teacher is not None:
            raise
        return f"its teacher cannot be read ({error.message})"
    return why_not_layers(
        teacher,
        shared.start,
        [row.text for row in shared.data.rows],
        layers=settings.kept_layers,
        max_length=settings.max_length,
    )


def _report(shared: _Shared) -> None:
    run, data, ui, families = shared.run, shared.data, shared.ui, shared.settings.families
    balanced = families in ("balanced", "together")
    left_out = data.left_out
    _say_alone(left_out.alone, data.k, families, balanced, ui)
    made = run.counterfactuals.manifest()
    if of_edits(shared.settings.mix) and made and (likely := harm.warning(made.random_edits)):
        ui.warn(likely)
    files: list[Artifact[Any]] = [run.shots, run.counterfactuals, run.semifactuals, run.pool]
    for file in [*files, run.rival(shared.settings.mix).rows] if shared.settings.mix in RIVALS else files:
        if file.path.name in data.inputs and file.edited():
            ui.note(f"{file.path} was edited by hand since it was made")
    if left_out.unflipped:
        ui.note(f"{left_out.unflipped} CFEs do not flip the teacher and are left out (--keep-unflipped takes them)")
    if left_out.turned:
        ui.note(f"{left_out.turned} semifactuals turn the teacher and are left out")
    if left_out.rejected:
        ui.note(f"{left_out.rejected} edits are left out because the judge takes them for another class")
    if left_out.orphans:
        ui.warn(f"{left_out.orphans} edits are left out because their shots are not in {run.shots.path}")
    if left_out.surplus:
        why = "a family has as many rows of each class as of the rarest" if balanced else f"--families is {families}"
        ui.note(f"{left_out.surplus} edits are left over: {why}")


def _say_alone(alone: int, k: int, families: str, balanced: bool, ui: Ui) -> None:
    """How many shots stand alone; where most do, what is trained on is hardly a contrast set."""
    if not alone:
        return
    why = "no edits of theirs are of two classes" if balanced else f"--families is {families}, and they have none"
    tell = ui.warn if 2 * alone > k else ui.note
    tell(f"{alone} of {k} shots stand alone: {why}")


def _plan(name: str, seed: int, shared: _Shared) -> Student:
    """The student as it will be: what is only known after training is still empty."""
    data, settings = shared.data, shared.settings
    by_epochs, shots_steps = (
        settings.passes * batches_per_epoch(groups, settings.batch_size)
        for groups in (_groups(shared, seed), [[None]] * data.k)
    )
    fixed = settings.fixed_steps
    # Shots that are asked to go on for other steps are an arm of their own, which tables mark.
    shots_steps = shots_steps if fixed is None else fixed
    steps = by_epochs if fixed is None else fixed
    require_equal_budget(settings.mix, k=data.k, rows=len(data.rows), steps=steps, shots_steps=shots_steps)
    return Student(
        name=name,
        method=settings.method,
        mix=settings.mix,
        k=data.k,
        rows=len(data.rows),
        shots=data.shots,
        steps=steps,
        seed=seed,
        labels=data.labels,
        text_column=list(shared.run.shots.require().settings.get("text_column") or ()) or None,
        settings={key: value for key, value in settings.results().items() if key not in ("name", "seed")},
        inputs=data.inputs,
        rows_sha=data.sha(),
        student=shared.start_fingerprint,
        teacher=data.teacher,
        cut_from_teacher=shared.start_fingerprint == data.teacher,
        parameters=0,
        seconds=0.0,
        device=settings.device,
        threads=torch.get_num_threads(),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _groups(shared: _Shared, seed: int) -> list[Group]:
    settings = shared.settings
    return ablate(
        shared.data.groups,
        soft_labels=settings.soft_labels,
        pairs=settings.pairs,
        temperature=settings.temperature,
        seed=seed,
        longest=settings.batch_size if settings.families == "together" else None,
    )


def _is_there(shared: _Shared, plan: Student) -> bool:
    """Whether this very student was trained before; one of the same name made otherwise is refused."""
    run = shared.run
    if plan.name not in run.student_names():
        return False
    old = run.read_student(plan.name)
    # An option that a later version added had its default.
    default = {field.name: field.default for field in dataclasses.fields(DistillSettings)}
    was, wanted = ({**student.settings, "seed": student.seed} for student in (old, plan))
    as_in_0_1 = "steps" not in was and old.rows_sha == shared.data.sha_in_0_1
    if as_in_0_1 and shared.settings.steps is None:
        wanted.pop("steps", None)
    changes = changed_settings(was, wanted, default)
    if not changes and old.student != plan.student:
        changes = ["the weights that it starts from have changed"]
    if not changes and plan.settings["init"] == "teacher" and old.versions.get("cod", "").startswith("0.1."):
        changes = ["its head was drawn at random, and now the teacher's is kept"]
    if not changes and not as_in_0_1 and old.rows_sha != plan.rows_sha:
        changes = ["the rows, their labels or their logits have changed"]
    if changes:
        raise CodError(
            f"{run.student(plan.name)} was trained otherwise ({'; '.join(changes)})",
            "give this student another --name, or --force to archive the old one",
        )
    return True


def _make(plan: Student, shared: _Shared) -> None:
    run, settings, ui = shared.run, shared.settings, shared.ui
    classifier = shared.backbone.student(seed=plan.seed, device=settings.device)
    require_savable(classifier)
    groups = _groups(shared, plan.seed)
    loader = BatchLoader(
        classifier,
        groups,
        batch_size=settings.batch_size,
        max_length=settings.max_length,
        seed=plan.seed,
        by_length=settings.mix not in MANY,
    )
    if settings.lora is not None:
        classifier = add_lora(classifier, settings.lora, shared.backbone.new_weights(classifier), seed=plan.seed)
    history: list[Step] = []
    started = perf_counter()
    with _meter(settings) as energy, _keep_diverged(plan, shared, classifier):
        _train(classifier, loader, plan, shared, history)
    classifier = merge_lora(classifier) if settings.lora is not None else classifier
    student = plan.replace(
        parameters=classifier.model.num_parameters(),
        seconds=round(perf_counter() - started, 3),
        energy=energy(),
        device=str(classifier.device),
    )

    def fill(folder: Path) -> None:
        save_classifier(classifier, folder)
        student_card(student).save(folder / "README.md")
        write_origin(folder, student, history)

    save_folder(run.student(plan.name), run.archived, fill)
    ui.note(f"{run.student(plan.name)}: {student.rows} rows ({student.shots} real shots), {student.steps} steps")


def _train(classifier: Classifier, loader: BatchLoader, plan: Student, shared: _Shared, history: list[Step]) -> None:
    settings = shared.settings
    objective = _objective(classifier, loader, plan, shared)
    if settings.compile:
        objective.module.compile(dynamic=True)
    steps = train(
        objective.module,
        loader.epochs(-(-plan.steps // loader.n_batches)),
        objective.losses,
        steps=plan.steps,
        lr=settings.lr,
        seed=plan.seed,
    )
    with (
        seen_rows_only(classifier, loader.encodings.values()),
        shared.ui.progress(f"Training {plan.name}", total=plan.steps) as advance,
    ):
        for step in steps:
            history.append(step)
            advance(1, detail=_detail(step, shared.ui.wide))


def _objective(classifier: Classifier, loader: BatchLoader, plan: Student, shared: _Shared) -> Objective:
    """The student as the method trains it; for TED its filters are learned first."""
    settings = shared.settings
    terms = Terms(
        hard_labels=settings.hard_labels == "gold",
        alpha=settings.alpha,
        temperature=settings.temperature,
        beta=settings.beta,
    )
    if settings.method == "kd":
        return kd_objective(classifier, terms)
    layers = shared.layers_for(classifier, loader)
    if settings.method == "lwd":
        return lwd_objective(classifier, terms, layers, seed=plan.seed)
    filters = learn_filters(
        classifier,
        loader,
        shared.data.rows,
        layers,
        epochs=-(-plan.steps // loader.n_batches),
        batch_size=settings.batch_size,
        seed=plan.seed,
    )
    return ted_objective(classifier, terms, layers, filters)


def _detail(step: Step, wide: bool) -> str:
    """The loss and, where there is room, its parts; all of it and more stands in the history."""
    terms = {name: getattr(step, name) for name in ("hard", "soft", "layer")} if wide else {}
    shown = [f"{name} {value:.3f}" for name, value in terms.items() if value is not None]
    return "  ".join([f"loss {step.total:.3f}", *shown, *([f"lr {step.lr:.1e}"] if wide else [])])


@contextmanager
def _meter(settings: DistillSettings) -> Iterator[Callable[[], Energy | None]]:
    if not settings.energy:
        yield lambda: None
        return
    with energy_meter() as reading:
        yield reading


@contextmanager
def _keep_diverged(plan: Student, shared: _Shared, classifier: Classifier) -> Iterator[None]:
    try:
        yield
    except DivergedError as error:
        kept = shared.run.student(f"{plan.name}.diverged")
        last = merge_lora(classifier) if shared.settings.lora is not None else classifier
        save_folder(kept, shared.run.archived, partial(save_classifier, last))
        raise DivergedError(error.message, f"give a lower --lr; the last good weights are in {kept}") from None
