"""How a student or a teacher was made, step by step."""

from typing import Any, ClassVar

from cod_cli.records.base import Record, SparseRecord


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


class Student(Record):
    """How a student was made: ``settings.yaml`` in its folder.

    ``k`` counts the shots of the run, ``shots`` the real ones among the ``rows`` trained on. ``settings`` holds what
    changes results beside the seed, ``inputs`` the hashes of the files that were read, ``rows_sha`` that of the rows
    trained on with their logits, ``student`` and ``teacher`` the fingerprints of the models. ``cut_from_teacher``
    marks a student that began as layers of its teacher. The bits of the weights repeat with the same rows, settings,
    machine, ``threads`` and ``versions``.
    """

    name: str
    method: str
    mix: str
    k: int
    rows: int
    shots: int
    steps: int
    seed: int
    labels: list[str]
    settings: dict[str, Any]
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


class Teacher(Record):
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
    settings: dict[str, Any]
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
