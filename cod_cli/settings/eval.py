"""Options of `cod eval`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.errors import UsageError
from cod_cli.settings.base import DATA, GENERAL, OUTPUT, TEACHER, WITHOUT, option
from cod_cli.settings.shared import BLACK_BOX, DRY_RUN, DataOptions, EndpointOptions


@dataclass(frozen=True, kw_only=True)
class EvalSettings(EndpointOptions, DataOptions):
    """Options of `cod eval`."""

    data: Annotated[str | None, option("--data", help="Score on other data than the shots' source.", panel=DATA)] = None
    neighbours: Annotated[
        str | None,
        option(
            help="Score nearest neighbours over the shots in this sentence encoder's space, too.",
            panel=WITHOUT,
            metavar="MODEL",
        ),
    ] = None
    linear: Annotated[
        str | None,
        option(
            help="Score a linear head on this frozen encoder, fitted to the shots, too.",
            panel=WITHOUT,
            metavar="MODEL",
        ),
    ] = None
    confusion: Annotated[
        bool, option("--confusion", help="Show which class each one takes for which, too.", panel=OUTPUT)
    ] = False
    teacher_on_split: Annotated[
        bool,
        option(
            "--teacher-on-split", help="Ask an openai: teacher about all rows of the split; this costs.", panel=TEACHER
        ),
    ] = False
    in_context: Annotated[
        str | None,
        option(
            help="Score this LLM itself, too, without and with the shots in its prompt; this costs.",
            panel=WITHOUT,
            metavar="openai:MODEL",
        ),
    ] = None
    demos: Annotated[int | None, option(help="Shots in that prompt, at most; else all.", panel=WITHOUT, min=1)] = None
    votes: Annotated[
        int, option(help="Replies counted for each text where an LLM gives no probabilities.", panel=WITHOUT, min=1)
    ] = 10
    teacher_prompt: Annotated[
        str, option(help="How --in-context asks: a shipped prompt's name or a YAML file.", panel=WITHOUT)
    ] = "teacher"
    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1)] = 32
    dry_run: Annotated[bool, DRY_RUN] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.in_context is not None and not self.in_context.removeprefix(BLACK_BOX).strip():
            raise UsageError("--in-context names no LLM", "write it as openai:MODEL")
        if self.in_context is not None and not self.in_context.startswith(BLACK_BOX):
            raise UsageError(f"--in-context is {self.in_context!r}, no LLM", f"write it as openai:{self.in_context}")
