"""Standard input, output and error as commands need them, whatever a shell has left of them; `cod` calls it first."""

import io
import os
import sys
from typing import Any, TextIO


class _Stdout(io.FileIO):
    """Ends the command, as one that has done what was wanted, once nobody reads on: ``| head`` has seen enough."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # What is still in the buffer must not fail again at the end.
            _to_nowhere(self.fileno())
            if isinstance(error, BrokenPipeError):
                raise SystemExit(0) from None
            raise


class _Stderr(io.FileIO):
    """Goes on where nobody reads what is said: the work itself is wanted still."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            _to_nowhere(self.fileno())
            return super().write(data)


def prepare_streams() -> None:
    """Give the process three streams that can be used.

    A closed one leads nowhere; a character that an encoding lacks is escaped; a reader that goes away ends the command
    quietly, with exit code 0.
    """
    for descriptor in (0, 1, 2):
        _reopen(descriptor)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _text(_Stdout(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Stderr(2, "w", closefd=False), sys.stderr)


def _reopen(descriptor: int) -> None:
    """Open a closed descriptor on nothing, that no file takes its number and is then written into as a stream."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _text(raw: io.RawIOBase, before: TextIO | None) -> TextIO:
    encoding = before.encoding if before else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=raw.isatty() or raw.fileno() == 2,
    )
