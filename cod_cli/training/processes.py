"""Several processes that train one model together, one on each GPU, as `accelerate launch` starts them.

Each takes its share of every batch, and the gradients are averaged: the same steps as one process would make, up to
rounding and dropout.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, distributed

from cod_cli.errors import UsageError


@dataclass(frozen=True)
class Processes:
    """The process that runs, the ``rank``-th of ``count`` from 0; ``device`` is its own."""

    rank: int
    count: int
    device: str

    @property
    def first(self) -> bool:
        """Whether it is the one that writes files."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.count == 1:
            return
        for tensor in tensors:
            distributed.all_reduce(tensor)
            tensor /= self.count

    def leave(self) -> None:
        """Wait for the others, then part."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()
            PartialState().destroy_process_group()


def _count() -> int:
    launched = os.environ.get("WORLD_SIZE", "1")
    if not launched.isdecimal() or int(launched) < 1:
        raise UsageError(f"WORLD_SIZE is {launched!r}", "it is set by `accelerate launch`; unset it for one process")
    return int(launched)


def is_first() -> bool:
    """Whether this is the one that writes files, known before the processes have joined."""
    return _count() == 1 or os.environ.get("RANK", "0") == "0"


def join_processes(device: str) -> Processes:
    """The processes that were launched together; this one alone where there are no others.

    Args:
        device: as `--device` has it; of several GPUs each process gets its own.
    """
    if _count() == 1:
        return Processes(0, 1, device)
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    return Processes(state.process_index, state.num_processes, str(state.device))
