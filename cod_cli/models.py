"""Loading, running and saving classifiers: folders and Hub ids, tokenizers, devices, dtypes, layers."""

import contextlib
import copy
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from cod_cli.checkpoints import find_model
from cod_cli.errors import CodError, UsageError

Progress = Callable[[int], object]
Encoding = dict[str, list[int]]

_LOAD_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError, SafetensorError)


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier in fp32 with its tokenizer; ``labels`` are in the order of its logits."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]
    device: torch.device


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
    tokenizer = _load_tokenizer(name, folder)
    _align_padding(model, tokenizer)
    return _on(target, model, tokenizer, labels)


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
        _align_padding(model, self.tokenizer)
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
    keep = None if layers is None else _kept_layers(name, model, config, layers)
    weights = _trunk_weights(model, untrained, keep)
    return Trunk(type(model), config, weights, _load_tokenizer(name, folder), tuple(labels))


def encode(classifier: Classifier, texts: Sequence[str], max_length: int = 256) -> list[Encoding]:
    """Token ids and masks as the model takes them, cut to ``max_length`` tokens (or to what it can take), unpadded."""
    if not texts:
        return []
    batch = classifier.tokenizer(list(texts), truncation=True, max_length=longest(classifier, max_length))
    accepted = inspect.signature(classifier.model.forward).parameters
    names = [name for name in batch if name in accepted]
    encodings = [{name: list(batch[name][index]) for name in names} for index in range(len(texts))]
    for encoding in encodings:
        # A decoder's tokenizer makes nothing of an empty text; a model needs one token at least.
        if not encoding["input_ids"]:
            encoding.update(input_ids=[cast(int, classifier.tokenizer.pad_token_id)], attention_mask=[1])
    return encodings


def longest(classifier: Classifier, max_length: int) -> int:
    """``max_length``, or the most tokens that tokenizer and position embeddings can take if that is less."""
    limits = [max_length, int(classifier.tokenizer.model_max_length)]
    for name, module in classifier.model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - offset)
    return min(limits)


def pad(classifier: Classifier, encodings: Sequence[Encoding]) -> dict[str, torch.Tensor]:
    """A batch on the classifier's device, padded on the right: each tensor [n, longest] of int64."""
    width = max(len(encoding["input_ids"]) for encoding in encodings)
    filler = {"input_ids": cast(int, classifier.tokenizer.pad_token_id)}
    batch = {}
    for name in encodings[0]:
        rows = [row[name] + [filler.get(name, 0)] * (width - len(row[name])) for row in encodings]
        batch[name] = on_device(torch.tensor(rows, dtype=torch.long), classifier.device)
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
    with _quiet():
        classifier.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and load reports off stderr."""
    untyped: Any = logging
    level, bars = untyped.get_verbosity(), untyped.is_progress_bar_enabled()
    untyped.set_verbosity_error()
    untyped.disable_progress_bar()
    try:
        yield
    finally:
        untyped.set_verbosity(level)
        if bars:
            untyped.enable_progress_bar()


def _load(name: str, folder: Path, labels: Sequence[str] | None = None) -> tuple[PreTrainedModel, set[str]]:
    """The model in fp32, with room for ``labels`` if given, and the names of weights that the folder lacks."""
    with _quiet(), loading(name):
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


def _load_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    with _quiet(), loading(name):
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    # Without its files the class makes an empty tokenizer and says nothing.
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any((folder / file).is_file() for file in files):
        raise CodError(f"{name} holds no tokenizer", f"save it beside the model: one of {', '.join(sorted(files))}")
    return tokenizer


@contextlib.contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn what transformers raises about a model or its configuration into a `CodError`."""
    try:
        yield
    except _LOAD_ERRORS as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CodError(
            f"{name} cannot be loaded as a text classifier: {reason}",
            "give a model of a family that transformers knows, with safetensors weights; its own code is never run",
        ) from None


def _on(
    device: torch.device, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...]
) -> Classifier:
    # Through the base class: transformers' own overrides are not typed.
    torch.nn.Module.to(model, device).train(False)
    return Classifier(model, tokenizer, labels, device)


def _align_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give model and tokenizer one padding token: decoders often have none, and find their last token by it."""
    config = model.config.get_text_config()
    if tokenizer.pad_token is None:
        known = config.pad_token_id is not None and 0 <= config.pad_token_id < len(tokenizer)
        own = tokenizer.convert_ids_to_tokens(config.pad_token_id) if known else None
        tokenizer.pad_token = own or tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise CodError("the tokenizer has neither a padding token nor one that could serve", "add a pad_token to it")
    config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "right"
    if hasattr(config, "use_cache"):
        config.use_cache = False


def _kept_layers(name: str, model: PreTrainedModel, config: PreTrainedConfig, layers: int) -> tuple[str, list[int]]:
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


def _trunk_weights(
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
