"""`cod eval` on tiny models: what it scores, on which rows, and what it leaves alone."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sklearn import metrics as sk
from transformers import pipeline

from cod_cli.data.heldout import draw_pool
from cod_cli.errors import CodError, UsageError
from cod_cli.evaluation.baselines import sentence_vectors
from cod_cli.models.load import load_encoder
from cod_cli.records import Counterfactual, Score, Shot, SoftLabel, text_sha
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages.counterfact import CounterfactResult, counterfact
from cod_cli.stages.eval import EvalResult, evaluate
from cod_cli.stages.label import label
from cod_cli.stages.sample import sample
from cod_cli.store.jsonl import file_sha, read_records
from cod_cli.store.run import CounterfactualFiles, Run
from cod_cli.ui import Ui
from tests.models.tiny import tiny_base, tiny_classifier
from tests.stages.students import LABELS, ROWS, TRAIN, VALIDATION, add_student, write_rows


class Told(Ui):
    """A Ui that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    def warn(self, text: str) -> None:
        self.told.append(f"warning: {text}")


@pytest.fixture
def teacher(tmp_path: Path, teacher_folder: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(teacher_folder, tmp_path / "teacher")


@pytest.fixture
def run(tmp_path: Path, teacher: Path) -> Run:
    """Four labelled shots of a folder with train and validation."""
    write_rows(tmp_path / "films" / "train.jsonl", TRAIN)
    write_rows(tmp_path / "films" / "validation.jsonl", VALIDATION)
    return begin(Run(tmp_path / "run"), tmp_path / "films", teacher)


def begin(run: Run, data: Path, teacher: Path, **options: Any) -> Run:
    sample(run, SampleSettings(data=str(data), shots="4", **options), Ui.silent())
    label(run, LabelSettings(teacher=str(teacher), device="cpu", max_length=64), Ui.silent())
    return run


def run_eval(run: Run, ui: Ui | None = None, **options: Any) -> EvalResult:
    return evaluate(run, EvalSettings(device="cpu", **options), ui or Ui.silent())


def by_name(result: EvalResult) -> dict[str, Score]:
    return {score.student: score for score in result.scores}


def probabilities(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """By the library's own pipeline, one text at a time."""
    classify = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
    answers = [{a["label"]: a["score"] for a in answer} for answer in classify(list(texts), batch_size=1)]
    probs = np.array([[answer[name] for name in LABELS] for answer in answers])
    return probs / probs.sum(axis=1, keepdims=True)


# The numbers


def test_scores_equal_an_independent_computation(run: Run, teacher: Path) -> None:
    add_student(run, "kd-shots")
    score = by_name(run_eval(run))["kd-shots"]
    texts, truth = [text for text, _ in VALIDATION], [LABELS.index(name) for _, name in VALIDATION]
    q, p = probabilities(run.student("kd-shots"), texts), probabilities(teacher, texts)
    decided = q.argmax(axis=1)
    assert score.n == 40
    assert score.accuracy == pytest.approx(sk.accuracy_score(truth, decided), abs=1e-6)
    assert score.macro_f1 == pytest.approx(sk.f1_score(truth, decided, average="macro"), abs=1e-6)
    by_class = sk.f1_score(truth, decided, labels=[0, 1], average=None, zero_division=0)
    assert score.f1 == pytest.approx(dict(zip(LABELS, by_class, strict=True)), abs=1e-6)
    assert score.mcc == pytest.approx(sk.matthews_corrcoef(truth, decided), abs=1e-6)
    assert score.brier == pytest.approx(sk.brier_score_loss(truth, q, labels=[0, 1], scale_by_half=False), abs=1e-4)
    assert score.agreement == pytest.approx((decided == p.argmax(axis=1)).mean(), abs=1e-6)
    assert score.kl == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), abs=1e-4)
    assert (score.method, score.mix, score.k, score.rows, score.steps, score.seconds) == ("kd", "shots", 4, 4, 8, 1.5)


def test_the_teacher_has_a_row_without_what_it_lacks(run: Run) -> None:
    add_student(run, "kd-shots")
    result = run_eval(run)
    assert result.scores[0].student == "teacher"
    assert result.scores[0].accuracy == 1.0
    assert [result.scores[0].agreement, result.scores[0].kl, result.scores[0].k, result.scores[0].seed] == [None] * 4


def test_a_student_equal_to_its_teacher_agrees_on_every_row(run: Run, teacher: Path) -> None:
    add_student(run, "twin", teacher)
    score = by_name(run_eval(run))["twin"]
    assert score.agreement == 1.0
    assert score.kl == pytest.approx(0, abs=1e-6)


