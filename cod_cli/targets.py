"""Which classes a counterfactual of a shot is written for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cod_cli.errors import UsageError
from cod_cli.records import Shot
from cod_cli.teachers import Teacher


@dataclass(frozen=True)
class Readings:
    """What the teacher says of the shots, by shot id: its logits and the class it chooses; empty without a teacher."""

    logits: Mapping[str, Sequence[float]]
    chosen: Mapping[str, str]


def read_by(teacher: Teacher | None, shots: Sequence[Shot], labels: Sequence[str]) -> Readings:
    """Show the shots to the teacher."""
    rows = (
        teacher.logits([shot.text for shot in shots], families=[shot.id for shot in shots]).tolist() if teacher else []
    )
    logits = {shot.id: row for shot, row in zip(shots, rows, strict=False)}
    return Readings(logits, {shot_id: labels[row.index(max(row))] for shot_id, row in logits.items()})


def targets(shot: Shot, labels: Sequence[str], logits: Sequence[float] | None, target: str) -> list[str]:
    """The classes that a CFE of this shot is written for (DESIGN: nearest, all, or one label)."""
    others = [label for label in labels if label != shot.label]
    if target == "all" or (target == "nearest" and len(others) == 1):
        return others
    if target != "nearest":
        return [target] if target in others else []
    if logits is None:
        raise UsageError("--target nearest needs a teacher", "add --teacher, or use --target all")
    ranked = sorted(labels, key=lambda label: -logits[labels.index(label)])
    return [label for label in ranked if label not in (shot.label, ranked[0])][:1]
