"""Reading any data source: a built-in task, a data set on the Hub, a file, or a folder with one file per split.

The Hub is asked through `datasets`, which only this module imports, and not waited for where it does not answer.

White space around a text is not part of it. One file is one split, called ``all``.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from cod_cli.data.columns import LABEL_COLUMN, Labelling, find_labels, find_text_columns, listed, read_text
from cod_cli.data.files import FORMATS, NumberedRow, Rows, open_lines, open_table
from cod_cli.data.tasks import TASKS, Task, task_named
from cod_cli.errors import CodError
from cod_cli.store.jsonl import file_sha

log = logging.getLogger(__name__)

ONE_FILE = "all"
_SPLIT_FILES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[^/]+)?")
Hub = Callable[[str, str | None, str | None], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One usable row. ``id`` is ``<source>/<split>/<row>``; rows count from 1 before any is dropped."""

    id: str
    text: str
    label: str | None


@dataclass(frozen=True)
class Dropped:
    """How many rows were left out, by reason; ``filtered`` are those that a built-in task does not take."""

    empty: int = 0
    duplicate: int = 0
    unlabelled: int = 0
    filtered: int = 0

    @property
    def total(self) -> int:
        """All rows that were left out."""
        return self.empty + self.duplicate + self.unlabelled + self.filtered


@dataclass(frozen=True)
class Table:
    """The usable rows of one split, in file order. ``labels`` are the classes in class order, seen or not."""

    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    source: str
    split: str
    task: Task | None
    dropped: Dropped
    splits: tuple[str, ...]
    file: Path | None = None


@dataclass(frozen=True)
class _Source:
    name: str
    splits: Mapping[str, Callable[[], Rows]]
    files: Mapping[str, Path] = field(default_factory=dict)
    task: Task | None = None


def load_table(
    data: str,
    *,
    split: str | None = None,
    default_splits: Sequence[str] = ("train",),
    text_columns: Sequence[str] = (),
    known_columns: Sequence[str] = (),
    label_column: str | None = None,
    label_names: str | None = None,
    require_labels: bool = True,
    hub: Hub | None = None,
) -> Table:
    """Read one split of a data source.

    Args:
        data: a task's name, ``org/name`` or ``org/name:config`` on the Hub, a file or a folder.
        split: the split to read; one file has but one.
        default_splits: the first of these that there is, where ``split`` is not given.
        text_columns: several are joined as ``name: value`` lines; else ``text`` or ``sentence``.
        known_columns: those of other data of the same kind, taken where nothing is asked for and all are there.
        label_column: else ``label``.
        label_names: names of raw labels, ``0=negative,1=positive``.
        require_labels: drop unlabelled rows and refuse fewer than two classes; else labels may be None.
        hub: what downloads a data set: (id, config, revision) → splits by name.

    Raises:
        UsageError: no such task, or malformed ``label_names``.
        CodError: nothing there, no such split or column, a broken line, a label that is not in the set.
    """
    source = _find(data, hub or _download)
    chosen = _choose(data, source, split, default_splits)
    rows = source.splits[chosen]()
    texts = find_text_columns(rows, text_columns or ([source.task.text_column] if source.task else ()), known_columns)
    labelling = None
    if require_labels or label_column or LABEL_COLUMN in rows.columns or source.task:
        labelling = find_labels(rows, label_column, label_names, source.task, texts)
    selection = _Selection(texts, labelling, source.task.max_chars if source.task else None, require_labels)
    kept, dropped = selection.usable(rows, f"{source.name}/{chosen}")
    if require_labels:
        _require_classes(rows.where, kept)
    return Table(
        rows=tuple(kept),
        labels=labelling.order() if labelling else (),
        source=source.name,
        split=chosen,
        task=source.task,
        dropped=dropped,
        splits=tuple(source.splits),
        file=source.files.get(chosen),
    )


@dataclass(frozen=True)
class TextSource:
    """The texts of one split, to be read one after the other, as often as one likes.

    ``read`` yields for each row the id and the text, None where a built-in task does not take it, or where there is
    none; it raises what `Rows` raises, a broken connection as a `CodError`. ``labelled``: there are labels beside them.
    """

    name: str
    split: str
    where: str
    read: Callable[[], Iterator[tuple[str, str | None]]]
    labelled: bool
    file: Path | None = None