def test_a_student_with_its_labels_in_another_order_is_scored_by_their_names(run: Run, teacher: Path) -> None:
    add_student(run, "twisted", teacher)
    config = json.loads((run.student("twisted") / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "positive", "1": "negative"}, {"positive": 0, "negative": 1}
    (run.student("twisted") / "config.json").write_text(json.dumps(config))
    score = by_name(run_eval(run))["twisted"]
    assert score.accuracy == 0.0
    assert score.agreement == 0.0


def test_teacher_and_neighbours_have_f1_by_class_too(run: Run, tmp_path: Path) -> None:
    scores = by_name(run_eval(run, neighbours=str(tiny_base(tmp_path / "encoder"))))
    assert scores["teacher"].f1 == {"negative": 1.0, "positive": 1.0}
    assert list(scores["neighbours"].f1 or {}) == LABELS
    assert np.mean(list((scores["neighbours"].f1 or {}).values())) == pytest.approx(scores["neighbours"].macro_f1)


def test_a_score_of_an_older_version_gets_its_f1_by_class_without_being_scored_again(run: Run) -> None:
    add_student(run, "kd-shots")
    now = run_eval(run).scores
    kept = tuple(score for score in now if score.student != "majority")
    older = [{name: value for name, value in s.model_dump().items() if name != "f1"} for s in kept]
    run.scores.path.write_text("".join(json.dumps(row) + "\n" for row in older))
    assert [score.f1 for score in run.scores.read()] == [None, None]
    result = run_eval(run)
    assert result.new == ()
    assert result.scores == now
    assert tuple(run.scores.read()) == kept


def test_seeds_of_one_arm_are_summarised_in_json(run: Run) -> None:
    for seed in (0, 1, 2):
        add_student(run, f"kd-shots-s{seed}", seed=seed)
    document = run_eval(run).as_json()
    values = [row["kl"] for row in document["scores"] if row["student"] not in ("teacher", "majority")]
    arm = document["arms"][0]
    assert (arm["name"], arm["n"]) == ("kd-shots", 3)
    assert arm["kl"] == {"mean": pytest.approx(np.mean(values)), "std": pytest.approx(np.std(values, ddof=1)), "n": 3}
    assert json.loads(json.dumps(document))["rows"] == 40


def test_students_cut_from_their_teacher_are_named(run: Run) -> None:
    add_student(run, "own")
    add_student(run, "part", cut_from_teacher=True)
    assert run_eval(run).cut == ("part",)


# What is scored, and what is left alone


def test_scores_and_teacher_answers_are_on_disk(run: Run) -> None:
    add_student(run, "kd-shots")
    result = run_eval(run)
    assert read_records(run.folder / "5-scores.jsonl", Score) == list(result.scores)
    rows = read_records(run.folder / "5-teacher.jsonl", SoftLabel)
    assert [row.text_sha for row in rows] == [text_sha(text) for text, _ in VALIDATION]
    assert run.teacher_labels.require().teacher == run.soft_labels.require().teacher
    assert run.scores.require().complete


def test_what_each_student_decides_on_each_row_is_kept(run: Run) -> None:
    add_student(run, "a")
    scores = by_name(run_eval(run))
    teacher, student = run.read_predictions()
    assert (teacher.student, student.student, teacher.rows) == ("teacher", "a", student.rows)
    assert student.truth == [LABELS.index(name) for _, name in VALIDATION]
    probs = probabilities(run.student("a"), [text for text, _ in VALIDATION])
    assert student.confidence == pytest.approx(list(probs.max(axis=1)), abs=1e-3)
    right = np.equal(student.decided, student.truth)
    assert scores["a"].accuracy == pytest.approx(right.mean(), abs=1e-6)
    assert scores["a"].agreement == pytest.approx(np.equal(student.decided, teacher.decided).mean(), abs=1e-6)


def test_a_student_trained_anew_has_its_old_decisions_replaced(run: Run) -> None:
    add_student(run, "a")
    run_eval(run)
    run_eval(run, split="train")
    shutil.rmtree(run.student("a"))
    add_student(run, "a", seed=7)
    run_eval(run)
    assert [(row.student, row.split) for row in run.read_predictions()] == [
        ("teacher", "validation"),
        ("a", "validation"),
        ("teacher", "train"),
        ("a", "train"),
    ]


def test_a_second_call_scores_nobody(run: Run) -> None:
    add_student(run, "kd-shots")
    first = run_eval(run)
    before = file_sha(run.scores.path)
    second = run_eval(run)
    assert first.new == ("teacher", "kd-shots")
    assert second.new == ()
    assert second.scores == first.scores
    assert file_sha(run.scores.path) == before


def test_only_the_new_student_is_scored(run: Run) -> None:
    add_student(run, "a")
    run_eval(run)
    add_student(run, "b", seed=1)
    assert run_eval(run).new == ("b",)


def test_a_student_trained_anew_is_scored_again(run: Run) -> None:
    add_student(run, "a")
    add_student(run, "b")
    old = by_name(run_eval(run))["a"]
    shutil.rmtree(run.student("a"))
    add_student(run, "a", seed=7)
    result = run_eval(run)
    assert result.new == ("a",)
    assert by_name(result)["a"].kl != old.kl
    assert [score.student for score in run.scores.peek()] == ["teacher", "majority", "a", "b"]


def test_other_settings_with_the_same_weights_are_scored_again(run: Run) -> None:
    add_student(run, "a")
    run_eval(run)
    shutil.rmtree(run.student("a"))
    add_student(run, "a", steps=9)
    assert by_name(run_eval(run))["a"].steps == 9


def test_another_split_is_scored_beside_the_first(run: Run) -> None:
    add_student(run, "a")
    run_eval(run)
    other = run_eval(run, split="train")
    assert other.new == ("teacher", "a")
    assert [(score.split, score.student) for score in run.scores.peek()] == [
        ("train", "teacher"),
        ("train", "majority"),
        ("train", "a"),
        ("validation", "teacher"),
        ("validation", "majority"),
        ("validation", "a"),
    ]
    assert run_eval(run).new == ()


def test_seeds_stand_in_the_order_of_their_numbers(run: Run) -> None:
    for seed in (10, 2):
        add_student(run, f"kd-shots-s{seed}", seed=seed)
    names = [score.student for score in run_eval(run).scores]
    assert names == ["teacher", "majority", "kd-shots-s2", "kd-shots-s10"]


def test_what_was_scored_before_a_failure_is_kept(run: Run) -> None:
    add_student(run, "a")
    add_student(run, "b")
    (run.student("b") / "config.json").write_text('{"model_type": "bert", "id2label": {"0": "negative"}}')
    with pytest.raises(CodError):
        run_eval(run)
    shutil.rmtree(run.student("b"))
    add_student(run, "b")
    assert run_eval(run).new == ("b",)


def test_force_scores_everybody_anew_and_archives(run: Run) -> None:
    add_student(run, "a")
    run_eval(run)
    assert run_eval(run, force=True).new == ("teacher", "a")
    assert len(list((run.folder / "archive").glob("*/5-scores.jsonl"))) == 1


# Which rows


def test_a_folder_is_scored_on_its_test_split_if_it_has_one(run: Run, tmp_path: Path) -> None:
    add_student(run, "a")
    assert run_eval(run).split == "validation"
    write_rows(tmp_path / "films" / "test.jsonl", ROWS[80:90])
    assert (run_eval(run).split, run_eval(run).rows) == ("test", 10)


def test_of_one_file_the_rows_that_were_not_sampled_are_scored(tmp_path: Path, teacher: Path) -> None:
    data = write_rows(tmp_path / "films.jsonl", TRAIN)
    run = begin(Run(tmp_path / "run"), data, teacher)
    add_student(run, "a")
    result = run_eval(run)
    assert (result.task, result.split, result.rows) == ("films", "all", 36)
    assert result.dropped == {"sampled": 4}
    assert not {row.id for row in run.shots.read()} & {row.id for row in run.teacher_labels.read()}


def test_rows_of_a_file_that_was_reordered_are_known_by_their_texts_and_not_by_their_numbers(
    tmp_path: Path, teacher: Path
) -> None:
    data = write_rows(tmp_path / "films.jsonl", TRAIN)
    run = begin(Run(tmp_path / "run"), data, teacher)
    write_rows(data, TRAIN[::-1])
    add_student(run, "kd-shots")
    ui = Told()
    with ui.listening():
        result = run_eval(run, ui)
    assert (result.rows, result.dropped) == (len(TRAIN) - 4, {"trained": 4})
    assert any(f"warning: {data} has changed since the shots were drawn from it" in line for line in ui.told)


def test_a_file_that_was_sampled_whole_has_no_row_left(tmp_path: Path, teacher: Path) -> None:
    run = Run(tmp_path / "run")
    sample(run, SampleSettings(data=str(write_rows(tmp_path / "films.jsonl", TRAIN)), shots="all"), Ui.silent())
    label(run, LabelSettings(teacher=str(teacher), device="cpu"), Ui.silent())
    add_student(run, "a")
    with pytest.raises(CodError, match="no row left to score on: 40 sampled") as failure:
        run_eval(run)
    assert "--data" in str(failure.value.hint)


def test_rows_of_another_file_of_the_same_name_are_no_shots(tmp_path: Path, teacher: Path) -> None:
    run = begin(Run(tmp_path / "run"), write_rows(tmp_path / "films.jsonl", TRAIN), teacher)
    add_student(run, "a")
    other = write_rows(tmp_path / "other" / "films.jsonl", VALIDATION)
    result = run_eval(run, data=str(other))
    assert (result.rows, result.dropped) == (40, {})


def test_rows_equal_to_a_trained_text_are_dropped_and_counted(run: Run, tmp_path: Path) -> None:
    add_student(run, "a")
    assert run_eval(run).rows == 40
    text, name = VALIDATION[0]
    add_counterfactual(run, text, name)
    ui = Told()
    result = run_eval(run, ui)
    assert (result.rows, result.dropped) == (39, {"trained": 1})
    assert result.new == ("teacher", "a")
    assert {score.n for score in run.scores.peek()} == {39}
    assert any("1 equal to a trained text" in line for line in ui.told)


def test_rows_equal_to_a_rivals_text_are_dropped(run: Run) -> None:
    add_student(run, "a")
    add_counterfactual(run, *VALIDATION[3])
    (run.folder / "2-counterfactuals.jsonl").rename(run.folder / "2-eda.jsonl")
    (run.folder / "2-counterfactuals.meta.json").rename(run.folder / "2-eda.meta.json")
    assert run_eval(run).dropped == {"trained": 1}


def add_counterfactual(run: Run, text: str, name: str) -> None:
    shot = run.shots.read()[0]
    row = Counterfactual(
        id=f"{shot.id}~{name}",
        shot_id=shot.id,
        text=text,
        label=name,
        source_label=shot.label,
        kind="cfe",
        generator="file",
        prompt=None,
        flipped=None,
        p_before=None,
        p_after=None,
        edit_ratio=0.5,
        n_edits=1,
        minimal=None,
        attempts=1,
    )
    run.counterfactuals.finish(run.counterfactuals.begin({}, labels=LABELS), [row])


def test_it_says_what_it_used(run: Run, tmp_path: Path) -> None:
    add_student(run, "a")
    ui = Told()
    result = run_eval(run, ui)
    assert ui.told[0] == f"Scoring on {tmp_path / 'films'}, split validation: 40 rows"
    assert (result.data, result.split, result.task) == (str(tmp_path / "films"), "validation", "films")


def test_labels_that_are_not_the_runs_are_named_with_an_option_to_paste(run: Run, tmp_path: Path) -> None:
    add_student(run, "a")
    other = write_rows(tmp_path / "other.jsonl", [(text, name.upper()) for text, name in VALIDATION])
    with pytest.raises(CodError, match="NEGATIVE, POSITIVE; this run's are negative, positive") as failure:
        run_eval(run, data=str(other))
    assert "--label-names NEGATIVE=negative,POSITIVE=positive" in str(failure.value.hint)
    assert run_eval(run, data=str(other), label_names="NEGATIVE=negative,POSITIVE=positive").rows == 40


def test_data_with_more_classes_than_the_run_is_refused(run: Run, tmp_path: Path) -> None:
    add_student(run, "a")
    other = write_rows(tmp_path / "other.jsonl", [*VALIDATION, ("so it goes", "neutral")])
    with pytest.raises(CodError, match="has the labels neutral; this run's are negative, positive") as failure:
        run_eval(run, data=str(other))
    assert "name data of this run's classes: --data" in str(failure.value.hint)


def test_rows_of_one_class_can_be_scored(run: Run, tmp_path: Path) -> None:
    add_student(run, "a")
    other = write_rows(tmp_path / "good.jsonl", [row for row in VALIDATION if row[1] == "positive"])
    assert by_name(run_eval(run, data=str(other)))["teacher"].accuracy == 1.0


def test_columns_given_to_sample_are_used_again(tmp_path: Path, teacher: Path) -> None:
    for split, rows in (("train", TRAIN), ("validation", VALIDATION)):
        lines = "".join(f"{text}\t{LABELS.index(name)}\n" for text, name in rows)
        (tmp_path / "films").mkdir(exist_ok=True)
        (tmp_path / "films" / f"{split}.tsv").write_text("words\tgold\n" + lines)
    names = {"text_column": ("words",), "label_column": "gold", "label_names": "0=negative,1=positive"}
    run = begin(Run(tmp_path / "run"), tmp_path / "films", teacher, **names)
    add_student(run, "a")
    assert by_name(run_eval(run))["teacher"].accuracy == 1.0


# Without labels, without a teacher


def test_without_labels_there_are_agreement_and_kl_only(run: Run, tmp_path: Path, teacher: Path) -> None:
    add_student(run, "twin", teacher)
    ui = Told()
    result = run_eval(run, ui, data=str(write_texts(tmp_path / "new.jsonl")))
    assert [score.student for score in result.scores] == ["twin"]
    assert result.scores[0].agreement == 1.0
    assert [result.scores[0].accuracy, result.scores[0].ece, result.scores[0].brier] == [None] * 3
    assert "without labels: agreement and KL only" in ui.told[0]


def test_rows_without_a_label_are_dropped_where_others_have_one(run: Run, tmp_path: Path) -> None:
    add_student(run, "a")
    rows = [*VALIDATION[:10], *((text, None) for text, _ in VALIDATION[10:13])]
    result = run_eval(run, data=str(write_rows(tmp_path / "new.jsonl", rows)))
    assert (result.rows, result.dropped) == (10, {"unlabelled": 3})


def test_a_teacher_that_is_gone_costs_agreement_and_kl(run: Run, teacher: Path) -> None:
    add_student(run, "a")
    shutil.rmtree(teacher)
    ui = Told()
    result = run_eval(run, ui)
    assert result.teacher is None
    assert [score.student for score in result.scores] == ["majority", "a"]
    for score in result.scores:
        assert score.accuracy is not None
        assert [score.agreement, score.kl] == [None] * 2
    assert any(line.startswith("warning: no agreement and no KL") for line in ui.told)


def test_a_teacher_that_is_gone_is_not_missed_where_its_answers_are_on_disk(run: Run, teacher: Path) -> None:
    add_student(run, "a")
    run_eval(run)
    shutil.rmtree(teacher)
    add_student(run, "b")
    assert by_name(run_eval(run))["b"].agreement is not None


def test_a_teacher_that_has_changed_is_not_taken_for_the_old_one(run: Run, teacher: Path) -> None:
    add_student(run, "a")
    shutil.rmtree(teacher)
    tiny_classifier(teacher, seed=5)
    ui = Told()
    assert run_eval(run, ui).scores[0].agreement is None
    assert any("has changed since it labelled the shots" in line for line in ui.told)


def test_scores_follow_a_new_teacher(run: Run, tmp_path: Path) -> None:
    add_student(run, "a")
    old = by_name(run_eval(run))
    other = tiny_classifier(tmp_path / "other", seed=5)
    label(run, LabelSettings(teacher=str(other), device="cpu", max_length=64, force=True), Ui.silent())
    new = by_name(run_eval(run))
    assert new["a"].kl != old["a"].kl
    assert new["teacher"].brier != old["teacher"].brier


def test_neither_labels_nor_a_teacher_is_an_error(run: Run, tmp_path: Path, teacher: Path) -> None:
    add_student(run, "a")
    shutil.rmtree(teacher)
    with pytest.raises(CodError, match="nothing to score"):
        run_eval(run, data=str(write_texts(tmp_path / "new.jsonl")))


def write_texts(path: Path) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text, _ in VALIDATION))
    return path


