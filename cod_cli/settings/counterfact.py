"""Options of `cod counterfact`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from cod_cli.errors import UsageError
from cod_cli.settings.base import CHECKS, DATA, LLM, option
from cod_cli.settings.shared import DRY_RUN, LLMOptions

# The editor's further texts cost no money, and 16 of a class train a student as well as 32 do.
EDITED = 16
Generator = Literal["openai", "editor", "file"]
Edits = Literal["any", "fluent"]
Words = Literal["source", "shots", "teacher"]
# What the editor makes unless told otherwise.
EDITS: Edits = "any"


@dataclass(frozen=True, kw_only=True)
class CounterfactSettings(LLMOptions):
    """Options of `cod counterfact`.

    ``target``, ``per_shot``, ``semifactuals``, ``edits``, ``lexicon`` and ``editor_model`` are None where nobody has
    said them: `resolved` says what that means.
    """

    # What a manifest of a version without these options stands for.
    BEFORE: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"per_shot": 1, "semifactuals": 0, "edits": "any", "lexicon": "source", "editor_model": None}
    )

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
    edits: Annotated[
        Edits | None,
        option(
            help="What the editor puts in for a word: any near one, or, fluent, only one of its part of speech, as far"
            " as the source's texts tell, and no foreign word; names stay.",
            panel=LLM,
        ),
    ] = None
    lexicon: Annotated[
        Words | None,
        option(
            help="Where the editor's words are from: source, the texts that the shots were drawn from (the default,"
            " which needs no labels, but more than the shots); shots, these alone; teacher, its vocabulary.",
            panel=LLM,
        ),
    ] = None
    editor_model: Annotated[
        str | None,
        option(
            "--editor-model",
            help="A masked language model, folder or Hub id: the editor puts in what it finds plausible in the place of"
            " a word, with --edits fluent unless told otherwise.",
            panel=LLM,
        ),
    ] = None
    target: Annotated[
        str | None,
        option(
            help="Class to flip to: balanced (each class as often as it is a label, the default), nearest, all, or a"
            " label's name.",
            panel=CHECKS,
        ),
    ] = None
    per_shot: Annotated[
        int | None,
        option(
            "--per-shot",
            help="Keep up to so many different CFEs for each shot and target, to train on; else 16 by the editor, and"
            " by an LLM, which must be asked for more, 1.",
            panel=CHECKS,
            min=1,
        ),
    ] = None
    semifactuals: Annotated[
        int | None,
        option(
            "--semifactuals",
            help="Keep up to so many edits of each shot that do not turn the teacher; else as many as --per-shot, and"
            " of an LLM those that it wrote anyway.",
            panel=CHECKS,
            min=0,
        ),
    ] = None
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
        if self.semifactuals and not self.teacher:
            raise UsageError("--semifactuals are edits that do not turn a teacher", "add --teacher, or leave them out")
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
        for name in ("edits", "lexicon", "editor_model"):
            if getattr(self, name) not in (None, self.BEFORE[name]) and not self.edited:
                flag = name.replace("_", "-")
                raise UsageError(
                    f"--{flag} is for the editor, and --generator {self.generator} is none",
                    f"leave --{flag} out, or add --generator editor",
                )
        if self.fallback and not self.teacher:
            raise UsageError(f"--fallback {self.fallback} needs a teacher to guide it", "add --teacher")

    @property
    def edited(self) -> bool:
        """Whether the editor has a hand in it."""
        return "editor" in (self.generator, self.fallback)

    def resolved(self, recorded: Mapping[str, Any] | None = None) -> Self:
        """The same options with nothing left open.

        Args:
            recorded: the settings of a file that was begun before; what was not said is as it is there. Pairs that are
                held out have neither further CFEs nor semifactuals.
        """
        if self.held_out is not None:
            fresh: Mapping[str, Any] = self.BEFORE
        elif self.generator == "editor":
            fresh = {"per_shot": EDITED, "semifactuals": EDITED if self.per_shot is None else self.per_shot}
        else:
            fresh = {"per_shot": 1, "semifactuals": None if self.per_shot is None else self.per_shot}
        if not self.teacher:
            fresh = {**fresh, "semifactuals": 0}
        unsaid = {"target": "balanced", **fresh, **self._fresh_wording()}
        if recorded is not None:
            unsaid = {"target": "nearest", **self.BEFORE} | {k: v for k, v in recorded.items() if k in unsaid}
        said: dict[str, Any] = {"target": self.target, **{name: getattr(self, name) for name in self._fresh_wording()}}
        if self.held_out is None:
            said |= {"per_shot": self.per_shot, "semifactuals": self.semifactuals}
        return dataclasses.replace(self, **unsaid | {name: value for name, value in said.items() if value is not None})

    def _fresh_wording(self) -> dict[str, Any]:
        """What the editor may put in, unless told otherwise."""
        edits = "any" if not self.edited else "fluent" if self.editor_model else EDITS
        return {"edits": edits, "lexicon": "source", "editor_model": None}

    def results(self) -> dict[str, Any]:
        """As elsewhere; what is still left open is no setting."""
        values = super().results()
        names = ("per_shot", "semifactuals") if self.per_shot is None else ()
        left_open = {name for name in ("target", "edits", "lexicon", *names) if values[name] is None}
        return {name: value for name, value in values.items() if name not in left_open}
