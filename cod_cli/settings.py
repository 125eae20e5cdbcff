"""Every option of every command: its name, its default (the paper's where it has one), its help.

A settings class is a plain frozen dataclass, without generated methods that nobody calls; ``options.py`` turns its
fields into command-line options. Nothing heavy is imported here, so that ``cod --help`` is quick.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from typer import Option
from typer.models import OptionInfo

from cod_cli.errors import UsageError

Generator = Literal["openai", "editor", "file"]
Method = Literal["kd", "lwd", "ted"]

# The panels of `--help`.
DATA = "Data"
LLM = "LLM"
COST = "Limits and cost"
TEACHER = "Teacher"
STUDENT = "Student"
TRAINING = "Training"
CHECKS = "Checks"
GENERAL = "General"


def option(*flags: str, help: str, panel: str | None = None, **rest: Any) -> OptionInfo:
    """A command-line option for a settings field, shown in one of the panels above."""
    info: OptionInfo = Option(*flags, help=help, rich_help_panel=panel, **rest)
    return info


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Settings:
    """What all commands share. Values out of range are a `UsageError` when the settings are built."""

    # Options that change how a result is reached, not the result: they may differ between reruns.
    LIMITS: ClassVar[frozenset[str]] = frozenset({"device", "force"})

    device: Annotated[
        str, option("--device", help="Where models run: auto, cpu, cuda, cuda:1, mps.", panel=GENERAL)
    ] = "auto"
    force: Annotated[bool, option("--force", help="Start over; the old files are archived.", panel=GENERAL)] = False

    def __post_init__(self) -> None:
        for name, hint in options_of(type(self)).items():
            _check_value(name, getattr(self, name), *hint)

    def results(self) -> dict[str, Any]:
        """The options that change results, for the manifest, with tuples as lists and paths as text."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name not in self.LIMITS
        }


def options_of(settings: type[Settings]) -> dict[str, tuple[Any, OptionInfo]]:
    """Type and option of each field of a settings class, in order, those shared by all commands last."""
    hints = get_type_hints(settings, include_extras=True)
    shared = {field.name for field in dataclasses.fields(Settings)}
    names = [field.name for field in dataclasses.fields(settings)]
    names = [n for n in names if n not in shared] + [n for n in names if n in shared]
    return {name: (get_args(hints[name])[0], get_args(hints[name])[1]) for name in names}


def flag_of(name: str, info: OptionInfo) -> str:
    """The long flag by which a user knows a field."""
    flags = [flag for flag in info.param_decls or () if flag.startswith("-")]
    return flags[-1].split("/")[0] if flags else "--" + name.replace("_", "-")


