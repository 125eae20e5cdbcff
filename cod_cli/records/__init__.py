"""Every record that stands on disk, one JSON object a line, with its fields in their printed order."""

from cod_cli.records.base import Record, SparseRecord, text_sha
from cod_cli.records.models import Energy, Step, Student, Teacher
from cod_cli.records.rows import (
    Attempt,
    AttemptStatus,
    Counterfactual,
    Prediction,
    Reply,
    Score,
    Shot,
    SoftLabel,
    TeacherReply,
)
from cod_cli.records.stages import Calibration, Manifest, SweepCell, SweepPlan

__all__ = [
    "Attempt",
    "AttemptStatus",
    "Calibration",
    "Counterfactual",
    "Energy",
    "Manifest",
    "Prediction",
    "Record",
    "Reply",
    "Score",
    "Shot",
    "SoftLabel",
    "SparseRecord",
    "Step",
    "Student",
    "SweepCell",
    "SweepPlan",
    "Teacher",
    "TeacherReply",
    "text_sha",
]
