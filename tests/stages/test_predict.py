"""`cod predict` with a tiny model: what goes in, what comes out, in which order."""

import io
import itertools
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

from cod_cli.errors import CodError, UsageError
from cod_cli.settings.predict import PredictSettings
from cod_cli.stages import predict as stage
from cod_cli.stages.predict import predict
from cod_cli.ui import Ui
from tests.models.tiny import sentences

ROWS = sentences(7, seed=2)


@pytest.fixture
def answer(teacher_folder: Path) -> Any:
    def answer(file: Path | str, **settings: Any) -> list[dict[str, Any]]:
        return list(predict(str(teacher_folder), file, PredictSettings(**settings), Ui.silent()))

    return answer


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def labels(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["label"] for row in rows]


def test_rows_come_in_order_with_label_and_probabilities_as_the_pipeline_has_them(
    answer: Any, tmp_path: Path, teacher_folder: Path
) -> None:
    rows = answer(jsonl(tmp_path / "in.jsonl", [{"id": i, "text": text} for i, (text, _) in enumerate(ROWS)]))
    assert [list(row) for row in rows] == [["id", "text", "label", "probabilities"]] * len(ROWS)
    assert [(row["id"], row["text"]) for row in rows] == [(i, text) for i, (text, _) in enumerate(ROWS)]
    assert labels(rows) == [label for _, label in ROWS]
    expected = pipeline("text-classification", str(teacher_folder))([text for text, _ in ROWS])
    for row, found in zip(rows, expected, strict=True):
        assert row["label"] == found["label"]
        assert row["probabilities"][row["label"]] == pytest.approx(found["score"], abs=2e-6)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=2e-6)
        assert list(row["probabilities"]) == ["negative", "positive"]


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_and_batches_change_nothing(
    chunk: int, answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = jsonl(tmp_path / "in.jsonl", [{"text": text} for text, _ in ROWS])
    monkeypatch.setattr(stage, "CHUNK", chunk)
    rows = answer(file, batch_size=2)
    assert [row["text"] for row in rows] == [text for text, _ in ROWS]
    assert labels(rows) == [label for _, label in ROWS]


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("tsv", "\t")])
def test_csv_and_tsv_are_read_with_their_own_columns(suffix: str, mark: str, answer: Any, tmp_path: Path) -> None:
    file = tmp_path / f"in.{suffix}"
    file.write_text(f'id{mark}sentence\n7{mark}"a ""good"" film{mark} it is\nlovely"\n8{mark}a bad film\n')
    rows = answer(file)
    assert [row["id"] for row in rows] == ["7", "8"]
    assert rows[0]["sentence"] == f'a "good" film{mark} it is\nlovely'
    assert labels(rows) == ["positive", "negative"]


def test_several_text_columns_are_joined_as_in_training(answer: Any, tmp_path: Path) -> None:
    file = jsonl(tmp_path / "in.jsonl", [{"title": "the film", "body": "it is lovely", "text": "a bad film"}])
    assert labels(answer(file, text_column=("title", "body"))) == ["positive"]
    joined = jsonl(tmp_path / "joined.jsonl", [{"text": "title: the film\nbody: it is lovely"}])
    assert answer(file, text_column=("title", "body"))[0]["probabilities"] == answer(joined)[0]["probabilities"]


def test_a_text_file_has_a_text_on_each_line(answer: Any, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"\xef\xbb\xbfthe film is good .\r\nthe film is bad .")
    rows = answer(tmp_path / "in.txt")
    assert [row["text"] for row in rows] == ["the film is good .", "the film is bad ."]
    assert labels(rows) == ["positive", "negative"]


@pytest.mark.parametrize(
    ("sent", "columns"),
    [
        (b'{"id": 1, "text": "the film is good ."}\n\n{"id": 2, "text": "the film is bad ."}\n', ["id", "text"]),
        (b"the film is good .\nthe film is bad .\n", ["text"]),
    ],
)
def test_standard_input_holds_json_lines_or_texts(
    sent: bytes, columns: list[str], answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(sent)))
    rows = answer("-")
    assert labels(rows) == ["positive", "negative"]
    assert list(rows[0]) == [*columns, "label", "probabilities"]


