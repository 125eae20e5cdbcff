"""The rows of a run's files, from shots to scores."""

from typing import ClassVar, Literal

from cod_cli.records.base import Record, SparseRecord

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


class SoftLabel(Record):
    """The teacher's raw logits for one text, one per class in the manifest's label order."""

    id: str
    text_sha: str
    logits: list[float]
    teacher: str
    source: Literal["logits", "logprobs", "votes"]
    covered_mass: float


class Score(SparseRecord):
    """What one student (or the teacher) reaches on one split; null where a field does not apply.

    ``boundary_agreement`` is over all held-out pairs, ``boundary_by_generator`` over those of each who wrote some.
    ``f1`` is that of each class, in the order of the manifest's labels; a file of an older version lacks it.
    ``usage`` (prompt_tokens, completion_tokens) and ``cost`` are what an LLM that is scored itself has taken.
    """

    WHERE_USED: ClassVar[frozenset[str]] = frozenset({"boundary_by_generator", "f1", "usage", "cost"})

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
