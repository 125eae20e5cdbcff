"""Options of `cod advise`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.settings.base import DATA, Settings, option


@dataclass(frozen=True, kw_only=True)
class AdviseSettings(Settings):
    """Options of `cod advise`."""

    number: Annotated[
        int, option("-n", "--number", help="How many texts without labels a pool shall have.", panel=DATA, min=1)
    ] = 500
