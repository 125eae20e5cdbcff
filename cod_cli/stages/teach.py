"""`cod teach`: fine-tunes a classifier on a whole training split, as a teacher."""

import dataclasses
import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from cod_cli.data.source import Row, Table, load_table
from cod_cli.errors import CodError, UsageError
from cod_cli.models.card import teacher_card
from cod_cli.models.folder import fingerprint
from cod_cli.models.inference import encode, logits_of
from cod_cli.models.load import Classifier, load_backbone, require_savable, save_classifier
from cod_cli.models.memory import require_room
from cod_cli.models.trainable import add_lora, merge_lora, seen_rows_only
from cod_cli.records import Step, TeacherOrigin, digest
from cod_cli.settings.teach import TeachSettings
from cod_cli.store.artifact import changed_settings
from cod_cli.store.locks import alone
from cod_cli.store.run import read_origin, save_folder, write_origin
from cod_cli.training.batches import Batch, BatchLoader, share_of
from cod_cli.training.checkpoint import TrainingState
from cod_cli.training.loop import DivergedError, train, versions
from cod_cli.training.objective import hard_loss
from cod_cli.training.processes import Processes, is_first, join_processes
from cod_cli.training.trainset import Example, Group
from cod_cli.ui import Ui

log = logging.getLogger(__name__)

# Seconds of training that a kill may cost, and the least ratio of training to saving.
CHECKPOINT_SECONDS = 60.0
CHECKPOINT_SHARE = 20.0
# Of the loss of guessing: whoever stays above has learned next to nothing.
LEARNED = 0.9


@dataclass(frozen=True)
class TeachResult:
    """A fine-tuned classifier; ``fresh`` where it was trained just now."""

    folder: Path
    teacher: TeacherOrigin
    fresh: bool


def teach(out: Path, settings: TeachSettings, ui: Ui) -> TeachResult:
    """Fine-tune a model on the training split and write it to ``out``, an ordinary model folder.

    Fixed epochs, last weights unless ``keep_best``; where there is a validation split, its accuracy is told after each
    epoch. No other split is read. While it trains, checkpoints stand beside ``out``; what stood there before is moved
    into ``OUT.archive/<time>/``.

    Raises:
        UsageError, CodError: the data or the model cannot be read or cannot fit, or ``out`` holds something else.
        DivergedError: the loss is not finite any more; the last good weights are kept in ``OUT.diverged``.
    """
    if not out.name:
        raise UsageError(f"OUT is {str(out)!r}, no folder of its own", "name a folder for the teacher")
    table = _load(settings, settings.split)
    if table.dropped.total:
        ui.note(f"{table.dropped.total} rows are left out: empty, duplicate or unlabelled")
    plan = _plan(table, settings)
    # Of several processes that were launched together one holds it for all.
    with alone(out.with_name(f".{out.name}.lock"), f"cod teach {out}") if is_first() else nullcontext():
        return _teach(out, table, plan, settings, ui)


def _teach(out: Path, table: Table, plan: TeacherOrigin, settings: TeachSettings, ui: Ui) -> TeachResult:
    there = None if settings.force else _find_trained(out, plan)
    if there is not None:
        ui.note(f"{out} is already there")
        return TeachResult(out, there, fresh=False)
    validation = _load(settings, "validation") if "validation" in table.splits and table.split == "train" else None
    if settings.keep_best and validation is None:
        raise UsageError("--keep-best chooses on a validation split, and there is none", "leave it out")
    progress = _begin(out, plan, settings, ui)
    processes = join_processes(settings.device)
    require_room(settings.model, table.labels, device=processes.device, lora=settings.lora)
    backbone = load_backbone(settings.model, table.labels)
    classifier = backbone.student(seed=settings.seed, device=processes.device)
    require_savable(classifier)
    fresh = backbone.new_weights(classifier)
    del backbone
    trained = classifier if settings.lora is None else add_lora(classifier, settings.lora, fresh, seed=settings.seed)
    started = perf_counter()
    try:
        teacher = _train(classifier, trained, table, validation, progress, settings, processes, ui)
    except DivergedError as error:
        kept = out.with_name(f"{out.name}.diverged")
        if not processes.first:
            raise
        save_folder(kept, _archive_of(out), partial(save_classifier, _merge(trained, settings)))
        raise DivergedError(error.message, f"give a lower --lr; the last good weights are in {kept}") from None
    if (doubt := _hardly_learned(table, progress.history)) is not None:
        ui.warn(doubt)
    classifier = _merge(trained, settings)
    teacher = teacher.replace(
        parameters=classifier.model.num_parameters(),
        seconds=round(teacher.seconds + perf_counter() - started, 3),
        device=str(classifier.device),
    )
    if processes.first:

        def fill(folder: Path) -> None:
            save_classifier(classifier, folder)
            teacher_card(out.name, teacher).save(folder / "README.md")
            write_origin(folder, teacher, progress.history)

        save_folder(out, _archive_of(out), fill)
        progress.state.path.unlink(missing_ok=True)
    processes.leave()
    return TeachResult(out, teacher, fresh=True)


