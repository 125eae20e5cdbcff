"""Options of `cod cache`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.settings.base import OUTPUT, Settings, option


@dataclass(frozen=True, kw_only=True)
class CacheSettings(Settings):
    """Options of `cod cache`."""

    clear: Annotated[
        bool, option("--clear", help="Forget everything; run folders keep what they have.", panel=OUTPUT)
    ] = False
