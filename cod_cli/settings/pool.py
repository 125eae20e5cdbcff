"""Options of `cod pool`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cod_cli.errors import UsageError
from cod_cli.settings.base import CHECKS, DATA, GENERAL, LLM, option
from cod_cli.settings.shared import DRY_RUN, TeacherOptions


@dataclass(frozen=True, kw_only=True)
class PoolSettings(TeacherOptions):
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
    model: Annotated[
        str | None, option("--model", help="Have this LLM write texts in the manner of the shots.", panel=LLM)
    ] = None
    prompt: Annotated[
        str, option(help="How it is asked: a shipped prompt's name or a YAML file.", panel=LLM, metavar="NAME|FILE")
    ] = "pool"
    temperature: Annotated[float, option(help="Sampling temperature of the LLM.", panel=LLM, min=0, max=2)] = 0.9
    max_tokens: Annotated[
        int, option(help="Longest reply in tokens; of long texts it holds fewer.", panel=LLM, min=1)
    ] = 512
    accept_partial: Annotated[
        bool, option("--accept-partial", help="Take what is there, though it is not all.", panel=CHECKS, limit=True)
    ] = False
    dry_run: Annotated[bool, DRY_RUN] = False
    seed: Annotated[
        int, option(help="Seed of the draw, or of what an LLM is asked for and shown.", panel=GENERAL, min=0)
    ] = 0

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
        if self.from_data is not None and self.dry_run:
            raise UsageError("--dry-run is about an LLM's cost, and --from has none", "leave it out, or take --model")
        if self.encoder and self.pick != "diverse":
            raise UsageError("--encoder is for diverse texts", "add --pick diverse, or leave it out")
        if self.balance and self.pick != "random":
            raise UsageError("--balance and --pick choose by different things", "leave one of them out")

    def results(self) -> dict[str, Any]:
        """As elsewhere; texts that are drawn do not hang on what an LLM is told, nor those of one on a data source."""
        values = super().results()
        drawn = ("from_data", "split", "text_column", "pick", "encoder", "balance")
        told = ("model", "prompt", "temperature", "max_tokens")
        if self.from_data is None:
            return {name: values[name] for name in (*told, "number", "max_length", "seed")}
        asked = [name for name in self.teacher_spec.record(self.TEACHER_URL) if name in values] if self.balance else []
        return {name: values[name] for name in (*drawn, *asked, "number", "max_length", "seed")}
