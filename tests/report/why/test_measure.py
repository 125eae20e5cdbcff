"""`cod report --why` on real runs of tiny models: whose rows, which pairs, and what is told where something is gone."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cod_cli.report.results import read_evidence
from cod_cli.report.why import fisher
from cod_cli.report.why.explain import HELD_OUT, OWN, Measurement, Measurements
from cod_cli.report.why.measure import measure, students_of
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages.counterfact import counterfact
from cod_cli.stages.distill import distill
from cod_cli.stages.eval import evaluate
from cod_cli.stages.label import label
from cod_cli.stages.sample import sample
from cod_cli.store.run import Run, write_origin
from cod_cli.training.trainset import read_trainset
from cod_cli.ui import Ui
from tests.models.tiny import sentences, tiny_base, trained_teacher
from tests.stages.students import TRAIN, VALIDATION, write_rows

UI = Ui.silent()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, teacher_folder: Path) -> Path:
    """A folder with a teacher and a run of eight shots: students `kd-shots` and `kd-cod`, scored. Read only."""
    folder = tmp_path_factory.mktemp("why")
    write_rows(folder / "films" / "train.jsonl", TRAIN)
    write_rows(folder / "films" / "validation.jsonl", VALIDATION)
    teacher = str(shutil.copytree(teacher_folder, folder / "teacher"))
    base = str(tiny_base(folder / "base", seed=1))
    run = Run(folder / "runs" / "a")
    sample(run, SampleSettings(data=str(folder / "films"), shots="8"), UI)
    counterfact(run, CounterfactSettings(generator="editor", teacher=teacher, device="cpu"), UI)
    label(run, LabelSettings(teacher=teacher, device="cpu"), UI)
    for mix in ("shots", "cod"):
        distill(run, DistillSettings(student=base, method="kd", mix=mix, epochs=30, lr=3e-3, device="cpu"), UI)
    evaluate(run, EvalSettings(device="cpu"), UI)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Run:
    """A copy that a test may spoil; its teacher is still the one beside the original."""
    return Run(shutil.copytree(made / "runs", tmp_path / "runs") / "a")


def measured(run: Run) -> Measurements:
    return measure(students_of(read_evidence(run.folder.parent)), device="cpu", progress=lambda n: None)


def probe_of(run: Run, name: str) -> Measurement:
    return measured(run).found[run.folder, name]


def hold_out(run: Run, n: int = 6) -> None:
    teacher = run.soft_labels.require().settings["teacher"]
    counterfact(run, CounterfactSettings(generator="editor", teacher=teacher, held_out=n, device="cpu"), UI)


def teacher_of(run: Run) -> str:
    return str(run.soft_labels.require().settings["teacher"])


def teacher_as_student(run: Run, name: str, like: str = "kd-shots") -> Path:
    """The teacher itself among the students, as if it had been trained like another, and scored."""
    folder = Path(shutil.copytree(teacher_of(run), run.student(name)))
    write_origin(folder, run.read_student(like).replace(name=name), [])
    evaluate(run, EvalSettings(device="cpu"), UI)
    return folder


def turn_classes(folder: Path) -> None:
    """The same decisions, the two classes the other way round."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.classifier.weight.data = model.classifier.weight.data.flip(0)
    model.classifier.bias.data = model.classifier.bias.data.flip(0)
    model.config.id2label = {0: "positive", 1: "negative"}
    model.config.label2id = {"positive": 0, "negative": 1}
    model.save_pretrained(folder)


def by_hand(run: Run, texts: list[str]) -> tuple[float, float]:
    """Σ p(1 - p) and log det(I + F), by the model's own parts, a text at a time, F written out."""
    model, tokenizer = (
        auto.from_pretrained(teacher_of(run)) for auto in (AutoModelForSequenceClassification, AutoTokenizer)
    )
    total, information = 0.0, np.eye(32)
    for text in texts:
        with torch.no_grad():
            z = model.bert(**tokenizer(text, return_tensors="pt")).pooler_output[0].double()
            p = float(torch.softmax(model.classifier(z.float()), -1)[0])
        total += p * (1 - p)
        information += p * (1 - p) * np.outer(z, z)
    return total, float(np.linalg.slogdet(information).logabsdet)


