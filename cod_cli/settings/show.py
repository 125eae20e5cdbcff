"""Options of `cod show`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.errors import UsageError
from cod_cli.settings.base import OUTPUT, Settings, option


@dataclass(frozen=True, kw_only=True)
class ShowSettings(Settings):
    """Options of `cod show`."""

    limit: Annotated[int, option("--limit", "-n", help="Show so many rows at most.", panel=OUTPUT, min=1)] = 10
    only: Annotated[
        str | None,
        option("--id", help="Show the pairs of one shot, or one pair, by its id.", panel=OUTPUT, metavar="ID"),
    ] = None
    rejected: Annotated[
        bool, option("--rejected", help="Show what was not accepted, and why, with counts.", panel=OUTPUT)
    ] = False
    semifactuals: Annotated[
        bool,
        option(
            "--semifactuals", help="Show the edits that do not turn the teacher, in place of the CFEs.", panel=OUTPUT
        ),
    ] = False
    pool: Annotated[
        bool, option("--pool", help="Show the texts without labels, and the teacher's choice on each.", panel=OUTPUT)
    ] = False
    summary: Annotated[
        bool, option("--summary", help="Show how good the CFEs are and what they took.", panel=OUTPUT)
    ] = False
    prompt: Annotated[
        str | None,
        option(
            "--prompt",
            help="Show what this prompt sends for the first shot; without RUN the prompt itself.",
            metavar="NAME|FILE",
            panel=OUTPUT,
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = [name for name in ("rejected", "semifactuals", "pool", "summary", "prompt") if getattr(self, name)]
        if len(chosen) > 1:
            raise UsageError(f"--{chosen[0]} and --{chosen[1]} show different things", "choose one of them")
