"""What made a file, or a whole sweep."""

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from cod_cli.records.base import Record, SparseRecord

SCHEMA = 1


class SweepCell(Record):
    """One student of a sweep: the ``arm`` of one task, k and seed, trained in ``run``, a folder of the sweep's.

    ``status`` is ``done``, ``failed`` or ``open``; ``error`` says why it failed, or what it waits for.
    """

    task: str
    k: int
    seed: int
    arm: str
    run: str
    status: Literal["open", "done", "failed"]
    error: str | None = None


class SweepPlan(Record):
    """``sweep.json``: what a sweep compares, and how far it is.

    ``command`` repeats it. ``arms`` tells by name which take ``other_budget``.
    """

    command: str
    baseline: str
    arms: dict[str, dict[str, bool]]
    cells: list[SweepCell]


class Calibration(Record):
    """What turns raw logits into calibrated ones: divide by ``temperature``, then add ``bias``, by class.

    Fitted or, for the contextual method, measured on ``rows`` labelled rows of ``data``; ``before`` and ``after`` are
    accuracy, ECE, Brier and mean log-likelihood on them, a row's temperature always fitted without that row.
    """

    method: Literal["contextual", "temperature"]
    temperature: float
    bias: dict[str, float]
    data: str
    split: str | None
    rows: int
    before: dict[str, float]
    after: dict[str, float]


class Manifest(SparseRecord):
    """What made a file: written first with ``complete: false``, set to complete last, atomically.

    ``settings`` holds only what changes results; ``outputs`` the hash of the finished file, by which
    a later edit by hand is noticed. ``calibration`` is how soft labels are to be read; they themselves are raw.
    ``price`` is what ``cost`` was computed with, money per million tokens of prompts and of replies; ``judge`` names
    the judge that was asked, with its fingerprint.
    """

    WHERE_USED: ClassVar[frozenset[str]] = frozenset({"price", "judge"})

    schema_: int = SCHEMA
    stage: str
    complete: bool
    cod_version: str
    created: str
    labels: list[str]
    settings: dict[str, Any]
    seed: int | None
    inputs: dict[str, str]
    outputs: dict[str, str] = Field(default_factory=dict)
    teacher: str | None = None
    calibration: Calibration | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    usage: dict[str, int] = Field(default_factory=dict)
    cost: float | None = None
    price: tuple[float, float] | None = None
    judge: str | None = None

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.rstrip("_"),
        populate_by_name=True,
    )
