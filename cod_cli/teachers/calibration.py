"""How a teacher is calibrated: on which texts it is asked, what is fitted, and what that does to its probabilities."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from cod_cli.data.heldout import HeldOut, held_out
from cod_cli.data.source import load_table, local_path
from cod_cli.errors import CodError, UsageError
from cod_cli.metrics import Floats, accuracy, brier, ece, softmax
from cod_cli.records import Calibration, Shot
from cod_cli.store.run import Run
from cod_cli.teachers.base import Teacher

log = logging.getLogger(__name__)

# Inputs that say nothing (Zhao et al. 2021).
CONTENT_FREE = ("N/A", "[MASK]", "")
FOLDS = 10
SHOTS = "shots"
# Fewer labelled rows make a rough temperature.
FEW_ROWS = 50


@dataclass(frozen=True)
class _Labelled:
    """Rows whose class is known: class indices ``truth``; ``data`` and ``split`` say where they are from.

    ``families`` are the ids of the shots that they are: no demonstration beside themselves.
    """

    data: str
    split: str | None
    texts: list[str]
    truth: list[int]
    families: list[str | None]


def renew_calibration(
    run: Run,
    shots: Sequence[Shot],
    teacher: Teacher,
    *,
    method: Literal["none", "contextual", "temperature"] | None,
    data: str | None,
    force: bool,
) -> Calibration | None:
    """How a run's labels will be read: as asked for; else as it was fitted before, for this teacher.

    Args:
        run: whose labels.
        shots: its shots.
        teacher: who labels.
        method: what to fit, or ``none``; None leaves all as it is.
        data: see `calibrate`.
        force: whether what was fitted before is given up, and taken what makes it worse.
    """
    old = None if force else run.soft_labels.manifest()
    before = old.calibration if old is not None and old.teacher == teacher.fingerprint else None
    if method is None:
        return before
    if method == "none":
        found = None
    else:
        found = calibrate(method, teacher, run, shots, data)
        if not force:
            _require_better(found)
        for doubt in _doubts(found, teacher):
            log.warning(doubt)
    if found != before and run.student_names():
        log.info("the calibration has changed: students that are there were trained with the old one")
    return found


def _require_better(found: Calibration) -> None:
    """Refuse what makes the probabilities of rows that it was not fitted on less likely.

    Raises:
        CodError: with the numbers.
    """
    before, after = (quality["log_likelihood"] for quality in (found.before, found.after))
    if after < before:
        raise CodError(
            f"--calibrate {found.method} makes the teacher worse on rows that it was not fitted on: mean "
            f"log-likelihood {before:.3f} -> {after:.3f}, ECE {found.before['ece']:.3f} -> {found.after['ece']:.3f}",
            "leave it out, or name more labelled rows: --calibration-data FILE; with --force it is taken all the same",
        )


def _doubts(found: Calibration, teacher: Teacher) -> Iterator[str]:
    if found.rows < FEW_ROWS:
        yield f"{found.rows} rows say little about calibration"
    if found.method == "temperature" and min(abs(found.temperature - end) for end in TEMPERATURES) < 0.01:
        yield f"the temperature is at the end of its range: {found.temperature:.2f}"
    if found.data == SHOTS and teacher.source == "logits":
        yield "measured on the shots, which the teacher may have been trained on: that flatters it"


def calibrate(
    method: Literal["contextual", "temperature"],
    teacher: Teacher,
    run: Run,
    shots: Sequence[Shot],
    data: str | None,
) -> Calibration:
    """Fit what turns a teacher's raw logits into honest probabilities.

    Args:
        method: ``contextual`` asks it about inputs without content; ``temperature`` about labelled rows.
        teacher: any; its ``logits`` are all that is needed.
        run: whose shots, CFEs and rivals are no held-out rows.
        shots: the labelled rows where there are no others.
        data: a source of held-out labelled rows; of several splits ``validation`` is read.

    Raises:
        UsageError: a temperature is to be fitted on shots that the teacher may have been trained on.
        CodError: no such data, or no labelled row in it.
    """
    labels = list(teacher.labels)
    if data is None and method == "temperature" and teacher.source == "logits":
        raise UsageError(
            "--calibrate temperature needs labelled rows that the teacher was not trained on, as it may have been on "
            "the shots: on its own training rows a model is nearly always right",
            "name some that are not scored later: --calibration-data FILE",
        )
    rows = _held_out(run, labels, data) if data else _of_shots(shots, labels)
    raw = np.asarray(teacher.logits(rows.texts, families=rows.families), dtype=np.float64)
    if method == "contextual":
        bias = fit_bias(teacher.logits(list(CONTENT_FREE)))
        fitted = _calibration(
            method, rows, bias={name: round(b, 6) for name, b in zip(labels, bias.tolist(), strict=True)}
        )
        after = calibrate_logits(raw, labels, fitted)
    else:
        fitted = _calibration(method, rows, temperature=round(fit_temperature(raw, rows.truth), 6))
        # Not by the temperature that these very rows chose.
        after = cross_fit(raw, rows.truth, len(raw) if data is None else min(FOLDS, len(raw)))
    return fitted.replace(before=quality(raw, rows.truth), after=quality(after, rows.truth))


def _calibration(
    method: Literal["contextual", "temperature"],
    rows: _Labelled,
    *,
    temperature: float = 1.0,
    bias: dict[str, float] | None = None,
) -> Calibration:
    return Calibration(
        method=method,
        temperature=temperature,
        bias=bias or {},
        data=rows.data,
        split=rows.split,
        rows=len(rows.texts),
        before={},
        after={},
    )


def _of_shots(shots: Sequence[Shot], labels: Sequence[str]) -> _Labelled:
    if len(shots) < 2:
        raise CodError("one shot is too few to calibrate on", "name labelled rows: --calibration-data FILE")
    texts, truth = [shot.text for shot in shots], [labels.index(shot.label) for shot in shots]
    return _Labelled(SHOTS, None, texts, truth, [shot.id for shot in shots])


def _held_out(run: Run, labels: Sequence[str], data: str) -> _Labelled:
    """The labelled rows of a source that are no text of this run's."""
    rows = _rows(run, labels, data)
    if rows.truth is None:
        raise CodError(f"{data} has no labels", "name a file of labelled rows: --calibration-data FILE")
    if len(rows.texts) < 2:
        raise CodError(f"{data} has one row that can be used", "name a file of more labelled rows")
    return _Labelled(
        str(local_path(data) or data), rows.split, list(rows.texts), list(rows.truth), [None] * len(rows.texts)
    )


def _rows(run: Run, labels: Sequence[str], data: str) -> HeldOut:
    sampled = run.shots.require().settings
    made = [*run.counterfactuals.peek(), *run.semifactuals.peek(), *run.rival_rows()]
    own = {shot.text.strip() for shot in run.shots.read()} | {row.text.strip() for row in made}
    try:
        # As the shots' source was read; a file of other columns has `text` and `label`.
        table = load_table(
            data,
            default_splits=("validation",),
            text_columns=sampled.get("text_column") or (),
            label_column=sampled.get("label_column"),
            label_names=sampled.get("label_names"),
        )
        return held_out(table, labels, trained=own)
    except CodError as error:
        raise type(error)(
            f"--calibration-data: {error.message}",
            "give one file of labelled rows, with columns and labels as in the shots' source",
        ) from None


TEMPERATURES = (0.5, 5.0)


def calibrate_logits(logits: npt.ArrayLike, labels: Sequence[str], calibration: Calibration | None) -> Floats:
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


def cross_fit(logits: npt.ArrayLike, truth: npt.ArrayLike, folds: int) -> Floats:
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
