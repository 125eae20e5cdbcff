"""An arm is a name and its settings: which students are seeds of one another, and what an arm reaches over them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cod_cli.metrics import METRICS, Summary, f1_columns, summary
from cod_cli.records import Score, Student
from cod_cli.store.artifact import changed_settings

T = TypeVar("T")


@dataclass(frozen=True)
class Arm:
    """The scores of one arm on one split, in their order; ``name`` is the students' without the seed."""

    name: str
    scores: tuple[Score, ...]

    def metrics(self) -> dict[str, Summary]:
        """Mean and sample standard deviation over seeds of each metric that every student has, F1 by class too."""
        columns = {name: [getattr(score, name) for score in self.scores] for name in METRICS}
        columns |= f1_columns(self.scores)
        return {name: summary(values) for name, values in columns.items() if None not in values}


@dataclass(frozen=True)
class Reached:
    """What an arm of a sweep reached on one task at one k, over its seeds: accuracy in [0, 1].

    ``cut`` marks students that began as layers of their teacher.
    """

    task: str
    arm: str
    k: int
    other_budget: bool
    summary: Summary
    cut: bool = False


def arms(scores: Iterable[Score], students: Mapping[str, Student] | None = None) -> list[Arm]:
    """Group the scores of students that share all but the seed and the suffix ``-s<seed>`` of their name.

    A second score of the same seed is an arm of its own. Arms of one name that differ in settings have those in theirs.

    Args:
        scores: of one split or of several.
        students: how each was made, by name; who is not among them is told apart by the fields of the scores alone.
    """
    groups: dict[tuple[object, ...], list[Score]] = {}
    for score in scores:
        same = (score.method, score.mix, score.k, score.rows, score.shots, score.steps, score.task, score.split)
        groups.setdefault((base_name(score), *same), []).append(score)

    def made(score: Score) -> Student | None:
        return (students or {}).get(score.student)

    def repeats(score: Score, group: Sequence[Score]) -> bool:
        return score.seed in [other.seed for other in group]

    found: dict[tuple[str, str, str], list[list[Score]]] = {}
    for group in groups.values():
        place = (base_name(group[0]), group[0].task, group[0].split)
        found.setdefault(place, []).extend(same_settings(group, made, repeats))
    return [
        Arm(name, tuple(group))
        for (base, *_), alike in found.items()
        for name, group in zip(names_apart(base, [(made(each[0]), each[0]) for each in alike]), alike, strict=True)
    ]


def base_name(score: Score) -> str:
    """The student's name without the suffix that tells seeds apart."""
    return score.student if score.seed is None else score.student.removesuffix(f"-s{score.seed}")


def same_settings(
    items: Iterable[T], made: Callable[[T], Student | None], repeats: Callable[[T, Sequence[T]], bool]
) -> list[list[T]]:
    """Items of one name in groups of equal settings, in their order.

    Args:
        items: scores, or what holds one.
        made: how the student of one was made; None where nobody knows, which is taken for equal to anything.
        repeats: whether one has the same seed as one of a group; it is then none of that group.
    """
    groups: list[list[T]] = []
    for item in items:
        fitting = (g for g in groups if not _changes(made(g[0]), made(item)) and not repeats(item, g))
        group = next(fitting, None)
        if group is None:
            groups.append([item])
        else:
            group.append(item)
    return groups


def names_apart(base: str, firsts: Sequence[tuple[Student | None, Score]]) -> list[str]:
    """A name for each group of one base name: the settings that differ behind it, or the student's own name.

    Args:
        base: the name that all share.
        firsts: the first of each group, and how it was made.
    """
    known = [student for student, _ in firsts if student is not None]
    differing = sorted(
        {change.split(": ")[0] for other in known for change in _changes(known[0], other) if ": " in change}
    )
    names: list[str] = []
    for student, score in firsts:
        values = {key: student.settings.get(key) for key in differing} if student else {}
        if student and "start" in differing and student.settings.get("student"):
            values["student"] = Path(str(student.settings["student"])).name
        said = ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)
        name = f"{base} ({said})" if said else base
        names.append(score.student if name in names and score.student not in names else name)
    return names


# Where a model lies is no setting: its fingerprint is compared.
_PLACES = ("student", "teacher")


def _changes(one: Student | None, other: Student | None) -> list[str]:
    """In what two students were made otherwise, seeds apart; nothing where that is not known."""
    if one is None or other is None:
        return []
    was, wanted = (
        {**{key: value for key, value in each.settings.items() if key not in _PLACES}, **_fields(each)}
        for each in (one, other)
    )
    return changed_settings(was, wanted)


def _fields(student: Student) -> dict[str, object]:
    return {"method": student.method, "mix": student.mix, "start": student.student, "cut": student.cut_from_teacher}
