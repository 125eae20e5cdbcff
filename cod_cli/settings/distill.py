"""Options of `cod distill`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cod_cli.errors import UsageError
from cod_cli.mixes import CONTRAST, ENOUGH_STEPS, ENOUGH_STEPS_FOR_TWO, MANY, Families, require_mix
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

Method = Literal["auto", "kd", "lwd", "ted"]
# As in the paper's scripts.
EPOCHS = 40


def default_name(method: str, mix: str, init: str) -> str:
    """What a student is called: students of one mix that start otherwise do not collide."""
    return f"{method}-{mix}-cut" if init == "teacher" else f"{method}-{mix}"


@dataclass(frozen=True, kw_only=True)
class DistillSettings(TrainingOptions):
    """Options of `cod distill`: alpha 20, T 2, batch 8 as in the paper; its scripts' 40 epochs at 6e-5."""

    student: Annotated[
        str | None,
        option("--student", help="Model folder or Hub id to start from; needed, unless --init teacher.", panel=STUDENT),
    ] = None
    student_layers: Annotated[
        str | None,
        option(
            help="Keep so many evenly spaced layers of it, or those named, from 0: 0,2,4,5.",
            panel=STUDENT,
            metavar="INT[,INT…]",
        ),
    ] = None
    init: Annotated[
        Literal["pretrained", "teacher"],
        option(help="teacher: start from the teacher's own layers and head instead of --student.", panel=STUDENT),
    ] = "pretrained"
    name: Annotated[
        str | None,
        option("--name", help="Name of the student; else method-mix, with -cut for --init teacher.", panel=STUDENT),
    ] = None
    method: Annotated[
        Method,
        option(
            help="kd: soft labels; lwd, ted: the teacher's hidden layers, too; auto: lwd where the teacher is a model "
            "with the student's tokens, else kd.",
            panel=STUDENT,
        ),
    ] = "auto"
    mix: Annotated[
        str,
        option(
            help="Rows to train on: all (what the run has), contrast (shots, CFEs, semifactuals), "
            "pool (shots and texts without labels), cod (k rows in pairs), shots, or a rival's name, see `cod rival`.",
            panel=STUDENT,
            metavar="all|contrast|pool|cod|shots|KIND",
        ),
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
    families: Annotated[
        Families,
        option(
            help="Ablation of all and contrast: the rows of a family side by side, or the shots with one CFE for each "
            "class, with all CFEs, or with the semifactuals alone.",
            panel=TRAINING,
        ),
    ] = "balanced"
    epochs: Annotated[
        int | None,
        option(help=f"Passes over the rows; else {EPOCHS}, for many rows --steps.", panel=TRAINING, min=1),
    ] = None
    steps: Annotated[
        int | None,
        option(
            "--steps",
            help=f"Optimiser steps: all, contrast, pool, random-edits (else {ENOUGH_STEPS}, for all with a pool beside "
            f"contrast sets {ENOUGH_STEPS_FOR_TWO}) and shots; 0: untrained.",
            panel=TRAINING,
            min=0,
        ),
    ] = None
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
        self._check_length()
        if self.families != "balanced" and self.mix not in CONTRAST:
            raise UsageError(
                f"--mix {self.mix} has no families of edits", f"leave --families {self.families} out, or use --mix all"
            )
        if self.method == "kd" and not (self.beta is None and self.layers is None):
            raise UsageError("--method kd has no layer loss", "leave --beta and --layers out, or use --method lwd")
        if self.method == "ted" and self.hard_labels == "none":
            raise UsageError("--method ted trains its filters on the hard labels", "leave --hard-labels none out")
        if self.alpha == 0 and self.hard_labels == "none" and self.method == "kd":
            raise UsageError("--alpha 0 and --hard-labels none leave nothing to learn", "leave one of them out")
        if self.alpha == 0 and self.soft_labels != "teacher":
            raise UsageError(f"--soft-labels {self.soft_labels} has no effect with --alpha 0", "leave one of them out")
        self.matched_layers, self.kept_layers  # noqa: B018 (a malformed value is refused now)

    def _check_length(self) -> None:
        if self.steps is None:
            return
        if self.epochs is not None:
            raise UsageError("--epochs and --steps both say how long to train", "leave one of them out")
        if self.mix not in (*MANY, "shots"):
            raise UsageError(
                f"--mix {self.mix} is compared at equal budget, so it takes as many steps as --mix shots",
                "leave --steps out; --epochs changes both",
            )
        if self.steps == 0 and self.init != "teacher":
            raise UsageError("--steps 0 leaves a student with a random head", "use --init teacher, whose head is kept")

    @property
    def passes(self) -> int:
        """Epochs where `fixed_steps` does not say how long to train."""
        return EPOCHS if self.epochs is None else self.epochs

    @property
    def fixed_steps(self) -> int | None:
        """Optimiser steps, however many rows there are; None where it goes by epochs."""
        if self.steps is None and self.epochs is None and self.mix in MANY:
            return ENOUGH_STEPS
        return self.steps

    @property
    def kept_layers(self) -> int | list[int] | None:
        """How many layers of the start stay, or which, from 0; None for all."""
        if self.student_layers is None:
            return None
        parts = str(self.student_layers).split(",")
        wrong = not all(part.strip().isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts)
        if wrong or (len(parts) == 1 and int(parts[0]) < 1):
            raise UsageError(
                f"--student-layers is {self.student_layers!r}",
                "give how many stay, or which, from 0 and each once: --student-layers 3, --student-layers 0,2,4,5",
            )
        numbers = [int(part) for part in parts]
        return numbers[0] if len(numbers) == 1 else numbers

    def results(self) -> dict[str, Any]:
        """As elsewhere; of epochs and steps the one that counts, and neither `auto` nor families of a mix without."""
        values = super().results()
        kept = self.kept_layers
        values["student_layers"] = ",".join(map(str, kept)) if isinstance(kept, list) else kept
        length = {"epochs": self.passes} if self.fixed_steps is None else {"steps": self.fixed_steps}
        without = {"epochs", "steps"} | ({"method"} if self.method == "auto" else set())
        without |= set() if self.mix in CONTRAST else {"families"}
        return length | {name: value for name, value in values.items() if name not in without}

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
