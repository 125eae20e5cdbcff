"""Stages that write hold their run, so that no two of them undo each other's work."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cod_cli.cli.app import app
from cod_cli.store.locks import alone
from cod_cli.store.run import Run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(8)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "data.jsonl"


def refused(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 1
    return done.stderr


STAGES = ["sample --data {data} -k 2", "counterfact --model m", "rival --kind eda", "label --teacher t", "eval"]


@pytest.mark.parametrize("stage", [*STAGES, "distill --student s"])
def test_a_second_stage_on_a_run_says_who_works_there(stage: str, data: Path, tmp_path: Path) -> None:
    name, *options = stage.format(data=data).split()
    with Run(tmp_path).hold("cod label"):
        assert "cod label (process" in refused(name, tmp_path, *options)


@pytest.mark.parametrize("stage", STAGES)
def test_nobody_changes_a_run_while_a_student_is_trained(stage: str, data: Path, tmp_path: Path) -> None:
    name, *options = stage.format(data=data).split()
    with Run(tmp_path).hold("cod distill", shared=True):
        assert "cod distill (process" in refused(name, tmp_path, *options)


def test_a_second_teacher_of_one_name_says_who_trains_it(data: Path, tmp_path: Path, teacher_folder: Path) -> None:
    with alone(tmp_path / ".mine.lock", "cod teach mine"):
        said = refused("teach", tmp_path / "mine", "--data", data, "--model", teacher_folder, "--epochs", 1)
    assert "cod teach mine (process" in said
