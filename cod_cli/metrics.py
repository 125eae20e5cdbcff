"""Scores of a classifier and of how well it follows its teacher: numbers in, numbers out; the table of metrics.

Classes are indices in label order: ``truth`` and ``decided`` are ``(n,)``, ``probs`` and ``logits`` ``(n, classes)``.
All arithmetic is float64; an empty split is a `ValueError`, since no score describes it. scikit-learn and scipy take
seconds to import, so they are imported where they are used: `cod show` and `cod predict` need no more than a softmax.
The F1 of single classes stands beside the metrics under names of its own, ``f1[label]``, since every task has other
classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cod_cli.records import Prediction, Score

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
ECE_BINS = 15
# A flip by less than this is a tie that another machine or batch may break the other way.
FLIP_MARGIN = 0.01


@dataclass(frozen=True)
class Metric:
    """What is counted of a student on a split, and how it is told.

    ``name`` is its field of `Score` and its name in options and files, ``heading`` stands over a column, on two lines,
    ``title`` in a sentence. ``percent``: a share in [0, 1], shown in per cent; ``low_is_better``: as of an error.
    """

    name: str
    heading: str
    title: str
    percent: bool = False
    low_is_better: bool = False


# By name, in the order of their columns. `--metric` lists the names once more, since settings may not import numpy.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "acc\n%", "accuracy", percent=True),
        Metric("macro_f1", "F1\n%", "macro F1", percent=True),
        Metric("mcc", "MCC", "MCC"),
        Metric("agreement", "agree\n%", "agreement with the teacher", percent=True),
        Metric("kl", "KL\nnats", "KL(teacher ‖ student)", low_is_better=True),
        Metric("ece", "ECE", "ECE", low_is_better=True),
        Metric("brier", "Brier", "Brier score", low_is_better=True),
        Metric("boundary_agreement", "bound\n%", "boundary agreement", percent=True),
    )
}


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram: the ``n`` rows whose confidence lies in ``(low, high]``.

    ``confidence`` and ``accuracy`` are means over those rows, null where there are none.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n - 1) over ``n`` values; no deviation for a single one."""

    mean: float
    std: float | None
    n: int


def softmax(logits: npt.ArrayLike) -> Floats:
    """Probabilities of the classes at temperature 1, for one row ``(classes,)`` or many ``(n, classes)``."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    probs: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probs


def decisions(logits: npt.ArrayLike) -> Indices:
    """The class with the largest logit, the first of equals."""
    return np.asarray(_rows(logits).argmax(axis=-1), dtype=np.int64)


def flips(before: npt.ArrayLike, after: npt.ArrayLike, target: int, margin: float = FLIP_MARGIN) -> bool:
    """Whether an edit flips the teacher to the class ``target``.

    Args:
        before: the teacher's logits [C] of the original, on which it must not choose the target.
        after: its logits [C] of the edited text, on which it must.
        target: index of the class.
        margin: how far P(target) must then be above every other class's probability.
    """
    if int(np.argmax(before)) == target:
        return False
    probs = softmax(after)
    return bool(probs[target] - np.delete(probs, target).max() >= margin)


def accuracy(truth: npt.ArrayLike, decided: npt.ArrayLike) -> float:
    """Share of rows decided right, in [0, 1]."""
    return float((_indices(truth) == _indices(decided)).mean())


def f1(truth: npt.ArrayLike, decided: npt.ArrayLike, classes: int) -> Floats:
    """F1 of each class ``(classes,)``; 0 for one that is neither true nor decided anywhere."""
    truth, decided = _indices(truth), _indices(decided)
    right, true, chosen = (np.bincount(at, minlength=classes) for at in (truth[truth == decided], truth, decided))
    # 2TP / (2TP + FP + FN), by hand: `cod report` counts it for older runs and is not to wait for scikit-learn.
    values: Floats = 2 * right / np.maximum(true + chosen, 1)
    return values


def macro_f1(truth: npt.ArrayLike, decided: npt.ArrayLike, classes: int) -> float:
    """Mean F1 over all ``classes``; one that is neither true nor decided anywhere counts as 0."""
    return float(f1(truth, decided, classes).mean())


def confusion(truth: npt.ArrayLike, decided: npt.ArrayLike, classes: int) -> list[list[int]]:
    """How many rows of each true class (first index) were decided for which (second)."""
    counted = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counted, (_indices(truth), _indices(decided)), 1)
    found: list[list[int]] = counted.tolist()
    return found


def mcc(truth: npt.ArrayLike, decided: npt.ArrayLike) -> float:
    """Matthews' correlation in [-1, 1]; 0 where truth or decisions know one class only."""
    from sklearn.metrics import matthews_corrcoef

    truth, decided = _indices(truth), _indices(decided)
    if truth.min() == truth.max() or decided.min() == decided.max():
        return 0.0
    return float(matthews_corrcoef(truth, decided))