# What cannot be scored


def test_a_run_without_students_names_the_command_that_makes_one(run: Run) -> None:
    with pytest.raises(CodError, match="no finished student") as failure:
        run_eval(run)
    assert f"cod distill {run.folder}" in str(failure.value.hint)


def test_a_student_of_other_classes_is_refused(run: Run) -> None:
    add_student(run, "a", labels=["bad", "good"])
    with pytest.raises(CodError, match="has the classes bad, good, the shots have negative, positive"):
        run_eval(run)


def test_scoring_leaves_the_random_state_alone(run: Run) -> None:
    add_student(run, "a")
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    run_eval(run)
    assert torch.rand(1) == expected


# Held-out pairs


def hold_out(run: Run, teacher: Path, **options: Any) -> CounterfactualFiles:
    settings = {"generator": "editor", "teacher": str(teacher), "held_out": 12, "max_length": 64, **options}
    result = counterfact(run, CounterfactSettings(**settings), Ui.silent())
    assert isinstance(result, CounterfactResult)
    return result.files


def test_held_out_pairs_are_of_the_scored_split_and_flip_the_teacher(run: Run, teacher: Path) -> None:
    held = hold_out(run, teacher)
    texts = dict(VALIDATION)
    shots, pairs = {shot.id: shot for shot in held.shots.read()}, held.rows.read()
    assert len(shots) == 12
    assert all(shot.id.startswith("films/validation/") and texts[shot.text] == shot.label for shot in shots.values())
    assert 0 < len(pairs) <= 12
    probs = probabilities(teacher, [row.text for row in pairs])
    assert [LABELS[i] for i in probs.argmax(axis=1)] == [row.label for row in pairs]
    assert all(row.label != shots[row.shot_id or ""].label for row in pairs)


