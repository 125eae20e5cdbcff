"""`cod sweep` on tiny models: what it shares, what it resumes, what it reports."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cod_cli.cli import views
from cod_cli.cli.app import app
from cod_cli.errors import CodError
from cod_cli.settings.sweep import SweepSettings
from cod_cli.stages.sweep.cells import SweepResult, sweep
from cod_cli.stages.sweep.estimate import SweepEstimate
from cod_cli.store.jsonl import write_jsonl
from cod_cli.store.locks import alone
from cod_cli.store.run import SweepFolder
from cod_cli.ui import Ui
from tests.models.tiny import sentences, tiny_base


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("student"), layers=2)


@pytest.fixture
def grid(tmp_path: Path, teacher_folder: Path, student_folder: Path) -> dict[str, Any]:
    rows = [{"text": text, "label": label} for text, label in sentences(60)]
    write_jsonl(tmp_path / "data" / "train.jsonl", rows[:40])
    write_jsonl(tmp_path / "data" / "test.jsonl", rows[40:])
    return {
        "data": str(tmp_path / "data"),
        "teacher": str(teacher_folder),
        "student": str(student_folder),
        "epochs": 2,
        "k": [4],
        "seeds": [0, 1],
    }


def settings(tmp_path: Path, **more: Any) -> SweepSettings:
    return SweepSettings(out=tmp_path / "out", **more)


def written(tmp_path: Path, grid: dict[str, Any]) -> str:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(grid))
    return str(path)


def run(tmp_path: Path, grid: dict[str, Any], **more: Any) -> SweepResult:
    result = sweep(written(tmp_path, grid), settings(tmp_path, **more), Ui.silent())
    assert isinstance(result, SweepResult)
    return result


def planned(tmp_path: Path, grid: dict[str, Any]) -> SweepEstimate:
    plan = sweep(written(tmp_path, grid), settings(tmp_path, dry_run=True), Ui.silent())
    assert isinstance(plan, SweepEstimate)
    return plan


def test_every_cell_is_trained_and_scored(tmp_path: Path, grid: dict[str, Any]) -> None:
    result = run(tmp_path, grid)
    assert result.problem() is None
    assert [(cell.run, cell.arm, cell.status) for cell in result.plan.cells] == [
        ("data/k4-s0", "kd-shots", "done"),
        ("data/k4-s0", "kd-cod", "done"),
        ("data/k4-s1", "kd-shots", "done"),
        ("data/k4-s1", "kd-cod", "done"),
    ]
    reached = [(row.arm, row.k, row.summary.n) for row in result.reached]
    assert reached == [("majority", 4, 2), ("kd-shots", 4, 2), ("kd-cod", 4, 2)]


def test_arms_take_the_same_rows_and_steps(tmp_path: Path, grid: dict[str, Any]) -> None:
    run(tmp_path, grid)
    folder = SweepFolder(tmp_path / "out")
    students = [folder.run("data/k4-s0").read_student(name) for name in ("kd-shots", "kd-cod")]
    assert [(student.rows, student.steps) for student in students] == [(4, 2), (4, 2)]


def test_rivals_take_the_same_rows_and_steps(tmp_path: Path, grid: dict[str, Any]) -> None:
    arms = [{"mix": mix} for mix in ("shots", "cod", "eda", "pool-rows", "cod-unreverted", "pool-queries")]
    result = run(tmp_path, {**grid, "seeds": [0], "arms": arms})
    assert result.problem() is None
    made = SweepFolder(tmp_path / "out").run("data/k4-s0")
    rows = {name: made.read_student(name).rows for name in made.student_names()}
    assert {name: n for name, n in rows.items() if n != 4}.keys() == {"kd-pool-queries"}
    assert [row.arm for row in result.reached if row.other_budget] == ["kd-pool-queries"]


def test_boundary_agreement_is_measured_in_every_run(tmp_path: Path, grid: dict[str, Any]) -> None:
    assert run(tmp_path, {**grid, "held_out": 6}).problem() is None
    for seed in (0, 1):
        made = SweepFolder(tmp_path / "out").run(f"data/k4-s{seed}")
        scores = {score.student: score.boundary_agreement for score in made.scores.read()}
        assert (scores.pop("teacher"), scores.pop("majority")) == (None, None)
        assert len(scores) == 2
        assert all(share is not None and 0 <= share <= 1 for share in scores.values())


def test_a_second_go_trains_nothing_and_says_the_same(tmp_path: Path, grid: dict[str, Any]) -> None:
    first, second = run(tmp_path, grid), run(tmp_path, grid)
    assert (first.trained, second.trained) == (4, 0)
    assert second.reached == first.reached


def test_a_second_go_makes_no_rival_anew(tmp_path: Path, grid: dict[str, Any]) -> None:
    arms = [
        {"mix": mix} for mix in ("shots", "cod", "eda", "pool-rows", "cod-unverified", "cod-confident", "pool-queries")
    ]
    first = run(tmp_path, {**grid, "seeds": [0], "arms": arms})
    second = run(tmp_path, {**grid, "seeds": [0], "arms": arms})
    assert (first.trained, second.trained) == (7, 0)


def test_a_larger_grid_trains_only_what_is_new(tmp_path: Path, grid: dict[str, Any]) -> None:
    run(tmp_path, grid)
    larger = {**grid, "seeds": [0, 1, 2], "arms": [{"mix": "shots"}, {"mix": "cod"}, {"mix": "all"}]}
    grown = run(tmp_path, {**larger, "counterfact": {"for_mix": "cod"}})
    made = SweepFolder(tmp_path / "out").run("data/k4-s0").student_names()
    assert made == ["kd-all", "kd-cod", "kd-shots"]
    assert len(grown.plan.cells) == 9


def test_an_arm_that_was_swept_with_other_options_is_reported_and_kept(tmp_path: Path, grid: dict[str, Any]) -> None:
    run(tmp_path, grid)
    result = run(tmp_path, {**grid, "epochs": 3})
    problem = result.problem()
    assert problem is not None
    assert "epochs: 2 → 3" in problem.message
    assert SweepFolder(tmp_path / "out").run("data/k4-s0").read_student("kd-cod").settings["epochs"] == 2


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path: Path, grid: dict[str, Any]) -> None:
    arms = [{"mix": "shots"}, {"name": "no-such-start", "mix": "shots", "student": str(tmp_path / "nowhere")}]
    result = run(tmp_path, {**grid, "arms": arms})
    assert [cell.status for cell in result.plan.cells] == ["done", "failed", "done", "failed"]
    problem = result.problem()
    assert problem is not None
    assert problem.exit_code == 1
    assert "2 of 4 cells failed" in problem.message


def test_a_hint_of_a_stage_names_an_entry_of_the_grid(tmp_path: Path, grid: dict[str, Any]) -> None:
    rows = [{"number": str(i), "body": text, "label": label} for i, (text, label) in enumerate(sentences(20))]
    write_jsonl(tmp_path / "tickets.jsonl", rows)
    problem = run(tmp_path, {**grid, "data": str(tmp_path / "tickets.jsonl"), "seeds": [0]}).problem()
    assert problem is not None
    assert "(say which column it is: in the grid, text_column: body)" in problem.message
    assert run(tmp_path, {**grid, "data": str(tmp_path / "tickets.jsonl"), "text_column": "body"}).problem() is None


def test_a_sweep_with_a_failed_cell_exits_with_1(tmp_path: Path, grid: dict[str, Any]) -> None:
    path = written(tmp_path, {**grid, "data": str(tmp_path / "nowhere.jsonl"), "seeds": [0]})
    done = CliRunner().invoke(app, ["sweep", path, "--out", str(tmp_path / "out")])
    assert (done.exit_code, "2 of 2 cells failed" in done.stderr) == (1, True)


def test_an_interrupt_of_the_sweep_alone_ends_its_workers(tmp_path: Path, grid: dict[str, Any]) -> None:
    path = written(tmp_path, {**grid, "epochs": 100_000})
    words = ["sweep", path, "--out", str(tmp_path / "out"), "--jobs", "2"]
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    process = subprocess.Popen(
        [sys.executable, "-c", start + "from cod_cli.cli.app import main; main()", *words], stderr=subprocess.PIPE
    )
    try:
        while not list((tmp_path / "out").glob("data/*/4-students/.*.lock")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, b"error: interrupted" in said, b"Traceback" in said) == (130, True, False)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_that_nobody_foresaw_fails_its_cell_alone(tmp_path: Path, grid: dict[str, Any], jobs: int) -> None:
    folder = tmp_path / "out" / "data" / "k4-s0"
    (folder / "2-eda.jsonl" / "in-the-way").mkdir(parents=True)
    arms = [{"mix": "eda"}, {"mix": "shots"}]
    result = run(tmp_path, {**grid, "seeds": [0], "arms": arms}, jobs=jobs)
    assert [cell.status for cell in result.plan.cells] == ["failed", "done"]
    assert "IsADirectoryError" in str(result.plan.cells[0].error)
    assert "Traceback" in (folder / "failed-eda.txt").read_text()
    problem = result.problem()
    assert problem is not None
    assert problem.exit_code == 1


def test_a_rival_that_waits_for_an_llm_leaves_the_others_alone(
    tmp_path: Path, grid: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    llm = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "max_attempts": 1}
    arms = [{"mix": "shots"}, {"mix": "eda"}, {"mix": "paraphrase"}]
    result = run(tmp_path, {**grid, "seeds": [0], "arms": arms, "rival": llm})
    assert [(cell.arm, cell.status) for cell in result.plan.cells] == [
        ("kd-shots", "done"),
        ("kd-eda", "done"),
        ("kd-paraphrase", "open"),
    ]
    problem = result.problem()
    assert problem is not None
    assert problem.exit_code == 3


def test_a_run_without_data_fails_alone(tmp_path: Path, grid: dict[str, Any]) -> None:
    tasks = [{"data": str(tmp_path / "nowhere.jsonl"), "name": "gone"}, {"data": grid["data"], "name": "here"}]
    rest = {key: value for key, value in grid.items() if key != "data"}
    result = run(tmp_path, {**rest, "tasks": tasks, "seeds": [0]})
    assert [cell.status for cell in result.plan.cells] == ["failed", "failed", "done", "done"]


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path, grid: dict[str, Any]) -> None:
    plan = planned(tmp_path, grid)
    assert (plan.runs, plan.cells, plan.done, plan.steps, plan.calls, plan.seconds) == (2, 4, 0, 8, 0, None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "cells", "steps"),
    [
        # By seed: shots and cod 40 steps from either start, 80 at k = 16, and 16 arms of 320.
        ("contrast", 2 * 10 * 21, 10 * ((4 * 40 + 16 * 320) + (4 * 80 + 16 * 320))),
        ("layers", 5 * 12, 5 * 12 * 320),
    ],
)
def test_the_grids_of_contrast_sets_are_planned(
    tmp_path: Path, grid: dict[str, Any], name: str, cells: int, steps: int
) -> None:
    plan = sweep(name, settings(tmp_path, dry_run=True, data=grid["data"]), Ui.silent())
    assert isinstance(plan, SweepEstimate)
    assert (plan.cells, plan.steps, plan.open_mixes, plan.calls) == (cells, steps, (), 0)


def test_a_dry_run_says_at_least_where_rows_are_not_made_yet(tmp_path: Path, grid: dict[str, Any]) -> None:
    arms = [{"mix": mix} for mix in ("shots", "all", "pool-queries")]
    plan = planned(tmp_path, {**grid, "k": [8], "seeds": [0], "arms": arms})
    assert (plan.steps, plan.open_mixes) == (2 * 2 + 320, ("pool-queries",))
    assert "at least 324 optimiser steps" in str(views.sweep(plan))


def test_a_dry_run_counts_the_rows_that_are_there(tmp_path: Path, grid: dict[str, Any]) -> None:
    whole = {**grid, "seeds": [0], "batch_size": 2, "arms": [{"mix": "all"}, {"mix": "pool-queries"}]}
    run(tmp_path, whole)
    made = SweepFolder(tmp_path / "out").run("data/k4-s0")
    steps = sum(made.read_student(name).steps for name in made.student_names())
    shutil.rmtree(made.students)
    plan = planned(tmp_path, whole)
    assert (plan.steps, plan.open_mixes) == (steps, ())


def test_a_dry_run_counts_each_shot_once_for_all_k(tmp_path: Path, grid: dict[str, Any]) -> None:
    llm = {**grid, "k": [4, 8], "generator": "openai", "model": "m", "counterfact": {"price": [1, 1]}}
    plan = planned(tmp_path, llm)
    assert plan.calls == 2 * 4
    assert plan.cost is not None
    assert plan.cost > 0


def test_a_dry_run_counts_the_largest_k_that_is_missing_in_whatever_order(tmp_path: Path, grid: dict[str, Any]) -> None:
    llm = {**grid, "k": [8, 4], "seeds": [0], "generator": "openai", "model": "m"}
    plan = planned(tmp_path, llm)
    assert plan.calls == 4


def test_a_dry_run_counts_rivals_that_an_llm_writes(tmp_path: Path, grid: dict[str, Any]) -> None:
    arms = [{"mix": "shots"}, {"mix": "paraphrase"}, {"mix": "opposite"}, {"mix": "eda"}]
    llm = {**grid, "k": [4, 8], "seeds": [0], "model": "m", "arms": arms, "rival": {"price": [1, 1]}}
    plan = planned(tmp_path, llm)
    assert plan.calls == 2 * 4
    assert plan.cost is not None
    assert plan.cost > 0


def test_a_dry_run_counts_what_an_llm_is_asked_as_teacher_and_as_rival(tmp_path: Path, grid: dict[str, Any]) -> None:
    rows = [{"text": f"{text} {number}", "label": label} for number, (text, label) in enumerate(sentences(20))]
    write_jsonl(tmp_path / "data" / "test.jsonl", rows)
    llm = {
        **grid,
        "teacher": "openai:m",
        "arms": [{"mix": "shots"}],
        "in_context": "openai:m",
        "teacher_on_split": True,
    }
    plan = planned(tmp_path, llm)
    labels, teacher, in_context, zero_shot = 2 * 4, 2 * 20, 2 * 20, 20
    assert plan.calls == labels + teacher + in_context + zero_shot


def test_a_dry_run_tells_the_time_once_cells_are_done(tmp_path: Path, grid: dict[str, Any]) -> None:
    run(tmp_path, {**grid, "seeds": [0]})
    plan = planned(tmp_path, grid)
    assert (plan.cells, plan.done) == (2, 2)
    assert plan.seconds is not None


def test_two_jobs_reach_what_one_does(tmp_path: Path, grid: dict[str, Any]) -> None:
    one = run(tmp_path, grid)
    two = sweep(written(tmp_path, grid), SweepSettings(out=tmp_path / "two", jobs=2), Ui.silent())
    assert isinstance(two, SweepResult)
    assert two.reached == one.reached


def test_a_second_sweep_of_the_same_folder_is_refused_while_the_first_is_at_work(
    tmp_path: Path, grid: dict[str, Any]
) -> None:
    with alone(SweepFolder(tmp_path / "out").lock, "cod sweep"), pytest.raises(CodError, match="another process"):
        run(tmp_path, grid)
    assert run(tmp_path, grid).trained == 4


def test_dropped_weights_leave_scores_and_settings(tmp_path: Path, grid: dict[str, Any]) -> None:
    run(tmp_path, grid, drop_weights=True)
    folder = tmp_path / "out" / "data" / "k4-s0" / "4-students" / "kd-cod"
    assert not list(folder.glob("*.safetensors"))
    assert (folder / "settings.yaml").exists()
    again = run(tmp_path, grid, drop_weights=True)
    assert again.trained == 0


def test_a_new_arm_joins_students_whose_weights_were_dropped(tmp_path: Path, grid: dict[str, Any]) -> None:
    first = run(tmp_path, grid, drop_weights=True)
    arms = [{"mix": "shots"}, {"mix": "cod"}, {"name": "hard", "mix": "cod", "alpha": 0}]
    more = run(tmp_path, {**grid, "arms": arms}, drop_weights=True)
    assert more.problem() is None
    assert more.trained == 2
    assert [row.summary for row in more.reached if row.arm == "kd-cod"] == [first.reached[1].summary]


def test_the_command_that_is_kept_repeats_the_sweep(tmp_path: Path, grid: dict[str, Any]) -> None:
    first = run(tmp_path, grid, seed="1")
    command = shlex.split(first.plan.command)
    again = sweep(command[2], SweepSettings(out=Path(command[4])), Ui.silent())
    assert isinstance(again, SweepResult)
    assert (again.trained, again.reached) == (0, first.reached)


def test_a_rival_made_otherwise_is_not_taken_for_done(tmp_path: Path, grid: dict[str, Any]) -> None:
    arms = [{"mix": "shots"}, {"mix": "eda"}]
    run(tmp_path, {**grid, "seeds": [0], "arms": arms})
    result = run(tmp_path, {**grid, "seeds": [0], "arms": arms, "rival": {"max_length": 32}})
    assert [(cell.arm, cell.status) for cell in result.plan.cells] == [("kd-shots", "done"), ("kd-eda", "failed")]


def test_counterfactuals_made_otherwise_are_not_taken_for_done(tmp_path: Path, grid: dict[str, Any]) -> None:
    run(tmp_path, {**grid, "seeds": [0]})
    result = run(tmp_path, {**grid, "seeds": [0], "counterfact": {"max_edit_ratio": 0.4}})
    problem = result.problem()
    assert problem is not None
    assert "max_edit_ratio: 0.5 → 0.4" in problem.message


def test_another_split_is_scored_by_the_students_that_are_there(tmp_path: Path, grid: dict[str, Any]) -> None:
    rows = [{"text": text, "label": label} for text, label in sentences(70)]
    write_jsonl(tmp_path / "data" / "validation.jsonl", rows[60:])
    first = run(tmp_path, {**grid, "split": "test"})
    folder = SweepFolder(tmp_path / "out").run("data/k4-s0")
    trained = (folder.students / "kd-cod" / "model.safetensors").stat().st_mtime_ns
    second = run(tmp_path, {**grid, "split": "validation"})
    assert (first.trained, second.trained) == (4, 4)
    assert {(score.student, score.split) for score in folder.scores.read()} >= {
        ("kd-cod", "test"),
        ("kd-cod", "validation"),
    }
    assert (folder.students / "kd-cod" / "model.safetensors").stat().st_mtime_ns == trained


def test_a_damaged_plan_is_named_and_the_runs_are_kept(tmp_path: Path, grid: dict[str, Any]) -> None:
    run(tmp_path, grid)
    (tmp_path / "out" / "sweep.json").write_text("{")
    with pytest.raises(CodError, match=r"sweep\.json"):
        SweepFolder(tmp_path / "out").read()
    assert run(tmp_path, grid).trained == 0


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_redoes_only_the_cell_in_flight(tmp_path: Path, grid: dict[str, Any]) -> None:
    path = written(tmp_path, {**grid, "k": [4, 8], "seeds": [0, 1, 2, 3, 4, 5]})
    command = [
        sys.executable,
        "-c",
        "from cod_cli.cli.app import main; main()",
        "sweep",
        path,
        "--out",
        str(tmp_path / "out"),
    ]
    students = tmp_path / "out" / "data"
    made: dict[str, int] = {}
    for round_ in range(40):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
        try:
            process.wait(timeout=6 + round_ / 2)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        now = {
            str(p.relative_to(students)): p.stat().st_mtime_ns for p in students.glob("*/4-students/*/settings.yaml")
        }
        assert made.items() <= now.items(), "a finished student was trained again"
        made = now
        time.sleep(0.05)
    assert process.returncode == 0
    plan = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert [cell["status"] for cell in plan["cells"]] == ["done"] * 24
