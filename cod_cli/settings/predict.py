"""Options of `cod predict`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.settings.base import DATA, GENERAL, option
from cod_cli.settings.shared import DeviceOption


@dataclass(frozen=True, kw_only=True)
class PredictSettings(DeviceOption):
    """Options of `cod predict`."""

    text_column: Annotated[
        tuple[str, ...],
        option(help="Column that holds the text; repeat it for several. Else the model's own.", panel=DATA),
    ] = ()
    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1)] = 32
    max_length: Annotated[
        int, option(help="Longest text in tokens; what is longer is cut. Else the model's own.", panel=GENERAL, min=8)
    ] = 256
