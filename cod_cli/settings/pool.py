"""Options of `cod pool`."""

from dataclasses import dataclass
from typing import Annotated, Any

from cod_cli.errors import UsageError
from cod_cli.settings.base import DATA, GENERAL, option
from cod_cli.settings.shared import LLMOptions


@dataclass(frozen=True, kw_only=True)
class PoolSettings(LLMOptions):
    """Options of `cod pool`; those about an LLM are for the texts that one writes."""

    from_data: Annotated[
        str | None,
        option("--from", help="Take texts from there: task name, Hub id, file or folder.", panel=DATA, metavar="DATA"),
    ] = None
    number: Annotated[int, option("-n", "--number", help="How many texts to take.", panel=DATA, min=1)] = 500
    split: Annotated[str | None, option(help="Split of --from; else train.", panel=DATA)] = None
    text_column: Annotated[
        tuple[str, ...], option(help="Column that holds the text; repeat it for several.", panel=DATA)
    ] = ()
    append: Annotated[
        bool, option("--append", help="Add these to the texts that are there.", panel=DATA, limit=True)
    ] = False
    seed: Annotated[int, option(help="Seed of the draw, or sent to the LLM.", panel=GENERAL, min=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.from_data is None) == (self.model is None):
            raise UsageError(
                "the texts have no source, or two",
                "give --from DATA for texts that there are, or --model NAME for an LLM that writes some; "
                "one after the other with --append",
            )
        if self.from_data is None and (self.split or self.text_column):
            raise UsageError("--split and --text-column say how to read --from", "leave them out, or add --from DATA")

    def results(self) -> dict[str, Any]:
        """As elsewhere; texts that are drawn do not hang on what an LLM is told, nor those of one on a data source."""
        values = super().results()
        drawn = ("from_data", "split", "text_column")
        if self.from_data is None:
            return {name: value for name, value in values.items() if name not in drawn}
        return {name: values[name] for name in (*drawn, "number", "max_length", "seed")}