def test_held_out_pairs_stand_in_files_of_their_own_and_nobody_trains_on_them(run: Run, teacher: Path) -> None:
    before = {path.name for path in run.folder.iterdir()}
    held = hold_out(run, teacher)
    made = {path.name for path in run.folder.iterdir()} - before
    assert {name.partition(".")[0] for name in made} == {
        "5-held-out-editor",
        "5-held-out-editor-rows",
        "5-held-out-editor-attempts",
    }
    assert run.counterfactuals.manifest() is None
    label(run, LabelSettings(device="cpu"), Ui.silent())
    labelled = {row.id for row in run.soft_labels.read()}
    assert not labelled & {row.id for row in [*held.shots.read(), *held.rows.read()]}


def test_the_same_command_goes_on_and_more_rows_need_force(run: Run, teacher: Path) -> None:
    first = [shot.id for shot in hold_out(run, teacher).shots.read()]
    assert [shot.id for shot in hold_out(run, teacher).shots.read()] == first
    with pytest.raises(CodError, match="held_out: 12 → 20"):
        hold_out(run, teacher, held_out=20)
    assert [shot.id for shot in hold_out(run, teacher, held_out=20, force=True).shots.read()][:12] == first


def test_boundary_agreement_equals_an_independent_computation(run: Run, teacher: Path) -> None:
    held = hold_out(run, teacher)
    add_student(run, "kd-shots")
    score = by_name(run_eval(run))["kd-shots"]
    texts = {shot.id: shot.text for shot in held.shots.read()}
    pairs = [(texts[row.shot_id or ""], row.text) for row in held.rows.read()]
    student = run.student("kd-shots")
    sides = [
        probabilities(teacher, side).argmax(axis=1) == probabilities(student, side).argmax(axis=1)
        for side in zip(*pairs, strict=True)
    ]
    assert score.boundary_agreement == pytest.approx((sides[0] & sides[1]).mean(), abs=1e-6)
    assert score.boundary_by_generator == {"editor": score.boundary_agreement}
    assert run.scores.read()[-1] == score


