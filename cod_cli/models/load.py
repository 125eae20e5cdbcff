"""Models in memory: loaded in fp32 with their tokenizer onto a device, cut to some of their layers, and saved.

`load_classifier` reads a teacher or a finished student, `load_backbone` what students are drawn from, `load_encoder` a
model without a head.
"""

import contextlib
import copy
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from cod_cli.errors import CodError, UsageError
from cod_cli.models.folder import find_model, weight_files


@dataclass(frozen=True)
class Encoder:
    """A model in fp32 with its tokenizer, on a device; errors call it ``name``."""

    name: str
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
        CodError: no such model, no network, a model without a trained classification head, or weights that do not fit.
    """
    target = pick_device(device)
    folder = find_model(name)
    model, untrained = _load_with_head(name, folder)
    if untrained:
        raise CodError(
            f"{name} has no trained classification head ({', '.join(sorted(untrained)[:3])} missing)",
            f"fine-tune it first: `cod teach OUT --data DATA --model {name}`",
        )
    labels = classes_of(model.config)
    if len(labels) < 2 or model.config.problem_type in ("regression", "multi_label_classification"):
        raise CodError(f"{name} does not choose one of several classes", "use a single-label classifier")
    tokenizer = load_tokenizer(name)
    _align_padding(model, tokenizer)
    return Classifier(name, _on(target, model), tokenizer, target, labels)


def classes_of(config: PreTrainedConfig) -> tuple[str, ...]:
    """A classifier's own classes, in the order of its logits."""
    return tuple(str(label) for _, label in sorted(dict(config.id2label or {}).items()))


def load_encoder(name: str, *, device: str = "auto") -> Encoder:
    """A pretrained model without a head, in fp32 and eval mode.

    Raises:
        CodError: no such model, no network, or weights that do not fit.
    """
    target, folder = pick_device(device), find_model(name)
    model, _ = _load(name, folder, AutoModel, _read_config(name, folder))
    tokenizer = load_tokenizer(name)
    _align_padding(model, tokenizer)
    return Encoder(name, _on(target, model), tokenizer, target)


def load_masked_lm(name: str, *, device: str = "auto") -> Encoder:
    """A masked language model, which fills gaps in texts, in fp32 and eval mode.

    Raises:
        CodError: no such model, no network, another kind of model, or weights that do not fit.
    """
    target, folder = pick_device(device), find_model(name)
    config = _read_config(name, folder)
    hint = "give one that was pretrained to fill masks, such as distilbert/distilbert-base-uncased"
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise CodError(f"{name} is no masked language model: its family, {config.model_type}, has none", hint)
    model, untrained = _load(name, folder, AutoModelForMaskedLM, config)
    if head := sorted(key for key in untrained if not _in_backbone(model, key)):
        raise CodError(f"{name} is no masked language model: its head is missing ({', '.join(head[:3])})", hint)
    tokenizer = load_tokenizer(name)
    if tokenizer.mask_token_id is None:
        raise CodError(f"{name}: its tokenizer has no mask token", hint)
    _align_padding(model, tokenizer)
    return Encoder(name, _on(target, model), tokenizer, target)


@dataclass(frozen=True)
class Backbone:
    """A pretrained model, read once, from which students are drawn that differ in the seed of their heads."""

    name: str
    architecture: type[PreTrainedModel]
    config: PreTrainedConfig
    weights: dict[str, torch.Tensor]
    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]
    head_kept: bool = False

    def student(self, *, seed: int = 0, device: str = "auto") -> Classifier:
        """A model to be trained, in eval mode, its classification head drawn from ``seed`` unless it was kept.

        The same seed gives the same bits on every device; the global random numbers are left as they were.

        Raises:
            UsageError: no such device.
        """
        target = pick_device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.architecture(copy.deepcopy(self.config))
        model.load_state_dict(self.weights, strict=False)
        _align_padding(model, self.tokenizer)
        return Classifier(self.name, _on(target, model), self.tokenizer, target, self.labels)

    def new_weights(self, student: Classifier) -> set[str]:
        """The names of its weights that no pretraining has seen, the head's; of a kept head its last layer's."""
        names = {name for name, _ in student.model.named_parameters()}
        last = last_layer_of_head(student.model, len(self.labels)) if self.head_kept else None
        return names - self.weights.keys() | {name for name in names if last and name.startswith(f"{last}.")}


