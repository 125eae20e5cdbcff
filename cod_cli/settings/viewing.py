"""Options of the commands that read a run or a student: `eval`, `show`, `predict`; of `cache`; and of `demo`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.errors import UsageError
from cod_cli.settings.base import DATA, GENERAL, LLM, Settings, option, parse_seeds
from cod_cli.settings.data import DataOptions
from cod_cli.settings.endpoint import DRY_RUN, EndpointOptions
from cod_cli.settings.teacher import BLACK_BOX


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvalSettings(EndpointOptions, DataOptions):
    """Options of `cod eval`."""

    data: Annotated[str | None, option("--data", help="Score on other data than the shots' source.", panel=DATA)] = None
    neighbours: Annotated[
        str | None,
        option(help="Score nearest neighbours over the shots in this sentence encoder's space, too.", metavar="MODEL"),
    ] = None
    teacher_on_split: Annotated[
        bool,
        option("--teacher-on-split", help="Ask an openai: teacher about all rows of the split; this costs.", panel=LLM),
    ] = False
    in_context: Annotated[
        str | None,
        option(
            help="Score this LLM itself, too, without and with the shots in its prompt; this costs.",
            panel=LLM,
            metavar="openai:MODEL",
        ),
    ] = None
    demos: Annotated[int | None, option(help="Shots in that prompt, at most; else all.", panel=LLM, min=1)] = None
    votes: Annotated[
        int, option(help="Replies counted for each text where an LLM gives no probabilities.", panel=LLM, min=1)
    ] = 10
    teacher_prompt: Annotated[
        str, option(help="How --in-context asks: a shipped prompt's name or a YAML file.", panel=LLM)
    ] = "teacher"
    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1)] = 32
    dry_run: Annotated[bool, DRY_RUN] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.in_context is not None and not self.in_context.removeprefix(BLACK_BOX).strip():
            raise UsageError("--in-context names no LLM", "write it as openai:MODEL")
        if self.in_context is not None and not self.in_context.startswith(BLACK_BOX):
            raise UsageError(f"--in-context is {self.in_context!r}, no LLM", f"write it as openai:{self.in_context}")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ShowSettings(Settings):
    """Options of `cod show`."""

    limit: Annotated[int, option("--limit", "-n", help="Show so many rows at most.", min=1)] = 10
    only: Annotated[
        str | None, option("--id", help="Show the pairs of one shot, or one pair, by its id.", metavar="ID")
    ] = None
    rejected: Annotated[bool, option("--rejected", help="Show what was not accepted, and why, with counts.")] = False
    summary: Annotated[bool, option("--summary", help="Show how good the CFEs are and what they took.")] = False
    prompt: Annotated[
        str | None,
        option("--prompt", help="Show what this prompt sends for the first shot; without RUN the prompt itself."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = [name for name in ("rejected", "summary", "prompt") if getattr(self, name)]
        if len(chosen) > 1:
            raise UsageError(f"--{chosen[0]} and --{chosen[1]} show different things", "choose one of them")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CacheSettings(Settings):
    """Options of `cod cache`."""

    clear: Annotated[bool, option("--clear", help="Forget everything; run folders keep what they have.")] = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PredictSettings(Settings):
    """Options of `cod predict`."""

    text_column: Annotated[
        tuple[str, ...],
        option(help="Column that holds the text; repeat it for several.", panel=DATA),
    ] = ()
    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1)] = 32
    max_length: Annotated[int, option(help="Longest text in tokens; what is longer is cut.", panel=GENERAL, min=8)] = (
        256
    )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DemoSettings(Settings):
    """Options of `cod demo`."""

    shots: Annotated[int, option("-k", "--shots", help="Rows that each student trains on.", min=4)] = 16
    seed: Annotated[str, option(help="Seeds to repeat it with.", panel=GENERAL, metavar="INT[,INT…]")] = "0,1,2"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_seeds(self.seed)

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return parse_seeds(self.seed)
