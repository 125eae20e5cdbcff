"""What a comparison comes to, in sentences."""

from pathlib import Path
from typing import Any

import pytest

from cod_cli.report.comparison import Comparison, compare
from cod_cli.report.results import read_evidence
from cod_cli.report.verdicts import verdicts
from cod_cli.store.run import Run
from tests.records_of import score
from tests.report.evidence_of import predicted, rescore, scored_run, trained

SEEDS = range(5)
NOISE = (0.0, 0.01, -0.01, 0.005, -0.005)


def said(folder: Path, **options: Any) -> list[str]:
    found = read_evidence(folder)
    return verdicts(compare(found, **options), found.yardsticks)


def runs(folder: Path, **accuracy: float) -> list[Run]:
    """Five seeds of these arms."""
    made = []
    for seed in SEEDS:
        signs = {arm: 1 if "cod" in arm else -1 for arm in accuracy}
        reached = {arm.replace("_", "-"): mean + signs[arm] * NOISE[seed] for arm, mean in accuracy.items()}
        made.append(scored_run(folder / f"s{seed}", reached, seed=seed))
    return made


def with_two_starts(folder: Path) -> Comparison:
    for run in runs(folder, kd_shots=0.5, kd_cod=0.6, cut_shots=0.7, cut_cod=0.8):
        for arm, mix in (("cut-shots", "shots"), ("cut-cod", "cod")):
            trained(run, arm, cut_from_teacher=True, parameters=2_000_000)
            rescore(run, arm, mix=mix)
    return compare(read_evidence(folder))


def baseline(run: Run, name: str, accuracy: float, k: int = 16) -> None:
    row = score(name, None, method=None, mix=None, steps=None, k=k, rows=k, shots=k, accuracy=accuracy)
    run.scores.finish(run.scores.require(), [*run.scores.read(), row])


def test_students_of_each_start_are_compared_with_the_shots_of_that_start(tmp_path: Path) -> None:
    found = with_two_starts(tmp_path)
    assert (found.baseline, found.cut_baseline) == ("kd-shots", "cut-shots")
    assert {c.arm: (c.against, c.verdict) for c in found.contrasts} == {
        "kd-cod": ("kd-shots", "better"),
        "cut-cod": ("cut-shots", "better"),
    }
    assert [cell.arm for cell in found.in_order()] == ["kd-shots", "kd-cod", "cut-shots", "cut-cod"]


def test_a_baseline_that_is_named_is_compared_with_students_of_its_start_only(tmp_path: Path) -> None:
    with_two_starts(tmp_path)
    found = compare(read_evidence(tmp_path), baseline="kd-cod")
    verdict = {c.arm: c.verdict for c in found.contrasts}
    assert verdict["kd-shots"] == "worse"
    assert {verdict["cut-shots"], verdict["cut-cod"]} == {"cut from its teacher, not compared"}


def test_the_best_student_of_each_start_is_told_with_its_distance_and_size(tmp_path: Path) -> None:
    with_two_starts(tmp_path)
    assert said(tmp_path) == [
        "Best student from pretrained weights: kd-cod, accuracy 60.0% (n = 5), 30.0 points below the teacher",
        "Best student cut from the teacher: cut-cod †, accuracy 80.0% (n = 5), 10.0 points below the teacher; "
        "2.0M parameters",
    ]


def test_a_best_student_of_another_budget_is_told_and_is_no_win(tmp_path: Path) -> None:
    for run in runs(tmp_path, kd_shots=0.5, kd_cod=0.6, all=0.7):
        rescore(run, "all", rows=40, steps=200)
    (line,) = said(tmp_path)
    assert "all ‡, accuracy 70.0% (n = 5)" in line
    assert "budget is another (40 rows, 200 steps), so this is no win of the method" in line
    assert line.endswith("at equal budget kd-cod is best, 60.0%")


@pytest.mark.parametrize("name", ["neighbours", "linear", "in-context", "zero-shot"])
def test_what_reaches_the_best_student_without_being_one_is_told(tmp_path: Path, name: str) -> None:
    for run in runs(tmp_path, kd_shots=0.5, kd_cod=0.6):
        baseline(run, name, 0.61, k=0 if name == "zero-shot" else 16)
    (line,) = [line for line in said(tmp_path) if "you need no student" in line.lower()]
    assert f"61.0% ({name})" in line


