"""Fisher information against numbers by hand and against Hessians that torch differentiates."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

from cod_cli.report.why import fisher

RNG = np.random.default_rng(0)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_a_row_on_the_boundary_adds_a_quarter_and_a_sure_one_nothing() -> None:
    found = fisher.uncertainty([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]])
    np.testing.assert_allclose(found, [0.25, 0.09, 0.0], atol=1e-12)


def test_with_more_classes_it_is_half_the_trace_of_a_rows_information() -> None:
    probs = softmax(RNG.normal(size=(5, 4)))
    traces = [np.trace(np.diag(p) - np.outer(p, p)) / 2 for p in probs]
    np.testing.assert_allclose(fisher.uncertainty(probs), traces)
    assert fisher.uncertainty([[1 / 3] * 3])[0] == pytest.approx((1 - 1 / 3) / 2)


def test_two_rows_in_the_plane_by_hand() -> None:
    # F = 0.25·(1,0)(1,0)ᵀ + 0.16·(1,2)(1,2)ᵀ = [[0.41, 0.32], [0.32, 0.64]]; det(I + F) = 1.41·1.64 - 0.32²
    probs = [[0.5, 0.5], [0.2, 0.8]]
    assert fisher.log_det([[1, 0], [1, 2]], probs) == pytest.approx(math.log(1.41 * 1.64 - 0.32**2), abs=1e-12)
    # λ = 2 halves F.
    halved = 1.205 * 1.32 - 0.16**2
    assert fisher.log_det([[1, 0], [1, 2]], probs, ridge=2) == pytest.approx(math.log(halved), abs=1e-12)


@pytest.mark.parametrize(("n", "d"), [(3, 6), (20, 4)])
def test_two_classes_give_the_hessian_of_logistic_regression(n: int, d: int) -> None:
    """Whichever of n and d is larger; the likelihood is written down with labels, which drop out of its Hessian."""
    features, weights = RNG.normal(size=(n, d)), RNG.normal(size=d)
    rows, labels = torch.tensor(features), torch.tensor(RNG.integers(0, 2, n)).double()

    def loss(w: torch.Tensor) -> torch.Tensor:
        logits = rows @ w
        return (softplus(logits) - labels * logits).sum()

    hessian = torch.autograd.functional.hessian(loss, torch.tensor(weights)).numpy()
    p = 1 / (1 + np.exp(-features @ weights))
    for ridge in (0.1, 1.0, 7.0):
        expected = np.linalg.slogdet(np.eye(d) + hessian / ridge).logabsdet
        assert fisher.log_det(features, np.stack([1 - p, p], axis=1), ridge) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [(3, 6), (20, 4)])
def test_three_classes_give_the_hessian_of_multinomial_regression(n: int, d: int) -> None:
    features, weights = RNG.normal(size=(n, d)), RNG.normal(size=(3, d))
    rows, labels = torch.tensor(features), torch.tensor(RNG.integers(0, 3, n))

    def loss(w: torch.Tensor) -> torch.Tensor:
        return cross_entropy(rows @ w.reshape(3, d).T, labels, reduction="sum")

    hessian = torch.autograd.functional.hessian(loss, torch.tensor(weights.ravel())).numpy()
    expected = np.linalg.slogdet(np.eye(3 * d) + hessian / 2).logabsdet
    probs = softmax(features @ weights.T)
    assert fisher.log_det(features, probs) == pytest.approx(expected, rel=1e-10)
    order = [2, 0, 1]
    assert fisher.log_det(features, probs[:, order]) == pytest.approx(expected, rel=1e-10)


def test_every_row_adds_something_and_a_new_direction_adds_more_than_a_repeated_one() -> None:
    one = fisher.log_det([[3, 0]], [[0.5, 0.5]])
    repeated = fisher.log_det([[3, 0], [3, 0]], [[0.5, 0.5]] * 2)
    other = fisher.log_det([[3, 0], [0, 3]], [[0.5, 0.5]] * 2)
    assert one < repeated < other
    assert other == pytest.approx(2 * one)


def test_a_teacher_that_is_sure_of_everything_leaves_nothing_to_learn() -> None:
    assert fisher.log_det([[1, 2], [3, 4]], [[1, 0], [0, 1]]) == 0


def test_rows_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rows of features and 1 of probabilities"):
        fisher.log_det([[1, 2], [3, 4]], [[1, 0]])
    with pytest.raises(ValueError, match="a row for each text"):
        fisher.uncertainty([])
