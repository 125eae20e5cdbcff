import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from cod_cli import metrics

# Logits whose softmax is known in closed form: p = (1/4, 3/4) and so on.
QUARTER = [0.0, math.log(3)]
HALF = [0.0, 0.0]


def _random(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, classes)) * 3, rng.integers(classes, size=rows)


def test_softmax_is_taken_in_float64_even_of_half_precision_logits() -> None:
    probs = metrics.softmax(np.array([QUARTER, [1000, 0]], dtype=np.float16))
    assert probs.dtype == np.float64
    assert probs == pytest.approx(np.array([[0.25, 0.75], [1, 0]]), abs=1e-3)
    assert metrics.softmax(QUARTER) == pytest.approx([0.25, 0.75])


def test_accuracy_is_the_share_decided_right() -> None:
    assert metrics.accuracy([0, 1, 1, 0], [0, 1, 0, 0]) == 0.75


def test_macro_f1_counts_a_class_of_the_label_set_that_never_occurs_as_zero() -> None:
    # Class 0: precision 1/2, recall 1, F1 2/3; class 1: precision 1, recall 1/2, F1 2/3; class 2: 0.
    assert metrics.macro_f1([0, 1, 1], [0, 0, 1], classes=2) == pytest.approx(2 / 3)
    assert metrics.macro_f1([0, 1, 1], [0, 0, 1], classes=3) == pytest.approx(4 / 9)