def _hardly_learned(table: Table, history: Sequence[Step]) -> str | None:
    """A warning where the last epoch's loss is about what always saying how frequent each class is would reach."""
    sizes = Counter(row.label for row in table.rows)
    guessing = -sum(n * math.log(n / len(table.rows)) for n in sizes.values()) / len(table.rows)
    last = [step.total for step in history if step.epoch == history[-1].epoch]
    loss = sum(last) / len(last)
    if loss < LEARNED * guessing:
        return None
    return (
        f"the loss has hardly moved: {loss:.2f} in the last epoch, where knowing no more than how frequent each class "
        f"is gives {guessing:.2f}; try more --epochs, a higher --lr or a smaller --batch-size"
    )


def _archive_of(out: Path) -> Path:
    """Where ``--force`` puts a model that stood at ``out``: beside it, under its name, as a checkpoint is."""
    return out.with_name(f"{out.name}.archive")


def _merge(trained: Classifier, settings: TeachSettings) -> Classifier:
    return trained if settings.lora is None else merge_lora(trained)


def _load(settings: TeachSettings, split: str | None) -> Table:
    return load_table(
        settings.data,
        split=split,
        text_columns=settings.text_column,
        label_column=settings.label_column,
        label_names=settings.label_names,
    )


def _plan(table: Table, settings: TeachSettings) -> TeacherOrigin:
    """The teacher as it will be: what is only known after training is still empty."""
    rows = [(row.id, row.text, row.label) for row in table.rows]
    return TeacherOrigin(
        source=table.source,
        split=table.split,
        rows=len(rows),
        steps=settings.epochs * -(-len(rows) // settings.batch_size),
        labels=list(table.labels),
        settings=settings.results(),
        rows_sha=digest(rows, 64),
        model=fingerprint(settings.model),
        validation=[],
        parameters=0,
        seconds=0.0,
        device=settings.device,
        threads=torch.get_num_threads(),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _find_trained(out: Path, plan: TeacherOrigin) -> TeacherOrigin | None:
    """The same teacher if it was trained before; anything else at its place is refused."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    hint = "give another folder, or --force to archive this one"
    old = read_origin(out, TeacherOrigin, f"cod teach {out}") if out.is_dir() else None
    if old is None:
        raise CodError(f"{out} is already there and not from `cod teach`", hint)
    changes = _changes(old, plan)
    if changes:
        raise CodError(f"{out} was trained otherwise ({'; '.join(changes)})", hint)
    return old


def _changes(old: TeacherOrigin, plan: TeacherOrigin) -> list[str]:
    """In what a teacher that is there, or half there, differs from the one asked for."""
    # An option that a later version added had its default.
    default = {field.name: field.default for field in dataclasses.fields(TeachSettings)}
    changes = changed_settings(old.settings, plan.settings, default)
    if not changes and old.model != plan.model:
        changes = [f"the weights of {plan.settings['model']} have changed"]
    if not changes and old.rows_sha != plan.rows_sha:
        changes = ["the rows have changed"]
    return changes


@dataclass
class _Progress:
    """How far a training has come: its teacher so far, its steps, and the state that checkpoints hold."""

    teacher: TeacherOrigin
    history: list[Step]
    state: TrainingState
    _saved_at: float = field(default_factory=perf_counter)
    _pause: float = 0.0

    def save(self, started: float) -> None:
        """Save a checkpoint where the last one is long enough ago."""
        now = perf_counter()
        if now - self._saved_at < max(CHECKPOINT_SECONDS, self._pause):
            return
        teacher = self.teacher.replace(seconds=self.teacher.seconds + now - started)
        steps = [step.model_dump() for step in self.history]
        self.state.notes = {"teacher": teacher.model_dump_json(), "history": json.dumps(steps)}
        try:
            self.state.save()
        except OSError as error:
            # The training itself can still come to its end.
            log.warning("%s cannot be written: %s; going on without it", self.state.path, error.strerror)
        self._saved_at = perf_counter()
        self._pause = CHECKPOINT_SHARE * (self._saved_at - now)


def _begin(out: Path, plan: TeacherOrigin, settings: TeachSettings, ui: Ui) -> _Progress:
    """Where to start: at the last checkpoint with ``--resume``, else at step 1, with no checkpoint in the way."""
    state = TrainingState(out.with_name(f"{out.name}.checkpoint.safetensors"))
    if settings.force or not state.read():
        if settings.resume:
            ui.note(f"there is no checkpoint at {state.path}: starting at step 1")
        return _Progress(plan, [], state)
    try:
        teacher = TeacherOrigin.model_validate_json(state.notes["teacher"])
        history = [Step.model_validate(step) for step in json.loads(state.notes["history"])]
    except (KeyError, TypeError, ValueError):
        raise CodError(f"{state.path} is damaged: it does not say what it belongs to", "start over: --force") from None
    if changes := _changes(teacher, plan):
        raise CodError(
            f"{state.path} was begun with other settings ({'; '.join(changes)})",
            "use the same options and --resume, give another folder, or --force to start over",
        )
    if not settings.resume:
        raise CodError(
            f"{state.path} holds an interrupted training, at step {len(history)} of {plan.steps}",
            "add --resume to go on from there, or --force to start over",
        )
    ui.note(f"going on after step {len(history)} of {plan.steps}")
    return _Progress(teacher, history, state)


def _train(
    classifier: Classifier,
    trained: Classifier,
    table: Table,
    validation: Table | None,
    progress: _Progress,
    settings: TeachSettings,
    processes: Processes,
    ui: Ui,
) -> TeacherOrigin:
    """Train in place (adapters, where ``trained`` has them); the teacher with its accuracy after each epoch."""
    indices = {label: index for index, label in enumerate(table.labels)}
    groups: list[Group] = [[Example(row.id, row.text, indices[str(row.label)])] for row in table.rows]
    loader = BatchLoader(
        classifier, groups, batch_size=settings.batch_size, max_length=settings.max_length, seed=settings.seed
    )
    held_out = validation.rows if validation else ()
    unseen = encode(classifier, [row.text for row in held_out], settings.max_length)
    started, total = perf_counter(), progress.teacher.steps
    steps = train(
        trained.model,
        ((share_of(batch, processes) for batch in batches) for batches in loader.epochs(settings.epochs)),
        _objective,
        steps=total,
        lr=settings.lr,
        seed=settings.seed,
        state=progress.state,
        processes=processes,
    )
    with (
        seen_rows_only(classifier, [*loader.encodings.values(), *unseen]),
        ui.progress(f"Training {table.source}", total=total) as advance,
    ):
        advance(len(progress.history))
        for step in steps:
            progress.history.append(step)
            advance(1, detail=f"loss {step.total:.3f}")
            if held_out and step.step % loader.n_batches == 0:
                _validate(classifier, held_out, progress, settings)
                ui.note(f"epoch {step.epoch}: validation accuracy {progress.teacher.validation[-1]:.1%}")
            if processes.first:
                progress.save(started)
        if settings.keep_best:
            progress.state.go_back()
    return progress.teacher


def _validate(classifier: Classifier, rows: Sequence[Row], progress: _Progress, settings: TeachSettings) -> None:
    """Note the accuracy after an epoch, and with ``keep_best`` its weights if none was better before."""
    so_far = progress.teacher.validation
    accuracies = [*so_far, _accuracy(classifier, rows, settings)]
    progress.teacher = progress.teacher.replace(validation=accuracies)
    if settings.keep_best and accuracies[-1] > max(so_far, default=-1.0):
        progress.state.keep()
        progress.teacher = progress.teacher.replace(best_epoch=len(accuracies))


def _objective(output: Any, batch: Batch) -> dict[str, torch.Tensor]:
    return {"hard": batch.weight * hard_loss(output.logits, batch.labels)}


def _accuracy(classifier: Classifier, rows: Sequence[Row], settings: TeachSettings) -> float:
    classifier.model.train(False)
    texts = [row.text for row in rows]
    logits = logits_of(classifier, texts, batch_size=settings.batch_size, max_length=settings.max_length)
    classifier.model.train()
    right: list[bool] = [
        classifier.labels[index] == row.label for index, row in zip(logits.argmax(axis=1), rows, strict=True)
    ]
    return sum(right) / len(right)
