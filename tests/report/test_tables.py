"""What a report looks like on a terminal of 80 columns and piped."""

from pathlib import Path

import pytest

from cod_cli.report import tables
from cod_cli.report.comparison import compare
from cod_cli.report.results import read_evidence
from cod_cli.store.run import Run
from tests.report.evidence_of import predicted, rescore, scored_run, trained
from tests.terminal import on_terminal, piped


def shown(folder: Path) -> str:
    found = read_evidence(folder)
    return piped(tables.report(compare(found), found.yardsticks))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three seeds at two k; at k = 16 the one arm is clearly better, at k = 8 nobody knows."""
    for seed, noise in enumerate((0.0, 0.01, -0.01)):
        for k, gain in ((8, 0.05 * noise), (16, 0.1 + noise / 4)):
            accuracies = {"kd-shots": 0.6 + noise, "kd-cod": 0.6 + noise + gain}
            scored_run(tmp_path / f"k{k}-s{seed}", accuracies, seed=seed, k=k)
    return tmp_path


def line(text: str, start: str, after: str = "") -> str:
    return next(row for row in text[text.index(after) :].splitlines() if row.startswith(start))


def test_the_first_table_is_the_papers_dataset_by_method_by_k(runs: Path) -> None:
    text = shown(runs)
    assert text.startswith("accuracy in %, mean ± sample std (seeds)")
    assert line(text, "sst2, validation kd-shots").split()[3:] == ["60.0", "±", "1.0", "(3)"] * 2
    assert line(text, "sst2, validation teacher").split()[-1] == "90.0"


def test_differences_are_in_points_with_interval_and_words(runs: Path) -> None:
    text = shown(runs)
    better = line(text, "sst2 16 kd-cod - kd-shots", "Differences")
    assert "+10.0" in better
    assert "better (n = 3)" in better
    assert "no difference shown (n = 3)" in line(text, "sst2  8 kd-cod - kd-shots", "Differences")
    assert "over 2 contrasts" in text


def test_one_run_alone_has_no_table_of_k(tmp_path: Path) -> None:
    scored_run(tmp_path, {"kd-shots": 0.6, "kd-cod": 0.7})
    text = shown(tmp_path)
    assert text.startswith("sst2, validation: means over seeds")
    assert "not tested (n = 1)" in text


def test_rows_a_second_stand_beside_what_a_student_took_where_they_were_measured(runs: Path) -> None:
    assert "a second" not in shown(runs)
    for seed, pace in enumerate((200.0, 300.0, 400.0)):
        rescore(Run(runs / f"k16-s{seed}"), "kd-cod", rows_per_second=pace)
    text = shown(runs)
    assert "a second" in text
    assert line(text, "sst2 16 kd-cod", "What a student took").split()[-1] == "300"
    assert line(text, "sst2 16 kd-shots", "What a student took").split()[-1] == "-"


def test_arms_of_another_budget_and_cut_ones_are_marked_and_explained(runs: Path) -> None:
    run = scored_run(runs / "more", {"all": 0.9, "kd-cut": 0.9}, seed=0)
    rescore(run, "all", rows=32)
    trained(run, "kd-cut", cut_from_teacher=True)
    text = shown(runs)
    assert "all ‡" in text
    assert "kd-cut †" in text
    assert "never counted as a win" in text
    assert "compared only with one another" in text
    assert "other budget, not counted" in line(text, "sst2 16 all ‡ - kd-shots", "Differences")


def test_fidelity_and_calibration_stand_beside_accuracy(runs: Path) -> None:
    head = shown(runs).split("\n\n")[1]
    for name in ("acc", "agree", "KL", "ECE", "Brier"):
        assert name in head


def test_row_by_row_tests_are_said_to_be_of_two_students(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"kd-shots": 0.5, "kd-cod": 0.9})
    predicted(run, {"kd-shots": [0] * 10 + [1], "kd-cod": [1] * 10 + [0]}, truth=[1] * 11)
    assert "10 rows only the one has right, 1 only the other, McNemar p = 0.012" in shown(tmp_path)


def test_nothing_is_wider_than_80_columns(runs: Path) -> None:
    found = read_evidence(runs)
    narrow = on_terminal(tables.report(compare(found), found.yardsticks), color_system=None)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "…" not in narrow


def test_f1_by_class_has_a_table_where_it_is_known(runs: Path, tmp_path: Path) -> None:
    assert "F1 by class" not in shown(runs)
    for seed, low in enumerate((0.2, 0.4)):
        scored_run(tmp_path / f"f{seed}", {"kd-x": 0.5}, seed=seed, k=32, f1={"negative": low, "positive": 0.8})
    text = shown(tmp_path)
    assert line(text, "32 kd-x", "F1 by class").split()[2:] == ["30.0", "±", "14.1", "80.0", "±", "0.0"]
    assert "kd-cod" not in text[text.index("F1 by class") : text.index("Differences")]


def test_boundary_agreement_is_told_by_who_wrote_the_held_out_pairs(tmp_path: Path) -> None:
    for seed, (one, two) in enumerate([(0.2, 0.5), (0.4, 0.9)]):
        by = {"editor": one, "openai:m": two}
        scored_run(tmp_path / f"s{seed}", {"kd-cod": 0.5}, seed=seed, boundary_agreement=0.4, boundary_by_generator=by)
    assert line(shown(tmp_path), "sst2 16 kd-cod", "Boundary").split()[3:] == ["30.0", "±", "14.1", "70.0", "±", "28.3"]
