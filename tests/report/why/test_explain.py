"""Measured quantities beside scores: means over seeds, and rank correlations."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cod_cli.report.comparison import Comparison, compare
from cod_cli.report.results import read_evidence
from cod_cli.report.statistics import rank_correlation
from cod_cli.report.why.explain import HELD_OUT, Correlation, Measurement, Measurements, Why, explain
from tests.report.evidence_of import rescore, scored_run, trained

ACCURACY = {"kd-shots": [0.60, 0.55, 0.62], "kd-cod": [0.70, 0.66, 0.71]}
TOLD = {"kd-shots": [0.2, 0.5, 0.3], "kd-cod": [0.9, 0.4, 1.1]}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in range(3):
        scored_run(tmp_path / f"s{seed}", {arm: values[seed] for arm, values in ACCURACY.items()}, seed=seed)
    return tmp_path


def compared(folder: Path, **options: str) -> Comparison:
    return compare(read_evidence(folder), **options)


def told(folder: Path, **more: Measurement) -> Measurements:
    found = {
        (folder / f"s{seed}", arm): Measurement(uncertainty=value, log_det=-value, crossed=value / 2)
        for arm, values in TOLD.items()
        for seed, value in enumerate(values)
    }
    return Measurements(found | {(folder / "s0", name): one for name, one in more.items()}, 1.0, {HELD_OUT: [40]}, ())


def of(why: Why, quantity: str) -> Correlation:
    (found,) = (c for c in why.correlations if c.quantity == quantity)
    return found


def test_each_arm_has_mean_and_std_over_seeds(runs: Path) -> None:
    shots, cod = explain(compared(runs), told(runs)).arms
    assert (shots.arm, cod.arm, cod.task, cod.split, cod.k) == ("kd-shots", "kd-cod", "sst2", "validation", 16)
    assert cod.quantities["uncertainty"].mean == pytest.approx(np.mean(TOLD["kd-cod"]))
    assert cod.quantities["uncertainty"].std == pytest.approx(np.std(TOLD["kd-cod"], ddof=1))
    assert cod.quantities["uncertainty"].n == 3
    assert "gap" not in cod.quantities


def test_correlations_are_scipys_over_arms_and_seeds(runs: Path) -> None:
    found = explain(compared(runs), told(runs))
    reached, quantity = ([*arms["kd-shots"], *arms["kd-cod"]] for arms in (ACCURACY, TOLD))
    assert of(found, "uncertainty").n == 6
    assert of(found, "uncertainty").rho == pytest.approx(stats.spearmanr(quantity, reached).statistic)
    assert of(found, "log_det").rho == pytest.approx(-stats.spearmanr(quantity, reached).statistic)
    assert {c.quantity for c in found.correlations} == {"uncertainty", "log_det", "crossed"}


def test_what_holds_between_arms_is_told_apart_from_what_holds_within_them(tmp_path: Path) -> None:
    # Arms of higher accuracy hold more, draws of higher accuracy less.
    offsets = {"kd-shots": 0.1, "kd-cod": 0.3, "kd-eda": 0.5}
    told: dict[tuple[Path, str], Measurement] = {}
    for seed in range(3):
        scored_run(tmp_path / f"s{seed}", {arm: low + seed / 100 for arm, low in offsets.items()}, seed=seed)
        told |= {(tmp_path / f"s{seed}", arm): Measurement(uncertainty=10 * low - seed) for arm, low in offsets.items()}
    found = of(explain(compared(tmp_path), Measurements(told, 1.0, {}, ())), "uncertainty")
    assert (found.between, found.arms) == (pytest.approx(1), 3)
    assert (found.within, found.n) == (pytest.approx(-1), 9)
    assert found.rho is not None
    assert -1 < found.rho < 1
    assert set(found.points) >= {("kd-cod", 0, 3.0, 0.3), ("kd-eda", 2, 3.0, 0.52)}


def test_two_arms_say_nothing_between_them_and_one_seed_nothing_within(tmp_path: Path) -> None:
    scored_run(tmp_path / "s0", {"kd-shots": 0.5, "kd-cod": 0.6}, seed=0)
    told = {(tmp_path / "s0", arm): Measurement(uncertainty=x) for arm, x in (("kd-shots", 1.0), ("kd-cod", 2.0))}
    found = of(explain(compared(tmp_path), Measurements(told, 1.0, {}, ())), "uncertainty")
    assert (found.between, found.within, found.n) == (None, None, 2)


def test_they_are_with_the_metric_of_the_report(runs: Path) -> None:
    for seed, kl in enumerate((0.1, 0.2, 0.3)):
        rescore(read_evidence(runs).runs[seed], "kd-cod", kl=kl)
    found = of(explain(compared(runs, metric="kl"), told(runs)), "uncertainty")
    reached = [0.4] * 3 + [0.1, 0.2, 0.3]
    assert found.metric == "kl"
    assert found.rho == pytest.approx(stats.spearmanr([*TOLD["kd-shots"], *TOLD["kd-cod"]], reached).statistic)


def test_a_student_without_a_number_is_left_out_of_it_alone(runs: Path) -> None:
    found = explain(compared(runs), told(runs, **{"kd-cod": Measurement(uncertainty=0.9)}))
    quantities = found.arms[1].quantities
    assert (quantities["uncertainty"].n, quantities["crossed"].n) == (3, 2)
    assert (of(found, "uncertainty").n, of(found, "crossed").n) == (6, 5)


def test_arms_of_another_budget_are_shown_and_not_correlated(runs: Path) -> None:
    scored_run(runs / "more", {"all": 0.9}, seed=0, rows=32)
    measurements = told(runs)
    more = {(runs / "more", "all"): Measurement(uncertainty=9.0)}
    found = explain(compared(runs), Measurements({**measurements.found, **more}, 1.0, {}, ()))
    assert {arm.arm for arm in found.arms} == {"kd-shots", "kd-cod", "all"}
    assert of(found, "uncertainty").n == 6


def test_students_cut_from_their_teacher_are_shown_and_not_correlated(runs: Path) -> None:
    for run in read_evidence(runs).runs:
        trained(run, "kd-cod", cut_from_teacher=True)
    found = explain(compared(runs), told(runs))
    assert {arm.arm for arm in found.arms} == {"kd-shots", "kd-cod"}
    assert of(found, "uncertainty").n == 3


def test_neither_k_nor_tasks_are_mixed_in_a_correlation(tmp_path: Path) -> None:
    places = [("sst2", 16), ("sst2", 32), ("cola", 16)]
    measurements = {}
    for offset, (task, k) in enumerate(places):
        for seed in range(3):
            folder = tmp_path / f"{task}-k{k}-s{seed}"
            # Within a place the quantity falls as accuracy rises, over all places it rises with it.
            scored_run(folder, {"kd-shots": 0.5 + offset / 10 + seed / 100}, seed=seed, k=k, task=task)
            measurements[folder, "kd-shots"] = Measurement(uncertainty=offset - seed / 10)
    found = explain(compared(tmp_path), Measurements(measurements, 1.0, {}, ())).correlations
    assert {(c.task, c.k) for c in found} == set(places)
    assert [(c.n, c.rho) for c in found] == [(3, pytest.approx(-1))] * 3


def test_arms_of_which_nothing_is_known_are_not_there(runs: Path) -> None:
    assert explain(compared(runs), Measurements({}, 1.0, {}, ("gone",))) == Why(1.0, {}, 0, ("gone",), (), ())


def test_trainings_on_one_draw_of_shots_are_averaged(tmp_path: Path) -> None:
    for seed in range(2):
        scored_run(tmp_path / f"s{seed}", {"kd-cod-s0": 0.5, "kd-cod-s1": 0.6}, seed=seed)
        for student in (0, 1):
            rescore(read_evidence(tmp_path).runs[seed], f"kd-cod-s{student}", seed=student, mix="cod", method="kd")
    gaps = {(0, 0): 0.1, (0, 1): 0.3, (1, 0): 0.2, (1, 1): 0.6}
    found = {(tmp_path / f"s{run}", f"kd-cod-s{s}"): Measurement(gap=gap) for (run, s), gap in gaps.items()}
    (arm,) = explain(compared(tmp_path), Measurements(found, 1.0, {}, ())).arms
    assert arm.quantities["gap"].n == 2
    assert arm.quantities["gap"].mean == pytest.approx(0.3)
    assert arm.quantities["gap"].std == pytest.approx(np.std([0.2, 0.4], ddof=1))


def test_no_correlation_where_nothing_varies_or_there_are_two_points() -> None:
    assert rank_correlation([1, 2, 3], [5, 5, 5]) is None
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 2, 3], [1, 4, 9]) == pytest.approx(1)
    with pytest.raises(ValueError, match="3 and 2 values"):
        rank_correlation([1, 2, 3], [1, 2])
