"""`cod distill` on a tiny teacher and student: what it trains on, what it saves, what it refuses."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from cod_cli.errors import CodError, UsageError
from cod_cli.mixes import require_equal_budget
from cod_cli.models.folder import fingerprint
from cod_cli.models.inference import logits_of
from cod_cli.models.load import load_classifier
from cod_cli.records import Counterfactual, Shot, SoftLabel, text_sha
from cod_cli.settings.distill import DistillSettings
from cod_cli.stages.distill import DistillResult, distill
from cod_cli.store.jsonl import file_sha, write_records
from cod_cli.store.run import Run
from cod_cli.training.loop import DivergedError
from cod_cli.ui import Ui
from tests.models.tiny import LANGUAGE, Family, load_student, sentences, tiny_base

LABELS = ["negative", "positive"]


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("student"), layers=2)


@pytest.fixture(scope="module")
def pairs(teacher_folder: Path) -> tuple[list[Shot], list[Counterfactual], dict[str, list[float]]]:
    """Four shots, a CFE for each, and the teacher's logits by text; the last CFE does not flip the teacher."""
    shots, cfes = [], []
    for row, (text, label) in enumerate(sentences(4), start=1):
        other = "positive" if label == "negative" else "negative"
        word = next(word for word in LANGUAGE[label] if word in text.split())
        written = text if row == 4 else text.replace(word, LANGUAGE[other][row])
        shot = Shot(id=f"d/train/{row}", text=text, label=label)
        shots.append(shot)
        cfes.append(counterfactual(shot, written + " !", other))
    teacher = load_classifier(str(teacher_folder), device="cpu")
    texts = [row.text for row in [*shots, *cfes]]
    return shots, cfes, dict(zip(texts, logits_of(teacher, texts).tolist(), strict=True))


@pytest.fixture
def run(tmp_path: Path, pairs: tuple[list[Shot], list[Counterfactual], dict[str, list[float]]]) -> Run:
    shots, cfes, logits = pairs
    run = Run(tmp_path / "run")
    write(run, shots, cfes, logits)
    return run


def counterfactual(shot: Shot, text: str, label: str) -> Counterfactual:
    return Counterfactual(
        id=f"{shot.id}~{label}",
        shot_id=shot.id,
        text=text,
        label=label,
        source_label=shot.label,
        kind="cfe",
        generator="file",
        prompt=None,
        flipped=None,
        p_before=None,
        p_after=None,
        edit_ratio=0.2,
        n_edits=1,
        minimal=None,
        attempts=1,
    )


def write(run: Run, shots: Sequence[Shot], cfes: Sequence[Counterfactual], logits: dict[str, list[float]]) -> None:
    run.shots.finish(run.shots.begin({}, labels=LABELS), shots)
    run.counterfactuals.finish(run.counterfactuals.begin({}, labels=LABELS), cfes)
    soft = [
        SoftLabel(
            id=row.id,
            text_sha=text_sha(row.text),
            logits=logits[row.text],
            teacher="t",
            source="logits",
            covered_mass=1.0,
        )
        for row in [*shots, *cfes]
    ]
    run.soft_labels.finish(run.soft_labels.begin({}, labels=LABELS, teacher="t"), soft)


def train(run: Run, student: Path, **options: object) -> DistillResult:
    chosen = {"epochs": 2, "batch_size": 2, "lr": 1e-3, "max_length": 32, "device": "cpu", **options}
    return distill(run, DistillSettings(student=str(student), **chosen), Ui.silent())  # type: ignore[arg-type]


def weights(run: Run, name: str) -> str:
    return file_sha(run.student(name) / "model.safetensors")


def test_a_student_is_an_ordinary_model_folder_with_its_label_names(run: Run, student_folder: Path) -> None:
    train(run, student_folder, mix="shots")
    folder = run.student("kd-shots")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    classify = pipeline("text-classification", model=str(folder), top_k=None)
    text = "the film is good ."
    probs = torch.softmax(torch.tensor(logits_of(load_classifier(str(folder), device="cpu"), [text])[0]), dim=0)
    answers = {answer["label"]: answer["score"] for answer in classify([text])[0]}
    assert answers == pytest.approx(dict(zip(LABELS, probs.tolist(), strict=True)), abs=1e-6)
    assert AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    assert "library_name: transformers" in (folder / "README.md").read_text()


