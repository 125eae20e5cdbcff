"""Calibration of logits: temperature scaling and contextual calibration, numbers in, numbers out.

A calibrated logit is ``z_c / T + b_c``. Temperature scaling (Guo et al. 2017, arXiv 1706.04599) fits T and leaves b at
0. Contextual calibration (Zhao et al. 2021, arXiv 2102.09690) has T = 1 and b_c = -log p_c, where p is the mean
answer to inputs without content: the renormalised product diag(p)^-1 · softmax(z). ``logits`` are ``(n, classes)``,
``truth`` is ``(n,)``; all arithmetic is float64.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from cod_cli.metrics import accuracy, brier, ece, softmax
from cod_cli.records import Calibration

Floats = npt.NDArray[np.float64]

TEMPERATURES = (0.5, 5.0)


def scaled(logits: npt.ArrayLike, labels: Sequence[str], calibration: Calibration | None) -> Floats:
    """Calibrated logits, of one row ``(classes,)`` or many; unchanged where there is no calibration.

    Args:
        logits: the raw ones.
        labels: the classes that their columns stand for.
        calibration: what was fitted, its bias by class.
    """
    raw = np.asarray(logits, dtype=np.float64)
    if calibration is None:
        return raw
    bias = np.array([calibration.bias.get(label, 0.0) for label in labels])
    calibrated: Floats = raw / calibration.temperature + bias
    return calibrated


def fit_temperature(logits: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """The T in `TEMPERATURES` under which the rows are likeliest; the likelihood has one peak, in 1/T."""
    from scipy.optimize import minimize_scalar

    raw, right = np.asarray(logits, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    low, high = TEMPERATURES
    found = minimize_scalar(
        lambda inverse: -log_likelihood(raw * inverse, right),
        bounds=(1 / high, 1 / low),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(1 / found.x)


def fit_bias(content_free: npt.ArrayLike) -> Floats:
    """Contextual calibration's b ``(classes,)``, with mean 0, from the logits of inputs without content."""
    log_p = special.log_softmax(np.asarray(content_free, dtype=np.float64), axis=-1)
    bias = -special.logsumexp(log_p, axis=0)
    centred: Floats = bias - bias.mean()
    return centred


def cross_fitted(logits: npt.ArrayLike, truth: npt.ArrayLike, folds: int) -> Floats:
    """Logits scaled by temperatures that were fitted without the row: of ``folds`` parts each by the others' T.

    With as many folds as rows this is leave-one-out.
    """
    raw, right = np.asarray(logits, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    fold = np.arange(len(raw)) % folds
    done = np.empty_like(raw)
    for part in range(folds):
        done[fold == part] = raw[fold == part] / fit_temperature(raw[fold != part], right[fold != part])
    return done


def log_likelihood(logits: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Mean log-probability of the true class, in nats."""
    right = np.asarray(truth, dtype=np.int64)
    log_p = special.log_softmax(np.asarray(logits, dtype=np.float64), axis=-1)
    return float(log_p[np.arange(len(right)), right].mean())


def quality(logits: npt.ArrayLike, truth: npt.ArrayLike) -> dict[str, float]:
    """How right and how honest the probabilities are: accuracy, ECE, Brier and mean log-likelihood."""
    probs = softmax(logits)
    found = {
        "accuracy": accuracy(truth, probs.argmax(axis=-1)),
        "ece": ece(probs, truth),
        "brier": brier(probs, truth),
        "log_likelihood": log_likelihood(logits, truth),
    }
    return {name: round(value, 6) for name, value in found.items()}