def open_texts(
    data: str, *, split: str | None = None, text_columns: Sequence[str] = (), hub: Hub | None = None
) -> TextSource:
    """Find the texts of a data source without reading them: of a split, by default ``train``.

    Args:
        data: as for `load_table`, or a text file (``.txt``) with a text on each line.
        split, text_columns: as for `load_table`.
        hub: as for `load_table`; what it gives is streamed.

    Raises:
        UsageError: no such task.
        CodError: nothing there, no such split or column.
    """
    source = _find(data, hub or partial(_download, streaming=True), texts=True)
    chosen = _choose(data, source, split, ("train",))
    rows = source.splits[chosen]()
    columns = find_text_columns(rows, text_columns or ([source.task.text_column] if source.task else ()))
    most = source.task.max_chars if source.task else None

    def read() -> Iterator[tuple[str, str | None]]:
        table = source.splits[chosen]()
        for count, (number, row) in enumerate(table.read(columns), start=1):
            text = read_text(row, columns, f"{table.where}, {table.unit} {number}")
            fits = text and (most is None or len(text) <= most)
            yield f"{source.name}/{chosen}/{count}", text if fits else None

    label = source.task.label_column if source.task else LABEL_COLUMN
    return TextSource(source.name, chosen, rows.where, read, label in rows.columns, source.files.get(chosen))


def splits_of(data: str, split: str | None) -> tuple[str, tuple[str, ...]]:
    """The split of a data source that `load_table` reads by default, and all that there are."""
    source = _find(data, _download)
    return _choose(data, source, split, ("train",)), tuple(source.splits)


def eval_splits(data: str) -> tuple[str, ...]:
    """The splits to score on by default, best first: a task's own, else ``test``, else ``validation``.

    One file has but one split, which is read whatever this says.
    """
    return (TASKS[data].eval_split,) if data in TASKS else ("test", "validation")


def local_path(data: str) -> Path | None:
    """The absolute path of a source that is a file or a folder, else None: ``sst2`` is a task, ``./sst2`` a path."""
    # os.path answers for names that pathlib stumbles over: too long, or ~ of somebody unknown.
    path = os.path.expanduser(data)
    return Path(path).resolve() if data not in TASKS and os.path.exists(path) else None


def changed_files(data: str, hashes: Mapping[str, str]) -> list[Path]:
    """The files of a local source that hold something else than when they were hashed, by name, in a manifest."""
    path = Path(data).expanduser()
    files = {path / name if path.is_dir() else path: sha for name, sha in hashes.items()}
    return [file for file, sha in files.items() if file.is_file() and file_sha(file) != sha]


def _find(data: str, hub: Hub, *, texts: bool = False) -> _Source:
    """Where a source is; with ``texts`` a text file is one, too."""
    absolute = local_path(data)
    if absolute is not None:
        path = Path(data).expanduser()
        files = _split_files(path) if path.is_dir() else {ONE_FILE: path}
        openers = {split: partial(_opener(file, texts=texts), file) for split, file in files.items()}
        return _Source(absolute.name if absolute.is_dir() else absolute.stem, openers, files)
    if data not in TASKS and _looks_like_a_path(data):
        raise CodError(f"{data} does not exist", "check the path; a data set on the Hub is written org/name")
    if data not in TASKS and _HUB_ID.fullmatch(data):
        hub_id, _, config = data.partition(":")
        return _on_hub(data, hub(hub_id, config or None, None))
    task = task_named(data)
    return _on_hub(data, hub(task.hub_id, task.config, task.revision), task)


def _opener(file: Path, *, texts: bool) -> Callable[[Path], Rows]:
    return open_lines if texts and file.suffix.lower() == ".txt" and file.is_file() else open_table


def _looks_like_a_path(data: str) -> bool:
    return data.startswith((".", "/", "~")) or data.lower().endswith(FORMATS) or data.count("/") > 1


def _on_hub(data: str, splits: Mapping[str, Any], task: Task | None = None) -> _Source:
    openers = {name: partial(hub_rows, split, f"{data}, split {name}") for name, split in splits.items()}
    return _Source(data, openers, task=task)


