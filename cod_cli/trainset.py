"""What a student trains on: files 1 to 3 of a run, joined, filtered and mixed."""

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cod_cli.artifacts import Run
from cod_cli.batches import Example, Group, Row, join, select
from cod_cli.errors import CodError
from cod_cli.jsonl import file_sha
from cod_cli.kinds import OTHER_BUDGET, RIVALS, require_mix
from cod_cli.manifests import Artifact
from cod_cli.metrics import flips
from cod_cli.records import Calibration, Counterfactual, Shot
from cod_cli.scaling import scaled


@dataclass(frozen=True)
class TrainSet:
    """Groups of rows that are trained on together, of a run of ``k`` shots.

    ``labels`` are the classes in order, ``inputs`` the hashes of the files that were read, ``teacher`` the fingerprint
    of the model that labelled them. ``unflipped`` counts the CFEs left out because they do not flip the teacher,
    ``rejected`` those that a judge takes for another class than they were written for, ``orphans`` those whose shot
    is gone.
    """

    groups: list[Group]
    labels: list[str]
    k: int
    shots: int
    inputs: dict[str, str]
    teacher: str | None
    unflipped: int
    orphans: int
    rejected: int = 0

    @property
    def rows(self) -> list[Example]:
        """All rows, group after group."""
        return [example for group in self.groups for example in group]

    def sha(self) -> str:
        """SHA-256 over all that training sees: texts, labels, logits, groups and their order."""
        rows = [[(row.id, row.text, row.label, row.logits) for row in group] for group in self.groups]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_trainset(run: Run, mix: str, *, keep_unflipped: bool = False, judged: bool = False) -> TrainSet:
    """Read what a mix trains on.

    CFEs count as flips by the teacher's raw logits in file 3, so also where somebody edited them by hand. With
    ``judged`` those are left out that a judge takes for another class. What is trained on are the logits as file 3's
    manifest calibrates them.

    Raises:
        UsageError: an unknown mix.
        CodError: a file is missing, incomplete or damaged, a soft label does not fit its row, or no judge was asked.
    """
    require_mix(mix)
    shots = run.shots.read()
    if not shots:
        raise CodError(f"{run.shots.path} holds no shot", f"draw some: `{run.shots.command} --force`")
    written = None if mix == "shots" else _written(run, mix)
    derived = written.read() if written else []
    present = {shot.id for shot in shots}
    rival = RIVALS.get(mix)
    kept = [row for row in derived if row.shot_id in present or (rival and rival.real)]
    labels, soft = run.shots.require().labels, run.soft_labels.require()
    rows: list[Row] = [*shots, *kept]
    examples = join(rows, labels, run.soft_labels.read(), soft.labels, command=run.soft_labels.command)
    unchecked = keep_unflipped or (rival and not rival.flips)
    flipped = kept if unchecked else [row for row in kept if _flips(row, examples)]
    usable = _agreed(run, flipped) if judged and not rival else flipped
    groups = select(mix, shots, usable)
    files = [run.shots.path, *([written.path] if written else []), run.soft_labels.path]
    return TrainSet(
        groups=[[_calibrated(examples[row.id], labels, soft.calibration) for row in group] for group in groups],
        labels=labels,
        k=len(shots),
        shots=sum(isinstance(row, Shot) for group in groups for row in group),
        inputs={path.name: file_sha(path) for path in files},
        teacher=soft.teacher,
        unflipped=len(kept) - len(flipped),
        rejected=len(flipped) - len(usable),
        orphans=len(derived) - len(kept),
    )


def _written(run: Run, mix: str) -> Artifact[Counterfactual]:
    """The file whose rows a mix adds to the shots."""
    if mix in RIVALS:
        return run.rival(mix)
    if run.counterfactuals.manifest() is None:
        raise CodError(
            f"{run.counterfactuals.path} does not exist",
            f"make it first: `{run.counterfactuals.command}`; or train on the shots alone: --mix shots",
        )
    return run.counterfactuals


def require_equal_budget(mix: str, *, k: int, rows: int, steps: int, shots_steps: int) -> None:
    """Refuse to train on other than k rows, or for other steps than ``--mix shots`` takes, without saying so.

    Args:
        mix: those of another budget (`OTHER_BUDGET`) may.
        k: the shots of the run.
        rows: what would be trained on.
        steps: of the optimiser, in all.
        shots_steps: what the k shots alone would take.

    Raises:
        CodError: the comparison would not be fair.
    """
    if mix in OTHER_BUDGET or (rows, steps) == (k, shots_steps):
        return
    raise CodError(
        f"--mix {mix} would train on {rows} rows in {steps} steps; equal budget is {k} rows in {shots_steps} steps",
        "mend or remake the files of this run, or use --mix all, which every table marks as another budget",
    )


def _calibrated(example: Example, labels: Sequence[str], calibration: Calibration | None) -> Example:
    return replace(example, logits=tuple(scaled(example.logits, labels, calibration).tolist()))


def _flips(row: Counterfactual, examples: dict[str, Example]) -> bool:
    before, after = examples[str(row.shot_id)], examples[row.id]
    return flips(_vector(before.logits), _vector(after.logits), after.label)


def _agreed(run: Run, rows: Sequence[Counterfactual]) -> list[Counterfactual]:
    """Those that the judge takes for the class that they were written for."""
    unjudged = sum(row.judge is None for row in rows)
    if unjudged:
        raise CodError(
            f"no judge was asked about {unjudged} CFEs in {run.counterfactuals.path}",
            f"ask one with the same options as before: `{run.counterfactuals.command} --judge MODEL`",
        )
    return [row for row in rows if row.judge == row.label]


def _vector(logits: Sequence[float]) -> np.ndarray:
    return np.array(logits, dtype=np.float32)


def ablated(groups: Sequence[Group], *, soft_labels: str, pairs: str, temperature: float, seed: int) -> list[Group]:
    """The rows of an ablation: what must be lost when the part that it spoils is what helps.

    Args:
        groups: the rows as they are.
        soft_labels: ``random`` draws each row's probabilities at T uniformly from the simplex, ``shuffled`` deals
            the teacher's out to other rows, ``teacher`` leaves them.
        pairs: ``shuffled`` tears the groups apart, so that a CFE meets its shot by chance only.
        temperature: the T that random probabilities are meant for.
        seed: of the draw.
    """
    rng = random.Random(f"soft labels {soft_labels} {seed}")
    rows = [row for group in groups for row in group]
    logits = [row.logits for row in rows]
    if soft_labels == "random":
        logits = [_random_logits(len(row), temperature, rng) for row in logits]
    elif soft_labels == "shuffled":
        logits = rng.sample(logits, len(logits))
    changed = iter([replace(row, logits=dealt) for row, dealt in zip(rows, logits, strict=True)])
    if pairs == "shuffled":
        return [[row] for row in changed]
    return [[next(changed) for _ in group] for group in groups]


def _random_logits(classes: int, temperature: float, rng: random.Random) -> tuple[float, ...]:
    # Exponential variates, divided by their sum, are uniform on the simplex; the sum drops out of the softmax.
    return tuple(temperature * math.log(rng.expovariate(1.0)) for _ in range(classes))
