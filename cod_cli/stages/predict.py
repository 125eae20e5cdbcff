"""`cod predict`: a model's label and probabilities for each row of a file, streamed."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cod_cli.data.texts import TextRow, read_texts
from cod_cli.errors import CodError
from cod_cli.metrics import softmax
from cod_cli.models.inference import logits_of
from cod_cli.models.load import Classifier, load_classifier
from cod_cli.settings.predict import PredictSettings
from cod_cli.store.run import reading_of
from cod_cli.ui import Ui

# What a record adds; an input column of that name is passed on as input_label, input_probabilities.
ADDED = ("label", "probabilities")
# Rows in memory at once; batches of like length are formed among them.
CHUNK = 1024


def predict(model: str, file: Path | str, settings: PredictSettings, ui: Ui) -> Iterator[dict[str, Any]]:
    """Yield for each row, in order, its own columns, then ``label`` and ``probabilities`` by label.

    Args:
        model: a model folder or Hub id with a classification head.
        file: JSONL, CSV, TSV or parquet; ``.txt`` with a text on each line; ``-`` reads text or JSON lines from
            standard input. A row without a text gets the label null.
        settings: the columns of the text, and how the model runs; columns and longest text are else those that the
            model was trained with, where its folder says so.
        ui: where rows without a text are mentioned.

    Raises:
        CodError: no such file, column or model, or a broken line, named.
    """
    known = reading_of(model)
    rows = read_texts(str(file), settings.text_column, known.text_columns)
    if known.max_length is not None and "max_length" not in settings.explicit():
        settings = dataclasses.replace(settings, max_length=known.max_length)
    classifier = load_classifier(model, device=settings.device)
    done = empty = 0
    for chunk in _chunks(rows):
        yield from _classified(classifier, chunk, settings)
        done += len(chunk)
        empty += sum(not row.text for row in chunk)
    if empty:
        ui.warn(f"{empty} of {done} rows have no text; their label is null")


def _chunks(rows: Iterable[TextRow]) -> Iterator[list[TextRow]]:
    """Rows in chunks; those that stand before a broken line come before its error."""
    chunk: list[TextRow] = []
    try:
        for row in rows:
            chunk.append(row)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except CodError:
        yield chunk
        raise
    yield chunk


def _classified(classifier: Classifier, rows: Sequence[TextRow], settings: PredictSettings) -> Iterator[dict[str, Any]]:
    texts = [row.text for row in rows if row.text]
    logits = logits_of(classifier, texts, batch_size=settings.batch_size, max_length=settings.max_length)
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
