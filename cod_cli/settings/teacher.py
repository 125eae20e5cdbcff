"""Which teacher, and the options of `cod label`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from cod_cli.errors import UsageError
from cod_cli.settings.base import CALIBRATION, GENERAL, TEACHER, Settings, option


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration_data and self.calibrate in (None, "none"):
            raise UsageError("--calibration-data is there and nothing to calibrate", "add --calibrate temperature")
