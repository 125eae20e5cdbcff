"""What `cod label` refuses: other teachers, unfinished and damaged inputs."""

import shutil
from pathlib import Path

import pytest

from cod_cli.errors import CodError, UsageError
from cod_cli.store.jsonl import write_records
from cod_cli.store.run import Run
from tests.models.tiny import tiny_classifier
from tests.stages.labelling import CFES, SHOTS, ask, counted, counterfactual, finish


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    finish(run.shots, SHOTS)
    return run


def test_an_unfinished_input_is_refused_with_the_command_that_finishes_it(run: Run, teacher_folder: Path) -> None:
    finish(run.counterfactuals, CFES, complete=False)
    with pytest.raises(CodError, match=r"2-counterfactuals\.jsonl is not complete") as caught:
        ask(run, teacher_folder)
    assert "cod counterfact" in str(caught.value.hint)


def test_shots_must_be_there(tmp_path: Path, teacher_folder: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(CodError, match="does not exist") as caught:
        ask(run, teacher_folder)
    assert "cod sample" in str(caught.value.hint)
    finish(run.shots, [])
    with pytest.raises(CodError, match="holds no shots"):
        ask(run, teacher_folder)


def test_another_teacher_is_refused_and_force_archives(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    ask(run, teacher_folder)
    before = run.soft_labels.path.read_bytes()
    other = tiny_classifier(tmp_path / "other", seed=4)
    with pytest.raises(CodError, match="begun with other settings"):
        ask(run, other)
    assert run.soft_labels.path.read_bytes() == before
    assert counted(ask(run, other, force=True)) == (0, 6, 0)
    archived = list(run.folder.glob("archive/*/3-soft-labels.jsonl"))
    assert [path.read_bytes() for path in archived] == [before]


def test_a_retrained_teacher_under_the_same_name_is_refused(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(teacher_folder, tmp_path / "teacher"))
    ask(run, folder)
    tiny_classifier(folder, seed=4)
    with pytest.raises(CodError, match="weights have changed"):
        ask(run, folder)


def test_the_same_teacher_under_another_path_is_welcome(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    ask(run, teacher_folder)
    moved = Path(shutil.copytree(teacher_folder, tmp_path / "moved"))
    assert counted(ask(run, moved)) == (6, 0, 0)


def test_a_failing_teacher_does_not_archive_anything(run: Run, teacher_folder: Path) -> None:
    ask(run, teacher_folder)
    with pytest.raises(CodError):
        ask(run, Path("/nowhere/at/all"), force=True)
    assert len(run.soft_labels.read()) == 6


def test_no_teacher_at_all_is_a_usage_error(run: Run) -> None:
    finish(run.counterfactuals, CFES, settings={"teacher": None})
    with pytest.raises(UsageError, match="no teacher") as caught:
        ask(run, None)
    assert "--teacher" in str(caught.value.hint)


def test_one_id_for_two_texts_is_refused(run: Run, teacher_folder: Path) -> None:
    finish(run.counterfactuals, [counterfactual(SHOTS[0], id=SHOTS[1].id)])
    with pytest.raises(CodError, match="stands for two texts"):
        ask(run, teacher_folder)


def test_a_label_that_no_shot_has_is_refused(run: Run, teacher_folder: Path) -> None:
    finish(run.counterfactuals, [counterfactual(SHOTS[0], label="postive")])
    with pytest.raises(CodError, match="has the label 'postive'"):
        ask(run, teacher_folder)


@pytest.mark.parametrize("logits", [[0.1], [0.1, 0.2, 0.3]])
def test_a_label_with_other_logits_is_made_anew(run: Run, teacher_folder: Path, logits: list[float]) -> None:
    ask(run, teacher_folder)
    before = run.soft_labels.read()
    write_records(run.soft_labels.path, [before[0].replace(logits=logits), *before[1:]])
    assert ask(run, teacher_folder).counts["new"] == 1
    assert run.soft_labels.read() == before


def test_a_torn_line_is_named_by_file_and_line(run: Run, teacher_folder: Path) -> None:
    ask(run, teacher_folder)
    lines = run.soft_labels.path.read_text().splitlines(keepends=True)
    run.soft_labels.path.write_text("".join([*lines[:2], lines[2][:20] + "\n", *lines[3:]]))
    with pytest.raises(CodError, match=r"3-soft-labels\.jsonl, line 3"):
        ask(run, teacher_folder)
