"""What several commands ask for alike: a data source, an endpoint and its limits, a teacher, an LLM, a training.

The settings of a command (the module of its name) inherit from these; rooms below the stages read them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from cod_cli.errors import CodError, UsageError
from cod_cli.settings.base import CHECKS, COST, DATA, GENERAL, LLM, TEACHER, TRAINING, Settings, option


@dataclass(frozen=True, kw_only=True)
class DeviceOption(Settings):
    """Where models run."""

    device: Annotated[
        str, option("--device", help="Where models run: auto, cpu, cuda, cuda:1, mps.", panel=GENERAL, limit=True)
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class ForceOption(Settings):
    """What is there already may be made anew."""

    force: Annotated[
        bool, option("--force", help="Start over; the old files are archived.", panel=GENERAL, limit=True)
    ] = False


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
class EndpointOptions(DeviceOption, ForceOption):
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
# The options under which a manifest has the fields of a `TeacherSpec`; those of LLMs stand there for an LLM only.
_OF_ALL = {"name": "teacher", "labels": "teacher_labels", "max_length": "max_length"}
_OF_LLMS = {"prompt": "teacher_prompt", "demos": "demos", "votes": "votes"}


@dataclass(frozen=True)
class TeacherSpec:
    """Which teacher, and how it is asked: what its answers depend on beside its weights.

    Options say it, manifests record it under the options' own names, and later commands find it there again. It stands
    among the settings, below the teachers, since they write those names.

    Args:
        name: a model folder, a Hub id, or ``openai:MODEL`` for an LLM; empty where no teacher is named.
        labels: how a model's own classes are called here: ``LABEL_0=negative,LABEL_1=positive``.
        max_length: a model reads so many tokens of a text.
        prompt: a shipped prompt's name or a file, by which an LLM is asked for the class.
        demos: labelled shots beside each question to an LLM, at most.
        votes: an LLM's replies to each question where it gives no log-probabilities.
        url: an LLM's endpoint, None for the environment's.
        price: an LLM's, money per million tokens of prompts and of replies, None for the price list's; not recorded.
    """

    name: str
    labels: str | None = None
    max_length: int = 256
    prompt: str = "teacher"
    demos: int = 0
    votes: int = 10
    url: str | None = None
    price: tuple[float, float] | None = None

    @property
    def llm(self) -> str | None:
        """The LLM's name at its endpoint, None where the teacher is a model of one's own."""
        return self.name.removeprefix(BLACK_BOX) if self.name.startswith(BLACK_BOX) else None

    @classmethod
    def from_options(cls, options: "TeacherOptions") -> Self:
        """The teacher that a command's options name, with the limits and defaults that they have."""
        fields = {field: getattr(options, name) for field, name in (_OF_ALL | _OF_LLMS).items()}
        spec = cls(**fields | {"name": options.teacher or ""})
        if spec.llm is None:
            return spec
        return dataclasses.replace(spec, url=options.teacher_endpoint, price=options.price_of(spec.llm))

    @classmethod
    def from_manifest(cls, settings: Mapping[str, Any]) -> Self:
        """The teacher in a manifest's ``settings``; what an older version did not record is as it was by default.

        Raises:
            CodError: a value of another type, as an edit by hand leaves it.
        """
        names = _OF_ALL | _OF_LLMS
        known = {field: settings[name] for field, name in names.items() if settings.get(name) is not None}
        for field, value in known.items():
            if not isinstance(value, int if field in ("max_length", "demos", "votes") else str):
                raise CodError(
                    f"{names[field]} is {value!r} among the settings of a manifest (*.meta.json) of this run",
                    "put back what stood there, or make its file anew with --force",
                )
        spec = cls(**{"name": ""} | known)
        # Where an LLM wrote and another checked, the checks have an address of their own.
        url = settings.get("teacher_url") or settings.get("base_url")
        return spec if spec.llm is None else dataclasses.replace(spec, url=url)

    def record(self, url_name: str = "base_url") -> dict[str, Any]:
        """As it stands in a manifest, whose option for the LLM's endpoint is ``url_name``.

        A local teacher, or prompt file, stands there by its whole path, so that later stages find it from any folder.
        """
        names = _OF_ALL if self.llm is None else _OF_ALL | _OF_LLMS
        values = {name: getattr(self, field) for field, name in names.items()} | {"teacher": self.name or None}
        if self.name and Path(self.name).exists():
            values["teacher"] = str(Path(self.name).absolute())
        if self.llm is not None:
            values[url_name] = self.url
            if Path(self.prompt).is_file():
                values["teacher_prompt"] = str(Path(self.prompt).absolute())
        return values