def test_a_copy_of_the_teacher_follows_across_every_boundary(run: Run, teacher: Path) -> None:
    hold_out(run, teacher)
    add_student(run, "copy", teacher)
    scores = by_name(run_eval(run))
    assert scores["copy"].boundary_agreement == 1.0
    assert scores["teacher"].boundary_agreement is None


def test_students_are_scored_again_when_pairs_come_to_be_and_only_then(run: Run, teacher: Path) -> None:
    add_student(run, "kd-shots")
    assert by_name(run_eval(run))["kd-shots"].boundary_agreement is None
    assert "boundary_by_generator" not in run.scores.path.read_text()
    hold_out(run, teacher)
    assert run_eval(run).new == ("kd-shots",)
    assert run_eval(run).new == ()


def test_a_row_that_was_held_out_is_no_pool_text(run: Run, teacher: Path) -> None:
    held = run.held_out("editor")
    taken = [Shot(id=f"x/{n}", text=text, label=name) for n, (text, name) in enumerate(TRAIN[10:20])]
    held.shots.finish(held.shots.begin({}, labels=LABELS), taken)
    drawn = {row.text for row in draw_pool(run, 100, "0")}
    assert drawn == {text for text, _ in TRAIN} - {shot.text for shot in [*taken, *run.shots.read()]}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"teacher": None}, "--teacher"),
        ({"for_mix": "cod"}, "--for-mix cod"),
        ({"held_out": None, "split": "test"}, "--split is for held-out"),
    ],
)
def test_held_out_pairs_that_cannot_be_are_a_usage_error(options: dict[str, Any], what: str) -> None:
    settings: dict[str, Any] = {"generator": "editor", "teacher": "t", "held_out": 5, **options}
    with pytest.raises(UsageError) as failed:
        CounterfactSettings(**settings)
    assert what in f"{failed.value.message} {failed.value.hint}"


