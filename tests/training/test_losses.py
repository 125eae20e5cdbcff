"""The loss terms against closed forms and an independent computation in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax

from cod_cli.training.objective import hard_loss, layer_loss, soft_loss


def test_the_hard_loss_of_even_logits_is_the_log_of_the_number_of_classes() -> None:
    assert hard_loss(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])).item() == pytest.approx(math.log(3), rel=1e-6)


def test_the_soft_loss_against_an_even_student_is_log_2_minus_the_teachers_entropy() -> None:
    teacher = torch.tensor([[0.0, 2 * math.log(3)]])  # at T = 2: probabilities 1/4 and 3/4
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    loss = soft_loss(torch.zeros(1, 2), teacher, alpha=20.0, temperature=2.0)
    assert loss.item() == pytest.approx(20 * 4 * (math.log(2) - entropy), rel=1e-6)


def test_the_soft_loss_of_equal_distributions_is_zero() -> None:
    logits = torch.randn(5, 3)
    assert soft_loss(logits, logits + 7.0, alpha=20.0, temperature=2.0).item() == pytest.approx(0.0, abs=1e-4)


def test_the_divergence_is_of_the_student_from_the_teacher() -> None:
    confident, even = torch.tensor([[0.0, 6.0]]), torch.zeros(1, 2)
    forward = soft_loss(even, confident, alpha=1.0, temperature=1.0).item()
    backward = soft_loss(confident, even, alpha=1.0, temperature=1.0).item()
    p = 1 / (1 + math.exp(6))
    assert forward == pytest.approx(math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p), rel=1e-5)
    assert backward > 2 * forward


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_both_terms_equal_an_independent_float64_computation(classes: int, temperature: float) -> None:
    rng = np.random.default_rng(classes)
    student, teacher = rng.normal(0, 3, (2, 7, classes))
    labels = rng.integers(0, classes, 7)
    hard = -log_softmax(student, axis=1)[np.arange(7), labels].mean()
    divergence = rel_entr(softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1))
    soft = 20 * temperature**2 * divergence.sum(axis=1).mean()
    logits = torch.tensor(student, dtype=torch.float32)
    teacher_logits = torch.tensor(teacher, dtype=torch.float32)
    assert hard_loss(logits, torch.tensor(labels)).item() == pytest.approx(hard, rel=1e-6)
    assert soft_loss(logits, teacher_logits, alpha=20, temperature=temperature).item() == pytest.approx(soft, rel=1e-6)


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.randn(8, 2).to(torch.bfloat16)
    assert hard_loss(logits, torch.zeros(8, dtype=torch.long)).dtype == torch.float32
    assert soft_loss(logits, logits, alpha=1.0, temperature=2.0).dtype == torch.float32


def test_the_layer_loss_of_states_one_apart_everywhere_is_beta() -> None:
    hidden = torch.randn(3, 2, 4, 8)
    assert layer_loss(hidden, hidden + 1, torch.ones(2, 4), beta=20.0).item() == pytest.approx(20.0, rel=1e-6)


def test_padding_is_left_out_of_the_layer_loss() -> None:
    hidden, teacher = torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4)
    teacher[0, 1, 1:] = 100.0
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert layer_loss(hidden, teacher, mask, beta=1.0).item() == 0.0
    teacher[0, 1, 0] = 2.0
    # One of four real tokens is 2 off in every dimension.
    assert layer_loss(hidden, teacher, mask, beta=1.0).item() == pytest.approx(4 / 4)


def test_the_layer_loss_equals_an_independent_float64_computation() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 2, (2, 4, 5, 7, 6))
    lengths = [7, 3, 1, 5, 2]
    per_layer = [
        np.mean(
            [(student[layer, row, t] - teacher[layer, row, t]) ** 2 for row in range(5) for t in range(lengths[row])]
        )
        for layer in range(4)
    ]
    mask = torch.tensor([[int(t < length) for t in range(7)] for length in lengths])
    loss = layer_loss(torch.tensor(student).float(), torch.tensor(teacher).float(), mask, beta=5.0)
    assert loss.item() == pytest.approx(5 * np.mean(per_layer), rel=1e-6)
