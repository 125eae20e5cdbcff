"""What a view looks like on a terminal and piped; for tests of tables."""

from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from rich.console import Console, RenderableType

from cod_cli.ui import Ui


def on_terminal(view: RenderableType, **options: Any) -> str:
    """As on a terminal of 80 columns, with its escape codes."""
    file = StringIO()
    chosen = {"width": 80, "force_terminal": True, "color_system": "standard"} | options
    Console(file=file, highlight=False, markup=False, emoji=False, **chosen).print(view)
    return file.getvalue()


def piped(view: RenderableType) -> str:
    """As in a file or a pipe."""
    with redirect_stdout(StringIO()) as out:
        Ui().show(view)
    return out.getvalue()


def cells(shown: str, name: str) -> list[str]:
    """The cells of the row that begins with this name."""
    return next(line for line in shown.splitlines() if line.startswith(name)).removeprefix(name).split()
