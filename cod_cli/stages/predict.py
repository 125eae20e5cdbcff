"""`cod predict`: a model's label and probabilities for each row of a file, streamed."""

import codecs
import itertools
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cod_cli.data.columns import find_text_columns, read_text
from cod_cli.data.files import FORMATS, Rows, open_table
from cod_cli.errors import CodError, UsageError
from cod_cli.metrics import softmax
from cod_cli.models.inference import logits_of
from cod_cli.models.load import Classifier, load_classifier
from cod_cli.settings.predict import PredictSettings
from cod_cli.store.jsonl import parse_jsonl
from cod_cli.ui import Ui

Line = tuple[int, str]
STDIN = "-"
# What a record adds; an input column of that name is passed on as input_label, input_probabilities.
ADDED = ("label", "probabilities")
# Rows in memory at once; batches of like length are formed among them.
CHUNK = 1024


@dataclass(frozen=True)
class _Input:
    columns: Mapping[str, Any]
    text: str


def predict(model: str, file: Path | str, settings: PredictSettings, ui: Ui) -> Iterator[dict[str, Any]]:
    """Yield for each row, in order, its own columns, then ``label`` and ``probabilities`` by label.

    Args:
        model: a model folder or Hub id with a classification head.
        file: JSONL, CSV, TSV or parquet; ``.txt`` with a text on each line; ``-`` reads text or JSON lines from
            standard input. A row without a text gets the label null.
        settings: the columns of the text, and how the model runs.
        ui: where rows without a text are mentioned.

    Raises:
        CodError: no such file, column or model, or a broken line, named.
    """
    rows = _read(str(file), settings.text_column)
    classifier = load_classifier(model, device=settings.device)
    done = empty = 0
    for chunk in _chunks(rows):
        yield from _classified(classifier, chunk, settings)
        done += len(chunk)
        empty += sum(not row.text for row in chunk)
    if empty:
        ui.warn(f"{empty} of {done} rows have no text; their label is null")


def _chunks(rows: Iterable[_Input]) -> Iterator[list[_Input]]:
    """Rows in chunks; those that stand before a broken line come before its error."""
    chunk: list[_Input] = []
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


def _classified(classifier: Classifier, rows: Sequence[_Input], settings: PredictSettings) -> Iterator[dict[str, Any]]:
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


def _read(file: str, text_columns: Sequence[str]) -> Iterator[_Input]:
    """The rows of a file; what is wrong with the file as a whole is said at once."""
    if file == STDIN:
        return _from_lines(sys.stdin.buffer, "standard input", text_columns)
    path = Path(file).expanduser()
    if not path.is_file():
        raise CodError(f"{file} is no file", f"give a file of: .txt {' '.join(FORMATS)}, or - for standard input")
    if path.suffix.lower() == ".txt":
        return _from_text(_numbered_file(path), file, text_columns)
    return _from_table(open_table(path), text_columns)


def _from_lines(lines: Iterable[bytes], where: str, text_columns: Sequence[str]) -> Iterator[_Input]:
    """JSON objects if the first line looks like one, else texts."""
    lines = iter(lines)
    first = list(itertools.islice(lines, 1))
    lines = itertools.chain(first, lines)
    if not first or not first[0].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
        return _from_text(_numbered(lines, where), where, text_columns)
    rows = parse_jsonl(lines, where)
    head = list(itertools.islice(rows, 1))
    return _from_table(Rows(where, tuple(head[0][1]), lambda _: itertools.chain(head, rows)), text_columns)


def _from_table(table: Rows, text_columns: Sequence[str]) -> Iterator[_Input]:
    names = find_text_columns(table, text_columns)
    return (
        _Input(row, read_text(row, names, f"{table.where}, {table.unit} {number}"))
        for number, row in table.read(table.columns)
    )


def _from_text(lines: Iterable[Line], where: str, text_columns: Sequence[str]) -> Iterator[_Input]:
    if text_columns:
        raise UsageError(f"{where} holds a text on each line, no columns", "leave --text-column out")
    return (_Input({"text": line.strip()}, line.strip()) for _, line in lines)


def _numbered_file(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        yield from _numbered(file, str(path))


def _numbered(lines: Iterable[bytes], where: str) -> Iterator[Line]:
    for number, raw in enumerate(lines, start=1):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise CodError(f"{where}, line {number}: not UTF-8", "convert it: iconv -f LATIN1 -t UTF-8") from None
