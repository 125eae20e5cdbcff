"""`cod distill` on contrast sets: which rows, how many steps, by which method, and what older versions trained."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cod_cli.data.draw import Draws
from cod_cli.errors import CodError, UsageError
from cod_cli.mixes import Families
from cod_cli.models.folder import fingerprint as fingerprint_of
from cod_cli.models.load import load_classifier
from cod_cli.records import Counterfactual, Shot, SoftLabel, text_sha
from cod_cli.settings.distill import DistillSettings
from cod_cli.stages.distill import DistillResult, distill
from cod_cli.store.jsonl import file_sha
from cod_cli.store.run import Run
from cod_cli.training.batches import batches_per_epoch, random_batches
from cod_cli.training.trainset import ablate, read_trainset
from cod_cli.ui import Ui
from tests.models.tiny import tiny_base
from tests.records_of import counterfactual

LABELS = ["negative", "positive"]
# By shot: how many CFEs and how many semifactuals there are of it.
MADE = {1: (3, 1), 2: (1, 4), 3: (2, 2), 4: (0, 2), 5: (0, 0)}
# By shot: the rows of its balanced family, counted by hand.
BALANCED = {1: 2 + 2, 2: 1 + 1, 3: 2 + 2, 4: 1, 5: 1}


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("student"), layers=2)


@pytest.fixture
def run(tmp_path: Path, teacher_folder: Path) -> Run:
    run = Run(tmp_path / "run")
    shots = [Shot(id=f"d/train/{n}", text=f"a dull story {'!' * n}", label="negative") for n in MADE]
    cfes = [edit(n, i, "positive") for n, (made, _) in MADE.items() for i in range(1, made + 1)]
    semis = [edit(n, i, "negative") for n, (_, made) in MADE.items() for i in range(1, made + 1)]
    run.shots.finish(run.shots.begin({}, labels=LABELS), shots)
    run.counterfactuals.finish(run.counterfactuals.begin({}, labels=LABELS), cfes)
    run.semifactuals.finish(run.semifactuals.begin({}, labels=LABELS), semis)
    label_rows(run, [*shots, *cfes, *semis], str(teacher_folder))
    return run


def edit(n: int, number: int, label: str) -> Counterfactual:
    shot = f"d/train/{n}"
    word = ("smart", "good", "clever")[number % 3] if label == "positive" else ("weak", "bad", "awful")[number % 3]
    name = f"{shot}~={number}" if label == "negative" else f"{shot}~{label}{f'~{number}' if number > 1 else ''}"
    kind = "semifactual" if label == "negative" else "cfe"
    text = f"a {word} story {'!' * n} {'.' * number}"
    return counterfactual(shot, text, id=name, label=label, kind=kind, flipped=kind == "cfe")


def label_rows(run: Run, rows: list[Any], teacher: str, fingerprint: str | None = None) -> None:
    soft = [
        SoftLabel(
            id=row.id,
            text_sha=text_sha(row.text),
            logits=[2.0, -2.0] if row.label == "negative" else [-2.0, 2.0],
            teacher="t",
            source="logits",
            covered_mass=1.0,
        )
        for row in rows
    ]
    run.soft_labels.meta.unlink(missing_ok=True)
    known = fingerprint or fingerprint_of(teacher)
    manifest = run.soft_labels.begin({"teacher": teacher}, labels=LABELS, teacher=known)
    run.soft_labels.finish(manifest, soft)


def train(run: Run, student: Path | None, ui: Ui | None = None, **options: Any) -> DistillResult:
    chosen = {"batch_size": 2, "lr": 1e-3, "max_length": 32, "device": "cpu", "steps": 4, **options}
    start = {"init": "teacher"} if student is None else {"student": str(student)}
    return distill(run, DistillSettings(**start, **chosen), ui or Ui.silent())


def by_version(run: Run, version: str) -> None:
    """Make the run one of another version."""
    run.shots.meta.write_text(run.shots.meta.read_text().replace(run.shots.require().cod_version, version))


@pytest.mark.parametrize("mix", ["all", "contrast"])
def test_families_are_balanced_and_what_is_left_over_is_counted(run: Run, student_folder: Path, mix: str) -> None:
    result = train(run, student_folder, mix=mix)
    assert result.students[0].rows == sum(BALANCED.values())
    made = len(MADE) + sum(map(sum, MADE.values()))
    assert result.surplus == made - sum(BALANCED.values())
    assert result.students[0].shots == len(MADE)
    assert run.semifactuals.path.name in result.students[0].inputs


def test_what_is_left_over_and_who_stands_alone_is_said(
    run: Run, student_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distill(run, DistillSettings(student=str(student_folder), steps=1, device="cpu"), Ui())
    said = capsys.readouterr().err
    assert "8 edits are left over" in said
    assert "2 of 5 shots stand alone" in said


def test_the_mix_cod_reads_no_semifactuals(run: Run, student_folder: Path) -> None:
    result = train(run, student_folder, mix="cod", steps=None, epochs=1)
    assert (result.students[0].rows, result.students[0].shots) == (5, 3)
    assert run.semifactuals.path.name not in result.students[0].inputs


def test_a_semifactual_that_turns_the_teacher_is_left_out(run: Run, student_folder: Path) -> None:
    rows = run.semifactuals.read()
    run.semifactuals.rewrite(run.semifactuals.require(), [rows[0].replace(label="positive"), *rows[1:]])
    assert train(run, student_folder).turned == 1


def test_what_a_judge_says_of_semifactuals_counts_too(run: Run, student_folder: Path) -> None:
    for file in (run.counterfactuals, run.semifactuals):
        file.rewrite(file.require(), [row.replace(judge="negative") for row in file.read()])
    result = train(run, student_folder, judged=True)
    assert (result.rejected, result.students[0].rows) == (6, len(MADE))


@pytest.mark.parametrize(
    ("families", "rows", "left"),
    [
        ("one-cfe", 5 + 3, 12),
        ("cfes", 5 + 6, 9),
        ("semifactuals", 5 + 9, 6),
        ("together", sum(BALANCED.values()), 8),
    ],
)
def test_parts_of_contrast_sets_have_their_rows_and_say_what_is_left(
    run: Run, student_folder: Path, families: str, rows: int, left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    made = train(run, student_folder, mix="contrast", families=families, ui=Ui())
    assert (made.students[0].rows, made.students[0].shots, made.surplus) == (rows, 5, left)
    assert made.students[0].settings["families"] == families
    said = f"{left} edits are left over: " + ("a family has" if families == "together" else f"--families is {families}")
    assert said in capsys.readouterr().err


def batches_of(run: Run, families: Families) -> list[list[str]]:
    """The shots that the rows of each batch of some epochs stem from, batches of four."""
    groups = read_trainset(run, "contrast", families=families).groups
    longest = 4 if families == "together" else None
    dealt = ablate(groups, soft_labels="teacher", pairs="together", temperature=1.0, seed=0, longest=longest)
    rng = Draws(0)
    epochs = [random_batches(dealt, batches_per_epoch(dealt, 4), rng, len, None) for _ in range(20)]
    return [[row.id.split("~")[0] for group in batch for row in group] for batches in epochs for batch in batches]


def test_rows_of_a_family_stand_side_by_side_only_where_that_is_asked_for(run: Run) -> None:
    def whole(batches: list[list[str]]) -> int:
        return sum(batch.count(shot) == 4 for batch in batches for shot in set(batch))

    together, shuffled = batches_of(run, "together"), batches_of(run, "balanced")
    assert sum(map(len, together)) == sum(map(len, shuffled)) == 20 * sum(BALANCED.values())
    # Two of the families have four rows, as many as a batch holds.
    assert whole(together) == 2 * 20
    assert whole(shuffled) < 4


def test_large_families_are_trained_on_together_in_batches_of_the_same_number(run: Run, student_folder: Path) -> None:
    together, shuffled = (
        train(run, student_folder, steps=None, epochs=2, families=families, name=families)
        for families in ("together", "balanced")
    )
    assert together.students[0].steps == shuffled.students[0].steps == 2 * 6


@pytest.mark.parametrize("mix", ["shots", "cod", "eda", "random-edits"])
def test_families_are_no_option_of_other_mixes(mix: str) -> None:
    with pytest.raises(UsageError, match=f"--mix {mix} has no families"):
        DistillSettings(student="S", mix=mix, families="cfes")


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 320),
        ({"mix": "contrast"}, 320),
        ({"steps": 7}, 7),
        ({"epochs": 2}, 2 * 6),
        ({"mix": "shots"}, 40 * 3),
        ({"mix": "shots", "steps": 7}, 7),
        ({"mix": "cod", "epochs": 2}, 2 * 3),
    ],
)
def test_it_takes_as_many_steps_as_the_mix_goes_by(
    run: Run, student_folder: Path, options: dict[str, Any], steps: int
) -> None:
    result = train(run, student_folder, **{"steps": None, "method": "kd", **options})
    assert result.students[0].steps == steps
    history = (run.student(result.students[0].name) / "history.jsonl").read_text().splitlines()
    assert len(history) == steps


def test_settings_say_epochs_or_steps(run: Run, student_folder: Path) -> None:
    train(run, student_folder)
    train(run, student_folder, mix="shots", steps=None)
    by_steps, by_epochs = (run.read_student(name).settings for name in ("lwd-all", "lwd-shots"))
    assert (by_steps["steps"], "epochs" in by_steps) == (4, False)
    assert (by_epochs["epochs"], "steps" in by_epochs) == (40, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 5, "epochs": 5}, "--epochs and --steps"),
        ({"steps": 5, "mix": "cod"}, "compared at equal budget"),
        ({"steps": 5, "mix": "eda"}, "compared at equal budget"),
        ({"steps": 0}, "random head"),
        ({"steps": -1}, "--steps is -1"),
        ({"student_layers": "0,2,2"}, "--student-layers is '0,2,2'"),
        ({"student_layers": "0"}, "--student-layers is '0'"),
        ({"student_layers": "two"}, "--student-layers is 'two'"),
    ],
)
def test_lengths_and_layers_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DistillSettings(student="S", **options)


def test_auto_follows_the_layers_of_a_teacher_with_the_students_tokenizer(
    run: Run, student_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = distill(run, DistillSettings(student=str(student_folder), steps=2, device="cpu"), Ui())
    assert result.trained == ("lwd-all",)
    assert (result.students[0].method, result.students[0].settings["method"]) == ("lwd", "lwd")
    assert "--method lwd: the student reads texts as its teacher does" in capsys.readouterr().err


def test_auto_is_kd_where_the_student_has_another_tokenizer(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_base(tmp_path / "other", family="roberta")
    result = distill(run, DistillSettings(student=str(other), steps=2, device="cpu"), Ui())
    assert result.trained == ("kd-all",)
    assert "--method kd: the student has another tokenizer" in capsys.readouterr().err


def test_auto_is_kd_where_the_student_has_more_layers_than_its_teacher(run: Run, tmp_path: Path) -> None:
    deep = tiny_base(tmp_path / "deep", layers=4)
    assert train(run, deep).trained == ("kd-all",)
    assert train(run, deep, student_layers="0,3").trained == ("lwd-all",)


def test_auto_is_kd_for_a_black_box(run: Run, student_folder: Path) -> None:
    label_rows(run, [*run.shots.read(), *run.counterfactuals.read(), *run.semifactuals.read()], "openai:m", "openai:m")
    assert train(run, student_folder).trained == ("kd-all",)
    with pytest.raises(UsageError, match="nobody sees its layers"):
        train(run, student_folder, method="lwd")
    with pytest.raises(UsageError, match="nobody sees its layers"):
        train(run, None)
    with pytest.raises(UsageError, match="--beta and --layers need hidden layers"):
        train(run, student_folder, beta=5.0, name="b")


def test_auto_is_kd_where_the_teacher_is_gone(run: Run, student_folder: Path, tmp_path: Path) -> None:
    rows = [*run.shots.read(), *run.counterfactuals.read(), *run.semifactuals.read()]
    label_rows(run, rows, str(tmp_path / "gone"), "0123")
    assert train(run, student_folder).trained == ("kd-all",)
    with pytest.raises(CodError, match="other"):
        train(run, student_folder, teacher=str(tmp_path / "other"))


def test_a_run_of_version_0_1_is_gone_on_with_by_kd(run: Run, student_folder: Path) -> None:
    by_version(run, "0.1.0")
    assert train(run, student_folder).trained == ("kd-all",)
    assert train(run, student_folder, method="lwd").trained == ("lwd-all",)


def as_version_0_1_trained(run: Run, student: Path, **options: Any) -> None:
    """A student `kd-all` that is recorded as version 0.1 did, on pairs that stay together."""
    train(run, student, method="kd", steps=None, epochs=2, **options)
    file = next(run.students.iterdir()) / "settings.yaml"
    made = yaml.safe_load(file.read_text())
    made["rows_sha"] = read_trainset(run, "all").sha_in_0_1
    made["versions"]["cod"] = "0.1.0"
    file.write_text(yaml.safe_dump(made, sort_keys=False))


def test_a_student_of_pairs_that_version_0_1_trained_is_still_there(run: Run, student_folder: Path) -> None:
    run.semifactuals.meta.unlink()
    as_version_0_1_trained(run, student_folder)
    before = file_sha(run.student("kd-all") / "model.safetensors")
    assert train(run, student_folder, method="kd", steps=None).trained == ()
    assert train(run, student_folder, method="kd", steps=None, epochs=2).trained == ()
    assert file_sha(run.student("kd-all") / "model.safetensors") == before
    for other, said in (({"epochs": 3}, "epochs: 2 → 3"), ({"steps": 5, "epochs": None}, "steps: None → 5")):
        with pytest.raises(CodError, match=said):
            train(run, student_folder, **{"method": "kd", "steps": None, **other})


def test_with_semifactuals_a_student_of_version_0_1_is_refused(run: Run, student_folder: Path) -> None:
    made, run.semifactuals.meta = run.semifactuals.meta, run.semifactuals.meta.with_name("none")
    as_version_0_1_trained(run, student_folder)
    run.semifactuals.meta = made
    with pytest.raises(CodError, match="trained otherwise"):
        train(run, student_folder, method="kd", steps=None, epochs=2)


def test_a_student_cut_from_its_teacher_untrained_has_its_layers_and_its_head(run: Run, teacher_folder: Path) -> None:
    result = train(run, None, steps=0, student_layers="1")
    assert (result.trained, result.students[0].steps, result.students[0].cut_from_teacher) == (("kd-all-cut",), 0, True)
    ours, theirs = (load_classifier(str(f), device="cpu").model for f in (run.student("kd-all-cut"), teacher_folder))
    assert ours.config.num_hidden_layers == 1
    cut, whole = ours.state_dict(), theirs.state_dict()
    assert (cut["classifier.weight"] == whole["classifier.weight"]).all()
    name = "attention.self.query.weight"
    assert (cut[f"bert.encoder.layer.0.{name}"] == whole[f"bert.encoder.layer.1.{name}"]).all()


def test_the_head_of_a_teacher_whose_classes_stand_in_another_order_says_the_same(
    run: Run, teacher_folder: Path
) -> None:
    made = run.shots.require().replace(labels=LABELS[::-1])
    run.shots.meta.write_text(made.model_dump_json(by_alias=True))
    train(run, None, steps=0)
    ours, theirs = (load_classifier(str(f), device="cpu").model for f in (run.student("kd-all-cut"), teacher_folder))
    assert (ours.classifier.weight == theirs.classifier.weight.flip(0)).all()
    assert (ours.classifier.bias == theirs.classifier.bias.flip(0)).all()


@pytest.mark.parametrize("mix", ["shots", "cod", "contrast", "all"])
@pytest.mark.parametrize("method", ["kd", "lwd", "ted"])
def test_every_mix_and_method_starts_from_the_teacher(run: Run, mix: str, method: str) -> None:
    length = {"steps": None, "epochs": 1} if mix == "cod" else {"steps": 1}
    assert train(run, None, mix=mix, method=method, student_layers="1", **length).trained == (f"{method}-{mix}-cut",)


def test_layers_that_the_teacher_lacks_are_refused(run: Run) -> None:
    with pytest.raises(UsageError, match=r"--student-layers is 0,5; .* has 2 layers"):
        train(run, None, student_layers="0,5")


def test_students_of_unlike_starts_do_not_collide(run: Run, student_folder: Path) -> None:
    train(run, student_folder)
    train(run, None)
    assert run.student_names() == ["lwd-all", "lwd-all-cut"]


@pytest.mark.parametrize(("mix", "warned"), [("contrast", True), ("cod", True), ("shots", False)])
def test_where_edits_are_likely_to_do_harm_it_is_said_before_they_are_trained_on(
    run: Run, student_folder: Path, capsys: pytest.CaptureFixture[str], mix: str, warned: bool
) -> None:
    one_way = {"negative": {"negative": 60, "positive": 4}, "positive": {"negative": 50, "positive": 14}}
    run.counterfactuals.note(run.counterfactuals.require().replace(random_edits=one_way))
    length = {"steps": None, "epochs": 1} if mix == "cod" else {}
    train(run, student_folder, mix=mix, ui=Ui(), **length)
    said = capsys.readouterr().err
    assert ("warning: edits are likely to do harm here" in said) is warned
    if warned:
        assert said.index("likely to do harm") < said.index("Training")


def test_where_most_shots_stand_alone_that_is_said_first(
    run: Run, student_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in run.counterfactuals.read() if row.shot_id == "d/train/1"]
    run.counterfactuals.finish(run.counterfactuals.require(), rows)
    train(run, student_folder, mix="contrast", ui=Ui())
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "warning: 4 of 5 shots stand alone: no edits of theirs are of two classes"