def test_the_rows_are_those_that_each_student_was_trained_on(run: Run) -> None:
    shots = run.shots.read()
    cfes = {row.shot_id: row.text for row in run.counterfactuals.read() if not row.is_further}
    assert len(cfes) == 8
    pairs = [text for shot in shots[:4] for text in (shot.text, cfes[shot.id])]
    for name, texts in (("kd-shots", [shot.text for shot in shots]), ("kd-cod", pairs)):
        found = probe_of(run, name)
        assert (found.uncertainty, found.log_det) == pytest.approx(by_hand(run, texts), rel=1e-3)


def test_students_are_held_against_held_out_pairs_where_there_are_any(run: Run) -> None:
    assert measured(run).pairs == {OWN: [8]}
    hold_out(run)
    n = len(run.held_out("editor").rows.read())
    assert measured(run).pairs == {HELD_OUT: [n]}


def test_pairs_that_the_teacher_does_not_cross_are_counted_apart(run: Run) -> None:
    rows = run.counterfactuals.read()
    never = [rows[0].replace(text=next(s.text for s in run.shots.read() if s.id == rows[0].shot_id)), *rows[1:]]
    run.counterfactuals.finish(run.counterfactuals.require(), never)
    found = measured(run)
    assert (found.pairs, found.lost) == ({OWN: [7]}, 1)


def test_the_teacher_itself_crosses_where_it_crosses(run: Run) -> None:
    teacher_as_student(run, "copy")
    turn_classes(teacher_as_student(run, "turned"))
    hold_out(run)
    found = measured(run).found
    for name in ("copy", "turned"):
        assert (found[run.folder, name].crossed, found[run.folder, name].gap) == (1.0, 0.0)


def test_pairs_that_a_student_does_not_cross_count_in_the_share_and_not_in_the_gap(run: Run) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(run.student("kd-cod"))
    with torch.no_grad():
        model.classifier.bias[0] += 100
    model.save_pretrained(run.student("kd-cod"))
    found = probe_of(run, "kd-cod")
    assert (found.crossed, found.gap) == (0.0, None)


def test_without_weights_the_rows_are_still_measured_and_one_line_says_so(run: Run) -> None:
    whole = measured(run)
    for name in run.student_names():
        run.drop_weights(name)
    found = measured(run)
    for name in ("kd-shots", "kd-cod"):
        assert found.found[run.folder, name] == replace(whole.found[run.folder, name], crossed=None, gap=None)
    assert len(found.problems) == 1
    assert "weights were deleted" in found.problems[0]


def test_a_teacher_that_is_gone_is_told_once_for_all_runs(run: Run, tmp_path: Path) -> None:
    manifest = run.soft_labels.require()
    moved = manifest.replace(settings={**manifest.settings, "teacher": str(tmp_path / "moved")})
    run.soft_labels.meta.write_text(moved.model_dump_json(by_alias=True))
    shutil.copytree(run.folder, run.folder.with_name("b"))
    found = measured(run)
    ofs = [(one.uncertainty, one.log_det, one.crossed, one.gap) for one in found.found.values()]
    assert (len(ofs), set(ofs)) == (4, {(None, None, None, None)})
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"the teacher is not at hand: there is no folder {tmp_path / 'moved'}")
    assert found.problems[0].endswith(f"(in 2 runs, the first {run.folder})")


def test_an_llm_has_no_features_to_look_at(run: Run) -> None:
    manifest = run.soft_labels.require()
    asked = manifest.replace(settings={**manifest.settings, "teacher": "openai:gpt-4o"})
    run.soft_labels.meta.write_text(asked.model_dump_json(by_alias=True))
    (problem,) = measured(run).problems
    assert problem.startswith(f"{run.folder}: the teacher is openai:gpt-4o")


def test_a_teacher_that_has_changed_is_not_asked(run: Run) -> None:
    manifest = run.soft_labels.require()
    run.soft_labels.meta.write_text(manifest.replace(teacher="0" * 16).model_dump_json(by_alias=True))
    (problem,) = measured(run).problems
    assert "has changed since it labelled the rows" in problem


