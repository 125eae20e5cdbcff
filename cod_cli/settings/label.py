"""Options of `cod label`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cod_cli.errors import UsageError
from cod_cli.settings.base import CALIBRATION, GENERAL, option
from cod_cli.settings.shared import DRY_RUN, TeacherOptions


@dataclass(frozen=True, kw_only=True)
class LabelSettings(TeacherOptions):
    """Options of `cod label`. Calibration changes how soft labels are read, not what is asked: it may differ."""

    calibrate: Annotated[
        Literal["none", "contextual", "temperature"] | None,
        option(
            help="How the probabilities are made honest; else as before, at first none.", panel=CALIBRATION, limit=True
        ),
    ] = None
    calibration_data: Annotated[
        str | None,
        option(
            help="Labelled rows that neither teacher nor student trains on.",
            panel=CALIBRATION,
            metavar="FILE",
            limit=True,
        ),
    ] = None
    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1, limit=True)] = 32
    dry_run: Annotated[bool, DRY_RUN] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration_data and self.calibrate in (None, "none"):
            raise UsageError("--calibration-data is there and nothing to calibrate", "add --calibrate temperature")
