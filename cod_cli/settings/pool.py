"""Options of `cod pool`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

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
    pick: Annotated[
        Literal["random", "diverse"],
        option(help="Which texts of --from: random ones, or, of ten times as many, the most unlike.", panel=DATA),
    ] = "random"
    encoder: Annotated[
        str | None,
        option(
            "--encoder",
            help="Model in whose space diverse texts are unlike; else the teacher.",
            panel=DATA,
            metavar="MODEL",
        ),
    ] = None
    balance: Annotated[
        bool,
        option("--balance", help="As many texts of each class as there are, by the teacher's answers.", panel=DATA),
    ] = False
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
        about_data = {"split", "text_column", "pick", "encoder", "balance"} & self.explicit().keys()
        if self.from_data is None and about_data:
            flag = f"--{sorted(about_data)[0].replace('_', '-')}"
            raise UsageError(f"{flag} says how to take texts from --from", "leave it out, or add --from DATA")
        if self.encoder and self.pick != "diverse":
            raise UsageError("--encoder is for diverse texts", "add --pick diverse, or leave it out")
        if self.balance and self.pick != "random":
            raise UsageError("--balance and --pick choose by different things", "leave one of them out")

    def results(self) -> dict[str, Any]:
        """As elsewhere; texts that are drawn do not hang on what an LLM is told, nor those of one on a data source."""
        values = super().results()
        drawn = ("from_data", "split", "text_column", "pick", "encoder", "balance")
        if self.from_data is None:
            return {name: value for name, value in values.items() if name not in drawn}
        asked = [name for name in self.teacher_spec.record(self.TEACHER_URL) if name in values] if self.balance else []
        return {name: values[name] for name in (*drawn, *asked, "number", "max_length", "seed")}
