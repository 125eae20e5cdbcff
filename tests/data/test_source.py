import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from cod_cli.data.source import Dropped, Row, eval_splits, load_table, local_path
from cod_cli.data.tasks import TASKS
from cod_cli.errors import CodError, UsageError


def write(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"text": text, "label": label} for text, label in pairs]


TWO = labelled(("fine", "good"), ("poor", "bad"))


class FakeHub:
    """Data sets in memory, and what was asked for."""

    def __init__(self, features: Mapping[str, Any] | None = None, **splits: Sequence[Mapping[str, Any]]) -> None:
        schema = datasets.Features(features) if features else None
        self.splits = {name: datasets.Dataset.from_list(list(rows), features=schema) for name, rows in splits.items()}
        self.asked: list[tuple[str, str | None, str | None]] = []

    def __call__(self, hub_id: str, config: str | None, revision: str | None) -> Mapping[str, Any]:
        self.asked.append((hub_id, config, revision))
        return self.splits


def refusal(data: Path | str, **options: Any) -> CodError:
    with pytest.raises(CodError) as caught:
        load_table(str(data), **options)
    return caught.value


# Files and folders


def test_one_file_is_one_split_and_its_stem_is_the_source(tmp_path: Path):
    file = write(tmp_path / "reviews.v2.jsonl", *TWO)
    table = load_table(str(file))
    assert table.rows == (Row("reviews.v2/all/1", "fine", "good"), Row("reviews.v2/all/2", "poor", "bad"))
    assert (table.source, table.split, table.splits, table.file) == ("reviews.v2", "all", ("all",), file)
    assert (table.labels, table.task, table.dropped) == (("bad", "good"), None, Dropped())


def test_a_folder_has_a_split_for_each_of_its_files(tmp_path: Path):
    write(tmp_path / "films" / "test.jsonl", *TWO)
    write(tmp_path / "films" / "dev.jsonl", *TWO)
    (tmp_path / "films" / "train.csv").write_text("text,label\nnice,good\ndull,bad\n")
    (tmp_path / "films" / "notes.txt").write_text("not data")
    table = load_table(f"{tmp_path}/films/")
    assert (table.splits, table.split) == (("train", "validation", "test"), "train")
    assert [row.id for row in table.rows] == ["films/train/1", "films/train/2"]
    assert load_table(f"{tmp_path}/films", split="validation").rows[0].id == "films/validation/1"


def test_the_folder_one_is_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "films" / "train.jsonl", *TWO)
    monkeypatch.chdir(tmp_path / "films")
    assert load_table(".").source == "films"


def test_rows_are_numbered_before_any_is_dropped_and_every_loss_is_counted(tmp_path: Path):
    file = write(
        tmp_path / "a.jsonl",
        {"text": "  ", "label": "good"},
        {"text": "fine", "label": None},
        {"text": "fine ", "label": "good"},
        {"text": "fine", "label": "bad"},
        {"label": "good"},
        {"text": "poor"},
        {"text": "poor", "label": "bad"},
    )
    table = load_table(str(file))
    assert [(row.id, row.text, row.label) for row in table.rows] == [
        ("a/all/3", "fine", "good"),
        ("a/all/7", "poor", "bad"),
    ]
    assert table.dropped == Dropped(empty=2, duplicate=1, unlabelled=2)
    assert len(table.rows) + table.dropped.total == 7


def test_without_need_of_labels_unlabelled_rows_stay(tmp_path: Path):
    file = write(tmp_path / "a.jsonl", {"text": "a", "label": "x"}, {"text": "b"}, {"text": "a"})
    table = load_table(str(file), require_labels=False)
    assert [row.label for row in table.rows] == ["x", None]
    assert (table.labels, table.dropped) == (("x",), Dropped(duplicate=1))


def test_without_need_of_labels_there_may_be_no_column_of_them(tmp_path: Path):
    file = write(tmp_path / "a.jsonl", {"text": "a"}, {"text": "b"})
    table = load_table(str(file), require_labels=False)
    assert ([row.label for row in table.rows], table.labels) == ([None, None], ())


def test_a_label_column_that_was_asked_for_must_be_there(tmp_path: Path):
    file = write(tmp_path / "a.jsonl", {"text": "a"}, {"text": "b"})
    assert "no column 'stars'" in refusal(file, label_column="stars", require_labels=False).message


def test_columns_of_any_name_are_read(tmp_path: Path):
    file = write(tmp_path / "a.jsonl", {"head": "A", "body": "b", "stars": 1}, {"head": "C", "body": "d", "stars": 5})
    table = load_table(
        str(file), text_columns=["head", "body"], label_column="stars", label_names="5=positive,1=negative"
    )
    assert [(row.text, row.label) for row in table.rows] == [
        ("head: A\nbody: b", "negative"),
        ("head: C\nbody: d", "positive"),
    ]
    assert table.labels == ("negative", "positive")


