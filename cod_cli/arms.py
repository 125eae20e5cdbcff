"""Students that differ in their seed alone, and what they reach together."""

from collections.abc import Iterable
from dataclasses import dataclass

from cod_cli.byclass import f1_columns
from cod_cli.metrics import Summary, summary
from cod_cli.records import Score

METRICS = ("accuracy", "macro_f1", "mcc", "agreement", "kl", "ece", "brier", "boundary_agreement")
TEACHER = "teacher"
# Nearest neighbours over the shots: a row in the table of scores that is no student.
NEIGHBOURS = "neighbours"
# An LLM itself, without and with the shots in its prompt: likewise.
ZERO_SHOT, IN_CONTEXT = "zero-shot", "in-context"
NO_STUDENTS = (TEACHER, NEIGHBOURS, ZERO_SHOT, IN_CONTEXT)


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
    """What an arm of a sweep reached on one task at one k, over its seeds: accuracy in [0, 1]."""

    task: str
    arm: str
    k: int
    other_budget: bool
    summary: Summary


def arms(scores: Iterable[Score]) -> list[Arm]:
    """Group the scores of students that share all but the seed and the suffix ``-s<seed>`` of their name."""
    groups: dict[tuple[object, ...], list[Score]] = {}
    for score in scores:
        same = (score.method, score.mix, score.k, score.rows, score.shots, score.steps, score.task, score.split)
        groups.setdefault((base_name(score), *same), []).append(score)
    return [Arm(base_name(group[0]), tuple(group)) for group in groups.values()]


def base_name(score: Score) -> str:
    """The student's name without the suffix that tells seeds apart."""
    return score.student if score.seed is None else score.student.removesuffix(f"-s{score.seed}")
