"""What a student may train on: the mixes, and the rivals of counterfactuals by kind."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from cod_cli.errors import CodError, UsageError

if TYPE_CHECKING:  # Settings import this module, and `cod --help` needs no pydantic.
    from cod_cli.records import Counterfactual, Shot

MIXES = ("all", "contrast", "pool", "cod", "shots")
# Those that train on contrast sets: shots among small edits of them, some that turn the teacher and some that do not.
CONTRAST = ("all", "contrast")
# Those that train on texts without labels, where the run has some.
POOL = ("all", "pool")
# How the families of contrast sets are put together: see `select`.
Families: TypeAlias = Literal["balanced", "together", "one-cfe", "cfes", "semifactuals"]
# Optimiser steps on contrast sets, however many rows they have: 40, an epoch's worth for eight shots forty times, leave
# most of 500 rows unseen; at 320 accuracy has levelled off, and 640 gain nothing. A pool of 500 texts takes as many.
ENOUGH_STEPS = 320
# With a pool beside contrast sets each of the two is seen as often as it is alone.
ENOUGH_STEPS_FOR_TWO = 2 * ENOUGH_STEPS


@dataclass(frozen=True)
class Kind:
    """A rival: what its rows are.

    ``llm``: an LLM writes them. ``flips``: a row counts only if the teacher flips on it. ``real``: they are texts of
    the data source, made from no shot. ``other_budget``: more rows are trained on than the run has shots. ``many``: as
    many of each shot as its contrast set has.
    """

    name: str
    rows: str
    llm: bool = False
    flips: bool = False
    real: bool = False
    other_budget: bool = False
    many: bool = False


RIVALS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("eda", "the shot with words exchanged, put in, swapped or left out (EDA)"),
            Kind("aeda", "the shot with punctuation marks put in (AEDA)"),
            Kind("pool-rows", "other real texts, labelled by the teacher", real=True),
            Kind("pool-queries", "a real text for each query that the CFEs cost", real=True, other_budget=True),
            Kind(
                "random-edits",
                "words of the shot exchanged at random, as many texts as its contrast set has",
                other_budget=True,
                many=True,
            ),
            Kind("cod-unverified", "the first edit as it came, unchecked"),
            Kind("cod-unreverted", "the CFE before needless edits were undone", flips=True),
            Kind("cod-nearest", "of the edits that flip, the one nearest to the boundary", flips=True),
            Kind("cod-confident", "of the edits that flip, the one that the teacher is surest of", flips=True),
            Kind("paraphrase", "the shot in other words (LLM)", llm=True),
            Kind("opposite", "a free text of the other class (LLM)", llm=True, flips=True),
        )
    }
)


# Those that train on many small edits of each shot.
EDITS = frozenset({*CONTRAST} | {kind.name for kind in RIVALS.values() if kind.many})
# Those that train on many rows, such edits or a pool: row by row, for `--steps`.
MANY = EDITS | {*POOL}
# Every table marks these, and no contrast counts them as a win.
OTHER_BUDGET = frozenset({*CONTRAST, *POOL} | {kind.name for kind in RIVALS.values() if kind.other_budget})


# What version 0.1 called them; its files and command lines still do.
OLD_NAMES: Mapping[str, str] = MappingProxyType({"pool": "pool-rows"})


def rival_named(name: str) -> Kind:
    """The rival of that kind, which may be called as in version 0.1.

    Raises:
        UsageError: there is none.
    """
    kind = RIVALS.get(OLD_NAMES.get(name, name))
    if kind is None:
        raise UsageError(f"there is no rival {name!r}", f"choose from: {', '.join(RIVALS)}")
    return kind


def of_edits(mix: str) -> bool:
    """Whether a mix trains on edits of its shots, not on them alone or on whole texts."""
    kind = RIVALS.get(mix)
    return mix not in ("shots", "pool") and not (kind and (kind.real or kind.llm))


def require_mix(mix: str) -> None:
    """Refuse a mix that there is not."""
    if mix not in MIXES and mix not in RIVALS:
        raise UsageError(f"--mix is {mix!r}", f"choose one of: {', '.join((*MIXES, *RIVALS))}")


TrainingRow: TypeAlias = "Shot | Counterfactual"


def select(
    mix: str, shots: "Sequence[Shot]", derived: "Iterable[Counterfactual]", families: Families = "balanced"
) -> list[list[TrainingRow]]:
    """The groups of rows that a mix trains on, in the order of the shots.

    ``shots`` takes the k shots, as ``pool`` does, whose texts are made from none and stand beside them. ``all`` and
    ``contrast`` take of each shot's family (the shot, its CFEs and its semifactuals) as many rows of every class as
    there are of the rarest, each row a group by itself; a family of one class only keeps its shot. ``cod`` always takes
    exactly k rows: it walks the shots and takes each with its CFEs, one of a class; at the first group that does not
    fit, the rows still free go to that shot and the next ones, alone. A row whose shot is not there is left out. A
    rival takes its rows in the place of CFEs; of real texts, made from no shot, k/2 beside as many shots, or all beside
    all where the budget is another; of many edits all, each by itself.

    Of contrast sets ``families`` says otherwise than ``balanced``: ``together`` leaves each balanced family one group;
    ``one-cfe``, ``cfes`` and ``semifactuals`` take the shot with the CFEs that ``cod`` takes, with all of its CFEs or
    with all of its semifactuals, unbalanced.
    """
    require_mix(mix)
    if mix in ("shots", "pool"):
        return [[shot] for shot in shots]
    if mix in RIVALS and RIVALS[mix].real:
        return _beside(shots, list(derived), everything=mix in OTHER_BUDGET)
    if mix in RIVALS and RIVALS[mix].many:
        return [[row] for family in _families(shots, derived) for row in family]
    if mix in CONTRAST:
        return _contrast(shots, derived, families)
    return _equal_budget(_families(shots, (row for row in derived if not (row.is_further or row.is_semifactual))))


def select_as_in_0_1(mix: str, shots: "Sequence[Shot]", derived: "Iterable[Counterfactual]") -> list[list[TrainingRow]]:
    """What `select` gave in version 0.1: ``all`` kept families together, unbalanced; ``cod`` took every CFE."""
    if mix not in ("all", "cod"):
        return select(mix, shots, derived)
    families = _families(shots, derived)
    return families if mix == "all" else _equal_budget(families)


def _families(shots: "Sequence[Shot]", derived: "Iterable[Counterfactual]") -> list[list[TrainingRow]]:
    """Each shot with what was made from it."""
    by_shot = defaultdict(list)
    for row in derived:
        by_shot[row.shot_id].append(row)
    return [[shot, *by_shot[shot.id]] for shot in shots]


def _contrast(
    shots: "Sequence[Shot]", derived: "Iterable[Counterfactual]", families: Families
) -> list[list[TrainingRow]]:
    """The groups of contrast sets, put together as ``families`` says."""
    if families == "together":
        return [_balance(family) for family in _families(shots, derived)]
    if families == "balanced":
        return [[row] for family in _families(shots, derived) for row in _balance(family)]
    part = (row for row in derived if _takes(families, row))
    return [[row] for family in _families(shots, part) for row in family]


def _takes(families: Families, edit: "Counterfactual") -> bool:
    if families == "one-cfe":
        return not (edit.is_further or edit.is_semifactual)
    return edit.is_semifactual == (families == "semifactuals")


def _balance(family: list[TrainingRow]) -> list[TrainingRow]:
    """As many rows of each class as of the rarest, the first ones; of one class alone only the shot, which is first.

    Else a shot's own words would come to stand for the class that most of its edits have.
    """
    by_label: dict[str, list[TrainingRow]] = {}
    for row in family:
        by_label.setdefault(row.label, []).append(row)
    least = min(map(len, by_label.values())) if len(by_label) > 1 else 1
    return [row for rows in by_label.values() for row in rows[:least]]


def _beside(shots: "Sequence[Shot]", texts: Sequence[TrainingRow], *, everything: bool) -> list[list[TrainingRow]]:
    """Shots and real texts, each alone; where the texts are too few, shots fill up."""
    taken = texts if everything else texts[: len(shots) // 2]
    kept = shots if everything else shots[: len(shots) - len(taken)]
    return [[row] for row in (*kept, *taken)]


def _equal_budget(groups: list[list[TrainingRow]]) -> list[list[TrainingRow]]:
    taken: list[list[TrainingRow]] = []
    free = len(groups)
    for index, group in enumerate(groups):
        if len(group) > free:
            return taken + [[shot] for shot, *_ in groups[index : index + free]]
        taken.append(group)
        free -= len(group)
    return taken


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