def test_a_split_without_labels_cannot_be_edited_away_from(run: Run, teacher: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "films" / "test.jsonl", [(text, None) for text, _ in ROWS[80:90]])
    with pytest.raises(CodError, match="no labels"):
        hold_out(run, teacher, split="test")


# Nearest neighbours


def test_neighbours_have_a_row_of_their_own(run: Run, tmp_path: Path) -> None:
    add_student(run, "kd-shots")
    encoder = tiny_base(tmp_path / "encoder")
    result = run_eval(run, neighbours=str(encoder))
    score = by_name(result)["neighbours"]
    loaded = load_encoder(str(encoder), device="cpu")
    shots, texts = run.shots.read(), [text for text, _ in VALIDATION]
    cosines = sentence_vectors(loaded, texts) @ sentence_vectors(loaded, [shot.text for shot in shots]).T
    # Of four shots all vote.
    votes = [[sum(row[i] for i, shot in enumerate(shots) if shot.label == name) for name in LABELS] for row in cosines]
    right = [LABELS[int(np.argmax(vote))] == name for vote, (_, name) in zip(votes, VALIDATION, strict=True)]
    assert score.accuracy == pytest.approx(np.mean(right), abs=1e-6)
    assert (score.k, score.rows, score.shots, score.steps, score.method, score.seed) == (4, 4, 4, None, None, None)
    assert score.kl is not None
    assert result.new == ("teacher", "neighbours", "kd-shots")


