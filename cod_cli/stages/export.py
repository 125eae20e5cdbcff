"""`cod export`: a classifier as one ONNX graph, compared with the model that it was made of before it is there."""

import itertools
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from cod_cli import __version__
from cod_cli.data.texts import read_texts
from cod_cli.errors import CodError, UsageError
from cod_cli.metrics import decisions
from cod_cli.models.card import export_card, public_name
from cod_cli.models.export import require_exportable, require_exporter, save_exported, save_notes
from cod_cli.models.exported import GRAPHS, ExportedClassifier, open_exported
from cod_cli.models.folder import find_model, fingerprint, weight_files
from cod_cli.models.inference import logits_of
from cod_cli.models.load import Classifier, load_classifier
from cod_cli.records import Export, ExportCheck, Precision
from cod_cli.settings.export import ExportSettings
from cod_cli.store.locks import alone
from cod_cli.store.run import Run, reading_of, run_of, write_folder
from cod_cli.ui import Ui

# Of both that are compared; more would keep a user waiting and tell little more.
MOST_TEXTS = 1000
# A pass over a few texts is repeated until its time can be told.
LEAST_SECONDS = 0.3
# The share of texts that may get another label.
DRIFT: dict[Precision, float] = {"fp32": 0.01, "fp16": 0.01, "int8": 0.03}
MAX_LENGTH = 256


@dataclass(frozen=True)
class ExportResult:
    """What was written where."""

    folder: Path
    notes: Export
    check: ExportCheck

    def as_json(self) -> dict[str, Any]:
        """The folder, how it was made, and the comparison."""
        return {"folder": str(self.folder), **self.notes.model_dump(), "check": self.check.model_dump()}


@dataclass(frozen=True)
class _Texts:
    """What is compared on: texts, of what kind, and their classes as indices where all have one."""

    of: str
    texts: Sequence[str]
    truth: Sequence[int] | None = None


def export(model: str, out: Path, settings: ExportSettings, ui: Ui) -> ExportResult:
    """Write a student or teacher to ``out`` as a graph that onnxruntime and transformers.js run.

    It appears there once it was compared with the model; until then nothing stands there.

    Args:
        model: a model folder or Hub id with a classification head.
        out: a folder that is not there yet; with ``force`` what stands there is moved to ``OUT.archive/``.
        settings: precision, and what is compared on.
        ui: told of each step.

    Raises:
        UsageError: a package is missing, or there are no texts to compare on.
        CodError: a model that cannot be read or exported, or an export that decides too many texts otherwise.
    """
    require_exporter()
    _require_free(out, settings)
    with alone(out.with_name(f".{out.name}.lock"), f"cod export {out}"):
        return _export(model, out, settings, ui)


