"""Rows to train and to validate on, and finished students; for tests of what reads them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cod_cli.store.run import Run, write_origin
from tests.models.tiny import sentences, tiny_classifier
from tests.records_of import made_student

LABELS = ["negative", "positive"]
# Each text once, so that train and validation share none.
ROWS = list(dict(sentences(600)).items())
TRAIN, VALIDATION = ROWS[:40], ROWS[40:80]


def write_rows(path: Path, rows: Sequence[tuple[str, str | None]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text, "label": name}) + "\n" for text, name in rows))
    return path


def add_student(run: Run, name: str, model: Path | None = None, *, labels: Sequence[str] = LABELS, **made: Any) -> None:
    """A finished student: a given model, or one with random weights drawn from its seed."""
    folder = run.student(name)
    if model is not None:
        shutil.copytree(model, folder)
    else:
        tiny_classifier(folder, labels=labels, seed=made.get("seed", 0))
    write_origin(folder, made_student(name, **{"labels": list(labels)} | made), [])
