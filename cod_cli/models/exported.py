"""A classifier that `cod export` wrote: one ONNX graph, run by onnxruntime and tokenizers, without torch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from tokenizers import Tokenizer

from cod_cli.errors import CodError, UsageError
from cod_cli.models.batching import Encoding, Progress, in_batches
from cod_cli.records import Export, Precision

NOTES = "export.json"
CHECK = "check.json"
TOKENIZER = "tokenizer.json"
# Where and by which names transformers.js looks for a graph of that precision.
GRAPHS: Mapping[Precision, str] = {
    "fp32": "onnx/model.onnx",
    "fp16": "onnx/model_fp16.onnx",
    "int8": "onnx/model_quantized.onnx",
}
INSTALL = 'pip install -e ".[onnx]"'


@dataclass(frozen=True)
class ExportedClassifier:
    """An exported classifier; errors call it ``name``, ``notes`` say how it was made."""

    name: str
    notes: Export
    session: Any
    tokenizer: Tokenizer

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return tuple(self.notes.labels)

    def logits(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        max_length: int = 256,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Raw logits [n, C] in float32, in the order of ``texts``.

        Args:
            texts: the texts.
            batch_size: texts in one run of the graph.
            max_length: tokens read of a text, or as many as the graph can take if those are less.
            progress: told after each batch how many texts are done.

        Raises:
            CodError: logits that are not finite.
        """
        encodings = self._encode(texts, max_length)

        def run(rows: Sequence[int]) -> np.ndarray:
            logits: np.ndarray = self.session.run(["logits"], self._pad([encodings[row] for row in rows]))[0]
            return logits

        lengths = [len(encoding["input_ids"]) for encoding in encodings]
        rows = in_batches(lengths, run, batch_size=batch_size, progress=progress)
        logits = np.array(rows, dtype=np.float32).reshape(len(texts), len(self.labels))
        if not np.isfinite(logits).all():
            raise CodError(f"{self.name} gives NaN or infinity", "export it in another precision")
        return logits

    def _encode(self, texts: Sequence[str], max_length: int) -> list[Encoding]:
        saved = self.tokenizer.truncation or {}
        most = min(max_length, int(saved.get("max_length", max_length)))
        self.tokenizer.enable_truncation(most, direction=saved.get("direction", "right"))
        self.tokenizer.no_padding()
        names = [argument.name for argument in self.session.get_inputs()]
        encodings = []
        for found in self.tokenizer.encode_batch(list(texts)):
            # A decoder's tokenizer makes nothing of an empty text; a model needs one token at least.
            ids = found.ids or [self.notes.pad_token_id]
            columns = {
                "input_ids": ids,
                "attention_mask": found.attention_mask or [1],
                "token_type_ids": found.type_ids or [0],
            }
            encodings.append({name: columns[name] for name in names})
        return encodings

    def _pad(self, encodings: Sequence[Encoding]) -> dict[str, np.ndarray]:
        """A batch, padded on the right: each array [n, longest] of int64."""
        width = max(len(encoding["input_ids"]) for encoding in encodings)
        filler = {"input_ids": self.notes.pad_token_id}
        return {
            name: np.array(
                [row[name] + [filler.get(name, 0)] * (width - len(row[name])) for row in encodings], dtype=np.int64
            )
            for name in encodings[0]
        }


def find_export(name: str) -> Path | None:
    """The folder of that name if `cod export` wrote it."""
    folder = Path(name).expanduser()
    return folder if (folder / NOTES).is_file() else None


def read_notes(folder: Path) -> Export:
    """How an exported folder was made.

    Raises:
        CodError: its notes are damaged.
    """
    try:
        return Export.model_validate_json((folder / NOTES).read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError):
        raise CodError(f"{folder / NOTES} is damaged", "export the model again: `cod export MODEL OUT`") from None


def open_exported(folder: Path, notes: Export, *, threads: int | None = None) -> ExportedClassifier:
    """The classifier in a folder that `cod export` wrote, on the CPU.

    Args:
        folder: as `find_export` found it.
        notes: what `read_notes` read there.
        threads: that it computes with; None for ``OMP_NUM_THREADS`` or, without it, what onnxruntime takes.

    Raises:
        UsageError: onnxruntime is not installed.
        CodError: a file is missing or damaged.
    """
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = _threads() if threads is None else threads
    options.log_severity_level = 3  # errors only: what it warns of is about the graph's making
    graph = folder / GRAPHS[notes.precision]
    try:
        session = runtime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # both raise types that are private
        reason = " ".join(str(error).split())
        raise CodError(f"{folder} cannot be read: {reason}", "export the model again: `cod export MODEL OUT`") from None
    return ExportedClassifier(str(folder), notes, session, tokenizer)


def import_onnxruntime() -> Any:
    """The module.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("an exported model needs the package onnxruntime", INSTALL) from None
    return onnxruntime


def _threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() else 0
