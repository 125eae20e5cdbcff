"""`cod export`: what stands in the folder, how it compares with its model, and what is refused; `cod predict` on it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tokenizers

from cod_cli.errors import CodError, UsageError
from cod_cli.models import export as graphs
from cod_cli.models.inference import logits_of
from cod_cli.models.load import load_classifier
from cod_cli.settings.export import ExportSettings
from cod_cli.settings.predict import PredictSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages.export import ExportResult, export
from cod_cli.stages.predict import predict
from cod_cli.stages.sample import sample
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.models.tiny import sentences, tiny_classifier
from tests.records_of import score
from tests.stages.students import add_student, write_rows

ROWS = sentences(30, seed=5)
TEXTS = [text for text, _ in ROWS]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", ROWS)


@pytest.fixture(scope="module")
def exported(teacher_folder: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The teacher's export. Read only."""
    folder = tmp_path_factory.mktemp("exported") / "out"
    return export(str(teacher_folder), folder, ExportSettings(check=str(rows)), Ui.silent())


@pytest.fixture
def quick(exported: ExportResult, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The graph of the export above, which every export of the test takes instead of tracing its model."""
    graph = exported.folder / "onnx" / "model.onnx"
    monkeypatch.setattr(graphs, "_write_graph", lambda classifier, path: shutil.copy(graph, path))
    return graph


def logits_by_hand(folder: Path, texts: list[str]) -> np.ndarray:
    """As a user of onnxruntime and tokenizers gets them, by the lines of the card."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(next((folder / "onnx").glob("*.onnx")))
    found = tokenizer.encode_batch(texts)
    columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    feed = {i.name: np.array([getattr(e, columns[i.name]) for e in found]) for i in session.get_inputs()}
    logits: np.ndarray = session.run(None, feed)[0]
    return logits


def test_the_graph_gives_the_models_logits_whatever_batch_and_length(
    exported: ExportResult, teacher_folder: Path
) -> None:
    classifier = load_classifier(str(teacher_folder), device="cpu")
    for texts in ([TEXTS[0]], ["a"], TEXTS[:7], [*TEXTS[:3], " ".join(TEXTS)]):
        np.testing.assert_allclose(logits_by_hand(exported.folder, texts), logits_of(classifier, texts), atol=1e-5)


def test_a_text_that_is_too_long_is_cut_as_the_model_cuts_it(exported: ExportResult, teacher_folder: Path) -> None:
    text = " ".join(TEXTS * 3)
    expected = logits_of(load_classifier(str(teacher_folder), device="cpu"), [text])
    np.testing.assert_allclose(logits_by_hand(exported.folder, [text]), expected, atol=1e-5)


def test_labels_columns_and_length_stand_beside_the_graph(exported: ExportResult) -> None:
    config = json.loads((exported.folder / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["transformers.js_config"] == {"dtype": "fp32"}
    notes = json.loads((exported.folder / "export.json").read_text(encoding="utf-8"))
    assert (notes["labels"], notes["precision"], notes["max_length"]) == (["negative", "positive"], "fp32", 256)


def test_what_was_compared_is_told(exported: ExportResult, teacher_folder: Path, rows: Path) -> None:
    check = exported.check
    assert (check.texts, check.of) == (30, "texts of rows.jsonl")
    assert check.equal_labels == 1.0
    classifier = load_classifier(str(teacher_folder), device="cpu")
    apart = np.abs(logits_of(classifier, TEXTS) - logits_by_hand(exported.folder, TEXTS)).max()
    assert check.largest_difference == pytest.approx(apart, abs=2e-6)
    assert check.accuracy == {"model": 1.0, "export": 1.0}
    assert check.bytes["export"] == (exported.folder / "onnx" / "model.onnx").stat().st_size
    assert check.bytes["model"] == (teacher_folder / "model.safetensors").stat().st_size
    assert min(check.rows_per_second.values()) > 0
    card = (exported.folder / "README.md").read_text(encoding="utf-8")
    assert "100.0% of 30 texts of rows.jsonl" in card


def test_nothing_in_the_folder_names_a_path_of_this_machine(exported: ExportResult, teacher_folder: Path) -> None:
    hidden = [str(Path(onnx.__file__).parents[1]).encode(), str(teacher_folder.parent).encode(), b".py"]
    for path in exported.folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [part for part in hidden if part in content], path.name


def test_a_student_is_compared_on_the_texts_of_its_run(
    teacher_folder: Path, rows: Path, tmp_path: Path, quick: Path
) -> None:
    run = Run(tmp_path / "run")
    sample(run, SampleSettings(data=str(rows), shots="8", text_column=("text",)), Ui.silent())
    add_student(run, "kd-all", teacher_folder, text_column=["text"], settings={"student": "org/base"})
    scored = [score("teacher", None, accuracy=0.91), score("kd-all", accuracy=0.834, agreement=0.871, ece=0.05)]
    run.scores.finish(run.scores.begin({}, labels=["negative", "positive"]), scored)
    done = export(str(run.student("kd-all")), tmp_path / "out", ExportSettings(), Ui.silent())
    assert (done.check.texts, done.check.accuracy) == (8, None)
    assert (done.notes.text_columns, done.notes.max_length) == (["text"], 64)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "sst2, validation (872 rows) | 83.4%, its teacher 91.0%, agreement with it 87.1%, ECE 0.050 |" in card
    assert "| the model's method | kd, mix shots |" in card


def test_without_texts_to_compare_on_it_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no student of a run"):
        export(str(teacher_folder), tmp_path / "out", ExportSettings(), Ui.silent())
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(CodError, match="no text"):
        export(str(teacher_folder), tmp_path / "out", ExportSettings(check=str(tmp_path / "empty.txt")), Ui.silent())


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    """One whose weights are not those of the graph that `quick` writes, so that they decide apart."""
    return tiny_classifier(tmp_path / "other", seed=3)


def test_an_export_that_decides_otherwise_is_refused_and_leaves_nothing(
    other_model: Path, rows: Path, tmp_path: Path, quick: Path
) -> None:
    with pytest.raises(CodError, match=r"get another label than from .*, more than 1%") as caught:
        export(str(other_model), tmp_path / "out", ExportSettings(check=str(rows)), Ui.silent())
    assert "--accept-drift" in str(caught.value.hint)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_drift_can_be_accepted_and_is_told(other_model: Path, rows: Path, tmp_path: Path, quick: Path) -> None:
    settings = ExportSettings(check=str(rows), accept_drift=True)
    done = export(str(other_model), tmp_path / "out", settings, Ui.silent())
    assert done.check.equal_labels < 0.99
    assert f"{done.check.equal_labels:.1%} of 30" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_what_stands_there_is_kept_and_with_force_archived(
    teacher_folder: Path, rows: Path, tmp_path: Path, quick: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    with pytest.raises(CodError, match="already there"):
        export(str(teacher_folder), out, ExportSettings(check=str(rows)), Ui.silent())
    export(str(teacher_folder), out, ExportSettings(check=str(rows), force=True), Ui.silent())
    assert not (out / "mine").exists()
    assert [path.name for path in (tmp_path / "out.archive").rglob("mine")] == ["mine"]


def test_a_missing_package_is_named_with_its_command(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(UsageError, match="needs the packages no_such_package") as caught:
        export(str(teacher_folder), tmp_path / "out", ExportSettings(), Ui.silent())
    assert caught.value.hint == 'pip install -e ".[onnx]"'


def test_weights_that_no_file_holds_are_refused(
    teacher_folder: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_LARGEST", 1000)
    with pytest.raises(CodError, match="one ONNX file holds"):
        export(str(teacher_folder), tmp_path / "out", ExportSettings(check=str(rows)), Ui.silent())


def test_a_family_that_torch_cannot_trace_is_one_clear_line(
    teacher_folder: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("\nno such operator\nand a page more")

    monkeypatch.setattr("torch.onnx.export", fail)
    with pytest.raises(CodError, match=r"cannot write a bert model as a graph: no such operator$"):
        export(str(teacher_folder), tmp_path / "out", ExportSettings(check=str(rows)), Ui.silent())
    assert list(tmp_path.iterdir()) == []


FAMILIES = [
    "deberta",
    "qwen2",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("distilbert", "roberta", "modernbert")),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_exported_with_its_own_logits(family: Any, rows: Path, tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "model", family=family, layers=1, hidden=16)
    done = export(str(model), tmp_path / "out", ExportSettings(check=str(rows)), Ui.silent())
    assert done.check.largest_difference < 1e-5
    texts = [*TEXTS[:5], "a", "good " * 100]
    expected = logits_of(load_classifier(str(model), device="cpu"), texts)
    np.testing.assert_allclose(logits_by_hand(tmp_path / "out", texts), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "file", "js"), [("int8", "model_quantized", "q8"), ("fp16", "model_fp16", "fp16")]
)
def test_fewer_bits_give_a_smaller_graph_under_the_name_that_a_browser_looks_for(
    precision: str, file: str, js: str, teacher_folder: Path, rows: Path, tmp_path: Path, quick: Path
) -> None:
    settings = ExportSettings(check=str(rows), **{precision: True})  # type: ignore[arg-type]
    done = export(str(teacher_folder), tmp_path / "out", settings, Ui.silent())
    [graph] = (tmp_path / "out" / "onnx").iterdir()
    assert graph.name == f"{file}.onnx"
    assert graph.stat().st_size == done.check.bytes["export"] < quick.stat().st_size
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["transformers.js_config"] == {"dtype": js}
    assert 0 < done.check.largest_difference < 0.5
    assert done.check.equal_labels == 1.0


def test_int8_may_drift_further(other_model: Path, rows: Path, tmp_path: Path, quick: Path) -> None:
    with pytest.raises(CodError, match="more than 3%"):
        export(str(other_model), tmp_path / "out", ExportSettings(check=str(rows), int8=True), Ui.silent())


def test_two_precisions_are_refused() -> None:
    with pytest.raises(UsageError, match="two precisions"):
        ExportSettings(int8=True, fp16=True)


def predicted(model: Path, file: Path, **settings: Any) -> list[dict[str, Any]]:
    return list(predict(str(model), file, PredictSettings(**settings), Ui.silent()))


def test_predict_says_of_an_export_what_it_says_of_the_model(
    exported: ExportResult, teacher_folder: Path, rows: Path
) -> None:
    for settings in ({}, {"batch_size": 2, "max_length": 8}):
        pairs = zip(
            predicted(exported.folder, rows, **settings), predicted(teacher_folder, rows, **settings), strict=True
        )
        for by_export, by_model in pairs:
            assert by_export["probabilities"] == pytest.approx(by_model["probabilities"], abs=5e-6)
            assert list(by_export) == list(by_model)
            assert by_export["label"] == by_model["label"]


def test_an_export_remembers_columns_and_length(exported: ExportResult, tmp_path: Path) -> None:
    folder = shutil.copytree(exported.folder, tmp_path / "copy")
    notes = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    (folder / "export.json").write_text(json.dumps(notes | {"text_columns": ["title", "body"], "max_length": 8}))
    file = tmp_path / "in.jsonl"
    file.write_text('{"title": "the film", "body": "is bad .", "text": "it is good ."}\n')
    joined = tmp_path / "joined.txt"
    joined.write_text("title: the film body: is bad .\n")
    [row], [expected] = predicted(folder, file), predicted(folder, joined)
    assert row["probabilities"] == expected["probabilities"]
    assert row["probabilities"] != predicted(folder, file, max_length=64)[0]["probabilities"]
    assert row["probabilities"] != predicted(folder, file, text_column=("text",))[0]["probabilities"]


def test_an_export_is_used_without_torch_or_transformers(exported: ExportResult) -> None:
    code = (
        "import sys; from cod_cli.cli.app import main\n"
        f"sys.argv = ['cod', 'predict', {str(exported.folder)!r}, '-']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=f"{TEXTS[0]}\n", capture_output=True, text=True, check=True
    )
    answer, imported = done.stdout.splitlines()
    assert (json.loads(answer)["label"], imported) == (ROWS[0][1], "[]")


def test_the_first_rows_of_an_export_come_before_the_last_are_read(
    exported: ExportResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines() -> Iterator[bytes]:
        yield f"{TEXTS[0]}\n".encode()
        yield f"{TEXTS[1]}\n".encode()
        raise AssertionError("no answer yet, and a third row is asked for")

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=lines()))
    rows = predict(str(exported.folder), "-", PredictSettings(), Ui.silent())
    assert next(rows)["label"] == ROWS[0][1]


def test_an_export_runs_on_the_cpu_only(exported: ExportResult, rows: Path) -> None:
    with pytest.raises(UsageError, match="runs on the CPU"):
        predicted(exported.folder, rows, device="cuda")


@pytest.mark.parametrize("file", ["export.json", "tokenizer.json", "onnx/model.onnx"])
def test_a_damaged_export_is_one_clear_line(file: str, exported: ExportResult, rows: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported.folder, tmp_path / "copy")
    (folder / file).write_text("{")
    with pytest.raises(CodError, match=str(folder)) as caught:
        predicted(folder, rows)
    assert "export the model again" in str(caught.value.hint)
