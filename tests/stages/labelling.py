"""Shots with counterfactuals, and `cod label` on them, quietly; for tests of the stage and of calibration."""

from collections.abc import Sequence
from pathlib import Path

from cod_cli.records import Counterfactual, Shot
from cod_cli.settings.label import LabelSettings
from cod_cli.stages.label import LabelResult, label
from cod_cli.store.artifact import Artifact
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.models.tiny import LANGUAGE, sentences

LABELS = ["negative", "positive"]
SHOTS = [Shot(id=f"d/train/{i}", text=text, label=name) for i, (text, name) in enumerate(sentences(6), start=1)]


def counterfactual(shot: Shot, **changes: object) -> Counterfactual:
    """A CFE that exchanges the one word that decides."""
    target = "positive" if shot.label == "negative" else "negative"
    word = next(word for word in LANGUAGE[shot.label] if word in shot.text.split())
    fields: dict[str, object] = {
        "id": f"{shot.id}~{target}",
        "shot_id": shot.id,
        "text": shot.text.replace(word, LANGUAGE[target][0]),
        "label": target,
        "source_label": shot.label,
        "kind": "cfe",
        "generator": "file",
        "edit_ratio": 0.1,
        "n_edits": 1,
        "attempts": 1,
    }
    empty = dict.fromkeys(("prompt", "flipped", "p_before", "p_after", "minimal"))
    return Counterfactual.model_validate({**empty, **fields, **changes})


CFES = [counterfactual(shot) for shot in SHOTS[:4]]


def finish(
    artifact: Artifact, rows: Sequence[Shot | Counterfactual], labels: Sequence[str] = LABELS, **options: object
) -> None:
    """Write the rows and their manifest as the stage that makes them does."""
    settings = options.pop("settings", {})
    complete = options.pop("complete", True)
    manifest = artifact.begin(settings, labels=list(labels), **options)  # type: ignore[arg-type]
    artifact.finish(manifest, rows, complete=bool(complete))


def ask(run: Run, teacher: Path | None, **options: object) -> LabelResult:
    """Run `cod label` with this teacher, or with the one of the run before."""
    name = str(teacher) if teacher else None
    return label(run, LabelSettings(teacher=name, **options), Ui.silent())  # type: ignore[arg-type]


def counted(result: LabelResult) -> tuple[int, int, int]:
    """How many rows were reused, asked for anew, and thrown away."""
    return result.counts["reused"], result.counts["new"], result.counts["gone"]
