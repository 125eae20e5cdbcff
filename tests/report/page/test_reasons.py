"""Why it works, or not: what was measured, on the page."""

from pathlib import Path

import pytest

from cod_cli.report.comparison import compare
from cod_cli.report.page.document import page
from cod_cli.report.results import read_evidence
from cod_cli.report.why.explain import HELD_OUT, Measurement, Measurements, explain
from tests.report.evidence_of import scored_run
from tests.report.page.page_of import Node, numbers, read_page


def shown(folder: Path, measurements: dict[str, Measurement]) -> Node:
    found = {}
    for seed in range(3):
        run = scored_run(folder / f"s{seed}", {"kd-shots": 0.5 + seed / 100, "kd-cod": 0.6 + seed / 50}, seed=seed)
        found |= {(run.folder, arm): one for arm, one in measurements.items()}
    evidence = read_evidence(folder)
    comparison = compare(evidence)
    why = explain(comparison, Measurements(found, 1.0, {HELD_OUT: [36]}, ()))
    return read_page(page(evidence, comparison, why))


def test_what_was_measured_stands_beside_accuracy_with_its_meaning(tmp_path: Path) -> None:
    measurements = {"kd-shots": Measurement(0.2, 1.5, 0.1, 0.3), "kd-cod": Measurement(0.8, 2.5, 0.4, 0.1)}
    section = shown(tmp_path, measurements).section("Why it works, or not")
    line = section.table()["k = 16: kd-cod"]
    assert numbers(line["acc %"]) == pytest.approx([0.62, 0.02])
    measured = [numbers(line[name])[0] for name in ("Σ p(1-p) ↑", "log det ↑", "crossed % ↑", "gap ↓")]
    assert measured == pytest.approx([0.8, 2.5, 0.4, 0.1])
    assert line["crossed % ↑"].text == "40.0 ± 0.0"
    assert [node.text for node in section.all("dt")] == ["↑ ↓", "Σ p(1-p) ↑", "log det ↑", "crossed ↑", "gap ↓"]
    assert "36 held-out pairs a run" in section.text


def test_correlations_stand_under_what_the_paper_predicts(tmp_path: Path) -> None:
    measurements = {"kd-shots": Measurement(0.2, 1.5, 0.1, 0.3), "kd-cod": Measurement(0.8, 2.5, 0.4, 0.1)}
    correlations = shown(tmp_path, measurements).section("Why it works, or not").all("div", class_="wide")[1]
    predicted, found = correlations.all("tbody")
    assert found.all("th")[0].text == "sst2, validation, k = 16"
    assert [cell.text for cell in predicted.all("td")] == ["+", "+", "+", "−"]
    # Two groups of three points that do not overlap, each with one value: ρ = √(13.5/17.5) = 0.878 by hand.
    _, between, within, together = found.all("tr")
    assert [numbers(cell)[0] for cell in together.all("td")] == pytest.approx([0.878, 0.878, 0.878, -0.878], abs=1e-3)
    # Two arms make no correlation, and draws that are all alike none either.
    assert [cell.text for row in (between, within) for cell in row.all("td")] == ["–"] * 8


def test_a_quantity_that_could_not_be_measured_has_no_column(tmp_path: Path) -> None:
    section = shown(tmp_path, {"kd-shots": Measurement(0.2, 1.5), "kd-cod": Measurement(0.8, 2.5)}).section(
        "Why it works, or not"
    )
    assert list(section.table()["k = 16: kd-cod"]) == ["arm", "acc %", "Σ p(1-p) ↑", "log det ↑"]


def test_what_families_give_away_stands_below_with_its_meaning(tmp_path: Path) -> None:
    told = Measurement(by_shot=0.5, shot_bits=0.0, contrasts=1.5, side_by_side=14.0)
    section = shown(tmp_path, {"kd-cod": told}).section("Why it works, or not")
    line = section.table()["k = 16: kd-cod"]
    assert [numbers(line[name])[0] for name in ("by shot %", "bits", "contrasts", "side by side")] == [0.5, 0, 1.5, 14]
    assert [node.text for node in section.all("dt")] == ["by shot", "bits", "contrasts", "side by side"]


def test_where_nothing_could_be_measured_nothing_is_said(tmp_path: Path) -> None:
    assert "Why it works, or not" not in shown(tmp_path, {}).titles()
