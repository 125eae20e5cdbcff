"""What `cod report --why` prints."""

from dataclasses import replace
from pathlib import Path

import pytest

from cod_cli.report.comparison import compare
from cod_cli.report.results import read_evidence
from cod_cli.report.why import tables
from cod_cli.report.why.explain import HELD_OUT, OWN, Measurement, Measurements, explain
from tests.report.evidence_of import scored_run
from tests.terminal import on_terminal, piped


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in range(3):
        accuracies = {"kd-shots": 0.55 + seed / 100, "kd-cod-unverified": 0.5, "kd-cod": 0.65 + seed / 100}
        scored_run(tmp_path / f"s{seed}", accuracies, seed=seed)
    return tmp_path


def measurements(runs: Path, pairs: dict[str, list[int]], **left_out: None) -> Measurements:
    found = {}
    for seed in range(3):
        for n, arm in enumerate(("kd-shots", "kd-cod-unverified", "kd-cod")):
            gap = None if seed == 0 and arm == "kd-cod-unverified" else 0.3 - n / 10
            values = {"uncertainty": 0.1 * (n + seed), "log_det": 2.5 + n, "crossed": 0.1 * n, "gap": gap}
            found[runs / f"s{seed}", arm] = Measurement(**{**values, **left_out})
    return Measurements(found, 1.0, pairs, ())


def shown(runs: Path, measured: Measurements, *, terminal: bool = False) -> str:
    comparison = compare(read_evidence(runs))
    table = tables.report(explain(comparison, measured), comparison)
    return on_terminal(table, color_system=None) if terminal else piped(table)


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def line(text: str, start: str) -> list[str]:
    return next(row for row in text.splitlines() if row.strip().startswith(start)).split()


def test_quantities_stand_beside_accuracy(runs: Path) -> None:
    text = shown(runs, measurements(runs, {HELD_OUT: [36, 40, 36]}))
    cod = "16 kd-cod 66.0 ± 1.0 0.30 ± 0.10 4.50 ± 0.00 20.0 ± 0.0 0.10 ± 0.00"
    assert line(text, "16 kd-cod ") == cod.split()
    assert (
        "as the teacher does (with more than two classes: its order of these two): 36 to 40 held-out pairs a run"
        in unwrapped(text)
    )


def test_an_arm_whose_students_do_not_all_have_a_number_says_how_many(runs: Path) -> None:
    text = shown(runs, measurements(runs, {HELD_OUT: [36]}))
    assert line(text, "16 kd-cod-unverified")[-4:] == ["0.20", "±", "0.00", "(2)"]


def test_what_the_numbers_mean_and_which_way_is_good_stands_below(runs: Path) -> None:
    text = shown(runs, measurements(runs, {HELD_OUT: [36]}))
    assert "more, or less, is what the paper's argument predicts of better students" in unwrapped(text)
    assert "λ = 1" in text
    for heading in ("Σ p(1-p) ↑", "log det ↑", "crossed ↑", "gap ↓"):
        assert any(row.startswith(heading) for row in text.splitlines())


def test_the_runs_own_pairs_are_called_so(runs: Path) -> None:
    text = shown(runs, measurements(runs, {OWN: [8]}))
    assert "8 pairs a run, its own shots and CFEs, which some arms trained on (hold others out:" in unwrapped(text)


def test_pairs_that_the_teacher_does_not_cross_are_told(runs: Path) -> None:
    measured = measurements(runs, {HELD_OUT: [36]})
    assert "left out" not in shown(runs, measured)
    told = unwrapped(shown(runs, replace(measured, lost=2)))
    assert "(2 pairs are left out, since the teacher does not once they are aligned)" in told


def test_correlations_stand_beside_their_predicted_signs(runs: Path) -> None:
    text = shown(runs, measurements(runs, {HELD_OUT: [36]}))
    assert line(text, "predicted") == ["predicted", "+", "+", "+", "-"]
    found = line(text, "sst2, validation 16 all together")
    assert found[-1] == "(8)"
    assert found[6] == "(9)"


def test_without_crossings_the_rest_is_shown_and_nothing_said_of_them(runs: Path) -> None:
    text = shown(runs, measurements(runs, {}, crossed=None, gap=None))
    assert line(text, "16 kd-cod ")[-3:] == ["4.50", "±", "0.00"]
    assert "crossed" not in text
    assert "gap" not in text
    assert "log det ↑" in text


def test_nothing_measured_nothing_shown(runs: Path) -> None:
    assert shown(runs, Measurements({}, 1.0, {}, ())) == ""


def with_families(runs: Path) -> Measurements:
    told = {"kd-shots": (1.0, 1.0, 0.0, 0.0), "kd-cod": (0.5, 0.0, 4.0, 4.0)}
    names = ("by_shot", "shot_bits", "contrasts", "side_by_side")
    found = {
        (runs / f"s{seed}", arm): Measurement(**dict(zip(names, values, strict=True)))
        for seed in range(3)
        for arm, values in told.items()
    }
    return Measurements(found, 1.0, {}, ())


def test_what_families_give_away_stands_in_a_table_of_its_own(runs: Path) -> None:
    text = shown(runs, with_families(runs))
    assert "Why:" not in text
    assert "ρ" not in text
    cod = "16 kd-cod 66.0 ± 1.0 50.0 ± 0.0 0.00 ± 0.00 4.00 ± 0.00 4.00 ± 0.00"
    assert line(text, "16 kd-cod ") == cod.split()
    for meaning in ("whose class their shot alone tells", "I(class; shot)", "of one family and unlike classes"):
        assert meaning in unwrapped(text)
    assert max(map(len, shown(runs, with_families(runs), terminal=True).splitlines())) <= 80


def test_nothing_is_wider_than_80_columns(runs: Path) -> None:
    text = shown(runs, measurements(runs, {OWN: [8]}), terminal=True)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
