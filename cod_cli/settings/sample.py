"""Options of `cod sample`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.errors import UsageError
from cod_cli.settings.base import DATA, GENERAL, option
from cod_cli.settings.shared import DataOptions


@dataclass(frozen=True, kw_only=True)
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
