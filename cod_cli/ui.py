"""Everything that is shown to a person: results on stdout, progress and messages on stderr.

Beside the console stand the ways to write what all tables share: numbers, nothing, the marks of what is not compared.
"""

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.text import Text

from cod_cli.errors import CodError

# Wide enough that a table which is piped into a file or grep loses no column.
PIPED_WIDTH = 200


# Columns from which on there is room for whatever a training tells of itself.
WIDE = 120
WIDE_BAR, NARROW_BAR, LONGEST_NAME = 40, 16, 32


class Advance(Protocol):
    """Tells a progress display that ``steps`` more are done; ``detail`` is shown beside it."""

    def __call__(self, steps: int = 1, *, detail: str = "") -> object:
        """Advance the display."""
        ...


class Ui:
    """Where a stage reports to: results on stdout; notes and progress on stderr.

    Bars are drawn only on a terminal; elsewhere plain lines say how far it is, at most one in ``line_every`` seconds.
    """

    line_every = 10.0

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        # Of several processes that `accelerate launch` started the first speaks for all.
        self._first = os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"
        self.quiet = quiet or not self._first
        self.as_json = as_json
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    @classmethod
    def silent(cls) -> "Ui":
        """A Ui that shows neither notes nor progress, for use from Python."""
        return cls(quiet=True)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Show what the rooms below the stages log meanwhile, here and nowhere else: as notes and as warnings."""
        package = logging.getLogger("cod_cli")
        before, level = package.handlers, package.level
        package.handlers = [_Messages(self)]
        package.setLevel(logging.INFO)
        try:
            yield
        finally:
            package.handlers = before
            package.setLevel(level)

    @property
    def wide(self) -> bool:
        """Whether there is room for more than the most needed beside a bar."""
        return self._err.width >= WIDE

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
        if self._first:
            self._out.print(result, soft_wrap=not self._out.is_terminal)

    def json(self, document: Any) -> None:
        """The result as one JSON document on stdout."""
        if self._first:
            sys.stdout.write(_as_json(document, indent=2) + "\n")

    def line(self, row: Any) -> None:
        """One JSON object on one line of stdout, for results that are streamed."""
        sys.stdout.write(_as_json(row) + "\n")

    @contextmanager
    def progress(self, description: str, *, total: int | None = None) -> Iterator[Advance]:
        """A bar on a terminal, else lines; yields the function that advances it."""
        if self.quiet or not self._err.is_terminal:
            lines = _Lines(self.note, description, total, self.line_every)
            yield lines.advance
            lines.end()
            return
        # Here and not above: `cod --help` draws no bar and is to be quick.
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        bar_width = WIDE_BAR if self.wide else NARROW_BAR
        name = shortened(description, LONGEST_NAME)
        # Rich would make room for what is too long by leaving out the count and the time.
        room = self._err.width - len(name) - bar_width - len(f"{total}/{total}") - len("0:00:00") - 4
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task(name, total=total, detail="")
            yield lambda steps=1, *, detail="": bar.update(task, advance=steps, detail=shortened(detail, room))

    @contextmanager
    def whole(self, description: str) -> Iterator["Whole"]:
        """One bar, in per cent, over work whose parts would each draw one of their own."""
        with self.progress(description, total=100) as advance:
            yield Whole(self, advance)


class Whole(Ui):
    """A Ui for the parts of some work: their progress moves one bar, their warnings are shown, their notes are not."""

    def __init__(self, ui: Ui, advance: Advance) -> None:
        super().__init__(quiet=True, as_json=ui.as_json)
        self._advance = advance
        # Warnings stand above the bar that this console draws.
        self._err = ui._err
        self._from = self._to = self._at = 0.0
        self._detail = self._by = ""

    @contextmanager
    def part(self, share: float, detail: str, by: str) -> Iterator[None]:
        """What takes this share in [0, 1] of the whole.

        Args:
            share: of the whole's time.
            detail: stands beside the bar.
            by: how the descriptions begin of the progress that moves the bar over this part.
        """
        self._from, self._to, self._detail, self._by = self._to, self._to + share, detail, by
        self._move(self._from)
        yield
        self._move(self._to)

    @contextmanager
    def progress(self, description: str, *, total: int | None = None) -> Iterator[Advance]:
        """Moves the bar over the part if it is the one to do so."""
        done = 0

        def advance(steps: int = 1, *, detail: str = "") -> None:
            nonlocal done
            done += steps
            if total and description.startswith(self._by):
                self._move(self._from + (self._to - self._from) * min(1.0, done / total))

        yield advance

    def _move(self, to: float) -> None:
        before, self._at = round(100 * self._at), max(self._at, to)
        self._advance(round(100 * self._at) - before, detail=self._detail)


class _Messages(logging.Handler):
    """Hands what is logged to a console, in its look."""

    def __init__(self, ui: Ui) -> None:
        super().__init__()
        self._ui = ui

    def emit(self, record: logging.LogRecord) -> None:
        show = self._ui.warn if record.levelno >= logging.WARNING else self._ui.note
        show(record.getMessage())


class _Lines:
    """Progress where nobody draws: a line at the start, and how far it is whenever some seconds have passed."""

    def __init__(self, note: Callable[[str], None], description: str, total: int | None, every: float) -> None:
        self._note, self._description, self._total, self._every = note, description, total, every
        self._done = 0
        self._detail = ""
        self._shown = perf_counter()
        self._lines = 0
        note(f"{description} …" if total is None else f"{description} ({total}) …")

    def advance(self, steps: int = 1, *, detail: str = "") -> None:
        self._done += steps
        self._detail = detail
        if perf_counter() - self._shown >= self._every:
            self._say()

    def end(self) -> None:
        """The last line, where there were others."""
        if self._lines:
            self._say()

    def _say(self) -> None:
        self._shown = perf_counter()
        self._lines += 1
        share = f"{self._done}" if self._total is None else f"{self._done} of {self._total}"
        self._note(f"{self._description}: {share}{', ' if self._detail else ''}{self._detail}")


def _as_json(document: Any, indent: int | None = None) -> str:
    """JSON that standard output can take: readable where its encoding has the characters, else escaped."""
    plain = _plain(document)
    text = json.dumps(plain, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # it is not UTF-8, or half of a surrogate pair stands there
        return json.dumps(plain, indent=indent)
    return text


def _plain(value: Any) -> Any:
    """A value as JSON has it: null for what is no finite number; dates and what else it does not know as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | None) else str(value)


def _console(stream: Any) -> Console:
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def printable(text: str) -> Text:
    """Text from data or an LLM as it may be shown: never markup, control characters made visible."""
    shown = "".join(char if char == "\n" or char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return Text(shown)


def shortened(text: str, room: int) -> str:
    """A text that takes no more room than there is, an ellipsis where it was cut."""
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"[: max(0, room)]


MISSING = "-"
CUT_MARK = "†"
OTHER_MARK = "‡"
CUT_CAPTION = f"{CUT_MARK} cut from a fine-tuned teacher: compared only with one another"


def number(value: float | None, percent: bool = False, *, digits: int | None = None) -> str:
    """A value to one digit in per cent, else to three; a dash for none."""
    if value is None:
        return MISSING
    if digits is None:
        digits = 1 if percent else 3
    return f"{100 * value if percent else value:.{digits}f}"
