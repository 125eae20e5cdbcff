"""`cod teach` on a few made-up rows, quietly; for tests of the stage, of its resuming and of several processes."""

import json
from pathlib import Path

from cod_cli.settings.teach import TeachSettings
from cod_cli.stages.teach import TeachResult, teach
from cod_cli.store.jsonl import file_sha
from cod_cli.ui import Ui
from tests.models.tiny import sentences


def write(path: Path, seed: int) -> None:
    """48 rows, each text once."""
    rows = [{"text": f"{text} {i}", "label": label} for i, (text, label) in enumerate(sentences(48, seed=seed))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(out: Path, data: Path, model: Path, **options: object) -> TeachResult:
    """One epoch in batches of eight, if nothing else is chosen."""
    chosen = {"epochs": 1, "batch_size": 8, "lr": 1e-3, "max_length": 64, "device": "cpu", **options}
    return teach(out, TeachSettings(data=str(data), model=str(model), **chosen), Ui.silent())  # type: ignore[arg-type]


def weights(folder: Path) -> str:
    """A digest of the weights: equal bits or not."""
    return file_sha(folder / "model.safetensors")
