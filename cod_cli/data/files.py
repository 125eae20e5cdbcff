"""Local tables, one row after the other: JSONL, CSV, TSV and parquet files.

The standard library and pyarrow do it: `datasets` would add a second to every start, guesses types from the first
rows, copies each file into its cache, and cannot name the line that is wrong.
"""

import codecs
import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from cod_cli.errors import CodError
from cod_cli.store.jsonl import read_jsonl

# A JSONL file's columns are the keys of so many of its first rows: a key may be missing in some.
_ROWS_LOOKED_AT = 1000
_LONGEST_FIELD = 2**30
NumberedRow = tuple[int, Mapping[str, Any]]
# The number of the line that it begins on, and its fields.
Record = tuple[int, list[str]]
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


@dataclass(frozen=True)
class Rows:
    """A table to be read once.

    ``class_names`` are those that the file itself gives its numeric labels, by column. ``read(columns)`` yields
    each row with the number, from 1, of its line (or row: ``unit``); other columns may be there, too.
    """

    where: str
    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[NumberedRow]]
    unit: str = "line"
    class_names: Mapping[str, Sequence[str]] | None = None


def open_table(path: Path) -> Rows:
    """Open a file by its suffix.

    Raises:
        CodError: another format, an empty or a broken file, named with its line.
    """
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise CodError(
            f"{path} is not a file of data: its name ends in {path.suffix or 'nothing'}",
            f"convert it to one of: {' '.join(_OPENERS)}",
        )
    if path.exists() and not path.is_file():
        # It can be read but once, and is hashed, too.
        raise CodError(f"{path} is no regular file", "save what it gives in a file first")
    rows = opener(path)
    if not rows.columns:
        raise CodError(f"{path} is empty", "give a file with at least one row of data")
    twice = [name for name, count in Counter(rows.columns).items() if count > 1]
    if twice:
        where = f"{path}, line 1" if rows.unit == "line" else f"{path}"
        raise CodError(f"{where}: two columns are named {twice[0]!r}", "rename one of them")
    return rows


def _open_jsonl(path: Path) -> Rows:
    rows = read_jsonl(path)
    first: list[NumberedRow] = []
    rest: Iterator[NumberedRow] = rows
    try:
        first += itertools.islice(rows, _ROWS_LOOKED_AT)
    except CodError as error:
        if not first:
            raise
        rest = _broken_off(error)
    columns = tuple(dict.fromkeys(key for _, row in first for key in row))
    return Rows(str(path), columns, lambda _: itertools.chain(first, rest))


def _broken_off(error: CodError) -> Iterator[NumberedRow]:
    """Where rows end in a line that cannot be read: its error comes in its turn, behind the rows before it."""
    raise error
    yield


def open_lines(path: Path) -> Rows:
    """A text file with a text on each line, as a table of one column."""
    return Rows(str(path), ("text",), lambda _: ((n, {"text": line}) for n, line in enumerate(_decoded_lines(path), 1)))


def _open_csv(path: Path, delimiter: str = ",") -> Rows:
    csv.field_size_limit(_LONGEST_FIELD)
    return _open_records(path, _csv_records(path, csv.reader(_decoded_lines(path), delimiter=delimiter, strict=True)))


def _open_tsv(path: Path) -> Rows:
    return _open_records(path, _tsv_records(path)) if _has_a_row_on_each_line(path) else _open_csv(path, "\t")


def _open_records(path: Path, records: Iterator[Record]) -> Rows:
    header = next(records, (0, []))[1]
    return Rows(str(path), tuple(header), lambda _: _named(path, records, header))


def _named(path: Path, records: Iterator[Record], header: list[str]) -> Iterator[NumberedRow]:
    for line, record in records:
        if len(record) != len(header):
            raise CodError(
                f"{path}, line {line}: {len(record)} fields where the header has {len(header)}",
                'put double quotes around a field that holds the delimiter or a line break: "yes, really"',
            )
        yield line, dict(zip(header, record, strict=True))


def _has_a_row_on_each_line(path: Path) -> bool:
    """Whether each line has the header's tabs: then a quote opens nothing, it is one that somebody wrote (GLUE)."""
    with path.open("rb") as file:
        # A carriage return in a line's middle is the line's end of an old Mac, about which `csv` complains.
        tabs = {-1 if b"\r" in raw else raw.count(b"\t") for line in file if (raw := line.strip(b"\r\n"))}
    # Of a single column nobody can tell.
    return len(tabs) == 1 and min(tabs) > 0


def _tsv_records(path: Path) -> Iterator[Record]:
    """The lines that are not blank, cut at their tabs; quotes around a whole field are taken off."""
    for number, line in enumerate(_decoded_lines(path), start=1):
        if bare := line.strip("\r\n"):
            fields = bare.split("\t")
            yield number, [quoted[1].replace('""', '"') if (quoted := _QUOTED.fullmatch(f)) else f for f in fields]


def _csv_records(path: Path, reader: Any) -> Iterator[Record]:
    """The records that are not blank, each with the number of the line that it begins on."""
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            quotes = 'mend the quotes there: a field with quotes in it is written "she said ""yes"""'
            ends = f"convert its line ends: tr '\\r' '\\n' < {path} > converted.csv"
            hint = ends if "new-line character" in str(error) else quotes
            raise CodError(f"{path}, line {line}: {error}", hint) from None
        if record:
            yield line, record


def _decoded_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                encoding = "UTF-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "LATIN1"
                raise CodError(
                    f"{path}, line {number}: not UTF-8",
                    f"convert it: iconv -f {encoding} -t UTF-8 {path} > converted.csv",
                ) from None


def _open_parquet(path: Path) -> Rows:
    import pyarrow.parquet

    with _parquet_errors(path):
        file = pyarrow.parquet.ParquetFile(path)
    schema = file.schema_arrow

    def read(columns: Sequence[str]) -> Iterator[NumberedRow]:
        with _parquet_errors(path):
            batches = file.iter_batches(batch_size=_ROWS_LOOKED_AT, columns=list(columns))
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)

    return Rows(str(path), tuple(schema.names), read, "row", _class_names(schema.metadata or {}))


@contextlib.contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise CodError(f"{path} is no intact parquet file: {_one_line(error)}", "write it anew") from None


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, Sequence[str]]:
    """The names of numeric classes that `datasets` leaves in a parquet file; none where that is damaged."""
    try:
        features = _Described.model_validate_json(metadata.get(b"huggingface", b"{}")).info.features
    except ValidationError:
        return {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict)
        and feature.get("_type") == "ClassLabel"
        and isinstance(feature.get("names"), list)
        and all(isinstance(one, str) for one in feature["names"])
    }


class _Info(BaseModel):
    features: dict[str, Any] = Field(default_factory=dict)


class _Described(BaseModel):
    """What `datasets` says of a table."""

    info: _Info = Field(default_factory=_Info)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_OPENERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _open_jsonl,
    ".csv": _open_csv,
    ".tsv": _open_tsv,
    ".parquet": _open_parquet,
}


FORMATS = tuple(_OPENERS)