def test_empty_standard_input_gives_nothing(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert answer("-") == []


def test_columns_that_are_called_like_the_answer_are_kept_apart(answer: Any, tmp_path: Path) -> None:
    file = jsonl(tmp_path / "in.jsonl", [{"label": "mine", "text": "the film is good .", "probabilities": [1]}])
    [row] = answer(file)
    assert (row["input_label"], row["input_probabilities"], row["label"]) == ("mine", [1], "positive")


def test_no_column_is_lost_where_the_free_name_is_taken_too(answer: Any, tmp_path: Path) -> None:
    sent = {"label": "mine", "input_label": "older", "text": "the film is good ."}
    [row] = answer(jsonl(tmp_path / "in.jsonl", [sent]))
    assert (row["input_label"], row["input_input_label"], row["label"]) == ("older", "mine", "positive")


def test_a_row_without_a_text_gets_no_label_and_is_mentioned(
    teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = jsonl(tmp_path / "in.jsonl", [{"text": " "}, {"text": "the film is good ."}, {"text": None}, {"id": 4}])
    rows = list(predict(str(teacher_folder), file, PredictSettings(), Ui(quiet=True)))
    assert labels(rows) == [None, "positive", None, None]
    assert rows[0]["probabilities"] is None
    assert "3 of 4 rows have no text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.csv", "id,text\n1,the film is good .\n2,the film is bad .\n3,one,too many\n4,never reached\n"),
        ("in.jsonl", '\n{"text": "the film is good ."}\n{"text": "the film is bad ."}\n{"text": \n{"text": "a"}\n'),
    ],
)
def test_what_stands_before_a_broken_line_is_answered(
    name: str, content: str, teacher_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    rows = predict(str(teacher_folder), tmp_path / name, PredictSettings(), Ui.silent())
    assert labels([next(rows), next(rows)]) == ["positive", "negative"]
    with pytest.raises(CodError, match=rf"{name}, line 4"):
        next(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", b"id,text\n1,a\n2,b,c\n", "line 3"),
        ("in.txt", b"fine\nna\xefve\n", "line 2: not UTF-8"),
        ("in.jsonl", b'{"text": "fine"}\n{"text": ["a"]}\n', "line 2: column 'text' holds a list"),
        ("in.jsonl", b'{"body": "fine"}\n', "no column 'text'"),
        ("in.jsonl", b"", "is empty"),
        ("in.docx", b"", "is not a file of data"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_line(
    name: str, content: bytes, message: str, answer: Any, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CodError, match=message):
        answer(tmp_path / name)


@pytest.mark.parametrize(
    ("sent", "message"), [(b'{"text": "a"}\n[1]\n', "line 2"), (b"fine\n\xff\n", "line 2: not UTF")]
)
def test_what_is_wrong_with_standard_input_is_named_with_its_line(
    sent: bytes, message: str, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(sent)))
    with pytest.raises(CodError, match=f"standard input, {message}"):
        answer("-")


def test_a_file_that_is_not_there_is_said_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(CodError, match=r"nowhere\.csv is no file"):
        list(predict("no/such/model", tmp_path / "nowhere.csv", PredictSettings(), Ui.silent()))


def test_a_text_file_has_no_columns_to_choose_from(answer: Any, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\n")
    with pytest.raises(UsageError, match="no columns"):
        answer(tmp_path / "in.txt", text_column=("text",))


def test_rows_are_answered_before_the_input_ends(teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = SimpleNamespace(buffer=itertools.repeat(b"the film is good .\n"))
    monkeypatch.setattr("sys.stdin", endless)
    monkeypatch.setattr(stage, "CHUNK", 16)
    rows = predict(str(teacher_folder), "-", PredictSettings(), Ui.silent())
    assert labels(list(itertools.islice(rows, 40))) == ["positive"] * 40


def test_memory_does_not_grow_with_the_rows(
    teacher_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stage, "CHUNK", 16)
    monkeypatch.setattr(
        "cod_cli.models.inference.logits_of", lambda classifier, texts, **_: np.zeros((len(texts), 2), np.float32)
    )

    def peak(rows: int) -> int:
        (tmp_path / "in.txt").write_text("the film is good .\n" * rows)
        answers: Iterator[dict[str, Any]] = predict(
            str(teacher_folder), tmp_path / "in.txt", PredictSettings(), Ui.silent()
        )
        next(answers)
        tracemalloc.start()
        for _ in answers:
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    # Rows that were kept would be 5 MB at the least; another thread of the test runner may well take some 100 kB.
    assert peak(20_000) < peak(200) + 1_000_000


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_failure(teacher_folder: Path, tmp_path: Path) -> None:
    file = jsonl(tmp_path / "in.jsonl", [{"text": text} for text, _ in ROWS] * 3000)
    cod = [sys.executable, "-c", "from cod_cli.cli.app import main; main()", "predict", str(teacher_folder), str(file)]
    process = subprocess.Popen(cod, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["label"] in ("negative", "positive")
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert b"Traceback" not in process.stderr.read()
