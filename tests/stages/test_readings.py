"""How texts were read, their columns and their length, goes along with a model from stage to stage."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.predict import PredictSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.settings.sweep import SweepSettings
from cod_cli.stages.distill import distill
from cod_cli.stages.eval import EvalResult, evaluate
from cod_cli.stages.label import label
from cod_cli.stages.predict import predict
from cod_cli.stages.sample import sample
from cod_cli.stages.sweep.cells import SweepResult, sweep
from cod_cli.store.run import Reading, Run, reading_of
from cod_cli.teachers.open import with_known_length
from cod_cli.ui import Ui
from tests.models.tiny import sentences, tiny_base
from tests.stages.labelling import CFES, SHOTS, finish
from tests.stages.students import write_rows

COLUMNS = ["subject", "body"]


def tickets(path: Path, n: int = 24, seed: int = 0) -> Path:
    rows = [
        {"subject": f"no {i}", "body": text, "label": name} for i, (text, name) in enumerate(sentences(n, seed=seed))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def teacher(tmp_path: Path, teacher_folder: Path) -> Path:
    """A teacher that was trained on two columns and on no more than 12 tokens."""
    folder = Path(shutil.copytree(teacher_folder, tmp_path / "teacher"))
    said = {"settings": {"max_length": 12, "text_column": COLUMNS}}
    (folder / "settings.yaml").write_text(yaml.safe_dump(said))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    data = str(tickets(tmp_path / "tickets.jsonl"))
    sample(run, SampleSettings(data=data, text_column=tuple(COLUMNS), shots="4"), Ui.silent())
    return run


def labelled(run: Run, **options: Any) -> int:
    label(run, LabelSettings(**options), Ui.silent())
    return int(run.soft_labels.require().settings["max_length"])


def answers(model: Path, file: Path, **options: Any) -> list[dict[str, Any]]:
    rows = predict(str(model), file, PredictSettings(**options), Ui.silent())
    return [row["probabilities"] for row in rows]


def test_labels_are_made_at_the_length_that_the_teacher_was_trained_on(run: Run, teacher: Path) -> None:
    assert labelled(run, teacher=str(teacher)) == 12


def test_a_length_that_is_given_wins_be_it_the_default(run: Run, teacher: Path) -> None:
    assert labelled(run, teacher=str(teacher), named=frozenset({"max_length"})) == 256


def test_the_teacher_that_checked_reads_as_it_did_when_it_labels(
    tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "another")
    finish(run.shots, SHOTS)
    finish(run.counterfactuals, CFES, settings={"teacher": str(teacher), "max_length": 64})
    monkeypatch.chdir(tmp_path)
    assert labelled(run, teacher="teacher") == 64
    # Another teacher has a length of its own.
    assert with_known_length(run, LabelSettings(teacher="t")).max_length == 256


def test_a_prediction_reads_columns_and_length_as_the_model_was_trained(tmp_path: Path, teacher: Path) -> None:
    new = tickets(tmp_path / "new.jsonl", seed=1)
    found = answers(teacher, new)
    assert found == answers(teacher, new, text_column=tuple(COLUMNS), max_length=12)
    assert found != answers(teacher, new, text_column=("body",), max_length=12)
    assert found != answers(teacher, new, max_length=256, named=frozenset({"max_length"}))


def test_a_file_without_these_columns_is_read_by_its_text(tmp_path: Path, teacher: Path) -> None:
    rows = write_rows(tmp_path / "plain.jsonl", sentences(4))
    assert answers(teacher, rows) == answers(teacher, rows, text_column=("text",))


def test_a_student_remembers_the_columns_of_its_shots(run: Run, tmp_path: Path, teacher: Path) -> None:
    label(run, LabelSettings(teacher=str(teacher)), Ui.silent())
    student = str(tiny_base(tmp_path / "base"))
    distill(run, DistillSettings(student=student, method="kd", mix="shots", epochs=1, max_length=20), Ui.silent())
    assert reading_of(run.student("kd-shots")) == Reading(("subject", "body"), 20)
    card = (run.student("kd-shots") / "README.md").read_text()
    assert "| texts | lines of subject: …, body: … |" in card
    assert "| longest text | 20 tokens |" in card
    other = tickets(tmp_path / "other.jsonl", seed=3)
    result = evaluate(run, EvalSettings(data=str(other)), Ui.silent())
    assert isinstance(result, EvalResult)
    assert (result.task, result.rows) == ("other", 24)


@pytest.mark.parametrize("text", ["- 1", "settings: 3", "settings: {max_length: x, text_column: [1]}", "{", "\x00"])
def test_a_folder_that_others_wrote_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    assert reading_of(tmp_path) == Reading()
    assert reading_of("org/name") == Reading()


def test_a_sweep_by_a_teacher_of_its_own_length_is_done_when_it_is_done(tmp_path: Path, teacher: Path) -> None:
    grid = {"data": str(tickets(tmp_path / "t.jsonl", 40)), "text_column": COLUMNS, "teacher": str(teacher)}
    more = {"student": str(tiny_base(tmp_path / "base")), "epochs": 1, "k": 4, "counterfact": {"generator": "editor"}}
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(grid | more | {"arms": [{"mix": "shots"}, {"mix": "eda"}]}))
    trained = []
    for _ in range(2):
        result = sweep(str(path), SweepSettings(out=tmp_path / "out"), Ui.silent())
        assert isinstance(result, SweepResult)
        assert result.problem() is None
        trained.append(result.trained)
    assert trained == [2, 0]
