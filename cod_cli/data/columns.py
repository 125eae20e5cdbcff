"""Which columns of a table hold the texts and the labels, and what stands in them."""

import contextlib
import difflib
import itertools
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cod_cli.data.files import Rows
from cod_cli.data.tasks import Task
from cod_cli.errors import CodError
from cod_cli.settings.base import parse_names

TEXT_COLUMNS = ("text", "sentence")
LABEL_COLUMN = "label"
# A column to propose is told by the values in so many rows.
_ROWS_GUESSED_FROM = 200
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# How `datasets` writes "no label" in a column of classes.
NO_CLASS = "-1"
# pandas writes whole numbers so where others in the column are missing.
_WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0*")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def find_text_columns(rows: Rows, asked: Sequence[str] = (), known: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns asked for, else those ``known`` from elsewhere if all are there, else ``text`` or ``sentence``.

    Raises:
        CodError: no such column; the hint names the likeliest one.
    """
    asked = asked or (known if set(known) <= set(rows.columns) else ())
    asked = asked or [name for name in TEXT_COLUMNS if name in rows.columns][:1] or TEXT_COLUMNS[:1]
    return tuple(existing(rows, name, "--text-column", _longest) for name in asked)


def existing(
    rows: Rows, name: str, option: str, likelier: Callable[[Sequence[Any]], float], taken: Sequence[str] = ()
) -> str:
    """``name`` if there is such a column; else an error whose hint (``option``, the likeliest other) can be pasted.

    That is one of nearly the same name, else the one whose values are ``likelier``. Columns in ``taken`` are not
    proposed.
    """
    if name in rows.columns:
        return name
    message = f"{rows.where} has no column {name!r}; it has: {listed(rows.columns)}"
    if len(rows.columns) == 1 and (mark := next((mark for mark in _SEPARATORS if mark in rows.columns[0]), None)):
        raise CodError(
            message, f"are its columns separated by {_SEPARATORS[mark]}? Save it with commas, or tabs as .tsv"
        )
    others = [column for column in rows.columns if column not in taken] or rows.columns
    raise CodError(message, f"say which column it is: {option} {shlex.quote(_likeliest(rows, name, others, likelier))}")


def _likeliest(rows: Rows, name: str, columns: Sequence[str], likelier: Callable[[Sequence[Any]], float]) -> str:
    spelt = {column.casefold(): column for column in reversed(columns)}
    if alike := difflib.get_close_matches(name.casefold(), spelt, n=1, cutoff=0.75):
        return spelt[alike[0]]
    first: list[Mapping[str, Any]] = []
    # A line that cannot be read is not what is wrong here.
    with contextlib.suppress(CodError):
        first += (row for _, row in itertools.islice(rows.read(rows.columns), _ROWS_GUESSED_FROM))

    def rank(column: str) -> tuple[float, float]:
        spelling = difflib.SequenceMatcher(None, name, column).ratio()
        return likelier([row.get(column) for row in first]), spelling

    return max(columns, key=rank)


def _longest(values: Sequence[Any]) -> float:
    """Mean length of what is text among the values of a column."""
    return sum(len(value) for value in values if isinstance(value, str)) / max(len(values), 1)


def _fewest(values: Sequence[Any]) -> float:
    """Higher for fewer different values, if they are more than one."""
    known = {str(value) for value in values if not _is_missing(value)}
    return -len(known) if len(known) > 1 else -math.inf


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, not more than fit."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def read_text(row: Mapping[str, Any], columns: Sequence[str], where: str) -> str:
    """The text of a row, without white space around it; several columns become ``name: value`` lines.

    Raises:
        CodError: a list or an object stands where a text should.
    """
    values = [_as_text(row.get(column), column, where) for column in columns]
    if len(values) == 1:
        return values[0]
    return "\n".join(f"{column}: {value}" for column, value in zip(columns, values, strict=True) if value)


def _as_text(value: Any, column: str, where: str) -> str:
    if _is_missing(value):
        return ""
    if not isinstance(value, str | int | float):
        raise CodError(
            f"{where}: column {column!r} holds a {type(value).__name__}, not a text",
            "name the column of texts: --text-column NAME",
        )
    return _plain(value)


def _plain(value: str | int | float) -> str:
    text = str(value).strip()
    # Half a surrogate pair, which JSON can spell, cannot be written as UTF-8.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


@dataclass
class Labelling:
    """Names raw labels, one row after the other.

    Args:
        column: where the raw labels stand.
        names: raw label to name, a closed set in class order; None takes the labels as they are.
        name_column: where each row has its label's name, too (``label_text`` of SetFit's data sets).
        no_label: raw labels that stand for "unlabelled".
        left_out: raw labels of rows that do not belong to the task.
    """

    column: str
    names: Mapping[str, str] | None = None
    name_column: str | None = None
    no_label: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    _seen: dict[str, str] = field(default_factory=dict)

    def raw(self, row: Mapping[str, Any], where: str) -> str | None:
        """The raw label as text; None where a row has none."""
        key = _as_label(row.get(self.column), self.column, where)
        return None if key in self.no_label else key

    def name(self, raw: str, row: Mapping[str, Any], where: str) -> str:
        """The name of a raw label.

        Raises:
            CodError: the set is closed and the label is not in it.
        """
        if self.names is None:
            named = _as_label(row.get(self.name_column), self.name_column, where) if self.name_column else None
            return self._seen.setdefault(raw, named or raw)
        if raw in self.names:
            return self.names[raw]
        if raw in self.names.values():
            return raw
        known = ",".join(f"{key}={name}" for key, name in self.names.items())
        raise CodError(
            f"{where}: label {raw!r} is none of {listed(list(self.names))}",
            f"mend the row, or name all labels: --label-names {shlex.quote(f'{known},{raw}=NAME')}",
        )

    def order(self) -> tuple[str, ...]:
        """The names of the classes: by number where all raw labels are numbers, else as given, else sorted."""
        pairs = list(self._seen.items() if self.names is None else self.names.items())
        if all(_NUMBER.fullmatch(raw) for raw, _ in pairs):
            pairs.sort(key=lambda pair: float(pair[0]))
        elif self.names is None:
            pairs.sort(key=lambda pair: pair[1])
        return tuple(dict.fromkeys(name for _, name in pairs))


def find_labels(rows: Rows, asked: str | None, names: str | None, task: Task | None, texts: Sequence[str]) -> Labelling:
    """The column of labels and what they are called: by ``names``, else by the task, else by the data itself.

    Raises:
        CodError: no such column; the hint names the likeliest one that is not among ``texts``.
    """
    column = existing(rows, asked or (task.label_column if task else LABEL_COLUMN), "--label-column", _fewest, texts)
    classes = (rows.class_names or {}).get(column)
    given: Mapping[str, str] | None = None
    if names is not None:
        given = parse_names("--label-names", names)
    elif task:
        given = {str(raw): name for raw, name in task.raw_labels.items()}
    elif classes:
        given = {str(raw): name for raw, name in enumerate(classes)}
    named_there = f"{column}_text"
    return Labelling(
        column,
        given,
        name_column=named_there if given is None and named_there in rows.columns else None,
        no_label=frozenset({NO_CLASS}) if task or classes else frozenset(),
        left_out=frozenset(map(str, task.left_out)) - frozenset(given or ()) if task else frozenset(),
    )


def _as_label(value: Any, column: str, where: str) -> str | None:
    if _is_missing(value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise CodError(
            f"{where}: column {column!r} holds a {type(value).__name__}, not a label",
            "name the column of labels: --label-column NAME",
        )
    text = _plain(value)
    whole = _WHOLE_FLOAT.fullmatch(text)
    return (whole[1] if whole else text) or None
