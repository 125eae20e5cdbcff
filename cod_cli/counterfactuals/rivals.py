"""Real texts beside the shots: what the same teacher queries buy without counterfactuals."""

from collections.abc import Sequence

from cod_cli.data.source import Row
from cod_cli.records import Counterfactual
from cod_cli.teachers.base import Teacher


def pool_rows(rows: Sequence[Row], labels: Sequence[str], teacher: Teacher, kind: str) -> list[Counterfactual]:
    """Records of real texts; the hard label is the class that the teacher chooses."""
    chosen = teacher.logits([row.text for row in rows]).argmax(axis=-1).tolist()
    return [_record(row, labels[place], kind) for row, place in zip(rows, chosen, strict=True)]


def _record(row: Row, label: str, kind: str) -> Counterfactual:
    return Counterfactual(
        id=row.id,
        shot_id=None,
        text=row.text,
        label=label,
        source_label=label,
        kind=kind,
        generator="pool",
        prompt=None,
        flipped=None,
        p_before=None,
        p_after=None,
        edit_ratio=0.0,
        n_edits=0,
        minimal=None,
        attempts=0,
    )