def test_neighbours_need_no_student_and_are_not_scored_twice(run: Run, tmp_path: Path) -> None:
    encoder = str(tiny_base(tmp_path / "encoder"))
    assert run_eval(run, neighbours=encoder).new == ("teacher", "neighbours")
    assert run_eval(run, neighbours=encoder).new == ()
    other = str(tiny_base(tmp_path / "other", seed=3))
    assert run_eval(run, neighbours=other).new == ("neighbours",)


def test_without_being_asked_for_neighbours_are_not_shown(run: Run, tmp_path: Path) -> None:
    add_student(run, "kd-shots")
    run_eval(run, neighbours=str(tiny_base(tmp_path / "encoder")))
    assert set(by_name(run_eval(run))) == {"teacher", "majority", "kd-shots"}


def test_students_without_weights_are_mentioned_in_their_order(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"kd-{letter}" for letter in "abcdefgh"]
    for name in ["kd", *names]:
        add_student(run, name)
    for name in names:
        run.drop_weights(name)
    run_eval(run, Ui())
    notes = [line for line in capsys.readouterr().err.splitlines() if "has no weights any more" in line]
    assert [Path(line.split(" has no weights")[0]).name for line in notes] == names


# The majority, and who beats it


def test_the_majority_has_a_row_and_a_verdict_where_no_student_beats_it(run: Run, tmp_path: Path) -> None:
    add_student(run, "kd-shots")
    uneven = [row for row in VALIDATION if row[1] == "positive"][:9] + [r for r in VALIDATION if r[1] != "positive"][:1]
    result = run_eval(run, data=str(write_rows(tmp_path / "uneven.jsonl", uneven)))
    scores = by_name(result)
    assert (scores["majority"].accuracy, scores["majority"].mcc, scores["majority"].kl) == (0.9, 0.0, None)
    assert scores["majority"] in run.scores.read()
    assert scores["kd-shots"].accuracy is not None
    beaten = scores["kd-shots"].accuracy > 0.9
    assert any(line == "No student beats always saying *positive* (90.0%)" for line in result.verdicts) is not beaten
    assert result.as_json()["verdicts"] == result.verdicts


def test_rows_without_labels_have_no_majority(run: Run, tmp_path: Path) -> None:
    add_student(run, "a")
    data = write_rows(tmp_path / "new.jsonl", [(text, None) for text, _ in VALIDATION])
    assert [score.student for score in run_eval(run, data=str(data)).scores] == ["a"]


def test_a_verdict_tells_size_distance_and_speed_of_the_best_student(run: Run, teacher: Path) -> None:
    add_student(run, "kd-shots", teacher, parameters=1_500_000)
    (best,) = run_eval(run).verdicts
    said = "Best student from pretrained weights: kd-shots, accuracy 100.0% (n = 1), 0.0 points below the teacher"
    assert best.startswith(f"{said}; 1.5M parameters, ")
    assert best.endswith(" texts a second here")
    assert "second" not in run_eval(run).verdicts[0]  # nobody was asked anything
    pace = {score.student: score.rows_per_second for score in run.scores.read()}
    assert pace.pop("kd-shots") > 0
    assert set(pace.values()) == {None}