def test_classes_that_are_named_but_not_seen_keep_their_place(tmp_path: Path):
    file = write(tmp_path / "a.jsonl", *labelled(("a", 0), ("b", 2)))
    assert load_table(str(file), label_names="0=low,1=middle,2=high").labels == ("low", "middle", "high")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (labelled(("a", "x"), ("b", "x")), {}, "holds a single class: x"),
        (labelled(("", "x"), ("b", None)), {}, "has no usable row: 1 empty, 1 unlabelled"),
        (labelled(("a", 0), ("b", 3)), {"label_names": "0=bad,1=good"}, "line 2: label '3' is none of 0, 1"),
        (labelled(("a", "x")), {"split": "test"}, "has no split test; it has: all"),
        ([{"text": "a"}], {}, "has no column 'label'; it has: text"),
    ],
)
def test_unusable_data_is_refused_by_name(rows: Any, options: Any, message: str, tmp_path: Path):
    file = write(tmp_path / "a.jsonl", *rows)
    error = refusal(file, **options)
    assert (error.exit_code, message in error.message, str(file) in error.message) == (1, True, True)
    assert error.hint


def test_a_torn_line_far_down_is_found(tmp_path: Path):
    file = write(tmp_path / "a.jsonl", *labelled(*((f"text {i}", i % 2) for i in range(3000))))
    with file.open("a") as end:
        end.write('{"text": "cut sho')
    assert f"{file}, line 3001" in refusal(file).message


def test_a_split_that_is_not_there_lists_those_that_are(tmp_path: Path):
    write(tmp_path / "test.jsonl", *TWO)
    error = refusal(tmp_path, default_splits=("train",))
    assert error.message.endswith("has no split train; it has: test")
    assert error.hint == "choose one: --split test"


def test_two_files_for_one_split_are_refused(tmp_path: Path):
    write(tmp_path / "train.jsonl", *TWO)
    (tmp_path / "train.csv").write_text("text,label\n")
    assert "two files for the split train: train.csv, train.jsonl" in refusal(tmp_path).message


def test_a_folder_without_splits_says_what_it_has(tmp_path: Path):
    write(tmp_path / "reviews.jsonl", *TWO)
    assert "it has: reviews.jsonl" in refusal(tmp_path).message


@pytest.mark.parametrize(
    "data",
    [
        "missing.csv",
        "./missing",
        "/no/such/folder",
        "a/b/c",
        "data/x.JSONL",
        "~/nothing-here",
        "~nobody-at-all/x.csv",
        f"{'x' * 300}.csv",
    ],
)
def test_what_looks_like_a_path_is_never_looked_up_elsewhere(data: str):
    error = refusal(data, hub=FakeHub(train=TWO))
    assert (error.exit_code, error.message) == (1, f"{data} does not exist")


@pytest.mark.parametrize("data", ["sst3", "", "my data"])
def test_any_other_name_is_an_unknown_task(data: str):
    assert isinstance(refusal(data, hub=FakeHub(train=TWO)), UsageError)


def test_a_local_path_needs_neither_datasets_nor_the_network(tmp_path: Path):
    write(tmp_path / "train.jsonl", *TWO)
    code = (
        "import socket, sys\n"
        "socket.socket.connect = lambda *a: sys.exit('it went to the network')\n"
        "from cod_cli.data.source import load_table\n"
        "assert len(load_table(sys.argv[1]).rows) == 2\n"
        "sys.exit('datasets' in sys.modules or 'pyarrow' in sys.modules or 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# The Hub


def test_a_hub_data_set_is_read_by_its_id_and_config():
    hub = FakeHub(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])},
        train=[{"text": "a", "label": 1}, {"text": "b", "label": -1}, {"text": "c", "label": 0}],
    )
    table = load_table("org/films:small", hub=hub)
    assert hub.asked == [("org/films", "small", None)]
    assert table.rows == (Row("org/films:small/train/1", "a", "pos"), Row("org/films:small/train/3", "c", "neg"))
    assert (table.labels, table.dropped, table.file) == (("neg", "pos"), Dropped(unlabelled=1), None)


def test_a_column_may_be_read_for_its_text_and_for_its_label():
    rows = [{"text": "a", "label": 0, "label_text": "bad"}, {"text": "b", "label": 1, "label_text": "good"}]
    table = load_table("org/films", text_columns=["label_text", "text", "label"], hub=FakeHub(train=rows))
    assert table.rows[1] == Row("org/films/train/2", "label_text: good\ntext: b\nlabel: 1", "good")


def test_the_row_of_a_wrong_label_on_the_hub_is_named():
    hub = FakeHub(train=labelled(("a", 0), ("b", 7)))
    assert refusal("org/films", hub=hub, label_names="0=bad,1=good").message.startswith(
        "org/films, split train, row 2:"
    )


def test_a_local_folder_wins_over_a_hub_id_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "org" / "films" / "train.jsonl", *TWO)
    monkeypatch.chdir(tmp_path)
    hub = FakeHub(train=labelled(("hub", 0), ("hubs", 1)))
    assert (load_table("org/films", hub=hub).source, hub.asked) == ("films", [])


