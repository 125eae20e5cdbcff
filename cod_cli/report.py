"""Everything that is shown to a person: results on stdout, progress and messages on stderr."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.text import Text

from cod_cli.errors import CodError

# Wide enough that a table which is piped into a file or grep loses no column.
PIPED_WIDTH = 200


class Advance(Protocol):
    """Tells a progress display that ``steps`` more are done; ``detail`` is shown beside it."""

    def __call__(self, steps: int = 1, *, detail: str = "") -> object:
        """Advance the display."""
        ...


class Ui:
    """Where a stage reports to: results on stdout; notes and progress on stderr.

    Bars are drawn only on a terminal; elsewhere a plain line stands for start and end of a progress.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    @classmethod
    def silent(cls) -> "Ui":
        """A Ui that shows neither notes nor progress, for use from Python."""
        return cls(quiet=True)

    def note(self, text: str) -> None:
        """A plain message on stderr, not shown with ``-q``."""
        if not self.quiet:
            self._err.print(printable(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """A message on stderr that ``-q`` does not hide."""
        self._err.print(Text("warning: ", style="yellow").append(printable(text)), soft_wrap=True)

    def error(self, error: CodError) -> None:
        """``error: …`` and ``hint: …`` on stderr."""
        self._err.print(Text("error: ", style="bold red").append(printable(error.message)), soft_wrap=True)
        if error.hint:
            self._err.print(Text("hint: ", style="cyan").append(printable(error.hint)), soft_wrap=True)

    def show(self, result: RenderableType) -> None:
        """A result on stdout; piped, no line of text is wrapped or cut."""
        self._out.print(result, soft_wrap=not self._out.is_terminal)

    def json(self, document: Any) -> None:
        """The result as one JSON document on stdout."""
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")

    def line(self, row: Any) -> None:
        """One JSON object on one line of stdout, for results that are streamed."""
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")

    @contextmanager
    def progress(self, description: str, *, total: int | None = None) -> Iterator[Advance]:
        """A bar on a terminal, else a line at the start; yields the function that advances it."""
        if self.quiet or not self._err.is_terminal:
            if not self.quiet:
                self.note(f"{description} …" if total is None else f"{description} ({total}) …")
            yield _ignore
            return
        # Here and not above: `cod --help` draws no bar and is to be quick.
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task(description, total=total, detail="")
            yield lambda steps=1, *, detail="": bar.update(task, advance=steps, detail=detail)


def _ignore(steps: int = 1, *, detail: str = "") -> None:
    return None


def _console(stream: Any) -> Console:
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def printable(text: str) -> Text:
    """Text from data or an LLM as it may be shown: never markup, control characters made visible."""
    shown = "".join(char if char == "\n" or char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return Text(shown)
