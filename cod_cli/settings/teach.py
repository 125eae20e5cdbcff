"""Options of `cod teach`."""

from dataclasses import dataclass
from typing import Annotated

from cod_cli.errors import UsageError
from cod_cli.settings.base import DATA, GENERAL, TRAINING, option
from cod_cli.settings.shared import DataOptions, TrainingOptions


@dataclass(frozen=True, kw_only=True)
class TeachSettings(TrainingOptions, DataOptions):
    """Options of `cod teach`; defaults are the paper's (8 epochs, lr 2e-5, batch 32)."""

    data: Annotated[
        str,
        option("--data", help="Task name, Hub id (org/name or org/name:config), file or folder.", panel=DATA),
    ]
    model: Annotated[str, option("--model", help="Model folder or Hub id to fine-tune.", panel=TRAINING)]
    epochs: Annotated[int, option(help="Passes over the rows; the last weights are kept.", panel=TRAINING, min=1)] = 8
    lora: Annotated[
        int | None, option("--lora", help="Train adapters of this rank only (extra: lora).", panel=TRAINING, min=1)
    ] = None
    keep_best: Annotated[
        bool, option("--keep-best", help="Keep the weights of the best epoch on validation.", panel=TRAINING)
    ] = False
    resume: Annotated[
        bool, option("--resume", help="Go on from the last checkpoint, if there is one.", panel=GENERAL, limit=True)
    ] = False
    seed: Annotated[int, option(help="Seed of head and order.", panel=GENERAL, min=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and self.force:
            raise UsageError("--resume goes on and --force starts over", "leave one of them out")
