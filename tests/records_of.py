"""Records with every field filled in; a test names the fields that it is about."""

from typing import Any

from cod_cli.records import Counterfactual, Score, Student


def score(student: str, seed: int | None = 0, **changes: Any) -> Score:
    """What a student reached on `sst2`."""
    fields: dict[str, Any] = {
        "student": student,
        "method": "kd",
        "mix": "cod",
        "k": 16,
        "rows": 16,
        "shots": 8,
        "steps": 80,
        "seed": seed,
        "task": "sst2",
        "split": "validation",
        "n": 872,
        "accuracy": 0.6,
        "macro_f1": 0.6,
        "mcc": 0.2,
        "agreement": 0.7,
        "kl": 0.4,
        "ece": 0.1,
        "brier": 0.5,
        "boundary_agreement": None,
        "seconds": 1.0,
    }
    return Score(**fields | changes)


def made_student(name: str, **changes: Any) -> Student:
    """How a student of four shots was made."""
    fields: dict[str, Any] = {
        "name": name,
        "method": "kd",
        "mix": "shots",
        "k": 4,
        "rows": 4,
        "shots": 4,
        "steps": 8,
        "seed": 0,
        "labels": ["negative", "positive"],
        "inputs": {},
        "rows_sha": "0",
        "student": "s",
        "teacher": "t",
        "cut_from_teacher": False,
        "parameters": 1,
        "seconds": 1.5,
        "device": "cpu",
        "threads": 1,
        "versions": {},
        "created": "2025-01-01T00:00:00+00:00",
    }
    settings = {"max_length": 64} | changes.pop("settings", {})
    return Student(**fields | changes | {"settings": settings})


def counterfactual(shot_id: str, text: str, **changes: Any) -> Counterfactual:
    fields: dict[str, Any] = {
        "id": f"{shot_id}~positive",
        "shot_id": shot_id,
        "text": text,
        "label": "positive",
        "source_label": "negative",
        "kind": "cfe",
        "generator": "editor",
        "prompt": None,
        "flipped": True,
        "p_before": 0.12,
        "p_after": 0.73,
        "edit_ratio": 0.2,
        "n_edits": 1,
        "minimal": True,
        "attempts": 1,
    }
    return Counterfactual(**fields | changes)
