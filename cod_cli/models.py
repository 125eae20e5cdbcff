"""Loading, running and saving classifiers: folders and Hub ids, tokenizers, devices, dtypes, layers."""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from cod_cli.checkpoints import find_model
from cod_cli.errors import CodError, UsageError
from cod_cli.loading import align_padding, load_tokenizer, loading, quiet
from cod_cli.trunks import kept_layers, trunk_weights

Progress = Callable[[int], object]
Encoding = dict[str, list[int]]


@dataclass(frozen=True)
class Encoder:
    """A model in fp32 with its tokenizer, on a device."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device


@dataclass(frozen=True)
class Classifier(Encoder):
    """A sequence classifier; ``labels`` are in the order of its logits."""

    labels: tuple[str, ...]


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        UsageError: no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device is {name!r}", "choose auto, cpu, cuda, cuda:1 … or mps") from None
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= present.get(device.type, 0):
        raise UsageError(f"--device {name}: there is no such device here", "use --device auto or --device cpu")
    return device


def load_classifier(name: str, *, device: str = "auto") -> Classifier:
    """A fine-tuned classifier from a model folder or the Hub, in fp32 whatever its dtype on disk, in eval mode.

    Raises:
        CodError: no such model, no network, or a model without a trained classification head.
    """
    target = pick_device(device)
    folder = find_model(name)
    model, untrained = _load(name, folder)
    if untrained:
        raise CodError(
            f"{name} has no trained classification head ({', '.join(sorted(untrained)[:3])} missing)",
            f"fine-tune it first: `cod teach OUT --data DATA --model {name}`",
        )
    labels = tuple(str(label) for _, label in sorted(dict(model.config.id2label or {}).items()))
    if len(labels) < 2 or model.config.problem_type in ("regression", "multi_label_classification"):
        raise CodError(f"{name} does not choose one of several classes", "use a single-label classifier")
    tokenizer = load_tokenizer(name, folder)
    align_padding(model, tokenizer)
    return _on(target, model, tokenizer, labels)


def load_encoder(name: str, *, device: str = "auto") -> Encoder:
    """A pretrained model without a head, in fp32 and eval mode.

    Raises:
        CodError: no such model, or no network.
    """
    target, folder = pick_device(device), find_model(name)
    with quiet(), loading(name):
        model: PreTrainedModel = AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    tokenizer = load_tokenizer(name, folder)
    align_padding(model, tokenizer)
    torch.nn.Module.to(model, target).train(False)
    return Encoder(model, tokenizer, target)


def load_student(
    name: str, labels: Sequence[str], *, layers: int | None = None, seed: int = 0, device: str = "auto"
) -> Classifier:
    """A model to be trained, in eval mode, with a fresh classification head drawn from ``seed``.

    Of L layers, ``layers`` = n keeps ⌊(i + 1)·L / n⌋ − 1 for i = 0 … n − 1, the paper's layer match (of six,
    three: 1, 3, 5), so the last layer always stays. The same seed gives the same bits on every device.

    Raises:
        CodError: no such model, or one whose layers cannot be told apart.
        UsageError: more layers asked than there are.
    """
    return load_trunk(name, labels, layers=layers).student(seed=seed, device=device)


@dataclass(frozen=True)
class Trunk:
    """A pretrained model, read once, from which students are drawn that differ in the seed of their heads."""

    architecture: type[PreTrainedModel]
    config: PreTrainedConfig
    weights: dict[str, torch.Tensor]
    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]

    def student(self, *, seed: int = 0, device: str = "auto") -> Classifier:
        """A model of its own, as `load_student` gives it."""
        target = pick_device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.architecture(copy.deepcopy(self.config))
        model.load_state_dict(self.weights, strict=False)
        align_padding(model, self.tokenizer)
        return _on(target, model, self.tokenizer, self.labels)

    def fresh(self, student: Classifier) -> set[str]:
        """The names of a student's weights that no pretraining has seen: the head's."""
        return {name for name, _ in student.model.named_parameters()} - self.weights.keys()


def load_trunk(name: str, labels: Sequence[str], *, layers: int | None = None) -> Trunk:
    """Read what `load_student` needs of a model, once for several seeds."""
    folder = find_model(name)
    with torch.random.fork_rng(devices=[]):
        model, untrained = _load(name, folder, labels)
    config = copy.deepcopy(model.config)
    keep = None if layers is None else kept_layers(name, model, config, layers)
    weights = trunk_weights(model, untrained, keep)
    return Trunk(type(model), config, weights, load_tokenizer(name, folder), tuple(labels))


def encode(encoder: Encoder, texts: Sequence[str], max_length: int = 256) -> list[Encoding]:
    """Token ids and masks as the model takes them, cut to ``max_length`` tokens (or to what it can take), unpadded."""
    if not texts:
        return []
    batch = encoder.tokenizer(list(texts), truncation=True, max_length=longest(encoder, max_length))
    accepted = inspect.signature(encoder.model.forward).parameters
    names = [name for name in batch if name in accepted]
    encodings = [{name: list(batch[name][index]) for name in names} for index in range(len(texts))]
    for encoding in encodings:
        # A decoder's tokenizer makes nothing of an empty text; a model needs one token at least.
        if not encoding["input_ids"]:
            encoding.update(input_ids=[cast(int, encoder.tokenizer.pad_token_id)], attention_mask=[1])
    return encodings


def longest(encoder: Encoder, max_length: int) -> int:
    """``max_length``, or the most tokens that tokenizer and position embeddings can take if that is less."""
    limits = [max_length, int(encoder.tokenizer.model_max_length)]
    for name, module in encoder.model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - offset)
    return min(limits)


def pad(encoder: Encoder, encodings: Sequence[Encoding]) -> dict[str, torch.Tensor]:
    """A batch on the encoder's device, padded on the right: each tensor [n, longest] of int64."""
    width = max(len(encoding["input_ids"]) for encoding in encodings)
    filler = {"input_ids": cast(int, encoder.tokenizer.pad_token_id)}
    batch = {}
    for name in encodings[0]:
        rows = [row[name] + [filler.get(name, 0)] * (width - len(row[name])) for row in encodings]
        batch[name] = on_device(torch.tensor(rows, dtype=torch.long), encoder.device)
    return batch


