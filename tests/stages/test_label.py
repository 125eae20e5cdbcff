"""`cod label` with a tiny teacher: what is asked, what is kept, what is refused."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cod_cli.errors import CodError
from cod_cli.models.inference import logits_of
from cod_cli.models.load import load_classifier
from cod_cli.records import Counterfactual, SoftLabel, text_sha
from cod_cli.settings.label import LabelSettings
from cod_cli.stages import label as stage
from cod_cli.stages.label import label
from cod_cli.store.artifact import Artifact
from cod_cli.store.jsonl import append_records, write_records
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.stages.labelling import CFES, LABELS, SHOTS, ask, counted, counterfactual, finish


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    finish(run.shots, SHOTS)
    return run


def test_each_row_gets_the_teachers_logits_by_id_and_text(run: Run, teacher_folder: Path) -> None:
    finish(run.counterfactuals, CFES)
    ask(run, teacher_folder)
    rows = [*SHOTS, *CFES]
    softs = run.soft_labels.read()
    assert [(soft.id, soft.text_sha) for soft in softs] == [(row.id, text_sha(row.text)) for row in rows]
    expected = logits_of(load_classifier(str(teacher_folder)), [row.text for row in rows])
    np.testing.assert_allclose([soft.logits for soft in softs], expected, atol=2e-6)
    assert all(value == round(value, 6) for soft in softs for value in soft.logits)
    assert {(soft.source, soft.covered_mass) for soft in softs} == {("logits", 1.0)}


def test_logits_are_in_the_order_of_the_runs_labels(tmp_path: Path, teacher_folder: Path) -> None:
    forward, backward = Run(tmp_path / "a"), Run(tmp_path / "b")
    for run, labels in ((forward, LABELS), (backward, LABELS[::-1])):
        finish(run.shots, SHOTS, labels)
        ask(run, teacher_folder)
        manifest = run.soft_labels.require()
        assert manifest.labels == labels
    for one, other in zip(forward.soft_labels.read(), backward.soft_labels.read(), strict=True):
        assert one.logits == other.logits[::-1]


def test_without_counterfactuals_the_shots_alone_are_labelled(run: Run, teacher_folder: Path) -> None:
    result = ask(run, teacher_folder)
    assert (result.counts["shots"], result.counts["counterfactuals"]) == (6, 0)
    assert len(run.soft_labels.read()) == 6


def test_the_manifest_and_the_result_say_what_was_done(run: Run, teacher_folder: Path) -> None:
    wrong = SHOTS[5].replace(label="negative", id="d/train/7")
    finish(run.shots, [*SHOTS, wrong])
    no_flip = counterfactual(SHOTS[4], text=SHOTS[4].text + " !")
    finish(run.counterfactuals, [*CFES, no_flip, counterfactual(SHOTS[5], id="x~y", shot_id="gone")])
    result = ask(run, teacher_folder)
    assert result.accuracy == 6 / 7
    assert result.counts["flipped"] == 4
    manifest = run.soft_labels.require()
    assert manifest.counts == result.counts
    assert manifest.settings == {"teacher": str(teacher_folder), "teacher_labels": None, "max_length": 256}
    assert manifest.inputs.keys() == {"1-shots.jsonl", "2-counterfactuals.jsonl"}
    assert {soft.teacher for soft in run.soft_labels.read()} == {manifest.teacher}


def test_only_what_is_missing_is_asked_for(run: Run, teacher_folder: Path) -> None:
    assert counted(ask(run, teacher_folder)) == (0, 6, 0)
    before = run.soft_labels.read()
    finish(run.counterfactuals, CFES)
    assert counted(ask(run, teacher_folder)) == (6, 4, 0)
    assert run.soft_labels.read()[:6] == before
    written = run.soft_labels.path.read_bytes()
    assert counted(ask(run, teacher_folder)) == (10, 0, 0)
    assert run.soft_labels.path.read_bytes() == written


def test_a_mended_text_is_asked_for_again_and_deleted_rows_are_let_go(run: Run, teacher_folder: Path) -> None:
    finish(run.counterfactuals, CFES)
    ask(run, teacher_folder)
    mended = CFES[0].replace(text="a lovely film , she said .")
    write_records(run.counterfactuals.path, [mended, *CFES[2:]])
    assert counted(ask(run, teacher_folder)) == (8, 1, 1)
    softs = {soft.id: soft for soft in run.soft_labels.read()}
    assert softs[mended.id].text_sha == text_sha(mended.text)
    assert CFES[1].id not in softs


def test_a_hand_edit_is_mentioned(run: Run, teacher_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(run.shots.path, SHOTS[1:])
    label(run, LabelSettings(teacher=str(teacher_folder)), Ui())
    assert "1-shots.jsonl was changed by hand" in capsys.readouterr().err


def test_a_label_changed_by_hand_stays(run: Run, teacher_folder: Path) -> None:
    ask(run, teacher_folder)
    first, *rest = run.soft_labels.read()
    write_records(run.soft_labels.path, [first.replace(logits=[1.0, 2.0]), *rest])
    assert counted(ask(run, teacher_folder)) == (6, 0, 0)
    assert run.soft_labels.read()[0].logits == [1.0, 2.0]


def test_after_a_kill_only_the_rest_is_asked_for(
    run: Run, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "CHUNK", 2)
    saved: list[int] = []

    def killed_at_the_third(path: Path, rows: Sequence[SoftLabel]) -> None:
        if len(saved) == 2:
            with path.open("ab") as file:
                file.write(b'{"id": "d/train/5", "te')
            raise KeyboardInterrupt
        saved.append(len(rows))
        append_records(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "append_records", killed_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            ask(run, teacher_folder, cache=False)
    with pytest.raises(CodError, match="is not complete"):
        run.soft_labels.read()
    assert counted(ask(run, teacher_folder, cache=False)) == (4, 2, 0)
    assert [soft.id for soft in run.soft_labels.read()] == [shot.id for shot in SHOTS]


def test_what_the_verifier_asked_is_not_scored_again(run: Run, teacher_folder: Path) -> None:
    first = ask(run, teacher_folder)
    assert first.counts["from_cache"] == 0
    other = Run(run.folder.parent / "other")
    finish(other.shots, SHOTS[:4])
    assert ask(other, teacher_folder).counts["from_cache"] == 4


def test_where_no_teacher_is_named_the_one_that_checked_the_counterfactuals_is_taken(
    run: Run, teacher_folder: Path
) -> None:
    settings = {"teacher": str(teacher_folder), "teacher_labels": None, "max_length": 64, "generator": "file"}
    finish(run.counterfactuals, CFES, settings=settings)
    assert ask(run, None).teacher == str(teacher_folder)
    assert run.soft_labels.require().settings["max_length"] == 64
    assert counted(ask(run, None)) == (10, 0, 0)


def test_counterfactuals_checked_against_another_teacher_are_mentioned(
    run: Run, teacher_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(run.counterfactuals, CFES, teacher="0" * 16, settings={"teacher": "some/model"})
    label(run, LabelSettings(teacher=str(teacher_folder)), Ui())
    assert "checked against another teacher: some/model" in capsys.readouterr().err


def test_rivals_are_labelled_too(run: Run, teacher_folder: Path) -> None:
    rival = Artifact(run.folder, "2-eda", Counterfactual, "")
    finish(rival, [counterfactual(SHOTS[0], id=f"{SHOTS[0].id}~positive@eda", kind="eda", label=SHOTS[0].label)])
    result = ask(run, teacher_folder)
    assert (result.counts["rivals"], result.counts["flipped"]) == (1, 0)
    assert run.soft_labels.read()[-1].id == f"{SHOTS[0].id}~positive@eda"


def test_shots_drawn_anew_with_other_labels_are_labelled_anew(run: Run, teacher_folder: Path) -> None:
    ask(run, teacher_folder)
    finish(run.shots, SHOTS, LABELS[::-1])
    assert counted(ask(run, teacher_folder)) == (0, 6, 0)
    forward = logits_of(load_classifier(str(teacher_folder)), [SHOTS[0].text])[0]
    np.testing.assert_allclose(run.soft_labels.read()[0].logits, forward[::-1], atol=2e-6)


def test_soft_labels_are_written_with_their_fields_in_order(run: Run, teacher_folder: Path) -> None:
    ask(run, teacher_folder)
    first = json.loads(run.soft_labels.path.read_text().splitlines()[0])
    assert list(first) == ["id", "text_sha", "logits", "teacher", "source", "covered_mass"]


def test_batches_do_not_change_the_result(run: Run, teacher_folder: Path) -> None:
    ask(run, teacher_folder, cache=False)
    first = run.soft_labels.read()
    ask(run, teacher_folder, cache=False, force=True, batch_size=2)
    for one, other in zip(first, run.soft_labels.read(), strict=True):
        np.testing.assert_allclose(one.logits, other.logits, atol=3e-6)


def test_a_teacher_with_other_label_names_is_put_right_by_its_option(run: Run, teacher_folder: Path) -> None:
    folder = Path(shutil.copytree(teacher_folder, run.folder.parent / "renamed"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CodError) as caught:
        ask(run, folder)
    option = str(caught.value.hint).rpartition("--teacher-labels ")[2]
    assert ask(run, folder, teacher_labels=option).accuracy == 1.0


def test_a_cache_that_cannot_be_used_is_mentioned(
    run: Run, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COD_CACHE", str(run.shots.path))
    label(run, LabelSettings(teacher=str(teacher_folder)), Ui())
    assert "going on without the cache" in capsys.readouterr().err
    assert len(run.soft_labels.read()) == len(SHOTS)
