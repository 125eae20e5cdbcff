"""Options of `cod demo`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.settings.base import DATA, GENERAL, Settings, option, parse_seeds


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """Options of `cod demo`."""

    shots: Annotated[int, option("-k", "--shots", help="Rows that each student trains on.", panel=DATA, min=4)] = 8
    seed: Annotated[str, option(help="Seeds to repeat it with.", panel=GENERAL, metavar="INT[,INT…]")] = "0,1,2"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_seeds(self.seed)

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return parse_seeds(self.seed)