def _split_files(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for split, stems in _SPLIT_FILES.items():
        found = [p for p in sorted(folder.iterdir()) if p.stem in stems and p.suffix.lower() in FORMATS]
        if len(found) > 1:
            raise CodError(
                f"{folder} has two files for the split {split}: {found[0].name}, {found[1].name}",
                f"remove one, or name one: --data {found[0]}",
            )
        files.update((split, path) for path in found)
    if not files:
        there = sorted(path.name for path in folder.iterdir())
        raise CodError(
            f"{folder} has no train.*, validation.* or test.* of {' '.join(FORMATS)}; it has: {listed(there)}",
            "rename the files, or name one of them after --data",
        )
    return files


def _download(hub_id: str, config: str | None, revision: str | None, *, streaming: bool = False) -> Mapping[str, Any]:
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        with no_waiting(datasets.config):
            # What is in the cache is not streamed; it is read from disk piece by piece all the same.
            streaming = streaming and not datasets.config.HF_HUB_OFFLINE
            splits: Mapping[str, Any] = datasets.load_dataset(hub_id, config, revision=revision, streaming=streaming)
    except ConnectionError:
        raise CodError(
            f"{hub_id} is neither a path here nor in the cache, and the Hugging Face Hub cannot be reached",
            "check the path, or the network and HF_HUB_OFFLINE; a local file or folder needs neither",
        ) from None
    except Exception as error:  # what can go wrong there has no common type, and it is not ours
        raise CodError(
            f"{hub_id} cannot be read: {' '.join(str(error).split()) or type(error).__name__}",
            "name it org/name or org/name:config, or download it and give --data the file",
        ) from None
    return splits


def _choose(data: str, source: _Source, split: str | None, defaults: Sequence[str]) -> str:
    if split is None and tuple(source.splits) == (ONE_FILE,):
        return ONE_FILE
    wanted = [split] if split else list(defaults)
    found = next((name for name in wanted if name in source.splits), None)
    if found is None:
        raise CodError(
            f"{data} has no split {' or '.join(wanted)}; it has: {', '.join(source.splits)}",
            f"choose one: --split {next(iter(source.splits))}",
        )
    return found


@dataclass(frozen=True)
class _Selection:
    """Which rows of a split are used, and what is read of them."""

    texts: Sequence[str]
    labelling: Labelling | None
    max_chars: int | None
    require_labels: bool

    def usable(self, rows: Rows, prefix: str) -> tuple[list[Row], Dropped]:
        kept: list[Row] = []
        seen: dict[str, str | None] = {}
        torn = 0
        why = {kind.name: 0 for kind in fields(Dropped)}
        for count, (number, row) in enumerate(rows.read(self._columns()), start=1):
            where = f"{rows.where}, {rows.unit} {number}"
            text = read_text(row, self.texts, where)
            raw = self.labelling.raw(row, where) if self.labelling else None
            reason = self._reason(text, raw, seen)
            if reason:
                why[reason] += 1
                torn += reason == "duplicate" and raw not in (None, seen[text])
                continue
            seen[text] = raw
            label = self.labelling.name(raw, row, where) if self.labelling and raw is not None else None
            kept.append(Row(f"{prefix}/{count}", text, label))
        if torn:
            log.warning(
                "%s: %s rows have a text that stands there with another label before, which counts",
                rows.where,
                f"{torn:,}",
            )
        if not kept:
            reasons = ", ".join(f"{n} {reason}" for reason, n in why.items() if n) or "it is empty"
            raise CodError(f"{rows.where} has no usable row: {reasons}", "look at the file and its columns")
        return kept, Dropped(**why)

    def _columns(self) -> list[str]:
        labels = (self.labelling.column, self.labelling.name_column) if self.labelling else ()
        return list(dict.fromkeys([*self.texts, *(column for column in labels if column)]))

    def _reason(self, text: str, raw: str | None, seen: Collection[str]) -> str | None:
        if not text:
            return "empty"
        if raw is None and self.require_labels:
            return "unlabelled"
        too_long = self.max_chars is not None and len(text) > self.max_chars
        if too_long or (self.labelling and raw in self.labelling.left_out):
            return "filtered"
        return "duplicate" if text in seen else None


def _require_classes(where: str, rows: Sequence[Row]) -> None:
    classes = {row.label for row in rows}
    if len(classes) < 2:
        raise CodError(
            f"{where} holds a single class: {', '.join(map(str, classes))}",
            "a classifier needs rows of two classes at least: check --label-column and --split",
        )


@contextlib.contextmanager
def no_waiting(config: Any) -> Iterator[None]:
    """Use the cache alone where the Hub does not answer: the library's five retries take 25 s. Count no downloads."""
    from huggingface_hub import constants, get_session

    before = config.HF_HUB_OFFLINE, config.HF_UPDATE_DOWNLOAD_COUNTS
    config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # the HTTP library, and so its errors, differ between versions
        config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, config.HF_UPDATE_DOWNLOAD_COUNTS = before


def hub_rows(split: Any, where: str) -> Rows:
    """One split of a loaded data set as a table; ``where`` is what errors call it."""
    if split.features is None:  # streamed, and nobody wrote them down: the first rows say
        split = split._resolve_features()

    def read(columns: Sequence[str]) -> Iterator[NumberedRow]:
        batches = _whole(split.select_columns(list(columns)).iter(batch_size=1000), where)
        values = (row for batch in batches for row in zip(*(batch[name] for name in columns), strict=True))
        yield from enumerate((dict(zip(columns, row, strict=True)) for row in values), start=1)

    names = {name: feature.names for name, feature in split.features.items() if hasattr(feature, "names")}
    return Rows(where, tuple(split.column_names), read, "row", names)


def _whole(batches: Iterator[Any], where: str) -> Iterator[Any]:
    """The batches; what breaks off a stream has no common type, and becomes a `CodError`."""
    try:
        yield from batches
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CodError(f"{where} cannot be read on: {reason}", "check the network, then run the same command") from None
