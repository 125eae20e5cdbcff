"""`cod demo` with stand-ins for the two packages: clean and balanced data, the whole pipeline, a rerun that goes on."""

import csv
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from cod_cli.cli import views
from cod_cli.records import Shot
from cod_cli.settings.demo import DemoSettings
from cod_cli.stages.demo import (
    AIRLINES,
    SCORING,
    STUDENTS,
    TEACHING,
    WRITING,
    DemoResult,
    Ingredients,
    demo,
    judged_pairs,
    write_tweets,
)
from cod_cli.store.jsonl import write_jsonl
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.models.tiny import sentences, tiny_base
from tests.records_of import counterfactual
from tests.terminal import piped

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


def run(folder: Path, corpus: Path, weights: Path, seeds: str = "0,1", ui: Ui | None = None) -> DemoResult:
    return demo(folder, DemoSettings(shots=4, seed=seeds), ui or Ui.silent(), Ingredients(corpus, weights))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, Path]:
    """A demo of tiny students and few steps, run to its end."""
    folder = tmp_path_factory.mktemp("demo")
    weights = tiny_base(folder / "weights", layers=6, hidden=16)
    corpus = write_corpus(
        folder / "tweets.csv", [tweet(n, f"{t} flight {n}", c) for n, (t, c) in enumerate(sentences(60))]
    )
    # Few rows, written beforehand: the demo takes the files that are there.
    write_tweets(folder / "demo" / "tweets", corpus, ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cod_cli.settings.distill.ENOUGH_STEPS", 2)
        patch.setattr("cod_cli.settings.distill.EPOCHS", 1)
        return run(folder / "demo", corpus, weights), folder


def test_it_has_five_lines_with_a_sentence_each(done: tuple[DemoResult, Path]) -> None:
    lines = done[0].lines
    assert [line.name for line in lines] == ["teacher", "kd-shots", "kd-cod", "lwd-all", "lwd-all-cut"]
    assert [line.accuracy.n for line in lines] == [1, 2, 2, 2, 2]
    assert done[0].majority == 0.5
    assert "of 12 tweets that nobody trained on; always saying negative would be 50.0%" in lines[0].sentence
    assert "the teacher" in lines[1].sentence
    for line in lines[2:]:
        assert "points, " in line.sentence
        assert "n = 2" in line.sentence
    assert ["‡" in line.what for line in lines] == [False, False, False, True, True]
    assert ["†" in line.what for line in lines] == [False] * 4 + [True]


def test_a_sentence_says_what_the_seeds_show(done: tuple[DemoResult, Path]) -> None:
    result = done[0]
    accuracy = {line.name: line.accuracy.mean for line in result.lines}
    change = f"{100 * (accuracy['kd-cod'] - accuracy['kd-shots']):+.1f} points"
    assert change in result.lines[2].sentence
    below = 100 * (accuracy["teacher"] - accuracy["lwd-all"])
    assert f"{abs(below):.1f} points {'below' if below >= 0 else 'above'} the teacher" in result.lines[3].sentence
    for line in result.lines[1:2] + result.lines[3:]:
        assert ("no better than always saying negative" in line.sentence) == (line.accuracy.mean <= 0.5)


def test_the_page_is_written_and_named_with_the_folders_size(done: tuple[DemoResult, Path]) -> None:
    result, folder = done
    assert "lwd-all-cut" in result.page.read_text(encoding="utf-8")
    shown = piped(views.demo(result))
    assert str(result.page) in shown
    files = sum(path.stat().st_size for path in (folder / "demo").rglob("*") if path.is_file())
    assert result.size == files
    assert f"{files / 1e6:,.0f} MB in {folder / 'demo'}" in shown
    assert all(line.sentence in shown for line in result.lines)
    run = folder / "demo" / "seed-0"
    assert shown.endswith(f"next: cod show {run}; cod eval {run}\n")
    assert views.document(result)["page"] == str(result.page)


def test_the_students_of_the_first_seed_alone_keep_their_weights(done: tuple[DemoResult, Path]) -> None:
    folder = done[1] / "demo"
    assert sorted(p.parent.name for p in folder.glob("seed-0/4-students/*/model.safetensors")) == sorted(STUDENTS)
    assert not list(folder.glob("seed-1/4-students/*/model.safetensors"))
    assert len(list(folder.glob("seed-1/4-students/*/settings.yaml"))) == len(STUDENTS)


def test_only_pairs_that_the_judge_agrees_with_are_shown(done: tuple[DemoResult, Path]) -> None:
    result, folder = done
    runs = [Run(folder / "demo" / f"seed-{seed}") for seed in (0, 1)]
    firsts = [row for run in runs for row in run.counterfactuals.read() if not row.is_further]
    assert result.made == len(firsts)
    assert result.agreed == len(result.pairs) <= result.made
    assert f"agrees with {result.agreed} of {result.made} counterfactuals" in piped(views.demo(result))


def test_the_judge_knows_the_training_rows_and_not_the_teacher(tmp_path: Path) -> None:
    rows = list(dict(sentences(200)).items())[:24]
    write_jsonl(tmp_path / "train.jsonl", [{"text": text, "label": name} for text, name in rows])
    by_class = {name: [text for text, label in rows if label == name] for name in ("negative", "positive")}
    run = Run(tmp_path / "run")
    shots = [Shot(id=f"d/train/{n}", text=by_class["negative"][n], label="negative") for n in (1, 2)]
    believed = counterfactual("d/train/1", by_class["positive"][0], label="positive")
    doubted = counterfactual("d/train/2", by_class["negative"][0], label="positive")
    further = counterfactual("d/train/1", by_class["positive"][1], id="d/train/1~positive~2", label="positive")
    run.shots.finish(run.shots.begin({}, labels=list(by_class)), shots)
    run.counterfactuals.finish(run.counterfactuals.begin({}, labels=list(by_class)), [believed, doubted, further])
    encoder = str(tiny_base(tmp_path / "encoder", layers=1, hidden=64))
    assert judged_pairs([run], tmp_path, encoder) == ([(shots[0], believed)], 2)


def test_one_bar_moves_over_the_whole_and_each_part_ends_where_the_next_begins() -> None:
    shares = [share for _, share in STUDENTS.values()]
    assert sum([TEACHING, WRITING, SCORING, *shares]) == pytest.approx(1)


def test_a_rerun_trains_nothing_anew_gives_the_same_and_says_how_far_it_is(
    done: tuple[DemoResult, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, folder = done
    monkeypatch.setattr("cod_cli.settings.distill.ENOUGH_STEPS", 2)
    monkeypatch.setattr("cod_cli.settings.distill.EPOCHS", 1)
    monkeypatch.setattr(Ui, "line_every", 0.0)
    models = sorted((folder / "demo").rglob("model.safetensors"))
    times = [path.stat().st_mtime_ns for path in models]
    second = run(folder / "demo", folder / "tweets.csv", folder / "weights", ui=Ui())
    assert sorted((folder / "demo").rglob("model.safetensors")) == models
    assert [path.stat().st_mtime_ns for path in models] == times
    assert (second.teacher, second.lines, second.pairs) == (first.teacher, first.lines, first.pairs)
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "Demo: 100 of 100, seed 1: scoring"
    assert [line for line in said if not line.startswith(("Demo", "warning: "))] == [said[0]]
