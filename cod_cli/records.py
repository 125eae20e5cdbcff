"""Every line that stands on disk as a frozen record, and the hashes by which files know each other's content."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)


def text_sha(text: str) -> str:
    """The hash by which a soft label is tied to its text: 16 hex digits of SHA-256 over UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def digest(value: object, digits: int = 16, *, sort_keys: bool = False) -> str:
    """The first hex digits of SHA-256 over a value as JSON, by which things are told apart on disk.

    Args:
        value: whatever JSON can hold; tuples count as lists.
        digits: how many of the 64.
        sort_keys: whether the order of a mapping's keys is no difference.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=sort_keys).encode()).hexdigest()[:digits]


class Record(BaseModel):
    """A frozen row of a JSONL file; a field that the record does not have is refused, and NaN or infinity, no JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def replace(self, **changes: Any) -> Self:
        """The same record with some fields changed."""
        return self.model_copy(update=changes)


class _Recorded(BaseModel):
    """The options that later commands read in a manifest; it holds others, too, under their own names."""

    model_config = ConfigDict(extra="allow", strict=True)

    data: str | None = None
    split: str | None = None
    text_column: Sequence[str] | None = None
    label_column: str | None = None
    label_names: str | None = None
    teacher: str | None = None
    teacher_labels: str | None = None
    teacher_prompt: str | None = None
    teacher_url: str | None = None
    base_url: str | None = None
    max_length: Annotated[int, Field(ge=1)] | None = None
    demos: int | None = None
    votes: int | None = None


def _require_types(settings: dict[str, Any]) -> dict[str, Any]:
    try:
        _Recorded.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return settings


# As somebody may have edited them by hand.
RecordedSettings = Annotated[dict[str, Any], AfterValidator(_require_types)]


class SparseRecord(Record):
    """A record some of whose fields, ``WHERE_USED``, stand in a file only where they are not null."""

    WHERE_USED: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        row: dict[str, Any] = handler(self)
        return {key: value for key, value in row.items() if value is not None or key not in self.WHERE_USED}


AttemptStatus = Literal[
    "accepted",
    "unchanged",
    "duplicate",
    "empty",
    "truncated",
    "refused",
    "malformed",
    "too-far",
    "no-flip",
    "teacher-wrong",
    "error",
]


class Shot(Record):
    """A labelled real example. ``id`` is ``<source>/<split>/<row>``, rows count from 1."""

    id: str
    text: str
    label: str


class Reply(SparseRecord):
    """One paid choice of an LLM, on disk before it is used.

    ``key`` hashes all that changes the answer; ``sample`` numbers the requests for one
    (shot, target) from 1; the choices of one request share a key and ``usage`` stands on the first.
    ``prompt`` (``name@hash``) is what asked for it.
    """

    WHERE_USED: ClassVar[frozenset[str]] = frozenset({"prompt"})

    key: str
    shot_id: str
    target: str
    sample: int
    text: str
    finish_reason: str | None
    model: str
    usage: dict[str, int] | None
    latency_s: float
    prompt: str | None = None


class TeacherReply(Record):
    """One paid choice of an LLM that was asked for the class of a text, on disk before it is used.

    ``question`` is the hash of the text and that of the whole chat; ``logprobs`` holds for each token its most
    probable alternatives, (token, natural log of p). The choices of one request share a key.
    """

    model_config = ConfigDict(allow_inf_nan=True)  # a server may say that a token is impossible

    key: str
    question: str
    sample: int
    text: str
    finish_reason: str | None
    logprobs: list[list[tuple[str, float]]] | None
    model: str
    usage: dict[str, int] | None
    latency_s: float


class Attempt(SparseRecord):
    """What became of one candidate; ``n`` counts from 1 for each (shot, target).

    ``writer`` says who wrote it, where a run has several: a prompt (``name@hash``), or a generator that has none
    (``editor``). Then each writer's best text that flips is ``accepted``, and ``reason`` names the writer whose smaller
    edit became the CFE. The ``text`` of an accepted attempt is what the revert pass has left of it.
    """

    WHERE_USED: ClassVar[frozenset[str]] = frozenset({"writer"})

    shot_id: str
    target: str
    n: int
    text: str | None
    status: AttemptStatus
    reason: str | None
    writer: str | None = None


