"""Options of `cod export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cod_cli.errors import UsageError
from cod_cli.settings.base import COMPARISON, OUTPUT, option
from cod_cli.settings.shared import ForceOption

# Records take as long to import as all the rest of `cod --help`.
if TYPE_CHECKING:
    from cod_cli.records import Precision


@dataclass(frozen=True, kw_only=True)
class ExportSettings(ForceOption):
    """Options of `cod export`."""

    int8: Annotated[
        bool, option("--int8", help="Weights in 8 bits: a quarter of the size, faster, less exact.", panel=OUTPUT)
    ] = False
    fp16: Annotated[bool, option("--fp16", help="Weights in 16 bits: half of the size.", panel=OUTPUT)] = False
    check: Annotated[
        str | None,
        option(
            help="Compare on the texts of this file, and accuracy where it has labels; else on the student's run.",
            panel=COMPARISON,
            metavar="FILE",
        ),
    ] = None
    text_column: Annotated[
        tuple[str, ...],
        option(help="Column of --check that holds the text; repeat it for several.", panel=COMPARISON),
    ] = ()
    accept_drift: Annotated[
        bool, option("--accept-drift", help="Keep it although it decides too many texts otherwise.", panel=COMPARISON)
    ] = False
    batch_size: Annotated[int, option(help="Texts in one forward pass of the comparison.", panel=COMPARISON, min=1)] = (
        32
    )

    @property
    def precision(self) -> Precision:
        """In which the graph is written."""
        return "int8" if self.int8 else "fp16" if self.fp16 else "fp32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.int8 and self.fp16:
            raise UsageError("--int8 and --fp16 are two precisions", "choose one of them")
        if self.text_column and self.check is None:
            raise UsageError("--text-column is about the file of --check", "add --check FILE")