def test_settings_and_history_stand_beside_the_model(run: Run, student_folder: Path) -> None:
    train(run, student_folder, mix="shots", epochs=3)
    folder = run.student("kd-shots")
    stored = yaml.safe_load((folder / "settings.yaml").read_text())
    assert (stored["k"], stored["rows"], stored["shots"], stored["steps"], stored["seed"]) == (4, 4, 4, 6, 0)
    assert stored["settings"]["alpha"] == 20.0
    assert stored["settings"]["lr"] == 1e-3
    assert stored["inputs"] == {p.name: file_sha(p) for p in (run.shots.path, run.soft_labels.path)}
    assert stored["threads"] == torch.get_num_threads()
    assert stored["seconds"] > 0
    steps = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step["epoch"] for step in steps] == [1, 1, 2, 2, 3, 3]
    assert list(steps[0]) == ["step", "epoch", "hard", "soft", "total", "grad_norm", "lr"]
    assert all(step["total"] == pytest.approx(step["hard"] + step["soft"], rel=1e-5) for step in steps)
    assert [step["lr"] for step in steps] == pytest.approx([1e-3 * (6 - n) / 6 for n in range(6)])


def test_the_student_learns_what_the_teacher_says(run: Run, student_folder: Path, teacher_folder: Path) -> None:
    train(run, student_folder, epochs=40, lr=3e-3)
    student = load_classifier(str(run.student("kd-all")), device="cpu")
    texts = [row.text for row in run.shots.read()]
    theirs = logits_of(load_classifier(str(teacher_folder), device="cpu"), texts)
    assert (logits_of(student, texts).argmax(1) == theirs.argmax(1)).all()


def test_training_repeats_bit_for_bit(run: Run, student_folder: Path) -> None:
    train(run, student_folder, name="one")
    train(run, student_folder, name="two")
    assert weights(run, "one") == weights(run, "two")
    train(run, student_folder, name="three", seed="1")
    assert weights(run, "one") != weights(run, "three")


def test_several_seeds_give_the_students_that_each_gives_alone(run: Run, student_folder: Path) -> None:
    result = train(run, student_folder, seed="0,1,2")
    assert [student.name for student in result.students] == ["kd-all-s0", "kd-all-s1", "kd-all-s2"]
    for seed in (2, 0, 1):
        train(run, student_folder, seed=str(seed), name=f"alone-{seed}")
        assert weights(run, f"alone-{seed}") == weights(run, f"kd-all-s{seed}")