def on_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor there; to a GPU it travels from pinned memory while the CPU goes on."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@torch.inference_mode()
def logits_of(
    classifier: Classifier,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    max_length: int = 256,
    progress: Progress | None = None,
) -> np.ndarray:
    """Raw logits [n, C] in float32, in the order of ``texts``; batches hold texts of like length."""
    encodings = encode(classifier, texts, max_length)
    order = sorted(range(len(texts)), key=lambda index: len(encodings[index]["input_ids"]), reverse=True)
    logits = np.empty((len(texts), len(classifier.labels)), dtype=np.float32)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        output = classifier.model(**pad(classifier, [encodings[row] for row in rows]))
        logits[rows] = output.logits.float().cpu().numpy()
        if progress is not None:
            progress(len(rows))
    return logits


def save_classifier(classifier: Classifier, folder: Path | str) -> None:
    """Write an ordinary model folder, safetensors only, that the Auto classes and `pipeline` load as it is."""
    tokenizer = classifier.tokenizer
    if tokenizer.is_fast:
        # What the last call asked for would be saved with it.
        cast(Any, tokenizer).backend_tokenizer.no_truncation()
        cast(Any, tokenizer).backend_tokenizer.no_padding()
    with quiet():
        classifier.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _load(name: str, folder: Path, labels: Sequence[str] | None = None) -> tuple[PreTrainedModel, set[str]]:
    """The model in fp32, with room for ``labels`` if given, and the names of weights that the folder lacks."""
    with quiet(), loading(name):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if labels is not None:
            config.id2label = dict(enumerate(labels))
            config.label2id = {label: index for index, label in enumerate(labels)}
            config.problem_type = "single_label_classification"
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    return model, set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}


def _on(
    device: torch.device, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...]
) -> Classifier:
    # Through the base class: transformers' own overrides are not typed.
    torch.nn.Module.to(model, device).train(False)
    return Classifier(model, tokenizer, device, labels)
