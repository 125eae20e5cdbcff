"""Options of `cod report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cod_cli.settings.base import COMPARISON, OUTPUT, option
from cod_cli.settings.shared import DeviceOption


@dataclass(frozen=True, kw_only=True)
class ReportSettings(DeviceOption):
    """Options of `cod report`."""

    metric: Annotated[
        Literal["accuracy", "macro_f1", "mcc", "agreement", "kl", "ece", "brier", "boundary_agreement"] | None,
        option(help="Decide by this metric.  [default: accuracy; without labels agreement]", panel=COMPARISON),
    ] = None
    baseline: Annotated[
        str | None,
        option(
            help="Compare every arm with this one.  [default: the sweep's; else method kd, mix shots]",
            panel=COMPARISON,
            metavar="ARM",
        ),
    ] = None
    csv: Annotated[
        Path | None,
        option("--csv", help="Write every arm at every k, a line each; - prints it.", panel=OUTPUT, metavar="FILE"),
    ] = None
    html: Annotated[
        Path | None,
        option(
            "--html",
            help="Write one page: verdicts, charts, pairs, commands; - prints it.",
            panel=OUTPUT,
            metavar="FILE",
        ),
    ] = None
    svg: Annotated[
        Path | None,
        option("--svg", help="Write a picture of the accuracies by arm; - prints it.", panel=OUTPUT, metavar="FILE"),
    ] = None
    why: Annotated[
        bool,
        option(
            "--why",
            help="Measure what should make the difference: how informative the rows are, how near the boundaries.",
            panel=COMPARISON,
        ),
    ] = False
