"""`cod label --calibrate`: what is fitted and refused, what stays raw, what students and scores make of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from cod_cli.errors import CodError, UsageError
from cod_cli.models.inference import Progress, logits_of
from cod_cli.models.load import load_classifier
from cod_cli.records import SoftLabel
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.stages.eval import evaluate
from cod_cli.stages.label import label
from cod_cli.store.jsonl import file_sha
from cod_cli.store.run import Run
from cod_cli.teachers.calibration import CONTENT_FREE, calibrate, cross_fit, fit_bias, fit_temperature, quality
from cod_cli.training.trainset import read_trainset
from cod_cli.ui import Ui
from tests.models.tiny import sentences
from tests.stages.labelling import CFES, LABELS, SHOTS, ask, finish
from tests.stages.students import add_student

# Every fifth of these rows has the wrong label, so that an all too certain teacher is to be cooled.
ROWS = [
    (f"{text} {i}", name if i % 5 else LABELS[1 - LABELS.index(name)])
    for i, (text, name) in enumerate(sentences(60, seed=5))
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    finish(run.shots, SHOTS, settings={"data": str(tmp_path / "d.jsonl")})
    finish(run.counterfactuals, CFES)
    return run


@pytest.fixture
def held(tmp_path: Path) -> Path:
    return write(tmp_path / "held.jsonl", ROWS)


def write(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": name}) + "\n" for text, name in rows))
    return path


def test_a_temperature_is_fitted_on_the_rows_named(run: Run, teacher_folder: Path, held: Path) -> None:
    found = ask(run, teacher_folder, calibrate="temperature", calibration_data=str(held)).calibration
    assert found is not None
    logits = logits_of(load_classifier(str(teacher_folder)), [text for text, _ in ROWS])
    truth = [LABELS.index(name) for _, name in ROWS]
    assert found.temperature == pytest.approx(fit_temperature(logits, truth), abs=1e-4)
    assert found.temperature > 1.2
    assert found.before == pytest.approx(quality(logits, truth), abs=1e-4)
    assert found.after == pytest.approx(quality(cross_fit(logits, truth, 10), truth), abs=1e-4)
    assert (found.data, found.rows, found.bias) == (str(held), 60, {})
    assert run.soft_labels.require().calibration == found


def test_rows_that_the_student_trains_on_are_no_held_out_rows(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    own = [(SHOTS[0].text, "positive"), (CFES[0].text, "negative")]
    data = write(tmp_path / "mixed.jsonl", [*own, *ROWS])
    found = ask(run, teacher_folder, calibrate="temperature", calibration_data=str(data)).calibration
    assert found is not None
    assert found.rows == 60


def test_rows_of_rivals_are_no_held_out_rows(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    text = "somewhat different words"
    finish(run.rival("eda").rows, [CFES[0].replace(id=f"{CFES[0].id}@eda", text=text, kind="eda")])
    data = write(tmp_path / "mixed.jsonl", [(text, "negative"), *ROWS])
    found = ask(run, teacher_folder, calibrate="temperature", calibration_data=str(data)).calibration
    assert found is not None
    assert found.rows == 60


def test_soft_labels_stay_raw_and_students_read_calibrated_ones(run: Run, teacher_folder: Path, held: Path) -> None:
    ask(run, teacher_folder)
    raw, plain = file_sha(run.soft_labels.path), read_trainset(run, "all")
    found = ask(run, teacher_folder, calibrate="temperature", calibration_data=str(held)).calibration
    assert found is not None
    assert file_sha(run.soft_labels.path) == raw
    cooled = read_trainset(run, "all")
    assert [row.id for row in cooled.rows] == [row.id for row in plain.rows]
    for before, after in zip(plain.rows, cooled.rows, strict=True):
        assert after.logits == pytest.approx([z / found.temperature for z in before.logits])
    assert cooled.sha() != plain.sha()


def test_a_contextual_bias_reaches_students_by_class(run: Run, teacher_folder: Path) -> None:
    ask(run, teacher_folder)
    plain = read_trainset(run, "shots")
    found = ask(run, teacher_folder, calibrate="contextual", force=True).calibration
    assert found is not None
    expected = fit_bias(logits_of(load_classifier(str(teacher_folder)), list(CONTENT_FREE)))
    assert [found.bias[name] for name in LABELS] == pytest.approx(expected, abs=1e-5)
    for before, after in zip(plain.rows, read_trainset(run, "shots").rows, strict=True):
        assert after.logits == pytest.approx(np.array(before.logits) + expected, abs=1e-5)


def test_which_counterfactuals_flip_is_decided_by_the_raw_answers(run: Run, teacher_folder: Path) -> None:
    ask(run, teacher_folder)
    plain = read_trainset(run, "all")
    manifest = run.soft_labels.require()
    found = ask(run, teacher_folder, calibrate="contextual", force=True).calibration
    assert found is not None
    # A bias that would turn every decision to one class.
    lopsided = manifest.replace(calibration=found.replace(bias={"negative": 50.0, "positive": -50.0}))
    run.soft_labels.finish(lopsided, run.soft_labels.read())
    assert [row.id for row in read_trainset(run, "all").rows] == [row.id for row in plain.rows]


def test_a_later_call_keeps_the_calibration_and_none_drops_it(run: Run, teacher_folder: Path, held: Path) -> None:
    first = ask(run, teacher_folder, calibrate="temperature", calibration_data=str(held)).calibration
    assert ask(run, teacher_folder).calibration == first
    assert ask(run, None).calibration == first
    assert ask(run, teacher_folder, calibrate="none").calibration is None
    assert run.soft_labels.require().calibration is None


def test_a_kill_while_labelling_does_not_lose_the_calibration(
    run: Run, teacher_folder: Path, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cod_cli.stages.label.append_records", killed)
        with pytest.raises(KeyboardInterrupt):
            ask(run, teacher_folder, calibrate="temperature", calibration_data=str(held))
    assert ask(run, teacher_folder).calibration is not None


def test_the_shots_of_a_fine_tuned_teacher_are_refused_for_a_temperature(run: Run, teacher_folder: Path) -> None:
    with pytest.raises(UsageError, match="not trained on") as caught:
        ask(run, teacher_folder, calibrate="temperature")
    assert "--calibration-data" in str(caught.value.hint)
    assert not run.soft_labels.path.exists()


class Llm:
    """A black box that leans to one class, and has not seen the shots."""

    name, labels, fingerprint, source, queries = "openai:llm", tuple(LABELS), "f" * 16, "logprobs", 0

    def logits(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        return np.array([[3.0, 1.0 + len(text) % 3] for text in texts], dtype=np.float32)


def test_a_black_box_may_be_calibrated_on_the_shots_leaving_each_out(run: Run) -> None:
    found = calibrate("temperature", Llm(), run, SHOTS, None)  # type: ignore[arg-type]
    logits, truth = Llm().logits([shot.text for shot in SHOTS]), [LABELS.index(shot.label) for shot in SHOTS]
    assert found.temperature == pytest.approx(fit_temperature(logits, truth), abs=1e-5)
    assert found.after == quality(cross_fit(logits, truth, len(SHOTS)), truth)
    assert (found.data, found.rows) == ("shots", 6)


def test_bad_data_is_refused_before_anything_is_written(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    stars = write(tmp_path / "stars.jsonl", [("a film", "one star"), ("another film", "two stars")])
    for data, message in ((stars, "one star"), (tmp_path / "nowhere.jsonl", "does not exist")):
        with pytest.raises(CodError, match=rf"--calibration-data: .*{message}") as caught:
            ask(run, teacher_folder, calibrate="temperature", calibration_data=str(data))
        assert "one file of labelled rows" in str(caught.value.hint)
    with pytest.raises(UsageError, match="nothing to calibrate"):
        LabelSettings(calibration_data="x.jsonl")
    assert not run.soft_labels.path.exists()


def test_few_rows_and_temperatures_at_the_end_are_mentioned(
    run: Run, teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "few.jsonl", sentences(2, seed=9))
    settings = LabelSettings(teacher=str(teacher_folder), calibrate="temperature", calibration_data=str(data))
    with (ui := Ui()).listening():
        label(run, settings, ui)
    told = capsys.readouterr().err
    assert "2 rows say little" in told
    assert "end of its range: 0.50" in told


def test_scores_compare_with_the_teacher_as_it_is_calibrated(run: Run, teacher_folder: Path, held: Path) -> None:
    ask(run, teacher_folder)
    add_student(run, "twin", teacher_folder)
    options = EvalSettings(data=str(held), device="cpu")
    plain = {score.student: score for score in evaluate(run, options, Ui.silent()).scores}
    found = ask(run, teacher_folder, calibrate="temperature", calibration_data=str(held)).calibration
    assert found is not None
    cooled = {score.student: score for score in evaluate(run, options, Ui.silent()).scores}
    raw = np.array([row.logits for row in run.teacher_labels.read()])
    p, q = special.softmax(raw / found.temperature, axis=1), special.softmax(raw, axis=1)
    assert plain["twin"].kl == pytest.approx(0, abs=1e-5)
    assert cooled["twin"].kl == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), abs=1e-4)
    assert cooled["teacher"].brier is not None
    assert plain["teacher"].brier is not None
    assert cooled["teacher"].brier < plain["teacher"].brier
    assert cooled["teacher"].accuracy == plain["teacher"].accuracy
    assert {type(row) for row in run.teacher_labels.read()} == {SoftLabel}


def test_scoring_on_the_rows_of_the_calibration_is_mentioned(
    run: Run, teacher_folder: Path, held: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(run, teacher_folder, calibrate="temperature", calibration_data=str(held))
    add_student(run, "twin", teacher_folder)
    evaluate(run, EvalSettings(data=str(held), device="cpu"), Ui())
    assert "calibrated on these very rows" in capsys.readouterr().err


def test_a_calibration_that_makes_unseen_rows_worse_is_refused_unless_it_is_forced(
    run: Run, teacher_folder: Path, tmp_path: Path
) -> None:
    # Of two rows the teacher is sure, and wrong on one: what each of them asks for does the other no good.
    texts = [text for text, name in sentences(4, seed=7) if name == "negative"]
    held = str(write(tmp_path / "few.jsonl", [(f"{texts[0]} a", "positive"), (f"{texts[1]} b", "negative")]))
    options = {"calibrate": "temperature", "calibration_data": held}
    with pytest.raises(CodError, match=r"makes the teacher worse on rows .* log-likelihood -") as caught:
        ask(run, teacher_folder, **options)
    assert "--force" in str(caught.value.hint)
    found = ask(run, teacher_folder, **options, force=True).calibration
    assert found is not None
    assert found.after["log_likelihood"] < found.before["log_likelihood"]
