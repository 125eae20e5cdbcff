"""Which teacher, and the options of `cod label`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from cod_cli.errors import UsageError
from cod_cli.settings.base import CALIBRATION, GENERAL, TEACHER, option
from cod_cli.settings.endpoint import DRY_RUN, EndpointOptions

BLACK_BOX = "openai:"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
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


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LabelSettings(TeacherOptions):
    """Options of `cod label`. Calibration changes how soft labels are read, not what is asked: it may differ."""

    LIMITS: ClassVar[frozenset[str]] = TeacherOptions.LIMITS | {"batch_size", "calibrate", "calibration_data"}

    calibrate: Annotated[
        Literal["none", "contextual", "temperature"] | None,
        option(help="How the probabilities are made honest; else as before, at first none.", panel=CALIBRATION),
    ] = None
    calibration_data: Annotated[
        str | None,
        option(help="Labelled rows that neither teacher nor student trains on.", panel=CALIBRATION, metavar="FILE"),
    ] = None
    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1)] = 32
    dry_run: Annotated[bool, DRY_RUN] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration_data and self.calibrate in (None, "none"):
            raise UsageError("--calibration-data is there and nothing to calibrate", "add --calibrate temperature")
