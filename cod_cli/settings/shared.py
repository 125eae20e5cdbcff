"""What several commands ask for alike: a data source, an endpoint and its limits, a teacher, an LLM, a training.

The settings of a command (the module of its name) inherit from these; rooms below the stages read them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cod_cli.errors import UsageError
from cod_cli.settings.base import CHECKS, COST, DATA, GENERAL, LLM, TEACHER, TRAINING, Settings, option


@dataclass(frozen=True, kw_only=True)
class DataOptions(Settings):
    """How to read a data source."""

    text_column: Annotated[
        tuple[str, ...],
        option(help="Column that holds the text; repeat it for several.", panel=DATA),
    ] = ()
    label_column: Annotated[str | None, option(help="Column that holds the label.", panel=DATA)] = None
    label_names: Annotated[str | None, option(help="Names of numeric labels: 0=negative,1=positive.", panel=DATA)] = (
        None
    )
    split: Annotated[str | None, option(help="Split of the data source.", panel=DATA)] = None


DRY_RUN = option("--dry-run", help="Print calls, tokens and cost; send nothing.", panel=COST, limit=True)


@dataclass(frozen=True, kw_only=True)
class EndpointOptions(Settings):
    """An OpenAI-compatible endpoint and what may be spent there."""

    base_url: Annotated[
        str | None,
        option(help="An OpenAI-compatible endpoint; else OPENAI_BASE_URL.", panel=LLM),
    ] = None
    concurrency: Annotated[int, option(help="Requests under way at once.", panel=COST, min=1, limit=True)] = 8
    timeout: Annotated[float, option(help="Seconds to wait for one reply.", panel=COST, min=0.1, limit=True)] = 60.0
    price: Annotated[
        tuple[float, float] | None,
        option(help="Money per million tokens, of prompts and of replies; else prices.yaml.", panel=COST, limit=True),
    ] = None
    max_cost: Annotated[
        float | None,
        option(help="Stop before more than so much money is spent in this go.", panel=COST, min=0, limit=True),
    ] = None
    max_calls: Annotated[
        int | None, option(help="Stop after so many requests in this go.", panel=COST, min=0, limit=True)
    ] = None
    rpm: Annotated[float | None, option(help="Requests per minute, at most.", panel=COST, min=0.001, limit=True)] = None
    tpm: Annotated[float | None, option(help="Tokens per minute, at most.", panel=COST, min=1, limit=True)] = None
    cache: Annotated[
        bool,
        option(
            "--cache/--no-cache", help="Keep what was computed or paid for, for other runs.", panel=GENERAL, limit=True
        ),
    ] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_price("--price", self.price)


def check_price(flag: str, price: tuple[float, float] | None) -> None:
    """Refuse a negative price."""
    if price is not None and min(price) < 0:
        raise UsageError(f"{flag} is {price[0]:g} {price[1]:g}: a price is not negative")


BLACK_BOX = "openai:"


@dataclass(frozen=True, kw_only=True)
class TeacherOptions(EndpointOptions):
    """Which teacher, how its labels are called and, where it is an LLM, how it is asked."""

    # What changes the answers of an LLM only.
    OF_LLMS: ClassVar[frozenset[str]] = frozenset({"base_url", "teacher_prompt", "demos", "votes"})

    teacher: Annotated[
        str | None,
        option(
            "--teacher",
            help="Model folder or Hub id with a classification head; openai:MODEL for an LLM.",
            panel=TEACHER,
        ),
    ] = None
    teacher_labels: Annotated[
        str | None,
        option(help="Where the names differ: LABEL_0=negative,LABEL_1=positive.", panel=TEACHER),
    ] = None
    max_length: Annotated[int, option(help="Longest text in tokens; what is longer is cut.", panel=GENERAL, min=8)] = (
        256
    )
    teacher_prompt: Annotated[
        str, option(help="How an LLM is asked for the class: a shipped prompt's name or a YAML file.", panel=TEACHER)
    ] = "teacher"
    demos: Annotated[
        int, option(help="Labelled shots shown to an LLM beside each text, never its own kin.", panel=TEACHER, min=0)
    ] = 0
    votes: Annotated[
        int,
        option(
            help="Replies counted for a text where an LLM's server gives no log-probabilities.", panel=TEACHER, min=1
        ),
    ] = 10

    @property
    def llm(self) -> str | None:
        """The LLM that is the teacher, None where it is a model of one's own."""
        given = self.teacher or ""
        return given.removeprefix(BLACK_BOX) if given.startswith(BLACK_BOX) else None

    @property
    def llm_url(self) -> str | None:
        """Where that LLM is asked, as far as the options say."""
        return self.base_url

    @property
    def llm_price(self) -> tuple[float, float] | None:
        """What it costs, as far as the options say."""
        return self.price

    def results(self) -> dict[str, Any]:
        """As elsewhere; a local teacher by its whole path, so that later stages find it from any folder."""
        values = super().results()
        if self.llm is None:
            values = {name: value for name, value in values.items() if name not in self.OF_LLMS}
        if self.teacher and Path(self.teacher).exists():
            values["teacher"] = str(Path(self.teacher).absolute())
        if "teacher_prompt" in values and Path(self.teacher_prompt).is_file():
            values["teacher_prompt"] = str(Path(self.teacher_prompt).absolute())
        return values


