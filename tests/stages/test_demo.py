"""`cod demo` with stand-ins for the two packages: clean and balanced data, the whole pipeline, a rerun that goes on."""

import csv
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from cod_cli.settings.demo import DemoSettings
from cod_cli.stages.demo import AIRLINES, DemoResult, Ingredients, demo, write_tweets
from cod_cli.ui import Ui
from tests.models.tiny import sentences, tiny_base

ROWS = {"train": 24, "validation": 8, "test": 12}


def tweet(n: int, text: str, sentiment: str, confidence: str = "1.0", handle: str | None = None) -> list[str]:
    return [sentiment, confidence, f"{handle or '@' + AIRLINES[n % len(AIRLINES)]} {text}"]


def write_corpus(path: Path, rows: Iterable[list[str]]) -> Path:
    with path.open("w", encoding="latin-1", newline="") as file:
        csv.writer(file).writerows([["sentiment", "confidence", "text"], *rows])
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """60 tweets of which the demo can use all, three of them twice, and some that it cannot."""
    good = [tweet(n, f"{text} flight {n} &amp; back", name) for n, (text, name) in enumerate(sentences(60))]
    unsure = tweet(0, "a good flight that nobody is sure of", "positive", "0.5")
    stranger = tweet(0, "a good flight with somebody else", "positive", handle="@somebody")
    mangled = tweet(0, "a good flight with a mangled caf\u00e9", "positive")
    return write_corpus(
        tmp_path / "tweets.csv", [*good, *good[:3], unsure, stranger, mangled, tweet(0, "ok", "positive")]
    )


def rows_in(folder: Path, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def test_each_split_has_as_many_rows_of_either_class(corpus: Path, tmp_path: Path) -> None:
    folder = write_tweets(tmp_path / "out", corpus, ROWS)
    for split, n in ROWS.items():
        assert Counter(row["label"] for row in rows_in(folder, split)) == {"negative": n // 2, "positive": n // 2}


def test_no_handle_is_left_no_text_comes_twice_and_what_is_unclear_stays_out(corpus: Path, tmp_path: Path) -> None:
    folder = write_tweets(tmp_path / "out", corpus, {"train": 60})
    texts = [row["text"] for row in rows_in(folder, "train")]
    assert len(set(texts)) == len(texts) == 60
    assert not any(airline in text for text in texts for airline in AIRLINES)
    assert all(text.endswith("& back") for text in texts)


def test_the_same_rows_come_at_every_call_and_files_that_are_there_stay(corpus: Path, tmp_path: Path) -> None:
    first, second = (write_tweets(tmp_path / name, corpus, ROWS) for name in ("one", "two"))
    assert all(rows_in(first, split) == rows_in(second, split) for split in ROWS)
    write_tweets(first, tmp_path / "gone.csv", ROWS)
    assert rows_in(first, "train") == rows_in(second, "train")


def run(folder: Path, corpus: Path, weights: Path) -> DemoResult:
    return demo(folder, DemoSettings(shots=4, seed="0"), Ui.silent(), Ingredients(corpus, weights))


def test_a_rerun_trains_nothing_anew_and_gives_the_same(corpus: Path, tmp_path: Path) -> None:
    weights = tiny_base(tmp_path / "weights", layers=3, hidden=16)
    # Few rows, written beforehand: the demo takes the files that are there.
    write_tweets(tmp_path / "demo" / "tweets", corpus, ROWS)
    first = run(tmp_path / "demo", corpus, weights)
    models = sorted((tmp_path / "demo").rglob("model.safetensors"))
    times = [path.stat().st_mtime_ns for path in models]
    second = run(tmp_path / "demo", corpus, weights)
    assert len(models) == 3
    assert [path.stat().st_mtime_ns for path in models] == times
    assert (second.teacher, second.accuracy, second.pairs) == (first.teacher, first.accuracy, first.pairs)
    assert {arm: len(values) for arm, values in first.accuracy.items()} == {"shots": 1, "cod": 1}