def test_a_task_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "sst2" / "train.jsonl", *TWO)
    monkeypatch.chdir(tmp_path)
    hub = FakeHub(train=[{"sentence": "a ", "label": 0}, {"sentence": "b", "label": 1}])
    table = load_table("sst2", hub=hub)
    assert (table.task, hub.asked) == (TASKS["sst2"], [("nyu-mll/glue", "sst2", None)])
    assert table.rows == (Row("sst2/train/1", "a", "negative"), Row("sst2/train/2", "b", "positive"))
    assert load_table("./sst2").task is None
    assert (local_path("sst2"), local_path("./sst2")) == (None, tmp_path / "sst2")


def test_yelp_takes_short_reviews_of_one_or_two_stars_against_four_or_five():
    stars = FakeHub(
        train=labelled(("one", 0), ("two", 1), ("three", 2), ("four", 3), ("five", 4), ("x" * 251, 4), ("y" * 250, 0))
    )
    table = load_table("yelp", hub=stars)
    assert [(row.text[:5], row.label) for row in table.rows] == [
        ("one", "negative"),
        ("two", "negative"),
        ("four", "positive"),
        ("five", "positive"),
        ("yyyyy", "negative"),
    ]
    assert table.dropped == Dropped(filtered=2)


def test_sentiment140_leaves_out_the_neutral_and_reads_its_own_columns():
    rows = [{"text": f"t{i}", "sentiment": raw} for i, raw in enumerate((4, 2, 0))]
    table = load_table("sentiment140", hub=FakeHub(test=rows), split="test")
    assert [(row.id, row.label) for row in table.rows] == [
        ("sentiment140/test/1", "positive"),
        ("sentiment140/test/3", "negative"),
    ]


def test_names_that_a_user_gives_overrule_the_tasks():
    hub = FakeHub(train=labelled(("one", 0), ("three", 2), ("five", 4)))
    table = load_table("yelp", hub=hub, label_names="0=low,2=middle,4=high")
    assert ([row.label for row in table.rows], table.labels) == (["low", "middle", "high"], ("low", "middle", "high"))


def test_a_label_that_a_task_does_not_know_is_an_error_not_a_class():
    error = refusal("yelp", hub=FakeHub(train=labelled(("a", 0), ("b", 5))))
    assert "row 2: label '5' is none of 0, 1, 3, 4" in error.message


def test_the_hidden_labels_of_glue_are_missing_not_a_class():
    hidden = FakeHub(test=[{"sentence": "a", "label": -1}, {"sentence": "b", "label": -1}])
    assert "2 unlabelled" in refusal("cola", hub=hidden, split="test").message
    assert [row.label for row in load_table("cola", hub=hidden, split="test", require_labels=False).rows] == [
        None,
        None,
    ]


def test_a_hub_that_cannot_be_reached_is_one_clear_line():
    error = refusal("org/not-in-any-cache")
    assert (error.exit_code, "\n" in error.message) == (1, False)
    assert "cannot be reached" in error.message


def test_a_hub_that_does_not_answer_is_not_waited_for(tmp_path: Path):
    code = (
        "from cod_cli.data.source import load_table; from cod_cli.errors import CodError\n"
        "try: load_table('org/absent')\n"
        "except CodError as error: print(error.message)\n"
    )
    # Port 9, where nothing listens, and no HF_HUB_OFFLINE.
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, timeout=60)
    assert "cannot be reached" in done.stdout
    assert "Retrying" not in done.stderr


# Which split to score on


@pytest.mark.parametrize(
    ("data", "splits"),
    [
        ("sst2", ("validation",)),
        ("imdb", ("test",)),
        ("org/films", ("test", "validation")),
        ("x.csv", ("test", "validation")),
    ],
)
def test_the_split_to_score_on_is_the_tasks_else_test_else_validation(data: str, splits: tuple[str, ...]):
    assert eval_splits(data) == splits


def test_validation_is_scored_on_where_there_is_no_test(tmp_path: Path):
    for split in ("train", "validation"):
        write(tmp_path / f"{split}.jsonl", *TWO)
    assert load_table(str(tmp_path), default_splits=eval_splits(str(tmp_path))).split == "validation"
    write(tmp_path / "test.jsonl", *TWO)
    assert load_table(str(tmp_path), default_splits=eval_splits(str(tmp_path))).split == "test"
    file = str(tmp_path / "train.jsonl")
    assert load_table(file, default_splits=eval_splits(file)).split == "all"


def test_a_text_with_two_labels_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("a", "x"), ("b", "y"), ("a", "y"), ("b", "y"), ("a", "x")]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": name}) + "\n" for text, name in rows))
    assert [(row.text, row.label) for row in load_table(str(path)).rows] == [("a", "x"), ("b", "y")]
    assert caplog.messages == [f"{path}: 1 rows have a text that stands there with another label before, which counts"]
