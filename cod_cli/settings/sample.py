"""Options of `cod sample`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.errors import UsageError
from cod_cli.settings.base import DATA, GENERAL, option, parse_whole_numbers
from cod_cli.settings.shared import DataOptions, ForceOption


@dataclass(frozen=True, kw_only=True)
class SampleSettings(DataOptions, ForceOption):
    """Options of `cod sample`."""

    data: Annotated[
        str,
        option("--data", help="Task name, Hub id (org/name or org/name:config), file or folder.", panel=DATA),
    ]
    shots: Annotated[
        str,
        option(
            "-k",
            "--shots",
            help="How many shots, class-balanced; 'all' takes every row.",
            metavar="INT|all",
            panel=DATA,
        ),
    ] = "8"
    seed: Annotated[int, option(help="Seed of the draw.", panel=GENERAL, min=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.k  # noqa: B018 (a malformed value is refused now)

    @property
    def k(self) -> int | None:
        """The number of shots; None stands for every row."""
        hint = "give a positive number, or 'all' to take every row"
        if "," in self.shots:
            raise UsageError(f"-k is {self.shots!r}", hint)
        return None if self.shots == "all" else parse_whole_numbers("-k", self.shots, hint, least=1)[0]