def _export(model: str, out: Path, settings: ExportSettings, ui: Ui) -> ExportResult:
    folder = find_model(model)
    shown = reading_of(folder)
    classifier = load_classifier(model, device="cpu")
    texts = _texts(model, folder, classifier.labels, shown.text_columns, settings)
    require_exportable(classifier)
    notes = Export(
        name=public_name(model),
        model=fingerprint(model),
        precision=settings.precision,
        labels=list(classifier.labels),
        text_columns=list(shown.text_columns),
        max_length=shown.max_length or MAX_LENGTH,
        pad_token_id=int(classifier.tokenizer.pad_token_id or 0),
        cod_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with write_folder(out, out.with_name(f"{out.name}.archive")) as making:
        ui.note(f"Writing {model} as a graph; this takes a minute or so")
        save_exported(classifier, making, settings.precision)
        exported = open_exported(making, notes, threads=torch.get_num_threads())
        check = _compare(classifier, exported, texts, settings.batch_size, ui).replace(
            bytes={"model": _size(weight_files(folder)), "export": _size([making / GRAPHS[settings.precision]])}
        )
        _require_alike(out, model, check, settings)
        save_notes(making, notes, check)
        run = run_of(folder)
        known = (run.read_student(folder.name), run.scores.peek()) if run else (None, ())
        export_card(notes, check, *known).save(making / "README.md")
    return ExportResult(out, notes, check)


def _require_free(out: Path, settings: ExportSettings) -> None:
    if not out.name:
        raise UsageError(f"OUT is {str(out)!r}, no folder of its own", "name a folder for the export")
    if out.exists() and not settings.force and not (out.is_dir() and not any(out.iterdir())):
        raise CodError(f"{out} is already there", "give another folder, or --force to archive this one")


def _texts(model: str, folder: Path, labels: Sequence[str], columns: Sequence[str], settings: ExportSettings) -> _Texts:
    """What is compared on.

    Raises:
        UsageError: no file is named, and the model is no student of a run.
        CodError: no text is there.
    """
    run = run_of(folder)
    if settings.check is not None:
        found = _of_file(settings.check, labels, columns, settings)
    elif run is not None:
        found = _of_run(run)
    else:
        raise UsageError(
            f"{model} is no student of a run: there are no texts to compare it with its export on",
            "name a file of texts such as it is meant for: --check FILE",
        )
    if not found.texts:
        raise CodError(f"there is no text in the {found.of}", "name a file of texts: --check FILE")
    return found


def _of_file(file: str, labels: Sequence[str], columns: Sequence[str], settings: ExportSettings) -> _Texts:
    rows = (row for row in read_texts(file, settings.text_column, columns) if row.text)
    taken = list(itertools.islice(rows, MOST_TEXTS))
    given = [str(row.columns.get("label")) for row in taken]
    truth = [labels.index(name) for name in given] if set(given) <= set(labels) else None
    return _Texts(f"texts of {Path(file).name}", [row.text for row in taken], truth)


def _of_run(run: Run) -> _Texts:
    texts = [shot.text for shot in run.shots.peek()]
    texts += [row.text for row in (*run.counterfactuals.peek(), *run.semifactuals.peek())]
    return _Texts("texts of its run (shots and edits)", list(dict.fromkeys(texts))[:MOST_TEXTS])


def _compare(
    classifier: Classifier, exported: ExportedClassifier, texts: _Texts, batch_size: int, ui: Ui
) -> ExportCheck:
    """Both on the same texts, in turn; ``bytes`` are left to the caller."""
    length = exported.notes.max_length
    with ui.progress("Comparing", total=2 * len(texts.texts)) as advance:
        logits_and_pace = [
            _timed(partial(run, batch_size=batch_size, max_length=length), texts.texts, advance)
            for run in (partial(logits_of, classifier), exported.logits)
        ]
    (model, model_pace), (export, export_pace) = logits_and_pace
    decided = {"model": decisions(model), "export": decisions(export)}
    right = {name: float(np.mean(found == texts.truth)) for name, found in decided.items()} if texts.truth else None
    return ExportCheck(
        of=texts.of,
        texts=len(texts.texts),
        equal_labels=float(np.mean(decided["model"] == decided["export"])),
        largest_difference=float(np.abs(model - export).max()),
        accuracy=right,
        bytes={},
        rows_per_second={"model": model_pace, "export": export_pace},
        threads=torch.get_num_threads(),
        machine=platform.machine(),
    )


def _timed(
    run: Callable[..., np.ndarray], texts: Sequence[str], progress: Callable[[int], object]
) -> tuple[np.ndarray, float]:
    """Logits, and rows a second; the first text, which loads what is used later, is not counted."""
    run(texts[:1])
    started, passes = perf_counter(), 0
    while passes == 0 or perf_counter() - started < LEAST_SECONDS:
        logits = run(texts, progress=progress if passes == 0 else None)
        passes += 1
    return logits, round(passes * len(texts) / (perf_counter() - started), 1)


def _require_alike(out: Path, model: str, check: ExportCheck, settings: ExportSettings) -> None:
    other, most = 1 - check.equal_labels, DRIFT[settings.precision]
    if other > most and not settings.accept_drift:
        raise CodError(
            f"{out} is not written: of {check.texts} {check.of}, {other:.1%} get another label than from {model}, "
            f"more than {most:.0%}",
            "compare on more texts (--check FILE), export in 32 bits, or take it as it is: --accept-drift",
        )


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)