def agreement(teacher: npt.ArrayLike, student: npt.ArrayLike) -> float:
    """Share of rows on which both choose the same class, from logits ``(n, classes)``."""
    return accuracy(decisions(teacher), decisions(student))


def boundary_agreement(
    teacher: tuple[npt.ArrayLike, npt.ArrayLike], student: tuple[npt.ArrayLike, npt.ArrayLike]
) -> float:
    """Share of pairs both members of which the student decides as the teacher does.

    Args:
        teacher: its logits of the first and of the second members, ``(n, classes)`` each, in the same order.
        student: likewise.
    """
    first, second = (decisions(a) == decisions(b) for a, b in zip(teacher, student, strict=True))
    return float((first & second).mean())


def kl(teacher: npt.ArrayLike, student: npt.ArrayLike) -> float:
    """Mean KL(teacher ‖ student) over rows at T = 1, in nats, from logits ``(n, classes)``."""
    from scipy import special

    log_p = special.log_softmax(_rows(teacher), axis=-1)
    log_q = special.log_softmax(_rows(student), axis=-1)
    # exp(-inf) * -inf is not a number; a class that the teacher rules out adds nothing.
    terms = np.where(np.isneginf(log_p), 0.0, np.exp(log_p) * (np.where(np.isneginf(log_p), 0.0, log_p) - log_q))
    return float(terms.sum(axis=-1).mean())


def brier(probs: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Squared error summed over the classes, mean over rows, in [0, 2] (Brier 1950)."""
    probs = _rows(probs)
    return float(np.square(probs - np.eye(probs.shape[-1])[_indices(truth)]).sum(axis=-1).mean())


def reliability(probs: npt.ArrayLike, truth: npt.ArrayLike, bins: int = ECE_BINS) -> list[Bin]:
    """Confidence (the largest probability) against accuracy in equal-width, right-closed bins; 0 is in the first."""
    probs = _rows(probs)
    return reliability_bins(probs.max(axis=-1), probs.argmax(axis=-1) == _indices(truth), bins)


def reliability_bins(confidence: npt.ArrayLike, right: npt.ArrayLike, bins: int = ECE_BINS) -> list[Bin]:
    """As `reliability`, from the confidence of each decision ``(n,)`` and whether it is right ``(n,)``."""
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.digitize(sure, edges[1:-1], right=True)
    return [_bin(edges[i], edges[i + 1], sure[place == i], hit[place == i]) for i in range(bins)]


def ece(probs: npt.ArrayLike, truth: npt.ArrayLike, bins: int = ECE_BINS) -> float:
    """Expected calibration error in [0, 1]: |accuracy - confidence| over the bins, weighted by their rows."""
    bars = reliability(probs, truth, bins)
    total = sum(bar.n for bar in bars)
    gaps = [
        bar.n * abs(bar.accuracy - bar.confidence)
        for bar in bars
        if bar.accuracy is not None and bar.confidence is not None
    ]
    return sum(gaps) / total


def summary(values: Sequence[float]) -> Summary:
    """Mean and sample standard deviation (n - 1) of one or more values."""
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.size:
        raise ValueError("no values to summarise")
    return Summary(float(numbers.mean()), float(numbers.std(ddof=1)) if numbers.size > 1 else None, numbers.size)


def _bin(low: Any, high: Any, confidence: Floats, right: npt.NDArray[np.bool_]) -> Bin:
    if not confidence.size:
        return Bin(float(low), float(high), 0, None, None)
    return Bin(float(low), float(high), confidence.size, float(confidence.mean()), float(right.mean()))


def _rows(values: npt.ArrayLike) -> Floats:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"expected (n, classes) with n > 0, not {rows.shape}")
    return rows


def _indices(values: npt.ArrayLike) -> Indices:
    indices = np.asarray(values, dtype=np.int64)
    if indices.ndim != 1 or not indices.size:
        raise ValueError(f"expected (n,) with n > 0, not {indices.shape}")
    return indices


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
    found = f1(truth, decided, len(labels))
    return score.replace(f1={label: round(float(value), 6) for label, value in zip(labels, found, strict=True)})


def f1_columns(scores: Sequence[Score]) -> dict[str, list[float | None]]:
    """Each class's F1 score by score, under `f1_of`; null for a score that lacks it."""
    found = [score.f1 or {} for score in scores]
    return {f1_of(label): [each.get(label) for each in found] for label in found[0]}