class Counterfactual(SparseRecord):
    """A text written to be of class ``label``, derived from the shot ``shot_id``.

    ``p_before`` and ``p_after`` are the teacher's P(label) on the shot and on this text; null, like
    ``flipped`` and ``minimal``, where no teacher was asked. ``judge`` is the class that another model than teacher
    and generator gives it.

    Of several for one shot and class the first, which the equal budget takes, has the id ``<shot id>~<label>``, further
    ones have ``~2`` … behind it. A semifactual (``kind`` of that name, ``flipped`` false) is an edit on which the
    teacher keeps its choice on the shot, and that is its ``label``; its id is ``<shot id>~=1``, ``~=2`` …
    """

    WHERE_USED: ClassVar[frozenset[str]] = frozenset({"parent_id", "judge"})

    id: str
    shot_id: str | None
    text: str
    label: str
    source_label: str
    kind: str
    generator: str
    prompt: str | None
    flipped: bool | None
    p_before: float | None
    p_after: float | None
    edit_ratio: float
    n_edits: int
    minimal: bool | None
    attempts: int
    parent_id: str | None = None
    judge: str | None = None

    @property
    def is_further(self) -> bool:
        """Whether it is a CFE beside the first one of its shot and class."""
        return self.id.startswith(f"{self.shot_id}~{self.label}~")

    @property
    def is_semifactual(self) -> bool:
        """Whether it is an edit that does not turn the teacher."""
        return self.kind == "semifactual"


class PoolText(Record):
    """A text without a label, for the teacher to label.

    ``source`` says where it is from: ``file``, a data source, whose row gives the ``id`` as a shot's does, or ``llm``.
    """

    id: str
    text: str
    source: Literal["file", "llm"]


class SoftLabel(Record):
    """The teacher's raw logits for one text, one per class in the manifest's label order."""

    id: str
    text_sha: str
    logits: list[float]
    teacher: str
    source: Literal["logits", "logprobs", "votes"]
    covered_mass: float

    def fits(self, classes: int) -> bool:
        """Whether it has a logit for each of so many classes."""
        return len(self.logits) == classes


def _named_as_now(row: Any) -> Any:
    """A row of before there were pools: what trained on k rows of the mix ``pool`` is the rival ``pool-rows`` now."""
    if not isinstance(row, dict) or row.get("mix") != "pool" or row.get("rows") is None or row["rows"] != row.get("k"):
        return row
    settings = {"settings": row["settings"] | {"mix": "pool-rows"}} if isinstance(row.get("settings"), dict) else {}
    return row | {"mix": "pool-rows"} | settings


class Score(SparseRecord):
    """What one student (or the teacher) reaches on one split; null where a field does not apply.

    ``boundary_agreement`` is over all held-out pairs, ``boundary_by_generator`` over those of each who wrote some.
    ``f1`` is that of each class, in the order of the manifest's labels; a file of an older version lacks it.
    ``usage`` (prompt_tokens, completion_tokens) and ``cost`` are what an LLM that is scored itself has taken.
    ``rows_per_second`` is how many texts a student decided then and there.
    """

    WHERE_USED: ClassVar[frozenset[str]] = frozenset(
        {"boundary_by_generator", "f1", "usage", "cost", "rows_per_second"}
    )

    student: str
    method: str | None
    mix: str | None
    k: int | None
    rows: int | None
    shots: int | None
    steps: int | None
    seed: int | None
    task: str
    split: str
    n: int
    accuracy: float | None
    macro_f1: float | None
    mcc: float | None
    agreement: float | None
    kl: float | None
    ece: float | None
    brier: float | None
    boundary_agreement: float | None
    seconds: float | None
    boundary_by_generator: dict[str, float] | None = None
    f1: dict[str, float] | None = None
    usage: dict[str, int] | None = None
    cost: float | None = None
    rows_per_second: float | None = None

    _mix_as_now = model_validator(mode="before")(_named_as_now)


class Prediction(Record):
    """What one student (or the teacher) decides on each row of a split, in the order of the rows.

    ``rows`` is the digest of those rows: two predictions with the same one can be compared row by row. ``truth`` and
    ``decided`` are class indices in the manifest's label order (``truth`` is null without labels), ``confidence`` the
    probability of the class decided for.
    """

    student: str
    task: str
    split: str
    rows: str
    truth: list[int] | None
    decided: list[int]
    confidence: list[float]

    @model_validator(mode="after")
    def _same_rows(self) -> Self:
        if {len(column) for column in (self.truth, self.decided, self.confidence) if column is not None} != {
            len(self.decided)
        }:
            raise ValueError("truth, decided and confidence are not of one length")
        return self