def test_a_baseline_below_the_best_student_is_passed_over(tmp_path: Path) -> None:
    for run in runs(tmp_path, kd_shots=0.5, kd_cod=0.6):
        baseline(run, "linear", 0.59)
    assert len(said(tmp_path)) == 1


def test_what_reaches_the_best_student_of_one_start_is_told_beside_it(tmp_path: Path) -> None:
    with_two_starts(tmp_path)
    for seed in SEEDS:
        baseline(Run(tmp_path / f"s{seed}"), "linear", 0.65)
    (line,) = said(tmp_path)[2:]
    assert line.startswith("A linear head on a frozen encoder reaches 65.0% (linear), no less than the best student ")
    assert line.endswith("from pretrained weights")
    for seed in SEEDS:
        rescore(Run(tmp_path / f"s{seed}"), "linear", accuracy=0.81)
    assert said(tmp_path)[2:] == ["You need no student: a linear head on a frozen encoder reaches 81.0% (linear)"]


def test_the_majority_may_beat_the_students_of_one_start_alone(tmp_path: Path) -> None:
    with_two_starts(tmp_path)
    predicted(Run(tmp_path / "s0"), {"kd-cod": [1] * 10}, [1] * 7 + [0] * 3)
    assert said(tmp_path)[-1] == "No student from pretrained weights beats always saying *positive* (70.0%)"


def test_an_old_report_derives_the_majority_from_the_labels_beside_decisions(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"kd-shots": 0.6, "kd-cod": 0.7}, n=10)
    assert read_evidence(tmp_path).majorities == ()
    predicted(run, {"kd-cod": [1] * 10}, [1] * 7 + [0] * 3)
    (row,) = read_evidence(tmp_path).majorities
    assert (row.student, row.accuracy, row.mcc, row.n) == ("majority", 0.7, 0, 10)
    assert said(tmp_path)[-1] == "No student beats always saying *positive* (70.0%)"
    rescore(run, "kd-cod", accuracy=0.71)
    assert len(said(tmp_path)) == 1


def test_what_macro_f1_calls_worse_is_told_where_accuracy_shows_nothing(tmp_path: Path) -> None:
    for seed, run in enumerate(runs(tmp_path, kd_shots=0.5, kd_cod=0.5)):
        rescore(run, "kd-cod", macro_f1=0.3 + NOISE[seed])
    line = said(tmp_path)[-1]
    assert line.startswith("k = 16: macro F1 calls kd-cod worse than kd-shots (-30.0 points, p <.001 ")
    assert "where accuracy says: no difference shown (n = 5)" in line
    for seed, run in enumerate(runs(tmp_path, kd_shots=0.5, kd_cod=0.5)):
        rescore(run, "kd-cod", macro_f1=0.9 + NOISE[seed])
    assert not any("worse" in line for line in said(tmp_path))


def test_arms_of_one_name_and_other_settings_are_apart_where_settings_can_be_read(tmp_path: Path) -> None:
    for seed, run in enumerate(runs(tmp_path, kd_shots=0.5, kd_cod=0.6)):
        trained(run, "kd-cod", mix="cod", settings={"lr": 1e-3 if seed == 4 else 6e-5})
    found = {(cell.arm, cell.n) for cell in compare(read_evidence(tmp_path)).cells}
    assert found == {("kd-shots", 5), ("kd-cod (lr 6e-05)", 4), ("kd-cod (lr 0.001)", 1)}


def test_the_same_seed_twice_in_one_run_is_not_averaged(tmp_path: Path) -> None:
    scored_run(tmp_path, {"kd-cod": 0.5, "kd-cod-s0": 0.9}, method="kd", mix="cod")
    cells = {cell.arm: cell.metrics()["accuracy"].mean for cell in compare(read_evidence(tmp_path)).cells}
    assert cells == {"kd-cod": 0.5, "kd-cod-s0": 0.9}
