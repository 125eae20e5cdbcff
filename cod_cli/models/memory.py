"""Whether a model can be trained on a device at all: what it needs at least, against what is free."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from cod_cli.errors import CodError
from cod_cli.models.folder import find_model
from cod_cli.models.load import loading, pick_device

FLOAT32 = 4
# Beside the weights, for each one that is trained: its gradient, Adam's two moments, a copy to fall back on.
PER_TRAINED = 4
# The rank that a refusal proposes.
LORA_RANK = 16
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Need:
    """Parameters of a model, and those of them that are trained.

    Of the token embedding only the rows that the texts use are trained, so it does not count among them.
    """

    parameters: int
    trained: int

    @property
    def bytes(self) -> int:
        """Weights, gradients, Adam's moments and the copy, all in float32; activations come on top."""
        return FLOAT32 * (self.parameters + PER_TRAINED * self.trained)


def need_of(name: str, labels: Sequence[str], *, lora: int | None = None) -> Need:
    """What training takes at least, told from the model's configuration without loading a weight."""
    with loading(name):
        config = AutoConfig.from_pretrained(find_model(name), trust_remote_code=False)
        config.num_labels = len(labels)
        with torch.device("meta"):
            # Through Any: the library's own signature is not typed.
            auto: Any = AutoModelForSequenceClassification
            model: PreTrainedModel = auto.from_config(config, trust_remote_code=False)
    total = sum(weight.numel() for weight in model.parameters())
    if lora is not None:
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        return Need(total, sum(lora * (module.in_features + module.out_features) for module in linear))
    embedding = model.get_input_embeddings()
    unseen = embedding.weight.numel() if type(embedding) is nn.Embedding else 0
    return Need(total, total - unseen)


def require_room(name: str, labels: Sequence[str], *, device: str, lora: int | None = None) -> None:
    """Refuse a model that cannot fit.

    Raises:
        CodError: with what it needs at least, what is free, and whether low-rank adapters would fit.
    """
    target = pick_device(device)
    need, free = need_of(name, labels, lora=lora), free_bytes(target)
    if need.bytes <= free:
        return
    message = (
        f"{name} cannot be trained on {target}: its {need.parameters / 1e6:,.0f}M parameters need at least "
        f"{_gb(need.bytes)} for weights, gradients and optimiser, and {_gb(free)} are free"
    )
    small = need_of(name, labels, lora=LORA_RANK) if lora is None else need
    if lora is None and small.bytes <= free:
        raise CodError(message, f"train adapters only, which needs {_gb(small.bytes)}: --lora {LORA_RANK}")
    raise CodError(message, "take a smaller model, another --device, or a machine with more memory")


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device; for the CPU what is available, within the container's limit if there is one."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    # Asked before and not caught behind: on a CPU the system kills what does not fit, without an exception.
    import psutil

    return min(int(psutil.virtual_memory().available), container_bytes(_CGROUP))


def container_bytes(cgroup: Path) -> int:
    """What a container may still take by its control group (version 2); beyond all bounds where there is no limit."""
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 2**63
    # Files that were read stay in memory until somebody needs the room.
    return 2**63 if limit == "max" else int(limit) - used + int(stat.get("inactive_file", 0))


def _gb(n: int) -> str:
    return f"{n / 1e9:.1f} GB"
