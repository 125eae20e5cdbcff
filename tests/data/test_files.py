import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pyarrow
import pyarrow.parquet
import pytest

from cod_cli.data.files import open_table
from cod_cli.errors import CodError

ROWS = [
    {"text": "plain", "label": "good"},
    {"text": 'says "yes", and\ngoes on', "label": "bad"},
    {"text": "naïve 漢字 🙂\t\\n", "label": "good"},
]


def read(path: Path) -> list[dict[str, object]]:
    rows = open_table(path)
    return [dict(row) for _, row in rows.read(rows.columns)]


def refusal(path: Path) -> CodError:
    with pytest.raises(CodError) as caught:
        read(path)
    return caught.value


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def write_separated(path: Path) -> None:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    quoted = [['"' + str(value).replace('"', '""') + '"' for value in row.values()] for row in ROWS]
    path.write_text("\n".join(delimiter.join(row) for row in [["text", "label"], *quoted]), encoding="utf-8")


def write_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_jsonl),
        ("a.csv", write_separated),
        ("a.tsv", write_separated),
        ("a.parquet", write_parquet),
        ("A.CSV", write_separated),
    ],
)
def test_every_format_gives_the_same_rows(name: str, write: Callable[[Path], None], tmp_path: Path):
    write(tmp_path / name)
    assert read(tmp_path / name) == ROWS


@pytest.mark.parametrize("head", ["\ufeff", ""])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_of_other_systems_are_read(head: str, end: str, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes((head + end.join(["text,label", "fine,good", "", "poor,bad"]) + end).encode())
    assert read(path) == [{"text": "fine", "label": "good"}, {"text": "poor", "label": "bad"}]


def test_a_jsonl_row_may_lack_a_column_that_others_have(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "b", "label": 1}\n')
    rows = open_table(tmp_path / "a.jsonl")
    assert rows.columns == ("text", "label")
    assert list(rows.read(rows.columns)) == [(1, {"text": "a"}), (3, {"text": "b", "label": 1})]


def test_a_long_text_is_read_whole(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text(f"text\n{'x' * 300_000}\n")
    assert len(str(read(path)[0]["text"])) == 300_000


@pytest.mark.parametrize(
    ("name", "content", "where", "what"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "a.jsonl, line 2", "torn or invalid"),
        ("a.jsonl", b'{"text": "a"}\n["a"]\n', "a.jsonl, line 2", "not a JSON object"),
        ("a.jsonl", b'{"text": "\xe9"}\n', "a.jsonl, line 1", "not UTF-8"),
        ("a.csv", b"text,label\nfine,good\nwell, yes,good\n", "a.csv, line 3", "3 fields where the header has 2"),
        ("a.csv", b'text,label\n"two\nlines",good\nshort\n', "a.csv, line 4", "1 fields where the header has 2"),
        ("a.csv", b'text,label\nfine,good\n"open,bad\nrest,bad\n', "a.csv, line 3", "unexpected end"),
        ("a.csv", b'text,label\n"a" b,good\n', "a.csv, line 2", "expected after"),
        ("a.csv", b"text,label\ncaf\xe9,good\n", "a.csv, line 2", "not UTF-8"),
        ("a.csv", b"text,text\na,b\n", "a.csv, line 1", "two columns are named 'text'"),
        ("a.csv", b"text,label\rfine,good\r", "a.csv, line 1", "new-line character"),
        ("a.tsv", b"text\tlabel\rfine\tgood\r", "a.tsv, line 1", "new-line character"),
        ("a.csv", "text,label\n".encode("utf-16"), "a.csv, line 1", "not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "a.jsonl, line 2", "deep"),
        ("a.csv", b"", "a.csv", "is empty"),
        ("a.jsonl", b"\n\n", "a.jsonl", "is empty"),
        ("a.parquet", b"PAR1 no more", "a.parquet", "no intact parquet file"),
        ("a.xlsx", b"", "a.xlsx", "ends in .xlsx"),
        ("noend", b"", "noend", "ends in nothing"),
    ],
)
def test_a_broken_file_is_named_with_its_line(name: str, content: bytes, where: str, what: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert str(tmp_path / where) in error.message
    assert what in error.message
    assert error.hint


def test_a_parquet_file_cut_short_in_its_middle_is_refused(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"text {i}" * 50 for i in range(5000)]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(400) + whole[600:])
    assert "no intact parquet file" in refusal(path).message


def test_the_class_names_that_datasets_leaves_in_a_parquet_file_are_found(tmp_path: Path):
    features = {
        "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pyarrow.table({"text": ["a"], "label": [1]}).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert open_table(tmp_path / "a.parquet").class_names == {"label": ["bad", "good"]}


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("a.csv", b"text,label\rfine,good\r", "tr '\\r' '\\n'"),
        ("a.csv", "text,label\n".encode("utf-16"), "iconv -f UTF-16"),
        ("a.csv", b"text,label\ncaf\xe9,good\n", "iconv -f LATIN1"),
    ],
)
def test_the_hint_fits_how_a_file_is_written(name: str, content: bytes, hint: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    assert hint in str(refusal(tmp_path / name).hint)


def test_quotes_in_a_tsv_whose_lines_are_its_rows_are_no_more_than_quotes(tmp_path: Path):
    lines = ["text\tlabel", '"good movie\tpos', "fine\tpos", 'bad movie"\tneg', '"so" he said\tpos', '"a ""b"""\tneg']
    (tmp_path / "a.tsv").write_text("\n".join(lines) + "\n\n")
    texts = [row["text"] for row in read(tmp_path / "a.tsv")]
    assert texts == ['"good movie', "fine", 'bad movie"', '"so" he said', 'a "b"']


@pytest.mark.parametrize("content", ['text\tlabel\n"two\nlines\tand a tab"\tpos\n', 'text\n"two\nlines\tand a tab"\n'])
def test_quotes_in_a_tsv_that_needs_them_hold_a_field_together(content: str, tmp_path: Path):
    (tmp_path / "a.tsv").write_text(content)
    [row] = read(tmp_path / "a.tsv")
    assert row["text"] == "two\nlines\tand a tab"


def test_thousands_of_columns_are_looked_at_once(tmp_path: Path):
    (tmp_path / "a.csv").write_text(",".join(map(str, range(20_000))) + "\n")
    started = perf_counter()
    assert len(open_table(tmp_path / "a.csv").columns) == 20_000
    assert perf_counter() - started < 1


def test_two_columns_of_one_name_in_a_parquet_file_are_refused(tmp_path: Path):
    table = pyarrow.table([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert "a.parquet: two columns are named 'text'" in refusal(tmp_path / "a.parquet").message


@pytest.mark.parametrize(
    "said",
    [
        "no JSON",
        "[]",
        '{"info": 5}',
        '{"info": {"features": [1]}}',
        '{"info": {"features": {"label": 5}}}',
        '{"info": {"features": {"label": {"_type": "ClassLabel"}}}}',
        '{"info": {"features": {"label": {"_type": "ClassLabel", "names": [1]}}}}',
        "[" * 100_000,
    ],
)
def test_what_datasets_says_of_a_parquet_file_may_be_damaged(said: str, tmp_path: Path):
    table = pyarrow.table({"text": ["a"], "label": [1]}).replace_schema_metadata({"huggingface": said})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert open_table(tmp_path / "a.parquet").class_names == {}


def test_a_pipe_is_no_file_of_data(tmp_path: Path):
    os.mkfifo(tmp_path / "a.jsonl")
    assert "no regular file" in refusal(tmp_path / "a.jsonl").message
