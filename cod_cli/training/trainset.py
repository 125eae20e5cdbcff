"""What a student trains on: files 1 to 3 of a run, joined, filtered and mixed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cod_cli.data.draw import Draws
from cod_cli.errors import CodError
from cod_cli.mixes import CONTRAST, POOL, RIVALS, Families, TrainingRow, require_mix, select, select_as_in_0_1
from cod_cli.records import Calibration, Counterfactual, PoolText, Shot, SoftLabel, digest, text_sha
from cod_cli.store.artifact import Artifact
from cod_cli.store.jsonl import file_sha
from cod_cli.store.run import Run
from cod_cli.teachers.calibration import calibrate_logits
from cod_cli.teachers.softlabels import choices_by_file3, flips_by_file3


@dataclass(frozen=True)
class Example:
    """A row to train on: its class index, and the teacher's raw logits in the same order of classes.

    ``shot`` is the id of the shot that it is or was made from, else its own.
    """

    id: str
    text: str
    label: int
    logits: tuple[float, ...] = ()
    shot: str = ""


Group = list[Example]


def join(
    rows: Iterable[Shot | Counterfactual | PoolText],
    labels: Sequence[str],
    soft_labels: Iterable[SoftLabel],
    soft_order: Sequence[str],
    *,
    command: str,
) -> dict[str, Example]:
    """Rows by their id, with class indices and teacher logits; joined by id and text hash.

    Args:
        rows: shots, CFEs and texts of the pool, whose class is the teacher's choice.
        labels: the student's classes in order.
        soft_labels: all that the teacher labelled; those of other rows are ignored.
        soft_order: the classes that the logits of ``soft_labels`` stand for, in order.
        command: what to run where a soft label is missing or belongs to another text.

    Raises:
        CodError: the classes differ, or a row has no soft label for its text.
    """
    if set(labels) != set(soft_order):
        raise CodError(
            f"the soft labels are for the classes {', '.join(soft_order)}, the shots have {', '.join(labels)}",
            f"label them with a teacher of these classes: `{command} --force`",
        )
    by_id = {soft.id: soft for soft in soft_labels}
    order = [soft_order.index(label) for label in labels]
    indices = {label: index for index, label in enumerate(labels)}

    def example(row: Shot | Counterfactual | PoolText) -> Example:
        soft = by_id.get(row.id)
        if soft is None:
            raise CodError(f"{row.id} has no soft label", f"fill it in: `{command}`")
        if soft.text_sha != text_sha(row.text):
            raise CodError(f"the soft label of {row.id} was made for another text", f"fill it in: `{command}`")
        logits = tuple(soft.logits[i] for i in order)
        if isinstance(row, PoolText):
            return Example(row.id, row.text, logits.index(max(logits)), logits)
        if row.label not in indices:
            raise CodError(f"{row.id} has the label {row.label!r}, not one of: {', '.join(labels)}", "mend that row")
        shot = row.id if isinstance(row, Shot) else row.shot_id or row.id
        return Example(row.id, row.text, indices[row.label], logits, shot)

    return {row.id: example(row) for row in rows}


@dataclass(frozen=True)
class LeftOut:
    """Rows of the run's files that a mix does not train on, counted.

    ``unflipped`` are CFEs that do not flip the teacher, ``turned`` semifactuals that do, ``rejected`` those that a
    judge takes for another class than their label, ``orphans`` those whose shot is gone; ``surplus`` are left over
    where families are balanced or hold a part of the edits, and ``alone`` counts the shots without any of theirs.
    """

    unflipped: int = 0
    turned: int = 0
    rejected: int = 0
    orphans: int = 0
    surplus: int = 0
    alone: int = 0


@dataclass(frozen=True)
class TrainSet:
    """Groups of rows that are trained on together, of a run of ``k`` shots; ``pool`` counts the pool's texts in them.

    ``labels`` are the classes in order, ``inputs`` the hashes of the files that were read, ``teacher`` the fingerprint
    of the model that labelled them, ``sha_in_0_1`` what `sha` was in version 0.1.
    """

    groups: list[Group]
    labels: list[str]
    k: int
    shots: int
    inputs: dict[str, str]
    teacher: str | None
    left_out: LeftOut
    sha_in_0_1: str
    pool: int = 0

    @property
    def rows(self) -> list[Example]:
        """All rows, group after group."""
        return [example for group in self.groups for example in group]

    def sha(self) -> str:
        """SHA-256 over all that training sees: texts, labels, logits, groups and their order."""
        return _sha(self.groups)


def _sha(groups: Sequence[Group]) -> str:
    return digest([[(row.id, row.text, row.label, row.logits) for row in group] for group in groups], 64)


def read_trainset(
    run: Run,
    mix: str,
    *,
    keep_unflipped: bool = False,
    judged: bool = False,
    families: Families = "balanced",
    as_in_0_1: bool = False,
) -> TrainSet:
    """Read what a mix trains on; ``as_in_0_1``: what it trained on in version 0.1.

    What the teacher makes of an edit is read from its raw logits in file 3, so also where somebody edited a row by
    hand: CFEs count where they flip it, semifactuals where they do not. With ``judged`` those are left out that a judge
    takes for another class; ``families`` as for `select`. What is trained on are the logits as file 3's manifest
    calibrates them.

    Raises:
        UsageError: an unknown mix.
        CodError: a file is missing, incomplete or damaged, a soft label does not fit its row, or no judge was asked.
    """
    require_mix(mix)
    shots = run.shots.read()
    if not shots:
        raise CodError(f"{run.shots.path} holds no shot", f"draw some: `{run.shots.command} --force`")
    files = _files(run, mix)
    derived = [row for file in files for row in file.read() if not (as_in_0_1 and _is_new_in_0_2(row))]
    present, rival = {shot.id for shot in shots}, RIVALS.get(mix)
    kept = [row for row in derived if row.shot_id in present or (rival and rival.real)]
    labels, soft, softs = run.shots.require().labels, run.soft_labels.require(), run.soft_labels.read()
    examples = join([*shots, *kept], labels, softs, soft.labels, command=run.soft_labels.command)
    calibrated = {name: _calibrated(row, labels, soft.calibration) for name, row in examples.items()}
    unchecked = keep_unflipped or (rival and not rival.flips)
    as_meant = _as_meant(kept, shots, softs, soft.labels, cfes_too=not unchecked)
    usable = _agreed(run, as_meant) if judged and not rival else as_meant
    chosen = select_as_in_0_1(mix, shots, usable) if as_in_0_1 else select(mix, shots, usable, families)
    pool = _read_pool(run, mix, labels)
    sources: list[Artifact[Any]] = [run.shots, *files, run.soft_labels]
    sources += [run.pool, run.pool_labels] if pool else []
    return TrainSet(
        groups=[*_examples(chosen, calibrated), *pool],
        labels=labels,
        k=len(shots),
        shots=sum(isinstance(row, Shot) for group in chosen for row in group),
        inputs={file.path.name: file_sha(file.path) for file in sources},
        teacher=soft.teacher,
        left_out=LeftOut(
            unflipped=_cfes(kept) - _cfes(as_meant),
            turned=len(kept) - _cfes(kept) - len(as_meant) + _cfes(as_meant),
            rejected=len(as_meant) - len(usable),
            orphans=len(derived) - len(kept),
            **(_left_over(shots, usable, chosen) if mix in CONTRAST else {}),
        ),
        sha_in_0_1=_sha(_examples(select_as_in_0_1(mix, shots, usable), calibrated)),
        pool=len(pool),
    )


def _read_pool(run: Run, mix: str, labels: Sequence[str]) -> list[Group]:
    """The texts of the pool, each a group by itself; none where the mix takes none, or ``all`` finds none."""
    if mix == "pool":
        run.pool.refuse_old_rival("train on it by its name of now: --mix pool-rows")
    if mix not in POOL or (mix == "all" and run.pool.manifest() is None):
        return []
    rows, softs, soft = run.pool.read(), run.pool_labels.read(), run.pool_labels.require()
    if soft.teacher != run.soft_labels.require().teacher:
        raise CodError(
            f"{run.pool_labels.path} is by another teacher than {run.soft_labels.path}",
            f"label both by one: `{run.pool_labels.command}`",
        )
    examples = join(rows, labels, softs, soft.labels, command=run.pool_labels.command)
    calibration = run.soft_labels.require().calibration
    return [[_as_chosen(_calibrated(example, labels, calibration))] for example in examples.values()]


def _as_chosen(example: Example) -> Example:
    """With the class that its logits, calibrated as they are trained on, are for."""
    return replace(example, label=example.logits.index(max(example.logits)))


def _files(run: Run, mix: str) -> list[Artifact[Counterfactual]]:
    """Those whose rows a mix adds to the shots."""
    alone = mix == "all" and run.counterfactuals.manifest() is None and run.pool.manifest() is not None
    if alone or mix in ("shots", "pool"):
        return []
    also = mix in CONTRAST and run.semifactuals.manifest() is not None
    return [_written(run, mix), *([run.semifactuals] if also else [])]


def _is_new_in_0_2(row: Counterfactual) -> bool:
    """Whether version 0.1 made no such rows: a run of its own may have got some since."""
    return row.is_further or row.is_semifactual


def _as_meant(
    rows: Sequence[Counterfactual],
    shots: Sequence[Shot],
    softs: Sequence[SoftLabel],
    labels: Sequence[str],
    *,
    cfes_too: bool,
) -> list[Counterfactual]:
    """Semifactuals on which the teacher chooses their label, and CFEs that flip it, or all of them."""
    flips = flips_by_file3(rows, shots, softs, labels) if cfes_too else {}
    choices = choices_by_file3(rows, softs, labels)
    return [
        row
        for row in rows
        if (choices[row.id] == row.label if row.is_semifactual else not cfes_too or flips[row.id].flipped)
    ]


def _cfes(rows: Iterable[Counterfactual]) -> int:
    return sum(not row.is_semifactual for row in rows)


def _left_over(
    shots: Sequence[Shot], usable: Sequence[Counterfactual], chosen: Sequence[Sequence[TrainingRow]]
) -> dict[str, int]:
    """What balancing leaves, and the shots that stand alone."""
    taken = [row for group in chosen for row in group]
    families = {row.shot_id for row in taken if isinstance(row, Counterfactual)}
    return {"surplus": len(shots) + len(usable) - len(taken), "alone": sum(shot.id not in families for shot in shots)}


def _examples(groups: Iterable[Sequence[TrainingRow]], examples: Mapping[str, Example]) -> list[Group]:
    return [[examples[row.id] for row in group] for group in groups]


def _written(run: Run, mix: str) -> Artifact[Counterfactual]:
    """The file whose rows a mix adds to the shots."""
    if mix in RIVALS:
        return run.rival(mix).rows
    if run.counterfactuals.manifest() is None:
        raise CodError(
            f"{run.counterfactuals.path} does not exist",
            f"make it first: `{run.counterfactuals.command}`; or train on the shots alone: --mix shots",
        )
    return run.counterfactuals


def _calibrated(example: Example, labels: Sequence[str], calibration: Calibration | None) -> Example:
    return replace(example, logits=tuple(calibrate_logits(example.logits, labels, calibration).tolist()))


def _agreed(run: Run, rows: Sequence[Counterfactual]) -> list[Counterfactual]:
    """Those that the judge takes for the class that they stand for."""
    unjudged = sum(row.judge is None for row in rows)
    if unjudged:
        raise CodError(
            f"no judge was asked about {unjudged} CFEs in {run.counterfactuals.path}",
            f"ask one with the same options as before: `{run.counterfactuals.command} --judge MODEL`",
        )
    return [row for row in rows if row.judge == row.label]


def ablate(
    groups: Sequence[Group], *, soft_labels: str, pairs: str, temperature: float, seed: int, longest: int | None = None
) -> list[Group]:
    """The rows of an ablation: what must be lost when the part that it spoils is what helps.

    Args:
        groups: the rows as they are.
        soft_labels: ``random`` draws each row's probabilities at T uniformly from the simplex, ``shuffled`` deals
            the teacher's out to other rows, ``teacher`` leaves them.
        pairs: ``shuffled`` tears the groups apart, so that a CFE meets its shot by chance only.
        temperature: the T that random probabilities are meant for.
        seed: of the draw.
        longest: groups of more rows are cut, in random order, into parts of so many: a batch's.
    """
    rng = Draws(f"soft labels {soft_labels} {seed}")
    rows = [row for group in groups for row in group]
    logits = [row.logits for row in rows]
    if soft_labels == "random":
        logits = [_random_logits(len(row), temperature, rng) for row in logits]
    elif soft_labels == "shuffled":
        logits = rng.sample(logits, len(logits))
    changed = iter([replace(row, logits=dealt) for row, dealt in zip(rows, logits, strict=True)])
    if pairs == "shuffled":
        return [[row] for row in changed]
    spoilt = [[next(changed) for _ in group] for group in groups]
    return spoilt if longest is None else _cut(spoilt, longest, Draws(f"families {seed}"))


def _cut(groups: Sequence[Group], longest: int, rng: Draws) -> list[Group]:
    mixed = (rng.sample(group, len(group)) for group in groups)
    return [rows[start : start + longest] for rows in mixed for start in range(0, len(rows), longest)]


def _random_logits(classes: int, temperature: float, rng: Draws) -> tuple[float, ...]:
    # Exponential variates, divided by their sum, are uniform on the simplex; the sum drops out of the softmax.
    return tuple(temperature * math.log(-math.log(1.0 - rng.random())) for _ in range(classes))
