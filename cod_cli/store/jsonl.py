"""Files on disk: JSON lines, validated, with line numbers in every error; texts replaced atomically."""

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jsonlines
import yaml
from pydantic import ValidationError

from cod_cli.errors import CodError
from cod_cli.records import Record

R = TypeVar("R", bound=Record)


class TornLineError(CodError):
    """The last line of a file has no end and is not whole: somebody was killed, or is writing it still."""


def file_sha(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_line(record: Record) -> str:
    """One JSON object on one line, readable: no escapes but those JSON needs."""
    text = json.dumps(record.model_dump(), ensure_ascii=False)
    # A lone surrogate, which a reply may hold, cannot stand in UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8") + "\n"


def read_jsonl(path: Path, *, torn_tail: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers from 1 and objects of a JSONL file; empty lines are passed over.

    Args:
        path: the file.
        torn_tail: leave out a last line that a kill cut short, instead of an error.

    Raises:
        CodError: a line that is no JSON object, named by file and line.
    """
    with path.open("rb") as file:
        yield from parse_jsonl(file, str(path), torn_tail=torn_tail)


def parse_jsonl(lines: Iterable[bytes], where: str, *, torn_tail: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """What `read_jsonl` gives, of lines from anywhere; ``where`` is how errors call it."""
    number, raw = 0, b"\n"

    def decoded() -> Iterator[str]:
        nonlocal number, raw
        for number, raw in enumerate(lines, start=1):
            if raw.strip():
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")

    rows = jsonlines.Reader(decoded()).iter(type=dict)
    while True:
        try:
            row = next(rows, None)
        except (jsonlines.InvalidLineError, UnicodeDecodeError, RecursionError) as error:
            # Only a last line has no end. One that is whole all the same, as an editor may leave it, was read above.
            if torn_tail and not raw.endswith(b"\n"):
                return
            known = _at_line(where, number, error)
            raise (known if raw.endswith(b"\n") else TornLineError(known.message, known.hint)) from None
        if row is None:
            return
        yield number, _writable(row) if _SURROGATE.search(raw) else row


# How JSON spells half of a pair; a whole one is spelled so, too.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _writable(value: Any) -> Any:
    """A value whose texts can be written as UTF-8: half of a surrogate pair becomes a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_writable(key): _writable(item) for key, item in value.items()}
    return [_writable(item) for item in value] if isinstance(value, list) else value


def _at_line(where: Path | str, number: int, error: Exception) -> CodError:
    return CodError(
        f"{where}, line {number}: {first_problem(error)}", "mend or delete that line; every line is one JSON object"
    )


def first_problem(error: Exception) -> str:
    """What is wrong with a file, in a few words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        return f"{field}: {first['msg']}" if field else first["msg"]
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, yaml.YAMLError):
        return "not YAML"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "not a JSON object (torn or invalid line)"


def read_records(path: Path, record: type[R], *, torn_tail: bool = False) -> list[R]:
    """All rows of a file, validated; an id that stands there twice is an error."""
    rows: list[R] = []
    seen: dict[str, int] = {}
    for number, row in read_jsonl(path, torn_tail=torn_tail):
        try:
            rows.append(record.model_validate(row))
        except ValidationError as error:
            raise _at_line(path, number, error) from None
        key = row.get("id")
        if key is not None and key in seen:
            raise CodError(f"{path}, line {number}: id {key!r} stands on line {seen[key]} too", "delete one of them")
        if key is not None:
            seen[key] = number
    return rows


def write_records(path: Path, rows: Iterable[Record]) -> None:
    """Replace a JSONL file atomically."""
    write_text(path, "".join(map(to_line, rows)))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a JSONL file of plain objects atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_records(path: Path, rows: Iterable[Record]) -> None:
    """Append whole lines and wait until they are on disk."""
    with path.open("ab") as file:
        file.write("".join(map(to_line, rows)).encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Replace a file atomically: whoever reads it sees the old text or the new one, never half. Its mode is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            with contextlib.suppress(FileNotFoundError):
                partial.chmod(stat.S_IMODE(path.stat().st_mode))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


STDOUT = Path("-")


def write_output(path: Path, text: str) -> None:
    """Write where a user wants something written: ``-`` is standard output, a link is followed.

    A regular file is replaced atomically; anything else, a device or a pipe, is written into and stays what it is.
    """
    if path == STDOUT or _is_stdout(path):
        sys.stdout.write(text)
    elif path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    else:
        write_text(Path(os.path.realpath(path)), text)


def _is_stdout(path: Path) -> bool:
    """Whether a path, as ``/dev/stdout`` does, leads to where this process prints: a file, too, if that is where."""
    # What stands in for standard output, in a notebook for one, may have no descriptor.
    with contextlib.suppress(OSError, ValueError):
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    return False