def test_rows_that_were_changed_since_are_not_taken_for_those_trained_on(run: Run) -> None:
    shots = run.shots.read()
    text = run.shots.path.read_text()
    run.shots.path.write_text(text.replace(shots[0].text, "another text"))
    label(run, LabelSettings(teacher=teacher_of(run), device="cpu"), UI)
    found = measured(run)
    assert found.found[run.folder, "kd-shots"].uncertainty is None
    assert found.found[run.folder, "kd-shots"].crossed is not None
    assert any("kd-shots trained on have changed since" in problem for problem in found.problems)


def test_the_rows_of_a_student_of_version_0_1_are_those_that_it_took(run: Run) -> None:
    shots = run.shots.read()
    firsts = {row.shot_id: row for row in run.counterfactuals.read() if not row.is_further}
    pairs = [row for shot in shots for row in (shot, firsts[shot.id])]
    old = read_trainset(run, "all", as_in_0_1=True)
    assert [row.id for row in old.rows] == [row.id for row in pairs]
    like = run.read_student("kd-shots").replace(
        name="kd-all", mix="all", rows=16, rows_sha=old.sha(), versions={"cod": "0.1.0"}
    )
    write_origin(Path(shutil.copytree(run.student("kd-shots"), run.student("kd-all"))), like, [])
    evaluate(run, EvalSettings(device="cpu"), UI)
    found = measured(run)
    assert found.problems == ()
    one = found.found[run.folder, "kd-all"]
    assert (one.uncertainty, one.log_det) == pytest.approx(by_hand(run, [row.text for row in pairs]), rel=1e-3)
    assert (one.by_shot, one.shot_bits, one.contrasts) == (0.5, 0, 4)


def test_contrast_sets_say_less_of_a_class_by_their_shots_than_shots_do(run: Run) -> None:
    base = str(run.folder.parent.parent / "base")
    tiny_base(base, seed=1)
    options = {"student": base, "method": "kd", "mix": "contrast", "steps": 2, "device": "cpu"}
    distill(run, DistillSettings(**options), UI)
    distill(run, DistillSettings(**options, families="together", name="together"), UI)
    evaluate(run, EvalSettings(device="cpu"), UI)
    found = measured(run).found
    together = found[run.folder, "together"]
    assert together.contrasts == pytest.approx(together.side_by_side, rel=0.25)
    shots, contrast = (found[run.folder, name] for name in ("kd-shots", "kd-contrast"))
    assert (shots.by_shot, shots.shot_bits, shots.contrasts, shots.side_by_side) == (1, 1, 0, 0)
    assert (contrast.by_shot, contrast.shot_bits) == (0.5, 0)
    assert 0 < (contrast.contrasts or 0) < (contrast.side_by_side or 0)


def test_labels_added_for_others_change_nothing(run: Run) -> None:
    before = probe_of(run, "kd-shots")
    rows = run.soft_labels.read()
    run.soft_labels.finish(run.soft_labels.require(), [*rows, rows[0].replace(id="another")])
    assert probe_of(run, "kd-shots") == before


def test_three_classes_are_measured_too(tmp_path: Path) -> None:
    labels = ("negative", "neutral", "positive")
    rows = list(dict(sentences(600, labels)).items())
    write_rows(tmp_path / "films" / "train.jsonl", rows[:60])
    write_rows(tmp_path / "films" / "validation.jsonl", rows[60:100])
    teacher = str(trained_teacher(tmp_path / "teacher", labels))
    run = Run(tmp_path / "runs" / "a")
    sample(run, SampleSettings(data=str(tmp_path / "films"), shots="6"), UI)
    counterfact(run, CounterfactSettings(generator="editor", teacher=teacher, device="cpu"), UI)
    label(run, LabelSettings(teacher=teacher, device="cpu"), UI)
    made = DistillSettings(student=str(tiny_base(tmp_path / "base")), method="kd", mix="cod", epochs=2, device="cpu")
    distill(run, made, UI)
    evaluate(run, EvalSettings(device="cpu"), UI)
    teacher_as_student(run, "copy", like="kd-cod")
    found = measured(run)
    assert not found.problems
    copy = found.found[run.folder, "copy"]
    assert (copy.crossed, copy.gap) == (1.0, 0.0)
    assert 0 < (copy.uncertainty or 0) < 6 * fisher.uncertainty([[1 / 3] * 3])[0]