def load_backbone(
    name: str, labels: Sequence[str], *, layers: int | Sequence[int] | None = None, head: Sequence[int] | None = None
) -> Backbone:
    """Read a pretrained model to draw students from; for `cod distill` and `cod teach`.

    Args:
        name: a model folder or Hub id.
        labels: the students' classes in order.
        layers: which layers stay, from 0, or how many evenly spaced ones; None for all. Of L layers n keep
            ⌊(i + 1)·L / n⌋ - 1 for i = 0 … n - 1, the paper's layer match (of six, three: 1, 3, 5), so the last layer
            always stays.
        head: for each of ``labels`` its index among the model's own classes, to keep its head; None leaves behind the
            head, another task's.

    Raises:
        CodError: no such model, one whose layers cannot be told apart, or weights that do not fit.
        UsageError: layers asked that there are not.
    """
    folder = find_model(name)
    with torch.random.fork_rng(devices=[]):
        model, untrained = _load_with_head(name, folder, labels)
    config = copy.deepcopy(model.config)
    keep = None if layers is None else _kept_layers(name, model, config, layers)
    if head is not None:
        _reorder_head(model, head)
    weights = _pretrained_weights(model, untrained, keep, with_head=head is not None)
    return Backbone(name, type(model), config, weights, load_tokenizer(name), tuple(labels), head is not None)


def last_layer_of_head(model: PreTrainedModel, classes: int) -> str:
    """The name of the linear layer that gives the logits."""
    outside = (
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module.out_features == classes
        and not name.startswith(f"{model.base_model_prefix}.")
    )
    return str(list(outside)[-1])


@torch.no_grad()
def _reorder_head(model: PreTrainedModel, order: Sequence[int]) -> None:
    """Put the logits of a model's own classes into another order."""
    for weight in model.get_submodule(last_layer_of_head(model, len(order))).parameters():
        weight.copy_(weight[list(order)])


def save_classifier(classifier: Classifier, folder: Path | str) -> None:
    """Write an ordinary model folder, safetensors only, that the Auto classes and `pipeline` load as it is."""
    tokenizer = classifier.tokenizer
    if tokenizer.is_fast:
        # What the last call asked for would be saved with it.
        cast(Any, tokenizer).backend_tokenizer.no_truncation()
        cast(Any, tokenizer).backend_tokenizer.no_padding()
    with _quiet(), saving():
        classifier.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """Turn what safetensors and tokenizers raise where a file cannot be written into the `OSError` that it was."""
    try:
        yield
    except Exception as error:  # tokenizers has no type of its own for it
        # The second is how older versions of safetensors say it.
        refused = re.search(r"\(os error (\d+)\)|Os \{ code: (\d+)", str(error))
        if isinstance(error, OSError) or refused is None:
            raise
        number = int(refused[1] or refused[2])
        raise OSError(number, os.strerror(number)) from None


def require_savable(classifier: Classifier) -> None:
    """Refuse, before it is trained, a model whose weights the limit on file sizes (``ulimit -f``) does not let through.

    Raises:
        CodError: they are larger than that.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = sum(tensor.nbytes for tensor in classifier.model.state_dict().values())
    if limit != resource.RLIM_INFINITY and size > limit:
        raise CodError(
            f"the weights take {size / 1e6:,.1f} MB, and no file may be larger than {limit / 1e6:,.1f} MB here",
            "allow larger files: `ulimit -f unlimited`",
        )


def _read_config(name: str, folder: Path) -> PreTrainedConfig:
    with _quiet(), loading(name):
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        shape = config.get_text_config()
        layers, hidden = (int(getattr(shape, field, 0)) for field in ("num_hidden_layers", "hidden_size"))
    # A million of them would take hours to build, before anybody sees that they are not there.
    if layers > 1000 and layers * hidden > sum(path.stat().st_size for path in weight_files(folder)):
        raise CodError(f"{name} says that it has {layers} layers, which its weights cannot hold", _MEND)
    return config


def _load_with_head(name: str, folder: Path, labels: Sequence[str] | None = None) -> tuple[PreTrainedModel, set[str]]:
    """The classifier, with room for ``labels`` if given, and the names of its head's weights that the folder lacks."""
    config = _read_config(name, folder)
    if labels is not None:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        config.problem_type = "single_label_classification"
    return _load(name, folder, AutoModelForSequenceClassification, config)


def _load(name: str, folder: Path, auto: type[Any], config: PreTrainedConfig) -> tuple[PreTrainedModel, set[str]]:
    """The model in fp32, and the names of its head's weights that the folder lacks or has in another size."""
    with _quiet(), loading(name):
        model, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    missing = set(info["missing_keys"])
    untrained = missing | {key for key, *_ in info["mismatched_keys"]}
    _require_fit(name, model, missing, untrained)
    return model, untrained


