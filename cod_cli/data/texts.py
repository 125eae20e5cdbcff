"""Rows with a text from a file or standard input, one after the other; labels are not looked at."""

import codecs
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cod_cli.data.columns import find_text_columns, read_text
from cod_cli.data.files import FORMATS, Rows, open_table
from cod_cli.errors import CodError, UsageError
from cod_cli.store.jsonl import parse_jsonl

Line = tuple[int, str]
STDIN = "-"


@dataclass(frozen=True)
class TextRow:
    """A row as it was read, and its text, empty where it has none."""

    columns: Mapping[str, Any]
    text: str


def read_texts(file: str, text_columns: Sequence[str] = (), known: Sequence[str] = ()) -> Iterator[TextRow]:
    """The rows of a file; what is wrong with the file as a whole is said at once.

    Args:
        file: JSONL, CSV, TSV or parquet; ``.txt`` with a text on each line; ``-`` reads text or JSON lines from
            standard input.
        text_columns, known: as for `find_text_columns`.

    Raises:
        CodError: no such file or column, or a broken line, named.
    """
    if file == STDIN:
        return _from_lines(sys.stdin.buffer, "standard input", text_columns, known)
    path = Path(file).expanduser()
    if not path.is_file():
        raise CodError(f"{file} is no file", f"give a file of: .txt {' '.join(FORMATS)}, or - for standard input")
    if path.suffix.lower() == ".txt":
        return _from_text(_numbered_file(path), file, text_columns)
    return _from_table(open_table(path), text_columns, known)


def _from_lines(
    lines: Iterable[bytes], where: str, text_columns: Sequence[str], known: Sequence[str]
) -> Iterator[TextRow]:
    """JSON objects if the first line looks like one, else texts."""
    lines = iter(lines)
    first = list(itertools.islice(lines, 1))
    lines = itertools.chain(first, lines)
    if not first or not first[0].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
        return _from_text(_numbered(lines, where), where, text_columns)
    rows = parse_jsonl(lines, where)
    head = list(itertools.islice(rows, 1))
    return _from_table(Rows(where, tuple(head[0][1]), lambda _: itertools.chain(head, rows)), text_columns, known)


def _from_table(table: Rows, text_columns: Sequence[str], known: Sequence[str]) -> Iterator[TextRow]:
    names = find_text_columns(table, text_columns, known)
    return (
        TextRow(row, read_text(row, names, f"{table.where}, {table.unit} {number}"))
        for number, row in table.read(table.columns)
    )


def _from_text(lines: Iterable[Line], where: str, text_columns: Sequence[str]) -> Iterator[TextRow]:
    if text_columns:
        raise UsageError(f"{where} holds a text on each line, no columns", "leave --text-column out")
    return (TextRow({"text": line.strip()}, line.strip()) for _, line in lines)


def _numbered_file(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        yield from _numbered(file, str(path))


def _numbered(lines: Iterable[bytes], where: str) -> Iterator[Line]:
    for number, raw in enumerate(lines, start=1):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise CodError(f"{where}, line {number}: not UTF-8", "convert it: iconv -f LATIN1 -t UTF-8") from None