@pytest.mark.parametrize(
    ("mix", "rows", "shots"), [("all", 7, 4), ("cod", 4, 2), ("shots", 4, 4)], ids=["all", "cod", "shots"]
)
def test_each_mix_trains_on_its_rows(run: Run, student_folder: Path, mix: str, rows: int, shots: int) -> None:
    student = train(run, student_folder, mix=mix).students[0]
    assert (student.rows, student.shots, student.steps) == (rows, shots, 2 * -(-rows // 2))


def test_cfes_that_do_not_flip_the_teacher_are_left_out_unless_asked_for(run: Run, student_folder: Path) -> None:
    result = train(run, student_folder)
    assert (result.unflipped, result.students[0].rows) == (1, 7)
    result = train(run, student_folder, keep_unflipped=True, name="kept")
    assert (result.unflipped, result.students[0].rows) == (0, 8)


def test_what_a_judge_rejects_is_left_out_where_asked_for(run: Run, student_folder: Path) -> None:
    with pytest.raises(CodError, match="no judge was asked about 3 CFEs"):
        train(run, student_folder, judged=True)
    rows = run.counterfactuals.read()
    rejected, *others = rows
    judged = [rejected.replace(judge=rejected.source_label), *(row.replace(judge=row.label) for row in others)]
    run.counterfactuals.rewrite(run.counterfactuals.require(), judged)
    result = train(run, student_folder, judged=True)
    assert (result.rejected, result.unflipped, result.students[0].rows) == (1, 1, 6)


def test_a_cfe_whose_shot_was_deleted_is_left_out_and_counted(run: Run, student_folder: Path) -> None:
    lines = run.shots.path.read_text().splitlines(keepends=True)
    run.shots.path.write_text("".join(lines[1:]))
    result = train(run, student_folder)
    assert (result.orphans, result.students[0].k, result.students[0].rows) == (1, 3, 5)


def test_without_counterfactuals_only_the_mix_shots_works(run: Run, student_folder: Path) -> None:
    run.counterfactuals.path.unlink()
    run.counterfactuals.meta.unlink()
    with pytest.raises(CodError, match=r"2-counterfactuals\.jsonl does not exist") as caught:
        train(run, student_folder)
    assert "cod counterfact" in str(caught.value.hint)
    assert "--mix shots" in str(caught.value.hint)
    assert train(run, student_folder, mix="shots").trained == ("kd-shots",)


def test_without_soft_labels_the_command_that_makes_them_is_named(run: Run, student_folder: Path) -> None:
    run.soft_labels.meta.unlink()
    with pytest.raises(CodError) as caught:
        train(run, student_folder, mix="shots")
    assert "cod label" in str(caught.value.hint)


def test_a_mended_text_asks_for_its_soft_label(run: Run, student_folder: Path) -> None:
    run.shots.path.write_text(run.shots.path.read_text().replace("film", "story", 1))
    with pytest.raises(CodError, match="another text") as caught:
        train(run, student_folder)
    assert f"cod label {run.folder}" in str(caught.value.hint)


def test_two_students_can_be_trained_at_once_but_not_two_of_one_name(run: Run, student_folder: Path) -> None:
    with run.hold("cod distill", shared=True), run.hold_student("a"):
        assert train(run, student_folder, name="b").trained == ("b",)
        with pytest.raises(CodError, match=r"cod distill --name a \(process"):
            train(run, student_folder, name="a")
    assert train(run, student_folder, name="a").trained == ("a",)
    assert sorted(path.name for path in run.students.iterdir()) == ["a", "b"]


def test_the_same_command_again_trains_nothing(run: Run, student_folder: Path) -> None:
    train(run, student_folder)
    before = (run.student("kd-all") / "model.safetensors").stat().st_mtime_ns
    assert train(run, student_folder).trained == ()
    assert (run.student("kd-all") / "model.safetensors").stat().st_mtime_ns == before


def test_new_labels_for_rows_not_trained_on_leave_a_student_as_it_is(run: Run, student_folder: Path) -> None:
    train(run, student_folder, mix="shots")
    lines = run.soft_labels.path.read_text().splitlines(keepends=True)
    run.soft_labels.path.write_text("".join(lines[:4]))
    assert train(run, student_folder, mix="shots").trained == ()


@pytest.mark.parametrize("logits", [[0.1], [0.1, 0.2, 0.3]])
def test_a_soft_label_with_other_logits_names_the_command_that_makes_it_anew(
    run: Run, student_folder: Path, logits: list[float]
) -> None:
    first, *others = run.soft_labels.read()
    write_records(run.soft_labels.path, [first.replace(logits=logits), *others])
    with pytest.raises(CodError, match=f"the soft label of {first.id} has {len(logits)} logits for 2 classes") as error:
        train(run, student_folder)
    assert "cod label" in str(error.value.hint)


@pytest.mark.parametrize("change", [{"seed": "1"}, {"epochs": 3}, {"alpha": 1.0}, {"student_layers": 1}])
def test_a_name_taken_by_other_settings_is_refused(run: Run, student_folder: Path, change: dict[str, object]) -> None:
    train(run, student_folder)
    with pytest.raises(CodError, match=f"trained otherwise.*{next(iter(change))}: ") as caught:
        train(run, student_folder, **change)
    assert "--name" in str(caught.value.hint)
    assert "--force" in str(caught.value.hint)


def test_a_name_taken_by_other_rows_is_refused(run: Run, student_folder: Path) -> None:
    train(run, student_folder)
    lines = run.counterfactuals.path.read_text().splitlines(keepends=True)
    run.counterfactuals.path.write_text("".join(lines[1:]))
    with pytest.raises(CodError, match=r"rows.*have changed"):
        train(run, student_folder)


def test_force_archives_the_old_student(run: Run, student_folder: Path) -> None:
    train(run, student_folder)
    old = weights(run, "kd-all")
    train(run, student_folder, epochs=3, force=True)
    assert [file_sha(path) for path in run.folder.glob("archive/*/kd-all/model.safetensors")] == [old]
    assert weights(run, "kd-all") != old
    assert run.student_names() == ["kd-all"]


def test_a_training_that_is_broken_off_leaves_no_student(
    run: Run, student_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cod_cli.stages.distill.save_classifier", fail)
    with pytest.raises(KeyboardInterrupt):
        train(run, student_folder)
    assert list(run.students.iterdir()) == []


def test_what_a_kill_left_behind_is_no_student_and_does_not_stand_in_the_way(run: Run, student_folder: Path) -> None:
    half = run.students / ".kd-all.part"
    half.mkdir(parents=True)
    (half / "settings.yaml").write_text("name: kd-all\n")
    assert run.student_names() == []
    train(run, student_folder)
    assert [path.name for path in run.students.iterdir()] == ["kd-all"]


@pytest.mark.parametrize("family", ["deberta", "qwen2", "modernbert"])
def test_a_student_may_be_of_another_family_than_its_teacher(run: Run, tmp_path: Path, family: Family) -> None:
    student = tiny_base(tmp_path / family, family=family, layers=4)
    train(run, student, student_layers=2)
    assert load_classifier(str(run.student("kd-all")), device="cpu").model.config.num_hidden_layers == 2


def test_a_card_does_not_tell_where_a_local_model_lay(run: Run, student_folder: Path) -> None:
    train(run, student_folder, mix="shots")
    card = (run.student("kd-shots") / "README.md").read_text()
    assert student_folder.name in card
    assert str(student_folder.parent) not in card


def test_divergence_names_step_and_rows_and_keeps_the_last_good_weights(run: Run, student_folder: Path) -> None:
    with pytest.raises(DivergedError, match=r"diverged at step \d+ \(epoch \d+\).*d/train/") as caught:
        train(run, student_folder, lr=1e30)
    assert "lower --lr" in str(caught.value.hint)
    kept = AutoModelForSequenceClassification.from_pretrained(run.student("kd-all.diverged"))
    assert all(torch.isfinite(parameter).all() for parameter in kept.parameters())
    assert run.student_names() == []


def test_no_student_is_called_teacher(run: Run, student_folder: Path) -> None:
    with pytest.raises(UsageError, match="as the scores call what is no student"):
        train(run, student_folder, name="teacher")


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", ""])
def test_a_name_that_is_a_path_is_refused(run: Run, student_folder: Path, name: str) -> None:
    if name:
        with pytest.raises(UsageError, match="--name"):
            train(run, student_folder, name=name)
    else:
        assert train(run, student_folder, name=name).trained == ("kd-all",)


def test_a_batch_smaller_than_a_pair_is_refused_before_training(run: Run, student_folder: Path) -> None:
    with pytest.raises(UsageError, match="--batch-size 1"):
        train(run, student_folder, mix="cod", batch_size=1)


def test_weights_of_tokens_that_no_text_holds_stay_as_they_were(run: Run, student_folder: Path) -> None:
    train(run, student_folder, mix="shots")
    before = load_student(str(student_folder), LABELS, device="cpu").model.get_input_embeddings().weight
    after = load_classifier(str(run.student("kd-shots")), device="cpu").model.get_input_embeddings().weight
    moved = (before != after).any(dim=1)
    assert 0 < moved.sum() < len(moved) / 2


def test_an_unequal_budget_is_refused_unless_it_is_called_one() -> None:
    equal = {"k": 16, "rows": 16, "steps": 80, "shots_steps": 80}
    for mix in ("cod", "shots", "eda", "pool-rows", "cod-nearest"):
        require_equal_budget(mix, **equal)
        for other in ({"rows": 17}, {"rows": 15}, {"steps": 81}):
            with pytest.raises(CodError, match="equal budget is 16 rows in 80 steps"):
                require_equal_budget(mix, **{**equal, **other})
    for mix in ("all", "contrast", "pool", "pool-queries"):
        require_equal_budget(mix, **{**equal, "rows": 700, "steps": 3500})


def test_a_mix_that_would_train_on_other_rows_fails_the_run(
    run: Run, student_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cod_cli.training.trainset.select", lambda mix, shots, *_: [[shot] for shot in shots[1:]])
    with pytest.raises(CodError, match="--mix cod would train on 3 rows"):
        train(run, student_folder, mix="cod")
    assert run.student_names() == []


@pytest.mark.parametrize("own", [True, False])
def test_a_student_that_starts_from_its_teachers_weights_is_marked(
    own: bool, run: Run, teacher_folder: Path, student_folder: Path
) -> None:
    soft = run.soft_labels.require().replace(teacher=fingerprint(teacher_folder))
    run.soft_labels.finish(soft, run.soft_labels.read())
    train(run, teacher_folder if own else student_folder, mix="shots", epochs=1)
    assert run.read_student("kd-shots").cut_from_teacher is own


def test_a_student_of_other_starting_weights_is_not_taken_for_this_one(
    run: Run, student_folder: Path, tmp_path: Path
) -> None:
    start = Path(shutil.copytree(student_folder, tmp_path / "start"))
    train(run, start, mix="shots", epochs=1)
    shutil.rmtree(start)
    tiny_base(start, layers=2, seed=5)
    with pytest.raises(CodError, match="the weights that it starts from have changed"):
        train(run, start, mix="shots", epochs=1)
