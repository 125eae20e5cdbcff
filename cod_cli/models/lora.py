"""Low-rank adapters (LoRA): train a few weights beside each linear layer, and merge them in for shipping."""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from cod_cli.errors import UsageError
from cod_cli.models.load import Classifier


def with_adapters(classifier: Classifier, rank: int, fresh: set[str], *, seed: int) -> Classifier:
    """The same model, frozen but for adapters of this rank on every linear layer.

    Args:
        classifier: the student.
        rank: of the adapters; their scale is the usual alpha = 2 · rank.
        fresh: names of weights that no pretraining has seen, the head's; their layers are trained whole.
        seed: of the adapters' first weights.

    Raises:
        UsageError: the package peft is missing.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UsageError("--lora needs the package peft", "pip install 'cod-cli[lora]'") from None
    whole = sorted({name.rpartition(".")[0] for name in fresh})
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=_linear_layers(classifier, whole), modules_to_save=whole
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return replace(classifier, model=cast(PreTrainedModel, get_peft_model(classifier.model, config)))


def merged(classifier: Classifier) -> Classifier:
    """The ordinary model that the adapters make of it."""
    return replace(classifier, model=cast(Any, classifier.model).merge_and_unload())


def _linear_layers(classifier: Classifier, whole: list[str]) -> list[str]:
    names = (name for name, module in classifier.model.named_modules() if isinstance(module, nn.Linear))
    return [name for name in names if not any(name == kept or name.startswith(kept + ".") for kept in whole)]
