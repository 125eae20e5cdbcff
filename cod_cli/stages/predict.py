"""`cod predict`: a model's label and probabilities for each row of a file, streamed."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cod_cli.data.texts import TextRow, read_texts
from cod_cli.errors import CodError, UsageError
from cod_cli.metrics import softmax
from cod_cli.models.exported import find_export, open_exported, read_notes
from cod_cli.records import Export
from cod_cli.settings.predict import PredictSettings
from cod_cli.store.run import reading_of
from cod_cli.ui import Ui

# What a record adds; an input column of that name is passed on as input_label, input_probabilities.
ADDED = ("label", "probabilities")
# Rows in memory at once; batches of like length are formed among them.
CHUNK = 1024


@dataclass(frozen=True)
class _Classifier:
    """Whatever runs a model: its classes, and their logits [n, C] for n texts."""

    labels: Sequence[str]
    logits: Callable[[Sequence[str]], np.ndarray]


def predict(model: str, file: Path | str, settings: PredictSettings, ui: Ui) -> Iterator[dict[str, Any]]:
    """Yield for each row, in order, its own columns, then ``label`` and ``probabilities`` by label.

    Args:
        model: a model folder or Hub id with a classification head, or a folder that `cod export` wrote.
        file: JSONL, CSV, TSV or parquet; ``.txt`` with a text on each line; ``-`` reads text or JSON lines from
            standard input. A row without a text gets the label null.
        settings: the columns of the text, and how the model runs; columns and longest text are else those that the
            model was trained with, where its folder says so.
        ui: where rows without a text are mentioned.

    Raises:
        CodError: no such file, column or model, or a broken line, named.
    """
    folder = find_export(model)
    notes = None if folder is None else read_notes(folder)
    known = reading_of(model) if notes is None else notes
    rows = read_texts(str(file), settings.text_column, known.text_columns)
    if known.max_length is not None and "max_length" not in settings.explicit():
        settings = dataclasses.replace(settings, max_length=known.max_length)
    classifier = _open_exported(folder, notes, settings) if folder and notes else _open_model(model, settings)
    done = empty = 0
    for chunk in _chunks(rows):
        yield from _classified(classifier, chunk)
        done += len(chunk)
        empty += sum(not row.text for row in chunk)
    if empty:
        ui.warn(f"{empty} of {done} rows have no text; their label is null")


def _open_model(model: str, settings: PredictSettings) -> _Classifier:
    # Here and not above: an exported model runs without torch.
    from cod_cli.models.inference import logits_of
    from cod_cli.models.load import load_classifier

    loaded = load_classifier(model, device=settings.device)
    run = partial(logits_of, loaded, batch_size=settings.batch_size, max_length=settings.max_length)
    return _Classifier(loaded.labels, run)


def _open_exported(folder: Path, notes: Export, settings: PredictSettings) -> _Classifier:
    if settings.device not in ("auto", "cpu"):
        raise UsageError(f"--device is {settings.device}, and an exported model runs on the CPU", "leave --device out")
    exported = open_exported(folder, notes)
    run = partial(exported.logits, batch_size=settings.batch_size, max_length=settings.max_length)
    return _Classifier(exported.labels, run)


def _chunks(rows: Iterable[TextRow]) -> Iterator[list[TextRow]]:
    """Rows in chunks, the first of one row, so that an answer comes at once, each next one twice as large.

    Those that stand before a broken line come before its error.
    """
    chunk: list[TextRow] = []
    size = 1
    try:
        for row in rows:
            chunk.append(row)
            if len(chunk) >= min(size, CHUNK):
                yield chunk
                chunk, size = [], 2 * size
    except CodError:
        yield chunk
        raise
    yield chunk


def _classified(classifier: _Classifier, rows: Sequence[TextRow]) -> Iterator[dict[str, Any]]:
    texts = [row.text for row in rows if row.text]
    logits = classifier.logits(texts) if texts else np.empty((0, len(classifier.labels)))
    answers = iter(softmax(logits).tolist())
    for row in rows:
        probs = next(answers) if row.text else None
        label = classifier.labels[max(range(len(probs)), key=probs.__getitem__)] if probs else None
        named = {name: round(p, 6) for name, p in zip(classifier.labels, probs, strict=True)} if probs else None
        yield {**_passed_on(row.columns), "label": label, "probabilities": named}


def _passed_on(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The row's own columns, each under a name of its own."""
    return {_free_name(name, columns): value for name, value in columns.items()}


def _free_name(name: str, columns: Collection[str]) -> str:
    """What a column is called in the output: itself, or ``input_…`` where `ADDED` or another column has that name."""
    if name not in ADDED:
        return name
    while name in ADDED or name in columns:
        name = f"input_{name}"
    return name