def _check_value(name: str, value: Any, kind: Any, info: OptionInfo) -> None:
    if value is None:
        return
    if get_origin(kind) is Literal and value not in get_args(kind):
        choices = ", ".join(map(str, get_args(kind)))
        raise UsageError(f"{flag_of(name, info)} is {value!r}", f"choose one of: {choices}")
    if info.min is not None and value < info.min:
        raise UsageError(f"{flag_of(name, info)} is {value}, below its minimum of {info.min}")
    if info.max is not None and value > info.max:
        raise UsageError(f"{flag_of(name, info)} is {value}, above its maximum of {info.max}")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
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


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SampleSettings(DataOptions):
    """Options of `cod sample`."""

    data: Annotated[
        str,
        option("--data", help="Task name, Hub id (org/name or org/name:config), file or folder.", panel=DATA),
    ]
    shots: Annotated[
        str, option("-k", "--shots", help="How many shots, class-balanced; 'all' takes every row.", metavar="INT|all")
    ] = "8"
    seed: Annotated[int, option(help="Seed of the draw.", panel=GENERAL, min=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shots != "all" and (not self.shots.isdecimal() or int(self.shots) < 1):
            raise UsageError(f"-k is {self.shots!r}", "give a positive number, or 'all' to take every row")

    @property
    def k(self) -> int | None:
        """The number of shots; None stands for every row."""
        return None if self.shots == "all" else int(self.shots)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TeacherOptions(Settings):
    """Which teacher, and how its labels are called."""

    LIMITS: ClassVar[frozenset[str]] = Settings.LIMITS | {"cache"}

    teacher: Annotated[
        str | None, option("--teacher", help="Model folder or Hub id with a classification head.", panel=TEACHER)
    ] = None
    teacher_labels: Annotated[
        str | None,
        option(help="Where the names differ: LABEL_0=negative,LABEL_1=positive.", panel=TEACHER),
    ] = None
    max_length: Annotated[int, option(help="Longest text in tokens; what is longer is cut.", panel=GENERAL, min=8)] = (
        256
    )
    cache: Annotated[
        bool, option("--cache/--no-cache", help="Keep what was computed or paid for, for other runs.", panel=GENERAL)
    ] = True

    def results(self) -> dict[str, Any]:
        """As elsewhere; a local teacher by its whole path, so that later stages find it from any folder."""
        values = super().results()
        if self.teacher and Path(self.teacher).exists():
            values["teacher"] = str(Path(self.teacher).absolute())
        return values


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CounterfactSettings(TeacherOptions):
    """Options of `cod counterfact`."""

    LIMITS: ClassVar[frozenset[str]] = TeacherOptions.LIMITS | {
        "price",
        "dry_run",
        "concurrency",
        "timeout",
        "max_calls",
        "max_cost",
        "rpm",
        "tpm",
        "for_mix",
        "accept_partial",
    }

    generator: Annotated[
        Generator,
        option(help="Who writes the CFEs: an LLM endpoint, teacher-guided edits, or a file of pairs.", panel=LLM),
    ] = "openai"
    model: Annotated[str | None, option("--model", help="The LLM's name at its endpoint.", panel=LLM)] = None
    base_url: Annotated[
        str | None,
        option(help="An OpenAI-compatible endpoint; else OPENAI_BASE_URL.", panel=LLM),
    ] = None
    prompt: Annotated[str | None, option("--prompt", help="A shipped prompt's name or a YAML file.", panel=LLM)] = None
    from_file: Annotated[
        Path | None,
        option("--from", help="Pairs somebody wrote: columns id or source, text, label.", panel=LLM),
    ] = None
    target: Annotated[str, option(help="Class to flip to: nearest, all, or a label's name.", panel=CHECKS)] = "nearest"
    max_attempts: Annotated[int, option(help="Requests for one CFE before giving up on it.", panel=CHECKS, min=1)] = 3
    max_edit_ratio: Annotated[
        float,
        option(help="Largest share of words an edit may change; three words always may.", panel=CHECKS, min=0, max=1),
    ] = 0.5
    temperature: Annotated[float, option(help="Sampling temperature of the LLM.", panel=LLM, min=0, max=2)] = 0.0
    max_tokens: Annotated[int, option(help="Longest reply in tokens.", panel=LLM, min=1)] = 512
    candidates: Annotated[
        int, option(help="Replies to each request; more than one needs a --temperature above 0.", panel=LLM, min=1)
    ] = 1
    concurrency: Annotated[int, option(help="Requests under way at once.", panel=COST, min=1)] = 8
    timeout: Annotated[float, option(help="Seconds to wait for one reply.", panel=COST, min=0.1)] = 60.0
    price: Annotated[
        tuple[float, float] | None,
        option(help="Money per million tokens, of prompts and of replies; else prices.yaml.", panel=COST),
    ] = None
    max_cost: Annotated[
        float | None, option(help="Stop before more than so much money is spent in this go.", panel=COST, min=0)
    ] = None
    max_calls: Annotated[int | None, option(help="Stop after so many requests in this go.", panel=COST, min=0)] = None
    rpm: Annotated[float | None, option(help="Requests per minute, at most.", panel=COST, min=0.001)] = None
    tpm: Annotated[float | None, option(help="Tokens per minute, at most.", panel=COST, min=1)] = None
    dry_run: Annotated[bool, option("--dry-run", help="Print calls, tokens and cost; send nothing.", panel=COST)] = (
        False
    )
    for_mix: Annotated[
        Literal["all", "cod"],
        option(help="cod: ask only for the shots that `distill --mix cod` will use.", panel=CHECKS),
    ] = "all"
    accept_partial: Annotated[
        bool, option("--accept-partial", help="Close the stage although rows are without an answer.", panel=CHECKS)
    ] = False
    seed: Annotated[int, option(help="Seed sent to the LLM.", panel=GENERAL, min=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.price is not None and min(self.price) < 0:
            raise UsageError(f"--price is {self.price[0]:g} {self.price[1]:g}: a price is not negative")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LabelSettings(TeacherOptions):
    """Options of `cod label`."""

    LIMITS: ClassVar[frozenset[str]] = TeacherOptions.LIMITS | {"batch_size"}

    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1)] = 32


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainingOptions(Settings):
    """What `teach` and `distill` share."""

    epochs: Annotated[int, option(help="Passes over the rows; the last weights are kept.", panel=TRAINING, min=1)] = 8
    lr: Annotated[float, option(help="Peak learning rate, decayed linearly.", panel=TRAINING, min=0)] = 2e-5
    batch_size: Annotated[int, option(help="Rows in a mini-batch.", panel=TRAINING, min=1)] = 32
    max_length: Annotated[int, option(help="Longest text in tokens.", panel=TRAINING, min=8)] = 256


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TeachSettings(TrainingOptions, DataOptions):
    """Options of `cod teach`; defaults are the paper's (8 epochs, lr 2e-5, batch 32)."""

    data: Annotated[
        str,
        option("--data", help="Task name, Hub id (org/name or org/name:config), file or folder.", panel=DATA),
    ]
    model: Annotated[str, option("--model", help="Model folder or Hub id to fine-tune.", panel=TRAINING)]
    seed: Annotated[int, option(help="Seed of head and order.", panel=GENERAL, min=0)] = 0


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DistillSettings(TrainingOptions):
    """Options of `cod distill`: alpha 20, T 2, batch 8 as in the paper; its scripts' 40 epochs at 6e-5."""

    LIMITS: ClassVar[frozenset[str]] = TrainingOptions.LIMITS | {"teacher", "energy"}

    student: Annotated[str | None, option("--student", help="Model folder or Hub id to start from.", panel=STUDENT)] = (
        None
    )
    student_layers: Annotated[
        int | None, option(help="Keep so many evenly spaced layers of it.", panel=STUDENT, min=1)
    ] = None
    init: Annotated[
        Literal["pretrained", "teacher"],
        option(help="teacher: start from the teacher's own layers instead of --student.", panel=STUDENT),
    ] = "pretrained"
    name: Annotated[str | None, option("--name", help="Name of the student; else method-mix.", panel=STUDENT)] = None
    method: Annotated[
        Method, option(help="kd: soft labels; lwd, ted: the teacher's hidden layers, too.", panel=STUDENT)
    ] = "kd"
    mix: Annotated[
        str,
        option(help="Rows to train on: all (shots and CFEs), cod (k rows in pairs), shots.", panel=STUDENT),
    ] = "all"
    keep_unflipped: Annotated[
        bool, option("--keep-unflipped", help="Train on CFEs that do not flip the teacher, too.", panel=STUDENT)
    ] = False
    lora: Annotated[
        int | None, option("--lora", help="Train adapters of this rank only (extra: lora).", panel=STUDENT, min=1)
    ] = None
    alpha: Annotated[float, option(help="Weight of the soft-label loss; 0: without.", panel=TRAINING, min=0)] = 20.0
    temperature: Annotated[float, option(help="Temperature T of the soft labels.", panel=TRAINING, min=0.01)] = 2.0
    beta: Annotated[
        float | None, option(help="lwd, ted: weight of the layer loss; else 20, decoders 5.", panel=TRAINING, min=0)
    ] = None
    layers: Annotated[
        str | None,
        option(
            "--layers",
            help="lwd, ted: the teacher's layer for each of the student's, from 1; else evenly spaced.",
            panel=TRAINING,
            metavar="INT,INT…",
        ),
    ] = None
    teacher: Annotated[
        str | None,
        option("--teacher", help="Where the teacher lies now; else as `cod label` read it.", panel=TEACHER),
    ] = None
    soft_labels: Annotated[
        Literal["teacher", "random", "shuffled"],
        option(help="Ablation: random soft labels, or the teacher's for other rows.", panel=TRAINING),
    ] = "teacher"
    hard_labels: Annotated[
        Literal["gold", "none"], option(help="Ablation: none trains without hard labels.", panel=TRAINING)
    ] = "gold"
    pairs: Annotated[
        Literal["together", "shuffled"],
        option(help="Ablation: shuffled lets a CFE meet its shot by chance only.", panel=TRAINING),
    ] = "together"
    epochs: Annotated[int, option(help="Passes over the rows; the last weights are kept.", panel=TRAINING, min=1)] = 40
    lr: Annotated[float, option(help="Peak learning rate, decayed linearly.", panel=TRAINING, min=0)] = 6e-5
    batch_size: Annotated[int, option(help="Rows in a mini-batch.", panel=TRAINING, min=1)] = 8
    compile: Annotated[
        bool, option("--compile", help="Compile the model first: pays off in long trainings.", panel=TRAINING)
    ] = False
    energy: Annotated[
        bool, option("--energy", help="Measure the electricity it takes (extra: energy).", panel=GENERAL)
    ] = False
    seed: Annotated[
        str, option(help="Seed of head, dropout and order; several: 0,1,2.", panel=GENERAL, metavar="INT[,INT…]")
    ] = "0"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_seeds(self.seed)
        if (self.student is None) == (self.init == "pretrained"):
            raise UsageError("the student has no start, or two", "give either --student MODEL or --init teacher")
        if self.method == "kd" and not (self.beta is None and self.layers is None):
            raise UsageError("--method kd has no layer loss", "leave --beta and --layers out, or use --method lwd")
        if self.method == "ted" and self.hard_labels == "none":
            raise UsageError("--method ted trains its filters on the hard labels", "leave --hard-labels none out")
        if self.alpha == 0 and self.hard_labels == "none" and self.method == "kd":
            raise UsageError("--alpha 0 and --hard-labels none leave nothing to learn", "leave one of them out")
        if self.alpha == 0 and self.soft_labels != "teacher":
            raise UsageError(f"--soft-labels {self.soft_labels} has no effect with --alpha 0", "leave one of them out")
        self.matched_layers  # noqa: B018 (a malformed value is refused now)

    @property
    def matched_layers(self) -> list[int] | None:
        """The teacher's layer for each of the student's, None for evenly spaced ones."""
        if self.layers is None:
            return None
        if not all(part.strip().isdecimal() for part in self.layers.split(",")):
            raise UsageError(f"--layers is {self.layers!r}", "give numbers: --layers 2,4,6")
        return [int(part) for part in self.layers.split(",")]

    @property
    def seeds(self) -> list[int]:
        """The seeds to train, in order."""
        return parse_seeds(self.seed)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EvalSettings(DataOptions):
    """Options of `cod eval`."""

    LIMITS: ClassVar[frozenset[str]] = Settings.LIMITS | {"cache"}

    data: Annotated[str | None, option("--data", help="Score on other data than the shots' source.", panel=DATA)] = None
    cache: Annotated[
        bool, option("--cache/--no-cache", help="Keep the teacher's answers for other runs.", panel=GENERAL)
    ] = True
    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1)] = 32


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ShowSettings(Settings):
    """Options of `cod show`."""

    limit: Annotated[int, option("--limit", "-n", help="Show so many rows at most.", min=1)] = 10
    only: Annotated[
        str | None, option("--id", help="Show the pairs of one shot, or one pair, by its id.", metavar="ID")
    ] = None
    rejected: Annotated[bool, option("--rejected", help="Show what was not accepted, and why, with counts.")] = False
    summary: Annotated[bool, option("--summary", help="Show how good the CFEs are and what they took.")] = False
    prompt: Annotated[
        str | None,
        option("--prompt", help="Show what this prompt sends for the first shot; without RUN the prompt itself."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = [name for name in ("rejected", "summary", "prompt") if getattr(self, name)]
        if len(chosen) > 1:
            raise UsageError(f"--{chosen[0]} and --{chosen[1]} show different things", "choose one of them")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PredictSettings(Settings):
    """Options of `cod predict`."""

    text_column: Annotated[
        tuple[str, ...],
        option(help="Column that holds the text; repeat it for several.", panel=DATA),
    ] = ()
    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1)] = 32
    max_length: Annotated[int, option(help="Longest text in tokens; what is longer is cut.", panel=GENERAL, min=8)] = (
        256
    )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DemoSettings(Settings):
    """Options of `cod demo`."""

    shots: Annotated[int, option("-k", "--shots", help="Rows that each student trains on.", min=4)] = 16
    seed: Annotated[str, option(help="Seeds to repeat it with.", panel=GENERAL, metavar="INT[,INT…]")] = "0,1,2"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_seeds(self.seed)

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return parse_seeds(self.seed)


def parse_seeds(text: str) -> list[int]:
    """Whole numbers separated by commas, each only once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--seed is {text!r}", "give a whole number, or several: --seed 0,1,2")
    if len(set(map(int, parts))) < len(parts):
        raise UsageError(f"--seed is {text!r}: a seed stands there twice")
    return [int(part) for part in parts]
