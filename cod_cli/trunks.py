"""What a student takes over of a pretrained model: which of its layers, and which weights."""

import re

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from cod_cli.errors import CodError, UsageError


def kept_layers(name: str, model: PreTrainedModel, config: PreTrainedConfig, layers: int) -> tuple[str, list[int]]:
    """Where the layers are and which stay; ``config`` is changed to match."""
    total = getattr(config, "num_hidden_layers", 0)
    if not 1 <= layers <= total:
        raise UsageError(f"--student-layers is {layers}; {name} has {total}", f"choose 1 to {total}")
    stacks = [
        path
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == total
    ]
    if len(stacks) != 1:
        raise CodError(f"the layers of {name} ({config.model_type}) cannot be told apart", "leave --student-layers out")
    kept = [(index + 1) * total // layers - 1 for index in range(layers)]
    config.num_hidden_layers = layers
    for field, value in vars(config).items():
        # layer_types, no_rope_layers and their like: one entry a layer.
        if "layer" in field and isinstance(value, list) and len(value) == total:
            setattr(config, field, [value[index] for index in kept])
    return stacks[0], kept


def trunk_weights(
    model: PreTrainedModel, untrained: set[str], keep: tuple[str, list[int]] | None
) -> dict[str, torch.Tensor]:
    """The pretrained weights that a student takes over, its layers renumbered.

    Another task's head stays behind; a masked-LM head's transform, where the family builds its classifier on
    it (ModernBERT), is pretrained and comes along.
    """
    masked_lm = any("ForMaskedLM" in name for name in model.config.architectures or ())
    trunk = model.base_model_prefix + "."
    stack, kept = keep or ("", [])
    weights = {}
    for name, tensor in model.state_dict().items():
        if name in untrained or not (masked_lm or name.startswith(trunk)):
            continue
        layer = re.fullmatch(rf"{re.escape(stack)}\.(\d+)\.(.+)", name) if keep else None
        if layer is None:
            weights[name] = tensor
        elif int(layer[1]) in kept:
            weights[f"{stack}.{kept.index(int(layer[1]))}.{layer[2]}"] = tensor
    return weights