def test_students_of_other_settings_are_not_averaged(run: Run) -> None:
    for seed, rate in enumerate((6e-5, 6e-5, 1e-3)):
        add_student(run, f"kd-all-s{seed}", seed=seed, settings={"max_length": 64, "lr": rate})
    (arm,) = run_eval(run).as_json()["arms"]
    assert (arm["name"], arm["n"]) == ("kd-all (lr 6e-05)", 2)


# Students that are gone


def test_scores_of_a_student_whose_folder_is_gone_are_dropped_and_archived(run: Run) -> None:
    add_student(run, "a")
    add_student(run, "b")
    run_eval(run)
    run_eval(run, split="train")
    shutil.rmtree(run.student("b"))
    ui = Told()
    assert [score.student for score in run_eval(run, ui).scores] == ["teacher", "majority", "a"]
    assert {score.student for score in run.scores.read()} == {"teacher", "majority", "a"}
    assert {row.student for row in run.read_predictions()} == {"teacher", "a"}
    assert [line for line in ui.told if "is gone" in line] != []
    (kept,) = (run.folder / "archive").glob("*/5-scores.jsonl")
    assert "b" in {score.student for score in read_records(kept, Score)}
    assert kept.with_name("5-predictions.jsonl").exists()
    assert run_eval(run).new == ()


def test_a_student_that_only_lost_its_weights_keeps_its_scores(run: Run) -> None:
    add_student(run, "a")
    before = by_name(run_eval(run))["a"]
    run.drop_weights("a")
    assert by_name(run_eval(run))["a"] == before
    assert not (run.folder / "archive").exists()


# A linear head, and confusion


def test_a_linear_head_has_a_row_of_its_own_and_needs_no_student(run: Run, tmp_path: Path) -> None:
    encoder = str(tiny_base(tmp_path / "encoder"))
    result = run_eval(run, linear=encoder, neighbours=encoder)
    assert result.new == ("teacher", "neighbours", "linear")
    score = by_name(result)["linear"]
    assert (score.k, score.rows, score.shots, score.steps, score.method) == (4, 4, 4, None, None)
    assert score.kl is not None
    assert run_eval(run, linear=encoder, neighbours=encoder).new == ()


def test_a_confusion_matrix_adds_up_to_the_rows_and_its_diagonal_to_the_accuracy(run: Run) -> None:
    add_student(run, "a")
    result = run_eval(run, confusion=True)
    assert result.confusion is not None
    assert set(result.confusion) == {"teacher", "a"}
    counted, score = np.array(result.confusion["a"]), by_name(result)["a"]
    assert counted.sum(axis=1).tolist() == [sum(name == label for _, name in VALIDATION) for label in LABELS]
    assert score.accuracy == pytest.approx(np.trace(counted) / 40)
    assert "confusion" not in run_eval(run).as_json()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("text_column", 5, "text_column"),
        ("text_column", [5], "text_column"),
        ("label_names", ["a"], "label_names"),
        ("data", 5, "data"),
        ("data", None, "does not say what the shots were drawn from"),
    ],
)
def test_a_source_that_was_edited_into_another_type_is_named(run: Run, name: str, value: object, said: str) -> None:
    add_student(run, "kd-shots")
    manifest = json.loads(run.shots.meta.read_text())
    manifest["settings"][name] = value
    run.shots.meta.write_text(json.dumps(manifest))
    with pytest.raises(CodError, match=rf"1-shots\.meta\.json .*{said}"):
        run_eval(run)


@pytest.mark.parametrize("value", [None, "x", [], 0, True])
def test_a_student_without_a_length_that_can_be_is_named(run: Run, value: object) -> None:
    add_student(run, "kd-shots")
    path = run.student("kd-shots") / "settings.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"settings": {"max_length": value}}))
    with pytest.raises(CodError, match=r"settings\.yaml is damaged: .*max_length"):
        run_eval(run)


@pytest.mark.parametrize(("name", "value"), [("teacher", 5), ("teacher_labels", []), ("max_length", "x")])
def test_a_teacher_that_was_edited_into_another_type_is_named(run: Run, name: str, value: object) -> None:
    add_student(run, "kd-shots")
    manifest = json.loads(run.soft_labels.meta.read_text())
    manifest["settings"][name] = value
    run.soft_labels.meta.write_text(json.dumps(manifest))
    with pytest.raises(CodError, match=rf"3-soft-labels\.meta\.json is damaged: .*{name}"):
        run_eval(run)