@dataclass(frozen=True, kw_only=True)
class LLMOptions(TeacherOptions):
    """How an LLM is asked, what it may cost, and the teacher that checks what it writes."""

    # The endpoint is the generator's too.
    OF_LLMS: ClassVar[frozenset[str]] = TeacherOptions.OF_LLMS - {"base_url"} | {"teacher_url"}

    model: Annotated[str | None, option("--model", help="The LLM's name at its endpoint.", panel=LLM)] = None
    prompt: Annotated[
        tuple[str, ...],
        option(
            "--prompt",
            help="A shipped prompt's name or a YAML file. Repeat it to compare several:"
            " each is tried on every shot, and the smallest edit that flips wins.",
            panel=LLM,
        ),
    ] = ()
    max_attempts: Annotated[int, option(help="Requests for one CFE before giving up on it.", panel=CHECKS, min=1)] = 3
    temperature: Annotated[float, option(help="Sampling temperature of the LLM.", panel=LLM, min=0, max=2)] = 0.0
    retry_temperature: Annotated[
        float, option(help="The least temperature from the third attempt at a CFE on.", panel=LLM, min=0, max=2)
    ] = 0.8
    max_tokens: Annotated[int, option(help="Longest reply in tokens.", panel=LLM, min=1)] = 512
    candidates: Annotated[
        int, option(help="Replies to each request; more than one needs a --temperature above 0.", panel=LLM, min=1)
    ] = 1
    teacher_url: Annotated[
        str | None, option(help="Endpoint of an openai: teacher, where it is not --base-url.", panel=TEACHER)
    ] = None
    teacher_price: Annotated[
        tuple[float, float] | None,
        option(help="As --price, for an openai: teacher that is another LLM than --model.", panel=TEACHER, limit=True),
    ] = None
    accept_partial: Annotated[
        bool,
        option(
            "--accept-partial", help="Close the stage although rows are without an answer.", panel=CHECKS, limit=True
        ),
    ] = False
    seed: Annotated[int, option(help="Seed sent to the LLM.", panel=GENERAL, min=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_price("--teacher-price", self.teacher_price)

    @property
    def llm_url(self) -> str | None:
        """Where an LLM that is the teacher is asked: its own address, else the generator's."""
        return self.teacher_url or self.base_url

    @property
    def llm_price(self) -> tuple[float, float] | None:
        """What it costs: its own price, else the generator's where it is the same LLM."""
        return self.teacher_price or (self.price if self.llm == self.model else None)

    def results(self) -> dict[str, Any]:
        """As elsewhere; a single prompt as its name."""
        values = super().results()
        if len(self.prompt) < 2:
            values["prompt"] = self.prompt[0] if self.prompt else None
        return values


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Settings):
    """What `teach` and `distill` share."""

    epochs: Annotated[int, option(help="Passes over the rows; the last weights are kept.", panel=TRAINING, min=1)] = 8
    lr: Annotated[float, option(help="Peak learning rate, decayed linearly.", panel=TRAINING, min=0)] = 2e-5
    batch_size: Annotated[int, option(help="Rows in a mini-batch.", panel=TRAINING, min=1)] = 32
    max_length: Annotated[int, option(help="Longest text in tokens.", panel=TRAINING, min=8)] = 256
