"""What ``--help`` says: the commands in the order of the pipeline; of one command ``help/NAME.md`` and its options."""

import copy
import re
from importlib.resources import files
from typing import Any

from typer.core import TyperCommand, TyperGroup

from cod_cli.settings.base import GENERAL, PANELS

_EXAMPLES = re.compile(r"^```bash\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
# The pipeline, and then the others as one comes to need them.
STAGES = ("sample", "counterfact", "label", "distill", "eval")
_ORDER = (*STAGES, "demo", "teach", "pool", "show", "predict", "report", "sweep", "rival", "cache")


class QuickGroup(TyperGroup):
    """Lists the commands as plain text: rich takes as long to import as all the rest of `cod --help`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "rich_markup_mode": None})

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands, those of the pipeline first."""
        return sorted(self.commands, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands, each with its whole sentence."""
        said = [(name, self.commands[name].get_short_help_str(limit=1000)) for name in self.list_commands(ctx)]
        parts = {"The five stages, in order": said[: len(STAGES)], "Around them": said[len(STAGES) :]}
        for heading, rows in parts.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class ExplainedCommand(TyperCommand):
    """A command whose help is its first sentence, what `help/NAME.md` explains, its options by group, and examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, which is read from its file only now."""
        if (asks := self.get_help_option(ctx)) is not None:
            asks.rich_help_panel = GENERAL
        full = copy.copy(self)
        prose, full.epilog = explanation(str(self.name))
        full.help = f"{self.help}\n\n{prose}"
        full.params = _in_groups(self.params)
        TyperCommand.format_help(full, ctx, formatter)


def _in_groups(params: list[Any]) -> list[Any]:
    """Arguments; then options by group, groups with a required one first, and the required ones first in each."""
    group_of = {id(p): getattr(p, "rich_help_panel", None) for p in params}
    first = {group_of[id(p)] for p in params if p.required}
    options = [name for name in PANELS if name in first] + [name for name in PANELS if name not in first]

    def place(param: Any) -> tuple[int, bool]:
        group = group_of[id(param)]
        return options.index(group) if group in options else -1, not param.required

    return sorted(params, key=place)


def explanation(name: str) -> tuple[str, str]:
    """What is said of a command and, apart, its examples as one block of code; Markdown both."""
    text = files("cod_cli.cli").joinpath("help", f"{name}.md").read_text(encoding="utf-8")
    examples = "\n".join(block.strip("\n") for block in _EXAMPLES.findall(text))
    return _EXAMPLES.sub("", text), f"Examples:\n\n```bash\n{examples}\n```"