@pytest.mark.parametrize("seed", range(5))
def test_f1_of_each_class_equals_scikit_learns_also_for_one_never_true_or_never_decided(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # 0 and 1 are both, 2 is only true, 3 only decided, 4 neither.
    truth, decided = rng.choice([0, 1, 2], size=60), rng.choice([0, 1, 3], size=60)
    expected = sk.f1_score(truth, decided, labels=range(5), average=None, zero_division=0)
    found = metrics.f1(truth, decided, classes=5)
    assert found == pytest.approx(expected)
    assert found[:2].min() > 0
    assert found[2:].tolist() == [0, 0, 0]
    macro = sk.f1_score(truth, decided, labels=range(5), average="macro", zero_division=0)
    assert metrics.macro_f1(truth, decided, classes=5) == pytest.approx(macro)


def test_mcc_equals_the_confusion_matrix_formula() -> None:
    truth, decided = [1] * 6 + [0] * 4, [1] * 5 + [0] + [0] * 3 + [1]
    tp, fn, tn, fp = 5, 1, 3, 1
    expected = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert metrics.mcc(truth, decided) == pytest.approx(expected)


def test_mcc_of_a_student_that_says_one_class_only_is_zero() -> None:
    assert metrics.mcc([0, 1, 1, 0], [1, 1, 1, 1]) == 0.0
    with warnings.catch_warnings(action="error"):
        assert metrics.mcc([1, 1], [1, 1]) == 0.0


def test_agreement_compares_choices_not_probabilities() -> None:
    teacher = [[5, 0], [0, 5], [1, 0], [0, 1]]
    student = [[0.1, 0], [0, 0.1], [0, 0.1], [0, 9]]
    assert metrics.agreement(teacher, student) == 0.75


def test_kl_equals_the_closed_form_in_nats() -> None:
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert metrics.kl([QUARTER], [HALF]) == pytest.approx(expected)


def test_kl_is_directed_from_teacher_to_student() -> None:
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert metrics.kl([HALF], [QUARTER]) == pytest.approx(expected)


def test_kl_is_the_mean_over_rows_and_zero_for_equal_distributions() -> None:
    one = metrics.kl([QUARTER], [HALF])
    assert metrics.kl([QUARTER, HALF], [HALF, HALF]) == pytest.approx(one / 2)
    assert metrics.kl([QUARTER], [[7.0, 7.0 + math.log(3)]]) == pytest.approx(0, abs=1e-12)


def test_kl_stays_finite_for_logits_whose_softmax_underflows() -> None:
    assert metrics.kl([[800.0, 0.0]], [[0.0, 800.0]]) == pytest.approx(800.0)


def test_a_class_that_the_teacher_rules_out_adds_nothing_to_kl() -> None:
    assert metrics.kl([[0.0, -math.inf]], [HALF]) == pytest.approx(math.log(2))


def test_brier_is_summed_over_the_classes() -> None:
    assert metrics.brier([[0.25, 0.75]], [0]) == pytest.approx(0.75**2 * 2)
    assert metrics.brier([[1, 0, 0], [0, 1, 0]], [0, 2]) == pytest.approx(1.0)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_brier_equals_scikit_learn(classes: int) -> None:
    logits, truth = _random(200, classes)
    probs = metrics.softmax(logits)
    # Half of it for two classes; older versions have it for those alone.
    of_two = 2 * sk.brier_score_loss(truth == 1, probs[:, 1]) if classes == 2 else None
    expected = of_two or ((probs - np.eye(classes)[truth]) ** 2).sum(axis=1).mean()
    assert metrics.brier(probs, truth) == pytest.approx(expected)


def test_ece_equals_a_hand_computation() -> None:
    # Bin (0.6, 0.667]: confidence 0.65, one of two right; bin (0.867, 0.933]: 0.9, one of one right.
    probs = [[0.65, 0.35], [0.35, 0.65], [0.9, 0.1]]
    assert metrics.ece(probs, [0, 0, 0]) == pytest.approx(2 / 3 * abs(0.5 - 0.65) + 1 / 3 * abs(1 - 0.9))


@pytest.mark.parametrize("classes", [2, 3])
def test_ece_equals_a_plain_loop_over_bins(classes: int) -> None:
    logits, truth = _random(500, classes)
    probs = metrics.softmax(logits)
    expected = 0.0
    for low in range(15):
        here = [(max(p), np.argmax(p) == t) for p, t in zip(probs, truth, strict=True) if low < 15 * max(p) <= low + 1]
        expected += abs(sum(confidence - right for confidence, right in here)) / 500
    assert metrics.ece(probs, truth) == pytest.approx(expected)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    bars = metrics.reliability([[0.2, 0.8], [0.6, 0.4]], [1, 0], bins=5)
    assert [bar.n for bar in bars] == [0, 0, 1, 1, 0]


def test_a_confidence_of_zero_belongs_to_the_first_bin() -> None:
    bars = metrics.reliability([[0.0, 0.0]], [0])
    assert bars[0] == metrics.Bin(0.0, pytest.approx(1 / 15), 1, 0.0, 1.0)


def test_certainty_belongs_to_the_last_bin() -> None:
    assert metrics.reliability([[1.0, 0.0]], [1])[-1] == metrics.Bin(pytest.approx(14 / 15), 1.0, 1, 1.0, 0.0)


def test_reliability_bins_hold_every_row_once() -> None:
    logits, truth = _random(300, 3)
    bars = metrics.reliability(metrics.softmax(logits), truth)
    assert len(bars) == 15
    assert sum(bar.n for bar in bars) == 300
    assert [bar.confidence is None for bar in bars] == [bar.n == 0 for bar in bars]
    assert all(bar.confidence is None or bar.low < bar.confidence <= bar.high for bar in bars)


def test_the_deviation_is_the_sample_one() -> None:
    assert metrics.summary([1.0, 2.0, 3.0, 4.0]) == metrics.Summary(2.5, pytest.approx(math.sqrt(5 / 3)), 4)


def test_a_single_value_has_no_deviation() -> None:
    assert metrics.summary([0.5]) == metrics.Summary(0.5, None, 1)


def test_nothing_to_score_is_an_error_not_a_number() -> None:
    with pytest.raises(ValueError, match="no values"):
        metrics.summary([])
    with pytest.raises(ValueError, match="n > 0"):
        metrics.accuracy([], [])
    with pytest.raises(ValueError, match="n > 0"):
        metrics.kl([], [])


# The flip rule


def test_a_flip_needs_another_choice_before_and_the_target_after() -> None:
    assert metrics.flips([2.0, 0.0], [0.0, 2.0], target=1)
    assert not metrics.flips([0.0, 2.0], [0.0, 3.0], target=1)
    assert not metrics.flips([2.0, 0.0], [1.0, 0.0], target=1)


def test_a_flip_needs_a_margin_over_the_second_class() -> None:
    # P = (1 - m) / 2 against (1 + m) / 2 for logits 0 and log((1 + m) / (1 - m)).
    assert metrics.flips([2.0, 0.0], [0.0, math.log(1.0101 / 0.9899)], target=1)
    assert not metrics.flips([2.0, 0.0], [0.0, math.log(1.0099 / 0.9901)], target=1)
    assert not metrics.flips([2.0, 0.0, 0.0], [0.0, 1.0, 1.001], target=2)
