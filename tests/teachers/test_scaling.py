"""Temperature scaling and contextual calibration against closed forms, scipy and the papers' own formulas."""

import math

import numpy as np
import pytest
from scipy import optimize, special
from sklearn import metrics as sk

from cod_cli.records import Calibration
from cod_cli.teachers.calibration import (
    TEMPERATURES,
    calibrate_logits,
    cross_fit,
    fit_bias,
    fit_temperature,
    log_likelihood,
    quality,
)

LABELS = ["a", "b", "c"]


def rows(n: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a teacher that is right as often as it says at T = ``sharpness``."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 1.5, (n, 3))
    truth = np.array([rng.choice(3, p=row) for row in special.softmax(honest, axis=1)])
    return honest * sharpness, truth


def calibration(**changes: object) -> Calibration:
    fields: dict[str, object] = {"method": "temperature", "temperature": 1.0, "bias": {}, "data": "d", "split": None}
    return Calibration.model_validate({**fields, "rows": 2, "before": {}, "after": {}, **changes})


@pytest.mark.parametrize(("margin", "right"), [(3.0, 8), (2.0, 7), (1.2, 7)])
def test_with_one_margin_the_temperature_has_a_closed_form(margin: float, right: int) -> None:
    # Of ten rows with logits (0, m), `right` are of the second class: σ(m / T) = right / 10.
    truth = [1] * right + [0] * (10 - right)
    share = right / 10
    assert fit_temperature([[0.0, margin]] * 10, truth) == pytest.approx(
        margin / math.log(share / (1 - share)), rel=1e-4
    )


def test_the_temperature_is_scipys_optimum_over_a_fine_grid_and_by_another_method() -> None:
    logits, truth = rows(400, sharpness=1.8)
    found = fit_temperature(logits, truth)

    def loss(t: float) -> float:
        return -float(np.log(special.softmax(logits / t, axis=1)[np.arange(400), truth]).mean())

    grid = np.arange(0.5, 5.0, 0.001)
    assert found == pytest.approx(grid[np.argmin([loss(t) for t in grid])], abs=0.001)
    assert found == pytest.approx(float(optimize.minimize(lambda x: loss(float(x[0])), [1.0]).x[0]), abs=1e-3)
    assert found == pytest.approx(1.8, abs=0.25)


def test_a_teacher_that_is_always_right_or_always_wrong_ends_at_the_range() -> None:
    assert fit_temperature([[0.0, 2.0]] * 5, [1] * 5) == pytest.approx(TEMPERATURES[0], rel=1e-3)
    assert fit_temperature([[0.0, 2.0]] * 5, [0] * 5) == pytest.approx(TEMPERATURES[1], rel=1e-3)


def test_contextual_calibration_is_the_papers_renormalised_product() -> None:
    content_free, answers = np.array([[2.0, 0.0, -1.0], [1.0, 1.0, 0.5]]), np.array([[0.3, 0.1, 0.9], [2.0, 1.0, 0.0]])
    p = special.softmax(content_free, axis=1).mean(axis=0)
    product = special.softmax(answers, axis=1) @ np.diag(1 / p)
    bias = dict(zip(LABELS, fit_bias(content_free).tolist(), strict=True))
    got = special.softmax(calibrate_logits(answers, LABELS, calibration(method="contextual", bias=bias)), axis=1)
    np.testing.assert_allclose(got, product / product.sum(axis=1, keepdims=True), atol=1e-12)
    # What said nothing is now answered by "no idea".
    one = special.softmax(content_free[:1] + fit_bias(content_free[:1]), axis=1)
    np.testing.assert_allclose(one, [[1 / 3] * 3])


def test_extreme_answers_without_content_stay_finite() -> None:
    assert np.isfinite(fit_bias([[2000.0, 0.0]])).all()


def test_a_bias_goes_by_name_and_a_temperature_divides() -> None:
    both = calibration(temperature=2.0, bias={"b": 1.0, "a": -1.0})
    assert calibrate_logits([4.0, 2.0], ["b", "a"], both).tolist() == [3.0, 0.0]
    assert calibrate_logits([[4.0, 2.0]], ["a", "b"], both).tolist() == [[1.0, 2.0]]
    assert calibrate_logits([4.0, 2.0], ["a", "b"], None).tolist() == [4.0, 2.0]


def test_no_row_is_scaled_by_a_temperature_that_it_helped_to_choose() -> None:
    logits, truth = rows(30, sharpness=2.0)
    expected = [
        logits[i] / fit_temperature(np.delete(logits, i, axis=0), np.delete(truth, i)) for i in range(len(truth))
    ]
    np.testing.assert_allclose(cross_fit(logits, truth, folds=30), expected)
    halves = cross_fit(logits, truth, folds=2)
    np.testing.assert_allclose(halves[0::2], logits[0::2] / fit_temperature(logits[1::2], truth[1::2]))
    np.testing.assert_allclose(halves[1::2], logits[1::2] / fit_temperature(logits[0::2], truth[0::2]))


def test_quality_is_brier_and_likelihood_as_scikit_learn_has_them() -> None:
    logits, truth = rows(200, sharpness=2.0)
    probs, found = special.softmax(logits, axis=1), quality(logits, truth)
    assert found["log_likelihood"] == pytest.approx(-sk.log_loss(truth, probs), abs=1e-6)
    assert found["log_likelihood"] == pytest.approx(log_likelihood(logits, truth), abs=1e-6)
    brier = ((probs - np.eye(3)[truth]) ** 2).sum(axis=1).mean()  # older scikit-learn has it for two classes only
    assert found["brier"] == pytest.approx(brier, abs=1e-6)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, probs.argmax(axis=1)), abs=1e-6)


def test_the_right_temperature_makes_an_overconfident_teacher_honest() -> None:
    logits, truth = rows(2000, sharpness=2.5)
    before, after = quality(logits, truth), quality(cross_fit(logits, truth, 10), truth)
    assert after["ece"] < before["ece"] / 2
    assert after["brier"] < before["brier"]
    assert after["log_likelihood"] > before["log_likelihood"]
