"""A training that can be stopped: all that it needs to go on later with the same bits, in one file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cod_cli.errors import CodError
from cod_cli.models.load import saving


class TrainingState:
    """Trained weights, Adam's moments, the schedule and the random numbers of one training, saved at ``path``.

    Once `bind` has tied it to a model, `save` writes what they are now; ``notes`` is text that is saved beside.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: dict[str, str] = {}
        self._best: dict[str, Tensor] = {}
        self._saved: dict[str, Tensor] = {}

    def read(self) -> bool:
        """Read what was saved, for `bind` to go on from; whether there was anything.

        Raises:
            CodError: the file is damaged.
        """
        if not self.path.exists():
            return False
        try:
            with safe_open(self.path, framework="pt") as file:
                self.notes = dict(file.metadata() or {})
                self._saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError) as error:  # OSError: a folder
            raise CodError(f"{self.path} is damaged: {error}", "start over: --force") from None
        self._best = {name.removeprefix("best."): tensor for name, tensor in self._saved.items() if name[:5] == "best."}
        return True

    def bind(self, model: nn.Module, optimizer: Optimizer, schedule: LRScheduler) -> int:
        """Tie it to a training and put what was read in place; returns the steps that are done already."""
        self._parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._optimizer, self._schedule = optimizer, schedule
        if not self._saved:
            return 0
        self._require_fit()
        _copy(self._saved, self._parameters, "weight.")
        for name, weight in self._parameters.items():
            moments = {key: self._saved.get(f"{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            if moments["step"] is not None:
                device = {key: value.to(weight.device) for key, value in moments.items() if value is not None}
                # As Adam has it: the step counter is on the device where the kernel is fused.
                optimizer.state[weight] = device
        schedule.load_state_dict(json.loads(self.notes["schedule"]))
        for group, rate in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        _set_random_state(self._saved)
        self._saved = {}
        return int(schedule.last_epoch)

    def save(self) -> None:
        """Write the state as it is after a whole step; the file is the old one or the new one, never half of it."""
        tensors = {f"weight.{name}": weight.detach() for name, weight in self._parameters.items()}
        for name, weight in self._parameters.items():
            tensors |= {f"{key}.{name}": value for key, value in self._optimizer.state[weight].items()}
        tensors |= {f"best.{name}": weight for name, weight in self._best.items()} | _random_state()
        notes = {**self.notes, "schedule": json.dumps(self._schedule.state_dict())}
        partial = self.path.with_name(f".{self.path.name}.part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with saving():
                save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=notes)
            os.replace(partial, self.path)
        finally:
            partial.unlink(missing_ok=True)

    def keep(self) -> None:
        """Remember the weights as they are now as the best ones."""
        self._best = {name: weight.detach().cpu().clone() for name, weight in self._parameters.items()}

    def go_back(self) -> None:
        """Put the best weights back in place."""
        _copy(self._best, self._parameters)

    def _require_fit(self) -> None:
        shapes = {f"weight.{name}": weight.shape for name, weight in self._parameters.items()}
        saved = {name: tensor.shape for name, tensor in self._saved.items() if name.startswith("weight.")}
        if shapes != saved:
            raise CodError(f"{self.path} does not fit the model and the data as they are now", "start over: --force")


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor], prefix: str = "") -> None:
    for name, weight in target.items():
        weight.copy_(source[prefix + name])


def _random_state() -> dict[str, Tensor]:
    state = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["random.cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(saved: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(saved["random.cpu"])
    if "random.cuda" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["random.cuda"])
