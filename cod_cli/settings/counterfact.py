"""Options of `cod counterfact`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cod_cli.settings.base import CHECKS, COST, LLM, option
from cod_cli.settings.llm import LLMOptions

Generator = Literal["openai", "editor", "file"]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CounterfactSettings(LLMOptions):
    """Options of `cod counterfact`."""

    LIMITS: ClassVar[frozenset[str]] = LLMOptions.LIMITS | {"dry_run", "for_mix"}

    generator: Annotated[
        Generator,
        option(help="Who writes the CFEs: an LLM endpoint, teacher-guided edits, or a file of pairs.", panel=LLM),
    ] = "openai"
    from_file: Annotated[
        Path | None,
        option("--from", help="Pairs somebody wrote: columns id or source, text, label.", panel=LLM),
    ] = None
    target: Annotated[str, option(help="Class to flip to: nearest, all, or a label's name.", panel=CHECKS)] = "nearest"
    max_edit_ratio: Annotated[
        float,
        option(help="Largest share of words an edit may change; three words always may.", panel=CHECKS, min=0, max=1),
    ] = 0.5
    dry_run: Annotated[bool, option("--dry-run", help="Print calls, tokens and cost; send nothing.", panel=COST)] = (
        False
    )
    for_mix: Annotated[
        Literal["all", "cod"],
        option(help="cod: ask only for the shots that `distill --mix cod` will use.", panel=CHECKS),
    ] = "all"
