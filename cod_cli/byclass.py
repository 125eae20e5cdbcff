"""F1 of each class: counted from what was decided, gathered over students under one name."""

from collections.abc import Iterable, Sequence

from cod_cli import metrics
from cod_cli.records import Prediction, Score

_START, _END = "f1[", "]"


def f1_of(label: str) -> str:
    """The name of a class's F1 among metrics and in the columns of a file: ``f1[label]``."""
    return f"{_START}{label}{_END}"


def classes_in(names: Iterable[str]) -> list[str]:
    """The classes whose F1 is among these metrics, each once."""
    return list(dict.fromkeys(name.removeprefix(_START)[: -len(_END)] for name in names if name.startswith(_START)))


def with_f1(score: Score, prediction: Prediction | None, labels: Sequence[str]) -> Score:
    """The score with F1 by class; as it is where it has that, or where nobody kept labels and decisions.

    Args:
        score: also one of a version that did not count by class.
        prediction: what the same student decided on the same rows.
        labels: the run's classes in order.
    """
    if score.f1 is not None or prediction is None or prediction.truth is None:
        return score
    truth, decided = prediction.truth, prediction.decided
    if not len(truth) == len(decided) == score.n or max(*truth, *decided) >= len(labels):
        return score  # Not what this score was counted from.
    found = metrics.f1(truth, decided, len(labels))
    return score.replace(f1={label: round(float(value), 6) for label, value in zip(labels, found, strict=True)})


def f1_columns(scores: Sequence[Score]) -> dict[str, list[float | None]]:
    """Each class's F1 score by score, under `f1_of`; null for a score that lacks it."""
    found = [score.f1 or {} for score in scores]
    return {f1_of(label): [each.get(label) for each in found] for label in found[0]}
