"""Options of the commands that read a run or a student: `eval`, `show`, `predict`; of `cache`; and of `demo`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.settings.base import Settings, option


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CacheSettings(Settings):
    """Options of `cod cache`."""

    clear: Annotated[bool, option("--clear", help="Forget everything; run folders keep what they have.")] = False
