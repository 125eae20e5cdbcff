"""The long help of a command: ``help/NAME.md``, read only when somebody asks for it."""

import copy
import re
from importlib.resources import files
from typing import Any

from typer.core import TyperCommand

_EXAMPLES = re.compile(r"^```bash\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


class ExplainedCommand(TyperCommand):
    """A command whose help is its first sentence, what `help/NAME.md` explains, its options, and examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        full = copy.copy(self)
        prose, full.epilog = explanation(str(self.name))
        full.help = f"{self.help}\n\n{prose}"
        TyperCommand.format_help(full, ctx, formatter)


def explanation(name: str) -> tuple[str, str]:
    """What is said of a command and, apart, its examples as one block of code; Markdown both."""
    text = files("cod_cli.cli").joinpath("help", f"{name}.md").read_text(encoding="utf-8")
    examples = "\n".join(block.strip("\n") for block in _EXAMPLES.findall(text))
    return _EXAMPLES.sub("", text), f"Examples:\n\n```bash\n{examples}\n```"
