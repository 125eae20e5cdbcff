"""Options of `cod distill`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cod_cli.errors import UsageError
from cod_cli.mixes import require_mix
from cod_cli.settings.base import (
    GENERAL,
    STUDENT,
    TEACHER,
    TRAINING,
    option,
    parse_seeds,
    parse_whole_numbers,
    require_folder_name,
)
from cod_cli.settings.shared import TrainingOptions

Method = Literal["kd", "lwd", "ted"]


@dataclass(frozen=True, kw_only=True)
class DistillSettings(TrainingOptions):
    """Options of `cod distill`: alpha 20, T 2, batch 8 as in the paper; its scripts' 40 epochs at 6e-5."""

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
        option(help="Rows to train on: all (shots and CFEs), cod (k rows in pairs), shots, or a rival.", panel=STUDENT),
    ] = "all"
    keep_unflipped: Annotated[
        bool, option("--keep-unflipped", help="Train on CFEs that do not flip the teacher, too.", panel=STUDENT)
    ] = False
    judged: Annotated[
        bool, option("--judged", help="Leave out CFEs that the judge takes for another class.", panel=STUDENT)
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
        option("--teacher", help="Where the teacher lies now; else as `cod label` read it.", panel=TEACHER, limit=True),
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
        bool, option("--energy", help="Measure the electricity it takes (extra: energy).", panel=GENERAL, limit=True)
    ] = False
    seed: Annotated[
        str, option(help="Seed of head, dropout and order; several: 0,1,2.", panel=GENERAL, metavar="INT[,INT…]")
    ] = "0"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_seeds(self.seed)
        require_mix(self.mix)
        if self.name:
            require_folder_name("--name", self.name)
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
        return parse_whole_numbers("--layers", self.layers, "give numbers: --layers 2,4,6")

    @property
    def seeds(self) -> list[int]:
        """The seeds to train, in order."""
        return parse_seeds(self.seed)
