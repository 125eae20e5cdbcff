"""`cod teach`: fine-tunes a classifier on a whole training split, as a teacher."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from cod_cli.artifacts import Run, read_origin, write_folder, write_origin
from cod_cli.batches import Example, Group
from cod_cli.cards import teacher_card
from cod_cli.checkpoints import fingerprint
from cod_cli.data import Row, Table, load_table
from cod_cli.embeddings import seen_rows_only
from cod_cli.errors import CodError
from cod_cli.losses import hard_loss
from cod_cli.models import Classifier, encode, load_student, logits_of, save_classifier
from cod_cli.records import Step, Teacher
from cod_cli.report import Ui
from cod_cli.settings import TeachSettings
from cod_cli.training import Batch, DivergedError, Feed, train, versions


@dataclass(frozen=True)
class TeachResult:
    """A fine-tuned classifier; ``fresh`` where it was trained just now."""

    folder: Path
    teacher: Teacher
    fresh: bool


def teach(out: Path, settings: TeachSettings, ui: Ui) -> TeachResult:
    """Fine-tune a model on the training split and write it to ``out``, an ordinary model folder.

    Fixed epochs, last weights; where there is a validation split, its accuracy is told after each epoch. No other
    split is read.

    Raises:
        UsageError, CodError: the data or the model cannot be read, or ``out`` holds something else.
        DivergedError: the loss is not finite any more; the last good weights are kept in ``OUT.diverged``.
    """
    table = _load(settings, settings.split)
    if table.dropped.total:
        ui.note(f"{table.dropped.total} rows are left out: empty, duplicate or unlabelled")
    plan = _plan(table, settings)
    there = None if settings.force else _existing(out, plan)
    if there is not None:
        ui.note(f"{out} is already there")
        return TeachResult(out, there, fresh=False)
    validation = _load(settings, "validation") if "validation" in table.splits and table.split == "train" else None
    classifier = load_student(settings.model, table.labels, seed=settings.seed, device=settings.device)
    history: list[Step] = []
    start = perf_counter()
    try:
        accuracies = _train(classifier, table, validation, plan, settings, ui, history)
    except DivergedError as error:
        kept = out.with_name(f"{out.name}.diverged")
        with write_folder(kept, Run(out.parent)) as folder:
            save_classifier(classifier, folder)
        raise DivergedError(error.message, f"give a lower --lr; the last good weights are in {kept}") from None
    teacher = plan.replace(
        validation=accuracies,
        parameters=classifier.model.num_parameters(),
        seconds=round(perf_counter() - start, 3),
        device=str(classifier.device),
    )
    with write_folder(out, Run(out.parent)) as folder:
        save_classifier(classifier, folder)
        teacher_card(out.name, teacher).save(folder / "README.md")
        write_origin(folder, teacher, history)
    return TeachResult(out, teacher, fresh=True)


def _load(settings: TeachSettings, split: str | None) -> Table:
    return load_table(
        settings.data,
        split=split,
        text_columns=settings.text_column,
        label_column=settings.label_column,
        label_names=settings.label_names,
    )


def _plan(table: Table, settings: TeachSettings) -> Teacher:
    """The teacher as it will be: what is only known after training is still empty."""
    rows = [(row.id, row.text, row.label) for row in table.rows]
    return Teacher(
        source=table.source,
        split=table.split,
        rows=len(rows),
        steps=settings.epochs * -(-len(rows) // settings.batch_size),
        labels=list(table.labels),
        settings=settings.results(),
        rows_sha=hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        model=fingerprint(settings.model),
        validation=[],
        parameters=0,
        seconds=0.0,
        device=settings.device,
        threads=torch.get_num_threads(),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _existing(out: Path, plan: Teacher) -> Teacher | None:
    """The same teacher if it was trained before; anything else at its place is refused."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    hint = "give another folder, or --force to archive this one"
    old = read_origin(out, Teacher, f"cod teach {out}") if out.is_dir() else None
    if old is None:
        raise CodError(f"{out} is already there and not from `cod teach`", hint)
    was, is_ = old.settings, plan.settings
    changes = [f"{key}: {was.get(key)} → {is_.get(key)}" for key in is_ | was if was.get(key) != is_.get(key)]
    if not changes and old.model != plan.model:
        changes = [f"the weights of {plan.settings['model']} have changed"]
    if not changes and old.rows_sha != plan.rows_sha:
        changes = ["the rows have changed"]
    if changes:
        raise CodError(f"{out} was trained otherwise ({'; '.join(changes)})", hint)
    return old


def _train(
    classifier: Classifier,
    table: Table,
    validation: Table | None,
    plan: Teacher,
    settings: TeachSettings,
    ui: Ui,
    history: list[Step],
) -> list[float]:
    """Train in place; the accuracy after each epoch, empty without a validation split."""
    indices = {label: index for index, label in enumerate(table.labels)}
    groups: list[Group] = [[Example(row.id, row.text, indices[str(row.label)])] for row in table.rows]
    feed = Feed(classifier, groups, batch_size=settings.batch_size, max_length=settings.max_length, seed=settings.seed)
    held_out = validation.rows if validation else ()
    unseen = encode(classifier, [row.text for row in held_out], settings.max_length)
    accuracies: list[float] = []
    steps = train(
        classifier.model,
        feed.epochs(settings.epochs),
        _objective,
        steps=plan.steps,
        lr=settings.lr,
        seed=settings.seed,
    )
    with (
        seen_rows_only(classifier, [*feed.encodings.values(), *unseen]),
        ui.progress(f"Training {plan.source}", total=plan.steps) as advance,
    ):
        for step in steps:
            history.append(step)
            advance(1, detail=f"loss {step.total:.3f}")
            if held_out and step.step % feed.n_batches == 0:
                accuracies.append(_accuracy(classifier, held_out, settings))
                ui.note(f"epoch {step.epoch}: validation accuracy {accuracies[-1]:.1%}")
    return accuracies


def _objective(output: Any, batch: Batch) -> dict[str, torch.Tensor]:
    return {"hard": hard_loss(output.logits, batch.labels)}


def _accuracy(classifier: Classifier, rows: Sequence[Row], settings: TeachSettings) -> float:
    classifier.model.train(False)
    texts = [row.text for row in rows]
    logits = logits_of(classifier, texts, batch_size=settings.batch_size, max_length=settings.max_length)
    classifier.model.train()
    right: list[bool] = [
        classifier.labels[index] == row.label for index, row in zip(logits.argmax(axis=1), rows, strict=True)
    ]
    return sum(right) / len(right)