def _require_fit(name: str, model: PreTrainedModel, missing: set[str], untrained: set[str]) -> None:
    """Refuse random numbers in place of pretrained weights, and weights that are no numbers."""
    weights = dict(model.named_parameters())
    backbone = {key for key in weights if _in_backbone(model, key)}
    if unfit := sorted(untrained & backbone):
        raise CodError(
            f"{name}: {len(unfit)} of {len(backbone)} weights do not fit its config.json: "
            f"{len(missing & backbone)} are missing, {len(unfit) - len(missing & backbone)} have another size "
            f"({', '.join(unfit[:3])}{' …' if len(unfit) > 3 else ''})",
            _MEND,
        )
    if infinite := [key for key, weight in weights.items() if not bool(weight.isfinite().all())]:
        raise CodError(
            f"{name}: {len(infinite)} of {len(weights)} weights hold NaN or infinity ({', '.join(infinite[:3])})",
            "train or fetch the model again: nothing that it says would mean anything",
        )


def _in_backbone(model: PreTrainedModel, key: str) -> bool:
    """Whether a weight belongs to what was pretrained. A pooler does not: what was saved as a masked LM has none."""
    prefix = "" if model.base_model is model else model.base_model_prefix + "."
    return key.startswith(prefix) and ".pooler." not in f".{key}"


def _on(device: torch.device, model: PreTrainedModel) -> PreTrainedModel:
    # Through the base class: transformers' own overrides are not typed.
    torch.nn.Module.to(model, device).train(False)
    return model


_MEND = "save or fetch the model again: its files do not belong together"


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


def load_config(name: str) -> PreTrainedConfig:
    """What a model folder or the Hub says of a model: its classes, its number of layers.

    Raises:
        CodError: no such model, or no network.
    """
    return _read_config(name, find_model(name))


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model's weights.

    Raises:
        CodError: no such model, no network, or no tokenizer there.
    """
    folder = find_model(name)
    with _quiet(), loading(name):
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    # Without its files the class makes an empty tokenizer and says nothing.
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any((folder / file).is_file() for file in files):
        raise CodError(f"{name} holds no tokenizer", f"save it beside the model: one of {', '.join(sorted(files))}")
    most = tokenizer.model_max_length
    if not isinstance(most, int | float) or not 8 <= most < math.inf:
        raise CodError(f"{name}: its tokenizer's model_max_length is {most!r}", "mend it in tokenizer_config.json")
    return tokenizer


@contextlib.contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn what is raised about a model's files into a `CodError`; for those who read them, or run what they hold.

    Five libraries read a folder that anybody may have written, and raise what they happen to: no list of classes would
    be whole.
    """
    try:
        yield
    except CodError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
        raise CodError(
            f"{name} cannot be loaded as a text classifier: {reason}",
            "give a model of a family that transformers knows, with safetensors weights; its own code is never run",
        ) from None


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


def _kept_layers(
    name: str, model: PreTrainedModel, config: PreTrainedConfig, layers: int | Sequence[int]
) -> tuple[str, list[int]]:
    """Where the layers are and which stay; ``config`` is changed to match."""
    total = getattr(config, "num_hidden_layers", 0)
    kept = _evenly_spaced(name, layers, total) if isinstance(layers, int) else list(layers)
    if not all(0 <= layer < total for layer in kept):
        shown = ",".join(map(str, kept))
        raise UsageError(f"--student-layers is {shown}; {name} has {total} layers", f"name some of 0 to {total - 1}")
    stacks = [
        path
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == total
    ]
    if len(stacks) != 1:
        raise CodError(f"the layers of {name} ({config.model_type}) cannot be told apart", "leave --student-layers out")
    config.num_hidden_layers = len(kept)
    for field, value in vars(config).items():
        # layer_types, no_rope_layers and their like: one entry a layer.
        if "layer" in field and isinstance(value, list) and len(value) == total:
            setattr(config, field, [value[index] for index in kept])
    return stacks[0], kept


def _evenly_spaced(name: str, layers: int, total: int) -> list[int]:
    if not 1 <= layers <= total:
        raise UsageError(f"--student-layers is {layers}; {name} has {total}", f"choose 1 to {total}")
    return [(index + 1) * total // layers - 1 for index in range(layers)]


def _pretrained_weights(
    model: PreTrainedModel, untrained: set[str], keep: tuple[str, list[int]] | None, *, with_head: bool
) -> dict[str, torch.Tensor]:
    """The pretrained weights that a student takes over, its layers renumbered.

    Another task's head stays behind; a masked-LM head's transform, where the family builds its classifier on
    it (ModernBERT), is pretrained and comes along.
    """
    masked_lm = any("ForMaskedLM" in name for name in model.config.architectures or ())
    backbone = model.base_model_prefix + "."
    stack, kept = keep or ("", [])
    weights = {}
    for name, tensor in model.state_dict().items():
        if name in untrained or not (with_head or masked_lm or name.startswith(backbone)):
            continue
        layer = re.fullmatch(rf"{re.escape(stack)}\.(\d+)\.(.+)", name) if keep else None
        if layer is None:
            weights[name] = tensor
        elif int(layer[1]) in kept:
            weights[f"{stack}.{kept.index(int(layer[1]))}.{layer[2]}"] = tensor
    return weights
