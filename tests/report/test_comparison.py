"""Arms side by side: what is compared with what, and what counts."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cod_cli.errors import CodError, UsageError
from cod_cli.report.comparison import SAME_SHOTS, Cell, Comparison, Contrast, compare
from cod_cli.report.results import Cost, Evidence, Result, read_evidence
from cod_cli.report.statistics import holm
from cod_cli.store.run import Run
from tests.records_of import score
from tests.report.evidence_of import predicted, rescore, scored_run, sweep_json, trained

SHOTS = [0.60, 0.55, 0.62, 0.58, 0.61]
COD = [0.70, 0.66, 0.71, 0.65, 0.74]


def five_seeds(folder: Path, k: int = 16, **more: list[float]) -> None:
    for seed, values in enumerate(zip(SHOTS, COD, *more.values(), strict=True)):
        scored_run(
            folder / f"k{k}-s{seed}", dict(zip(["kd-shots", "kd-cod", *more], values, strict=True)), seed=seed, k=k
        )


def compared(folder: Path, **options: str) -> Comparison:
    return compare(read_evidence(folder), **options)


def contrast(found: Comparison, arm: str) -> Contrast:
    return next(c for c in found.contrasts if c.arm == arm)


def cell(found: Comparison, arm: str) -> Cell:
    return next(c for c in found.cells if c.arm == arm)


def test_means_are_over_seeds_with_sample_deviation(tmp_path: Path) -> None:
    five_seeds(tmp_path)
    found = cell(compared(tmp_path), "kd-cod").metrics()["accuracy"]
    assert (found.mean, found.std, found.n) == (pytest.approx(np.mean(COD)), pytest.approx(np.std(COD, ddof=1)), 5)


def test_an_arm_is_tested_against_plain_distillation_paired_by_seed(tmp_path: Path) -> None:
    five_seeds(tmp_path)
    found = compared(tmp_path)
    assert (found.baseline, found.metric, len(found.contrasts)) == ("kd-shots", "accuracy", 1)
    tested = contrast(found, "kd-cod").difference
    assert tested is not None
    assert tested.p == pytest.approx(stats.ttest_rel(COD, SHOTS).pvalue)
    assert contrast(found, "kd-cod").verdict == "better"


def test_seeds_are_paired_also_where_each_arm_has_a_run_of_its_own(tmp_path: Path) -> None:
    for seed, (one, two) in enumerate(zip(SHOTS, COD, strict=True)):
        scored_run(tmp_path / f"shots-{seed}", {"kd-shots": one}, seed=seed)
        scored_run(tmp_path / f"cod-{4 - seed}", {"kd-cod": two}, seed=seed)
    tested = contrast(compared(tmp_path), "kd-cod").difference
    assert tested is not None
    assert tested.p == pytest.approx(stats.ttest_rel(COD, SHOTS).pvalue)


def test_holm_is_over_all_contrasts_of_the_report(tmp_path: Path) -> None:
    five_seeds(tmp_path / "a", k=8, eda=[0.61, 0.57, 0.62, 0.60, 0.62])
    five_seeds(tmp_path / "b", k=16)
    found = compared(tmp_path)
    p_values = [c.difference.p if c.difference else None for c in found.contrasts]
    assert found.n_tested == len(p_values) == 3
    assert [c.adjusted for c in found.contrasts] == holm(p_values)


def test_seeds_that_one_arm_lacks_are_left_out_and_counted(tmp_path: Path) -> None:
    five_seeds(tmp_path)
    scored_run(tmp_path / "k16-s9", {"kd-shots": 0.5}, seed=9)
    found = contrast(compared(tmp_path), "kd-cod")
    assert found.difference is not None
    assert (found.difference.n, found.unpaired) == (5, 1)


def test_no_common_seed_is_no_test(tmp_path: Path) -> None:
    scored_run(tmp_path / "a", {"kd-shots": 0.5}, seed=0)
    scored_run(tmp_path / "b", {"kd-cod": 0.7}, seed=1)
    assert contrast(compared(tmp_path), "kd-cod").verdict == "no seed in common"


def test_one_seed_is_no_test(tmp_path: Path) -> None:
    scored_run(tmp_path, {"kd-shots": 0.5, "kd-cod": 0.9})
    assert contrast(compared(tmp_path), "kd-cod").verdict == "not tested (n = 1)"


def test_trainings_on_the_same_shots_are_averaged_before_seeds_are_counted(tmp_path: Path) -> None:
    for draw, (one, two) in enumerate([(0.5, 0.7), (0.6, 0.7)]):
        run = scored_run(
            tmp_path / f"s{draw}", {"kd-shots-s0": one, "kd-shots-s1": two}, seed=draw, method="kd", mix="shots"
        )
        rescore(run, "kd-shots-s0", seed=0)
        rescore(run, "kd-shots-s1", seed=1)
    (found,) = compared(tmp_path).cells
    assert found.values["accuracy"] == {0: pytest.approx(0.6), 1: pytest.approx(0.65)}


def test_seeds_of_one_draw_of_shots_are_said_to_be_that(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"kd-shots-s0": 0.5, "kd-shots-s1": 0.6}, method="kd", mix="shots")
    rescore(run, "kd-shots-s1", seed=1)
    found = compared(tmp_path)
    assert found.cells[0].n == 2
    assert any("one draw of shots" in note for note in found.notes)


@pytest.mark.parametrize("changes", [{"rows": 32}, {"steps": 320}])
def test_another_budget_is_seen_and_never_a_win(tmp_path: Path, changes: dict[str, int]) -> None:
    five_seeds(tmp_path)
    for seed in range(5):
        rescore(scored_run_at(tmp_path, seed), "kd-cod", **changes)
    found = compared(tmp_path)
    assert (
        cell(found, "kd-cod").other_budget
        == {"rows": "32 rows, 80 steps", "steps": "16 rows, 320 steps"}[next(iter(changes))]
    )
    assert contrast(found, "kd-cod").verdict == "other budget, not counted"
    assert contrast(found, "kd-cod").difference is not None  # shown all the same
    assert found.n_tested == 0


def scored_run_at(folder: Path, seed: int) -> Run:
    return Run(folder / f"k16-s{seed}")


def test_an_arm_that_the_sweep_marks_is_of_another_budget_whatever_its_rows(tmp_path: Path) -> None:
    five_seeds(tmp_path)
    sweep_json(tmp_path, "kd-shots", ["kd-cod"])
    assert contrast(compared(tmp_path), "kd-cod").verdict == "other budget, not counted"


def test_the_sweeps_baseline_is_taken(tmp_path: Path) -> None:
    five_seeds(tmp_path, eda=SHOTS)
    sweep_json(tmp_path, "eda")
    found = compared(tmp_path)
    assert found.baseline == "eda"
    assert {c.against for c in found.contrasts} == {"eda"}


def test_a_baseline_can_be_named_and_then_all_are_compared_with_it(tmp_path: Path) -> None:
    lwd = {"lwd-shots": [0.6, 0.5, 0.7, 0.6, 0.6], "lwd-cod": [0.7, 0.7, 0.8, 0.6, 0.7]}
    five_seeds(tmp_path, **lwd)
    assert {c.arm: c.against for c in compared(tmp_path).contrasts} == {
        "kd-cod": "kd-shots",
        "lwd-shots": "kd-shots",
        "lwd-cod": "lwd-shots",
    }
    named = compared(tmp_path, baseline="kd-cod")
    assert {c.against for c in named.contrasts} == {"kd-cod"}


def test_a_baseline_that_is_not_there_is_a_usage_error_that_lists_the_arms(tmp_path: Path) -> None:
    five_seeds(tmp_path)
    with pytest.raises(UsageError) as failure:
        compared(tmp_path, baseline="kd")
    assert failure.value.hint == "choose one of: kd-shots, kd-cod"


def test_where_several_arms_could_be_the_baseline_none_is(tmp_path: Path) -> None:
    scored_run(tmp_path, {"a": 0.5, "b": 0.6}, method="kd", mix="shots")
    found = compared(tmp_path)
    assert (found.baseline, found.contrasts) == (None, ())
    assert any("--baseline" in note for note in found.notes)


def test_students_cut_from_their_teacher_are_not_compared(tmp_path: Path) -> None:
    five_seeds(tmp_path)
    for seed in range(5):
        trained(scored_run_at(tmp_path, seed), "kd-cod", cut_from_teacher=True)
    found = contrast(compared(tmp_path), "kd-cod")
    assert (found.verdict, found.difference) == ("cut from its teacher, not compared", None)


def test_cut_students_are_compared_with_their_own_shots_for_as_many_steps_as_plain_distillation(tmp_path: Path) -> None:
    arms = {"kd-shots": 0.5, "cut-untrained": 0.7, "cut-shots-320": 0.75, "cut-shots": 0.74, "cut-cod": 0.8}
    steps = {"cut-untrained": 0, "cut-shots-320": 320}
    for seed in range(5):
        run = scored_run(tmp_path / f"s{seed}", arms, seed=seed, method="kd", mix="shots", steps=80)
        for name in arms:
            rescore(run, name, steps=steps.get(name, 80), mix="cod" if name == "cut-cod" else "shots")
            if name != "kd-shots":
                trained(run, name, cut_from_teacher=True, steps=steps.get(name, 80))
    found = compared(tmp_path)
    assert (found.baseline, found.cut_baseline) == ("kd-shots", "cut-shots")
    assert contrast(found, "cut-cod").against == "cut-shots"


def test_results_at_different_k_are_said_to_share_shots(tmp_path: Path) -> None:
    five_seeds(tmp_path / "a", k=8)
    assert SAME_SHOTS not in compared(tmp_path).notes
    five_seeds(tmp_path / "b", k=16)
    assert SAME_SHOTS in compared(tmp_path).notes


def test_the_same_arm_and_seed_in_two_runs_is_refused(tmp_path: Path) -> None:
    scored_run(tmp_path / "a", {"kd-cod": 0.5})
    scored_run(tmp_path / "b", {"kd-cod": 0.6})
    with pytest.raises(CodError, match="stands in both") as failure:
        compared(tmp_path)
    assert str(tmp_path / "a") in failure.value.message


def test_less_is_better_for_kl(tmp_path: Path) -> None:
    five_seeds(tmp_path)
    for seed, value in enumerate([0.30, 0.31, 0.32, 0.29, 0.305]):
        rescore(scored_run_at(tmp_path, seed), "kd-cod", kl=value)
    assert contrast(compared(tmp_path, metric="kl"), "kd-cod").verdict == "better"


def test_without_labels_agreement_decides(tmp_path: Path) -> None:
    scored_run(tmp_path, {"kd-shots": None, "kd-cod": None})
    assert compared(tmp_path).metric == "agreement"


def test_two_students_on_one_split_are_compared_row_by_row(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"kd-shots": 0.5, "kd-cod": 0.9})
    predicted(run, {"kd-shots": [0, 0, 0, 0, 0, 0, 1, 1], "kd-cod": [1, 1, 1, 1, 1, 1, 1, 0]}, truth=[1] * 8)
    found = contrast(compared(tmp_path), "kd-cod").rows
    assert found is not None
    assert (found.only_first, found.only_second) == (6, 1)
    assert found.p == pytest.approx(2 * (1 + 7) / 2**7)


def test_a_planted_null_is_called_different_in_at_most_five_per_cent_of_tables() -> None:
    """The whole way from scores to words, four arms that are all the baseline."""
    random, tables, wrong, run = np.random.default_rng(3), 2000, 0, Run("run")
    plain = score("x")

    def result(arm: str, seed: int, accuracy: float) -> Result:
        mix = "shots" if arm == "kd-shots" else arm
        made = plain.replace(student=arm, mix=mix, seed=seed, accuracy=accuracy)
        return Result(run, made, arm, seed, False, Cost(8, 8, 0, 0, 1), None, None)

    for _ in range(tables):
        shots = random.normal(0.6, 0.05, 5)
        accuracy = {arm: shots + random.normal(0, 0.03, 5) for arm in ("kd-shots", "kd-cod", "eda")}
        results = [result(arm, seed, values[seed]) for arm, values in accuracy.items() for seed in range(5)]
        found = compare(Evidence(Path("."), (run,), (), tuple(results), ()))
        wrong += any(c.verdict in ("better", "worse") for c in found.contrasts)
    assert 0 < wrong / tables <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)


def test_an_arm_is_not_tested_against_a_reference_of_another_budget(tmp_path: Path) -> None:
    five_seeds(tmp_path)
    for seed in range(5):
        rescore(Run(tmp_path / f"k16-s{seed}"), "kd-shots", rows=17)
    found = compared(tmp_path)
    assert cell(found, "kd-cod").other_budget is None
    tested = contrast(found, "kd-cod")
    assert (tested.adjusted, tested.verdict) == (None, "other budget, not counted")