class Step(SparseRecord):
    """One optimiser step of a training: the loss terms by name, weighted as they add up to ``total``.

    ``grad_norm`` is the Euclidean norm over all gradients before the step, ``lr`` the step's learning rate.
    """

    WHERE_USED: ClassVar[frozenset[str]] = frozenset({"hard", "soft", "layer"})

    step: int
    epoch: int
    hard: float | None = None
    soft: float | None = None
    layer: float | None = None
    total: float
    grad_norm: float
    lr: float


class Energy(Record):
    """Electricity in kWh; ``estimated`` where the machine has no counters that could be read."""

    cpu_kwh: float
    gpu_kwh: float
    ram_kwh: float
    estimated: bool


class Student(SparseRecord):
    """How a student was made: ``settings.yaml`` in its folder.

    ``text_column`` names the columns that its texts were read from, where `cod sample` was told. ``k`` counts the shots
    of the run, ``shots`` the real ones among the ``rows`` trained on. ``settings`` holds what changes results beside
    the seed, ``inputs`` the hashes of the files that were read, ``rows_sha`` that of the rows trained on with their
    logits, ``student`` and ``teacher`` the fingerprints of the models. ``cut_from_teacher`` marks a student that began
    as layers of its teacher. The bits of the weights repeat with the same rows, settings, machine, ``threads`` and
    ``versions``.
    """

    WHERE_USED: ClassVar[frozenset[str]] = frozenset({"text_column"})

    name: str
    method: str
    mix: str
    k: int
    rows: int
    shots: int
    steps: int
    seed: int
    labels: list[str]
    text_column: list[str] | None = None
    settings: RecordedSettings
    inputs: dict[str, str]
    rows_sha: str
    student: str
    teacher: str | None
    cut_from_teacher: bool
    parameters: int
    seconds: float
    energy: Energy | None = None
    device: str
    threads: int
    versions: dict[str, str]
    created: str

    _mix_as_now = model_validator(mode="before")(_named_as_now)

    @field_validator("settings")
    @classmethod
    def _has_a_length(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if settings.get("max_length") is None:
            raise ValueError("max_length is missing")
        return settings


class TeacherOrigin(Record):
    """How `cod teach` made a classifier: ``settings.yaml`` in its folder.

    ``rows_sha`` hashes the rows trained on, ``model`` is the fingerprint of what was fine-tuned, ``validation`` the
    accuracy after each epoch on the validation split, empty where there is none. ``best_epoch`` is the epoch whose
    weights these are, where they were chosen by that accuracy; null stands for the last.
    """

    source: str
    split: str
    rows: int
    steps: int
    labels: list[str]
    settings: RecordedSettings
    rows_sha: str
    model: str
    validation: list[float]
    best_epoch: int | None = None
    parameters: int
    seconds: float
    device: str
    threads: int
    versions: dict[str, str]
    created: str

    @property
    def accuracy(self) -> float | None:
        """On the validation split, of the weights that were kept; None without such a split."""
        return self.validation[(self.best_epoch or 0) - 1] if self.validation else None


Precision = Literal["fp32", "fp16", "int8"]


class ExportCheck(Record):
    """``check.json`` in a folder that `cod export` wrote: the model and its export on the same texts.

    ``of`` says which; ``equal_labels`` is a share, ``largest_difference`` one of logits. What is told of both stands
    under ``model`` and ``export``: ``accuracy`` where the texts have labels, bytes on disk, and the rows a second of
    this machine with ``threads`` threads of its CPU.
    """

    of: str
    texts: int
    equal_labels: float
    largest_difference: float
    accuracy: dict[str, float] | None
    bytes: dict[str, int]
    rows_per_second: dict[str, float]
    threads: int
    machine: str


class Export(Record):
    """``export.json`` in a folder that `cod export` wrote.

    ``name`` is that of the model, ``model`` its fingerprint; ``text_columns`` (empty where the model does not say)
    and ``max_length`` are what it was trained with.
    """

    name: str
    model: str
    precision: Precision
    labels: list[str]
    text_columns: list[str]
    max_length: int
    pad_token_id: int
    cod_version: str
    created: str


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
    the judge that was asked, with its fingerprint. ``random_edits`` counts, by the class that the teacher chooses on a
    shot, the classes that it chooses on random edits of it.
    """

    WHERE_USED: ClassVar[frozenset[str]] = frozenset({"price", "judge", "random_edits"})

    schema_: int = SCHEMA
    stage: str
    complete: bool
    cod_version: str
    created: str
    labels: list[str]
    settings: RecordedSettings
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
    random_edits: dict[str, dict[str, int]] | None = None

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.rstrip("_"),
        populate_by_name=True,
    )
