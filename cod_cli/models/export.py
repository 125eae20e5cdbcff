"""Writing a classifier as one ONNX graph, beside the tokenizer and labels that `exported` reads it with."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from cod_cli.errors import CodError, UsageError
from cod_cli.models.exported import CHECK, GRAPHS, INSTALL, NOTES, TOKENIZER
from cod_cli.models.inference import encode, longest, pad
from cod_cli.models.load import Classifier, saving
from cod_cli.records import Export, ExportCheck, Precision

if TYPE_CHECKING:
    import onnx

# What torch's exporter, the quantiser and the check import.
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# Protocol buffers, which such a file is, end there.
_LARGEST = 2**31 - 1
_UNBOUNDED = 10**9
# Two texts of different length, so that neither the batch nor its width is one: the exporter takes ones for constant.
_SAMPLE = ("a text", "another text that is a little longer")


class _Graph(torch.nn.Module):
    """A classifier as a function of its inputs in order, to nothing but its logits."""

    def __init__(self, classifier: Classifier, names: list[str]) -> None:
        super().__init__()
        self.model = classifier.model
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Logits [n, C] of the inputs, [n, tokens] each."""
        logits: torch.Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def require_exporter() -> None:
    """Refuse to begin where a package is missing.

    Raises:
        UsageError: with the command that installs it.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"cod export needs the packages {', '.join(missing)}", INSTALL)


def require_exportable(classifier: Classifier) -> None:
    """Refuse what the format cannot hold, before a minute is spent on it.

    Raises:
        CodError: weights of more than 2 GB, or a tokenizer that has no file of the kind that `tokenizers` reads.
    """
    size = sum(tensor.nbytes for tensor in classifier.model.state_dict().values())
    if size > _LARGEST:
        raise CodError(
            f"{classifier.name}: its weights take {size / 1e9:.1f} GB in 32 bits, and one ONNX file holds 2.1 GB",
            "distil a student from it, and export that",
        )
    if not classifier.tokenizer.is_fast:
        raise CodError(
            f"{classifier.name}: its tokenizer is written in Python and has no {TOKENIZER}",
            "save it with a tokenizer that has one (use_fast=True)",
        )


def save_exported(classifier: Classifier, folder: Path, precision: Precision) -> None:
    """Write graph, tokenizer and configuration into a folder; the notes come last, by `save_notes`.

    The tokenizer's file also says how to cut and to pad, so that it can be used as it is.

    Raises:
        CodError: a family whose computation torch cannot write as a graph.
    """
    graph = folder / GRAPHS["fp32"]
    graph.parent.mkdir(parents=True)
    with _hushed():
        _write_graph(classifier, graph)
        if precision != "fp32":
            _WRITERS[precision](graph, folder / GRAPHS[precision])
            graph.unlink()
    _save_config(classifier, folder, precision)
    _save_tokenizer(classifier, folder)


def save_notes(folder: Path, notes: Export, check: ExportCheck) -> None:
    """Write what makes a folder one that `exported` reads, and what the comparison has given."""
    for name, record in ((NOTES, notes), (CHECK, check)):
        text = json.dumps(record.model_dump(), ensure_ascii=False, indent=2)
        (folder / name).write_text(text + "\n", encoding="utf-8")


def _write_graph(classifier: Classifier, path: Path) -> None:
    import onnx

    batch = pad(classifier, encode(classifier, _SAMPLE))
    names = list(batch)
    rows, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    try:
        program: Any = torch.onnx.export(
            _Graph(classifier, names).eval(),
            tuple(batch.values()),
            dynamo=True,
            input_names=names,
            output_names=["logits"],
            dynamic_shapes={"inputs": tuple({0: rows, 1: tokens} for _ in names)},
            verbose=False,
        )
    except Exception as error:  # whatever the tracer meets in code that it does not know
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CodError(
            f"{classifier.name}: torch cannot write a {classifier.model.config.model_type} model as a graph: {reason}",
            "BERT, DistilBERT, RoBERTa, DeBERTa, ModernBERT and Qwen2 can be exported; start a student from one",
        ) from None
    onnx.save(_without_origin(program.model_proto), path)


def _without_origin(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A graph without what its nodes tell of the code they come from: half its bytes, and paths of this machine."""
    for part in (proto.graph, *proto.functions):
        for item in (part, *part.node, *part.value_info):
            item.ClearField("metadata_props")
            item.ClearField("doc_string")
    return proto


def _write_int8(graph: Path, smaller: Path) -> None:
    """Quantise the weights, each output channel by a scale of its own; activations are, as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Signed: their kernels are the faster ones. By channel: measured, half as many texts get another label.
    quantize_dynamic(graph, smaller, weight_type=QuantType.QInt8, per_channel=True)


def _write_fp16(graph: Path, smaller: Path) -> None:
    """Halve weights and activations; the logits stay in 32 bits."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(graph), keep_io_types=True), smaller)


_WRITERS: Mapping[Precision, Callable[[Path, Path], None]] = {"int8": _write_int8, "fp16": _write_fp16}


def _save_config(classifier: Classifier, folder: Path, precision: Precision) -> None:
    classifier.model.config.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # Without it transformers.js looks in a browser for a graph in 8 bits, elsewhere for one in 32.
    config["transformers.js_config"] = {"dtype": "q8" if precision == "int8" else precision}
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _save_tokenizer(classifier: Classifier, folder: Path) -> None:
    tokenizer = classifier.tokenizer
    backend = cast(Any, tokenizer).backend_tokenizer
    most = longest(classifier, _UNBOUNDED)
    if most < _UNBOUNDED:
        tokenizer.model_max_length = most
        backend.enable_truncation(most, direction=tokenizer.truncation_side)
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    with saving():
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep what the exporter and the quantiser say to one another from the user."""
    root, level = logging.getLogger(), logging.root.manager.disable
    handlers = root.handlers[:]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        root.handlers[:] = handlers
