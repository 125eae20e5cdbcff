"""Options of `cod rival`."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from cod_cli.errors import UsageError
from cod_cli.mixes import RIVALS, rival_named
from cod_cli.settings.base import CHECKS, LLM, option
from cod_cli.settings.shared import DRY_RUN, LLMOptions, TeacherOptions


@dataclass(frozen=True, kw_only=True)
class RivalSettings(LLMOptions):
    """Options of `cod rival`; those about an LLM are for the kinds that one writes."""

    kind: Annotated[
        str, option("--kind", help=f"Which rivals to make: {', '.join(RIVALS)}.", panel=CHECKS, metavar="KIND[,KIND…]")
    ]
    target: Annotated[
        str | None, option(help="Class to flip to: balanced, nearest, all, or a label; else as the CFEs.", panel=CHECKS)
    ] = None
    prompt: Annotated[
        tuple[str, ...],
        option(
            "--prompt",
            help="A prompt for one LLM kind; else the shipped one of its name.",
            panel=LLM,
            metavar="NAME|FILE",
        ),
    ] = ()

    dry_run: Annotated[bool, DRY_RUN] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        llm = [kind for kind in self.kinds if RIVALS[kind].llm]
        if llm and not self.model:
            raise UsageError(f"{llm[0]} needs an LLM, and none is named", "add --model NAME, or leave that kind out")
        if len(llm) > 1 and self.prompt:
            raise UsageError(f"--prompt is for one kind, not for {' and '.join(llm)}", "make them one after the other")
        if len(self.prompt) > 1:
            raise UsageError("a rival is written with one prompt", "give --prompt once")

    @property
    def kinds(self) -> list[str]:
        """The kinds to make, in order, each once, by the names that they have now."""
        return list(dict.fromkeys(rival_named(part.strip()).name for part in self.kind.split(",")))

    def of(self, kind: str) -> "RivalSettings":
        """The options for one of the kinds."""
        return dataclasses.replace(self, kind=kind)

    def results(self) -> dict[str, Any]:
        """As elsewhere; a kind that no LLM writes does not depend on one's options."""
        values = super().results()
        if self.target is None:  # as the CFEs, whatever that is
            del values["target"]
        if any(RIVALS[kind].llm for kind in self.kinds):
            return values
        own = {field.name for field in dataclasses.fields(TeacherOptions)} | {"kind", "target", "seed"}
        return {name: value for name, value in values.items() if name in own}
