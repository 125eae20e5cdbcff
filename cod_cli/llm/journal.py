"""Paid replies on disk before they are used: an append-only file with group commit."""

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from operator import attrgetter
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from cod_cli.errors import CodError
from cod_cli.llm.messages import Choice, Outcome, Request
from cod_cli.records import Record, Reply, TeacherReply
from cod_cli.store.jsonl import read_records, to_line
from cod_cli.store.locks import lock

R = TypeVar("R", bound=Record)


class Journal(Generic[R]):
    """The replies of one run. Those of earlier runs are found by key; new ones are appended.

    A writer thread appends whatever has gathered while it waited for the disk, with one fsync. The file
    is locked: a second process on the same run is refused.

    Args:
        path: the JSONL file; made where it does not exist. A last line torn by a kill is cut off.
        record: its rows; they have a field ``key``.
        to_rows: the rows of one outcome.
        to_outcome: the outcome again, from its rows.

    Raises:
        CodError: a damaged line, or another process is writing.
    """

    def __init__(
        self,
        path: Path,
        record: type[R],
        to_rows: Callable[[str, Request, Outcome], list[R]],
        to_outcome: Callable[[Sequence[R]], Outcome],
    ) -> None:
        self.path = path
        self._to_rows, self._to_outcome = to_rows, to_outcome
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        self._queue: queue.SimpleQueue[tuple[bytes, Future[None]] | None] = queue.SimpleQueue()
        self._broken: OSError | None = None
        try:
            lock(self._file, path)
            _end_last_line(self._file, record)
            self._earlier: dict[str, list[R]] = {}
            for row in read_records(path, record):
                self._earlier.setdefault(attrgetter("key")(row), []).append(row)
        except BaseException:
            os.close(self._file)
            raise
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()

    def find(self, key: str) -> Outcome | None:
        """The outcome that an earlier run has paid for."""
        rows = self._earlier.get(key)
        return self._to_outcome(rows) if rows else None

    def append(self, key: str, request: Request, outcome: Outcome) -> "Future[None]":
        """Write an outcome; the future is done once it is on disk, or holds the `CodError`."""
        lines = "".join(map(to_line, self._to_rows(key, request, outcome))).encode("utf-8")
        future: Future[None] = Future()
        self._queue.put((lines, future))
        return future

    def close(self) -> None:
        """Write what is still waiting and let others use the file; an empty one is removed."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
            if os.fstat(self._file).st_size == 0:
                self.path.unlink(missing_ok=True)
            os.close(self._file)

    def _write(self) -> None:
        last = False
        while not last:
            group = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while group[-1] is not None:
                    group.append(self._queue.get_nowait())
            last = group[-1] is None
            self._commit([entry for entry in group if entry is not None])

    def _commit(self, entries: Sequence[tuple[bytes, "Future[None]"]]) -> None:
        if entries and self._broken is None:
            self._append_durably(b"".join(lines for lines, _ in entries))
        for _, future in entries:
            if self._broken is None:
                future.set_result(None)
            else:
                future.set_exception(
                    CodError(
                        f"{self.path} cannot be written: {self._broken.strerror}",
                        "free some space; the same command goes on from what is saved",
                    )
                )

    def _append_durably(self, data: bytes) -> None:
        end = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError as error:
            # Nothing may follow a torn line, so this is the last write.
            self._broken = error
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end)


def _end_last_line(file: int, record: type[Record]) -> None:
    """Cut a last line that a kill has torn; one that is whole, as an editor may leave it, gets its end."""
    end = os.fstat(file).st_size
    position = end
    while position > 0:
        start = max(0, position - 65536)
        os.lseek(file, start, os.SEEK_SET)
        newline = os.read(file, position - start).rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position == end:
        return
    try:
        record.model_validate_json(os.pread(file, end - position, position))
    except ValidationError:
        os.ftruncate(file, position)
    else:
        os.write(file, b"\n")


def open_reply_journal(path: Path) -> Journal[Reply]:
    """The journal of `cod counterfact`: one line for each choice, the usage on the first."""
    return Journal(path, Reply, _reply_rows, _reply_outcome)


def _reply_rows(key: str, request: Request, outcome: Outcome) -> list[Reply]:
    return [
        Reply(
            key=key,
            shot_id=request.about,
            target=request.target,
            sample=request.sample,
            text=choice.text,
            finish_reason=choice.finish_reason,
            model=outcome.model,
            usage=dict(outcome.usage) if outcome.usage and index == 0 else None,
            latency_s=round(outcome.latency_s, 3),
            prompt=request.prompt,
        )
        for index, choice in enumerate(outcome.choices)
    ]


def _reply_outcome(rows: Sequence[Reply]) -> Outcome:
    choices = tuple(Choice(row.text, row.finish_reason) for row in rows)
    return Outcome(choices, model=rows[0].model, usage=rows[0].usage, latency_s=rows[0].latency_s, source="journal")


def open_teacher_journal(path: Path) -> Journal[TeacherReply]:
    """The journal of an LLM that is asked for classes: one line for each choice, the usage on the first."""
    return Journal(path, TeacherReply, _teacher_rows, _teacher_outcome)


def _teacher_rows(key: str, request: Request, outcome: Outcome) -> list[TeacherReply]:
    return [
        TeacherReply(
            key=key,
            question=request.about,
            sample=request.sample,
            text=choice.text,
            finish_reason=choice.finish_reason,
            logprobs=[list(position) for position in choice.logprobs] if choice.logprobs else None,
            model=outcome.model,
            usage=dict(outcome.usage) if outcome.usage and index == 0 else None,
            latency_s=round(outcome.latency_s, 3),
        )
        for index, choice in enumerate(outcome.choices)
    ]


def _teacher_outcome(rows: Sequence[TeacherReply]) -> Outcome:
    choices = tuple(
        Choice(row.text, row.finish_reason, tuple(map(tuple, row.logprobs)) if row.logprobs else None) for row in rows
    )
    return Outcome(choices, model=rows[0].model, usage=rows[0].usage, latency_s=rows[0].latency_s, source="journal")