@dataclass(frozen=True, kw_only=True)
class TeacherOptions(EndpointOptions):
    """Which teacher, how its labels are called and, where it is an LLM, how it is asked."""

    # Which option says where an LLM that is the teacher is asked.
    TEACHER_URL: ClassVar[str] = "base_url"

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
    max_length: Annotated[
        int, option(help="Longest text in tokens; what is longer is cut. Else the teacher's own.", panel=GENERAL, min=8)
    ] = 256
    teacher_prompt: Annotated[
        str,
        option(
            help="How an LLM is asked for the class: a YAML file, or a shipped prompt.",
            panel=TEACHER,
            metavar="NAME|FILE",
        ),
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
    def teacher_spec(self) -> TeacherSpec:
        """The teacher that these options name."""
        return TeacherSpec.from_options(self)

    @property
    def teacher_endpoint(self) -> str | None:
        """Where an LLM that is the teacher is asked, as far as the options say."""
        return self.base_url

    def price_of(self, llm: str) -> tuple[float, float] | None:
        """What an LLM that is the teacher costs, as far as the options say."""
        return self.price

    def with_teacher(self, spec: TeacherSpec) -> Self:
        """The same options with another teacher, or with one where none is named."""
        names = _OF_ALL | _OF_LLMS | ({} if spec.llm is None else {"url": self.TEACHER_URL})
        return dataclasses.replace(self, **{name: getattr(spec, field) for field, name in names.items()})

    def results(self) -> dict[str, Any]:
        """As elsewhere; of the teacher what `TeacherSpec.record` says."""
        told = self.teacher_spec.record(self.TEACHER_URL)
        known = {name: told.get(name, value) for name, value in super().results().items()}
        only_llms = {self.TEACHER_URL, *_OF_LLMS.values()} - told.keys()
        return {name: value for name, value in known.items() if name not in only_llms}


@dataclass(frozen=True, kw_only=True)
class LLMOptions(TeacherOptions):
    """How an LLM is asked, what it may cost, and the teacher that checks what it writes."""

    # The other endpoint is the generator's.
    TEACHER_URL: ClassVar[str] = "teacher_url"

    model: Annotated[str | None, option("--model", help="The LLM's name at its endpoint.", panel=LLM)] = None
    prompt: Annotated[
        tuple[str, ...],
        option(
            "--prompt",
            help="A YAML file, or a shipped prompt: sentiment, acceptability, topic or generic, each also with"
            " -definition, -find-words or -short behind it; else the task's. Repeat it to compare several: each is"
            " tried on every shot, and the smallest edit that flips wins.",
            panel=LLM,
            metavar="NAME|FILE",
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
    def teacher_endpoint(self) -> str | None:
        """Where an LLM that is the teacher is asked: its own address, else the generator's."""
        return self.teacher_url or self.base_url

    def price_of(self, llm: str) -> tuple[float, float] | None:
        """What an LLM that is the teacher costs: its own price, else the generator's where it is the same LLM."""
        return self.teacher_price or (self.price if llm == self.model else None)

    def results(self) -> dict[str, Any]:
        """As elsewhere; a single prompt as its name."""
        values = super().results()
        if len(self.prompt) < 2:
            values["prompt"] = self.prompt[0] if self.prompt else None
        return values


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(DeviceOption, ForceOption):
    """What `teach` and `distill` share."""

    epochs: Annotated[int | None, option(help="Passes over the rows.", panel=TRAINING, min=1)] = None
    lr: Annotated[float, option(help="Peak learning rate, decayed linearly.", panel=TRAINING, min=0)] = 2e-5
    batch_size: Annotated[int, option(help="Rows in a mini-batch.", panel=TRAINING, min=1)] = 32
    max_length: Annotated[int, option(help="Longest text in tokens.", panel=TRAINING, min=8)] = 256
