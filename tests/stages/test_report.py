"""`cod report`: one table for people, the same numbers as CSV and JSON."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from cod_cli.cli.app import app
from cod_cli.errors import CodError, UsageError
from cod_cli.metrics import METRICS
from cod_cli.report.why.explain import Measurement, Measurements
from cod_cli.settings.report import ReportSettings
from cod_cli.stages.report import ReportResult, report
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.report.evidence_of import scored_run, trained

SHOTS, COD = [0.60, 0.55, 0.62], [0.70, 0.66, 0.71]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed, (one, two) in enumerate(zip(SHOTS, COD, strict=True)):
        scored_run(tmp_path / "runs" / f"s{seed}", {"kd-shots": one, "kd-cod": two}, seed=seed)
    return tmp_path / "runs"


def run_report(folder: Path, **options: object) -> ReportResult:
    return report(folder, ReportSettings(**options), Ui.silent())  # type: ignore[arg-type]


def test_csv_has_a_line_for_each_arm_with_every_number(runs: Path, tmp_path: Path) -> None:
    result = run_report(runs, csv=tmp_path / "out" / "table.csv")
    assert result.written == (tmp_path / "out" / "table.csv",)
    with result.written[0].open(encoding="utf-8", newline="") as file:
        shots, cod = csv.DictReader(file)
    assert (cod["task"], cod["k"], cod["arm"], cod["n"], cod["against"]) == ("sst2", "16", "kd-cod", "3", "kd-shots")
    assert float(cod["accuracy"]) == pytest.approx(np.mean(COD))
    assert float(cod["accuracy_std"]) == pytest.approx(np.std(COD, ddof=1))
    assert float(cod["p"]) == pytest.approx(stats.ttest_rel(COD, SHOTS).pvalue)
    assert shots["difference"] == ""
    assert float(shots["cost_shots"]) == 16


def test_csv_and_json_have_f1_of_every_class_of_every_task(runs: Path, tmp_path: Path) -> None:
    for seed, low in enumerate((0.2, 0.4)):
        f1 = {"no": low, "yes, sir": 0.8}
        scored_run(runs / f"mine-s{seed}", {"kd-cod": 0.5}, seed=seed, task="mine", f1=f1)
    result = run_report(runs, csv=tmp_path / "table.csv")
    with result.written[0].open(encoding="utf-8", newline="") as file:
        mine, *others = csv.DictReader(file)
    assert (mine["task"], float(mine["f1[no]"]), float(mine["f1[yes, sir]"])) == ("mine", pytest.approx(0.3), 0.8)
    assert float(mine["f1[no]_std"]) == pytest.approx(0.02**0.5)
    assert [row["f1[no]"] for row in others] == ["", ""]
    assert result.as_json()["arms"][0]["f1[no]"] == pytest.approx(0.3)


def test_json_holds_the_same_numbers(runs: Path) -> None:
    document = json.loads(json.dumps(run_report(runs).as_json()))
    assert document["baseline"] == "kd-shots"
    assert document["contrasts"][0]["verdict"] == document["arms"][1]["verdict"]
    assert document["contrasts"][0]["difference"]["n"] == 3
    assert document["teachers"][0]["accuracy"] == 0.9
    assert document["runs"] == 3


def test_the_page_is_written_and_named(runs: Path, tmp_path: Path) -> None:
    result = run_report(runs, html=tmp_path / "out" / "page.html")
    assert result.written == (tmp_path / "out" / "page.html",)
    assert result.as_json()["written"] == [str(tmp_path / "out" / "page.html")]
    html = result.written[0].read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert "kd-cod" in html


def test_where_nothing_is_scored_no_page_is_written(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(CodError, match="holds no scores") as error:
        run_report(tmp_path / "runs", html=tmp_path / "page.html")
    assert "cod eval" in (error.value.hint or "")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("flag", ["csv", "html"])
def test_a_folder_is_no_file_to_write(runs: Path, tmp_path: Path, flag: str) -> None:
    with pytest.raises(UsageError, match=f"--{flag} is .* a folder") as error:
        run_report(runs, **{flag: tmp_path})
    assert error.value.hint == f"name a file: --{flag} {tmp_path / 'report'}.{flag}"


def test_a_dash_prints_the_csv_and_nothing_else(runs: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(runs), "--csv", "-"])
    assert [row["arm"] for row in csv.DictReader(done.stdout.splitlines())] == ["kd-shots", "kd-cod"]
    assert not Path("-").exists()


def test_two_documents_are_not_printed_at_once(runs: Path) -> None:
    with pytest.raises(UsageError, match="--csv - and --html - would both"):
        run_report(runs, csv=Path("-"), html=Path("-"))
    with pytest.raises(UsageError, match="--html - and --json"):
        report(runs, ReportSettings(html=Path("-")), Ui(as_json=True))


def test_nothing_is_written_without_being_asked_for(runs: Path) -> None:
    before = sorted(runs.rglob("*"))
    assert run_report(runs).written == ()
    assert sorted(runs.rglob("*")) == before


def test_why_adds_its_numbers_to_csv_and_json(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"kd-shots": 0.4, "kd-cod": 0.9}
    found = {(runs / f"s{s}", arm): Measurement(uncertainty=u + s / 10) for s in range(3) for arm, u in arms.items()}
    monkeypatch.setattr(
        "cod_cli.report.why.measure.measure", lambda *args, **options: Measurements(found, 1.0, {}, ("no weights",))
    )
    result = run_report(runs, why=True, csv=tmp_path / "table.csv")
    with result.written[0].open(encoding="utf-8", newline="") as file:
        shots, cod = csv.DictReader(file)
    assert float(cod["why_uncertainty"]) == pytest.approx(1.0)
    assert float(cod["why_uncertainty_std"]) == pytest.approx(0.1)
    assert shots["why_gap"] == ""
    document = json.loads(json.dumps(result.as_json()))
    assert document["why"]["ridge"] == 1.0
    assert document["why"]["problems"] == ["no weights"]
    assert document["why"]["arms"][0]["quantities"]["uncertainty"]["n"] == 3
    assert document["why"]["correlations"][0]["quantity"] == "uncertainty"
    assert document["arms"][1]["why_uncertainty"] == pytest.approx(1.0)


def test_without_it_nothing_is_measured_and_torch_stays_unloaded() -> None:
    code = "import sys, cod_cli.stages.report, cod_cli.cli.views; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_scores_alone_say_what_is_missing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(Run(runs / "s0"), "kd-shots")
    trained(Run(runs / "s1"), "kd-shots")
    result = run_report(runs, why=True)
    assert result.why is not None
    assert result.why.arms == ()
    told = capsys.readouterr().err
    assert "--why: RUN/1-shots.jsonl holds no shot (in 2 runs" in told


def test_the_metrics_to_decide_by_are_those_that_are_counted() -> None:
    choice, _ = get_args(get_type_hints(ReportSettings)["metric"])
    assert list(get_args(choice)) == list(METRICS)
