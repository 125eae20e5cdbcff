"""Options of `cod counterfact`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cod_cli.errors import UsageError
from cod_cli.settings.base import CHECKS, DATA, LLM, option
from cod_cli.settings.shared import DRY_RUN, LLMOptions

Generator = Literal["openai", "editor", "file"]


@dataclass(frozen=True, kw_only=True)
class CounterfactSettings(LLMOptions):
    """Options of `cod counterfact`."""

    generator: Annotated[
        Generator,
        option(help="Who writes the CFEs: an LLM endpoint, teacher-guided edits, or a file of pairs.", panel=LLM),
    ] = "openai"
    from_file: Annotated[
        Path | None,
        option("--from", help="Pairs somebody wrote: columns id or source, text, label.", panel=LLM),
    ] = None
    fallback: Annotated[
        Literal["editor"] | None,
        option(help="Who closes what the LLM leaves open: editor, the teacher-guided edits.", panel=LLM),
    ] = None
    target: Annotated[str, option(help="Class to flip to: nearest, all, or a label's name.", panel=CHECKS)] = "nearest"
    max_edit_ratio: Annotated[
        float,
        option(help="Largest share of words an edit may change; three words always may.", panel=CHECKS, min=0, max=1),
    ] = 0.5
    judge: Annotated[
        str | None,
        option(
            "--judge",
            help="Another classifier that says whether the text is of its new class; see `distill --judged`.",
            panel=CHECKS,
            limit=True,
        ),
    ] = None
    judge_labels: Annotated[
        str | None,
        option(help="Where the judge's names differ: LABEL_0=negative,LABEL_1=positive.", panel=CHECKS, limit=True),
    ] = None
    dry_run: Annotated[bool, DRY_RUN] = False
    held_out: Annotated[
        int | None,
        option(
            "--held-out",
            help="Make pairs of so many rows that are scored instead of the shots: `cod eval` measures on them.",
            panel=DATA,
            min=1,
        ),
    ] = None
    split: Annotated[
        str | None, option("--split", help="With --held-out: their split; else as `cod eval` takes it.", panel=DATA)
    ] = None
    for_mix: Annotated[
        Literal["all", "cod"],
        option(help="cod: ask only for the shots that `distill --mix cod` will use.", panel=CHECKS, limit=True),
    ] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.held_out is None and self.split is not None:
            raise UsageError(
                "--split is for held-out pairs; the shots have theirs from `cod sample`", "add --held-out N"
            )
        if self.held_out is not None and not self.teacher:
            raise UsageError("--held-out makes pairs on both sides of a teacher's boundary", "add --teacher")
        if self.held_out is not None and self.for_mix == "cod":
            raise UsageError("--for-mix cod is for pairs to train on, and --held-out for none", "leave one of them out")
        if self.fallback and self.generator != "openai":
            raise UsageError(
                f"--fallback closes what an LLM leaves open, and --generator {self.generator} is none",
                "leave --fallback out",
            )
        if self.fallback and not self.teacher:
            raise UsageError(f"--fallback {self.fallback} needs a teacher to guide it", "add --teacher")
