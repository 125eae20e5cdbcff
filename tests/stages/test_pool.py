"""`cod pool` from end to end: texts, the teacher's labels for them, and students that train on them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cod_cli.cli.app import app
from cod_cli.data import heldout
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.records import SoftLabel
from cod_cli.report import results
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.pool import PoolSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages import label as label_stage
from cod_cli.stages.distill import distill
from cod_cli.stages.label import LabelResult, label
from cod_cli.stages.pool import PoolResult, pool
from cod_cli.stages.sample import sample
from cod_cli.store.jsonl import append_records
from cod_cli.store.run import Run
from cod_cli.training.trainset import read_trainset
from cod_cli.ui import Ui
from tests.models.tiny import sentences, tiny_base
from tests.stages.labelling import CFES, SHOTS, finish
from tests.stages.students import write_rows

# Sentences that a tiny teacher is sure of, each with words of its own, so that none is a near-copy of another.
ROWS = [
    (f"{text} {n * 7919 % 10007} {n * 104729 % 100003} {n * n}", name) for n, (text, name) in enumerate(sentences(220))
]
TRAIN, TEST, OTHER = ROWS[:20], ROWS[20:40], ROWS[40:140]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_rows(tmp_path / "data" / "train.jsonl", TRAIN)
    write_rows(tmp_path / "data" / "test.jsonl", TEST)
    run = Run(tmp_path / "run")
    sample(run, SampleSettings(data=str(tmp_path / "data"), shots="4"), Ui.silent())
    return run


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Texts of another file, some of them shots and some that are scored."""
    return write_rows(tmp_path / "other.jsonl", [*OTHER, *TRAIN, *TEST])


def gather(run: Run, source: Path, n: int = 20, **options: Any) -> PoolResult:
    return pool(run, PoolSettings(from_data=str(source), number=n, **options), Ui.silent())


def ask(run: Run, teacher: Path | None = None) -> LabelResult:
    done = label(run, LabelSettings(teacher=str(teacher) if teacher else None, cache=False), Ui.silent())
    assert isinstance(done, LabelResult)
    return done


def texts(run: Run) -> list[str]:
    return [row.text for row in run.pool.read()]


def test_a_pool_holds_no_shot_no_scored_row_and_no_label(run: Run, other: Path) -> None:
    result = gather(run, other, 1000)
    there = {text for text, _ in OTHER} | {text for text, _ in TRAIN}
    assert set(texts(run)) <= there - {shot.text for shot in run.shots.read()} - {text for text, _ in TEST}
    assert (result.counts["shots"], result.counts["scored"]) == (4, len(TEST))
    left_out = sum(result.counts[reason] for reason in ("shots", "scored", "near_copies"))
    assert result.texts + left_out == result.counts["rows"] == len(OTHER) + len(TRAIN) + len(TEST)
    line = json.loads(run.pool.path.read_text(encoding="utf-8").splitlines()[0])
    assert list(line) == ["id", "text", "source"]
    assert line["source"] == "file"


def test_rows_of_the_pool_are_not_scored(tmp_path: Path) -> None:
    data, run = write_rows(tmp_path / "all.jsonl", ROWS[:30]), Run(tmp_path / "run")
    sample(run, SampleSettings(data=str(data), shots="4"), Ui.silent())
    gather(run, data, 10)
    _, scored = heldout.rows_to_score(run, ["negative", "positive"])
    assert not set(scored.texts) & set(texts(run))
    assert scored.texts


def test_equal_seeds_make_equal_files(run: Run, other: Path, tmp_path: Path) -> None:
    gather(run, other)
    before = run.pool.path.read_bytes()
    gather(run, other, force=True)
    assert run.pool.path.read_bytes() == before
    gather(run, other, force=True, seed=1)
    assert run.pool.path.read_bytes() != before


def test_the_same_command_again_changes_nothing_and_another_one_is_refused(run: Run, other: Path) -> None:
    gather(run, other)
    before = run.pool.path.read_bytes(), run.pool.meta.read_bytes()
    assert gather(run, other).added == 0
    with pytest.raises(CodError, match="number: 20 → 30") as refused:
        gather(run, other, 30)
    assert "--append" in str(refused.value.hint)
    assert (run.pool.path.read_bytes(), run.pool.meta.read_bytes()) == before


def test_append_adds_texts_of_another_source_that_are_not_there_yet(run: Run, other: Path, tmp_path: Path) -> None:
    gather(run, other, 10)
    first = run.pool.read()
    (tmp_path / "more").mkdir()
    more = write_rows(
        tmp_path / "more" / "other.jsonl", [(row.text, None) for row in first] + [(t, None) for t, _ in ROWS[200:210]]
    )
    result = gather(run, more, 5, append=True)
    rows = run.pool.read()
    assert rows[:10] == first
    assert len({row.id for row in rows}) == len({row.text for row in rows}) == result.texts == 15
    assert result.counts["near_copies"] >= 10
    assert gather(run, more, 5, append=True).added == 0


def test_fewer_texts_than_asked_for_are_said(run: Run, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool(run, PoolSettings(from_data=str(other), number=5000), Ui())
    assert f"only {len(texts(run))} of 5000 texts are there that may be taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "said"),
    [(["good", "bad"], "2 one_word"), ([TEST[0][0], TEST[1][0]], "2 scored"), ([""], "1 empty")],
)
def test_a_source_without_a_text_that_may_be_taken_is_an_error(rows: Sequence[str], said: str, run: Run) -> None:
    source = write_rows(run.folder.parent / "none.jsonl", [(text, None) for text in rows])
    with pytest.raises(CodError, match=said):
        gather(run, source)


def test_a_file_without_the_column_of_texts_is_an_error_that_names_the_option(run: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("review_text,stars\nfine enough,3\n", encoding="utf-8")
    with pytest.raises(CodError, match="has no column 'text'") as failed:
        gather(run, tmp_path / "odd.csv")
    assert "--text-column review_text" in str(failed.value.hint)
    gather(run, tmp_path / "odd.csv", text_column=("review_text",))
    assert texts(run) == ["fine enough"]


def test_a_source_that_breaks_off_leaves_what_stands_before(run: Run, other: Path, tmp_path: Path) -> None:
    whole = other.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    other.write_text("".join([*lines[:30], "{broken}\n", *lines[30:]]), encoding="utf-8")
    with pytest.raises(PartialError, match="line 31: not a JSON object"):
        gather(run, other, 50)
    kept = run.pool.peek()
    assert 0 < len(kept) <= 30
    with pytest.raises(CodError, match="is not complete"):
        run.pool.read()
    gather(run, other, 50, accept_partial=True)
    assert run.pool.read() == kept
    other.write_text(whole, encoding="utf-8")
    gather(run, other, 50, force=True)
    assert len(texts(run)) == 50


def test_what_breaks_off_while_it_is_appended_leaves_the_rest_alone(run: Run, other: Path, tmp_path: Path) -> None:
    gather(run, other, 10)
    first = run.pool.read()
    more = write_rows(tmp_path / "more.jsonl", [(text, None) for text, _ in ROWS[200:220]])
    with more.open("a", encoding="utf-8") as file:
        file.write("{broken}\n")
    for _ in range(2):
        with pytest.raises(PartialError):
            gather(run, more, 50, append=True)
    assert run.pool.peek()[:10] == first
    write_rows(more, [(text, None) for text, _ in ROWS[200:220]])
    result = gather(run, more, 50, append=True)
    assert run.pool.read()[:10] == first
    assert result.texts == len(run.pool.read()) == result.counts["texts"]


def test_a_torn_last_line_is_counted(run: Run, other: Path) -> None:
    with other.open("a", encoding="utf-8") as file:
        file.write('{"text": "half of a li')
    assert gather(run, other).counts["torn"] == 1


def test_labels_are_asked_for_in_chunks_and_go_on_after_a_kill(
    run: Run, other: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_stage, "CHUNK", 4)
    gather(run, other, 20)
    whole = ask(run, teacher_folder)
    assert (whole.counts["pool"], whole.counts["new"]) == (20, 24)
    before = run.pool_labels.path.read_bytes()
    lines = before.splitlines(keepends=True)
    manifest = json.loads(run.pool_labels.meta.read_text(encoding="utf-8"))
    run.pool_labels.meta.write_text(json.dumps(manifest | {"complete": False}), encoding="utf-8")
    run.pool_labels.path.write_bytes(b"".join(lines[:8]) + lines[8][:20])
    again = ask(run)
    assert (again.counts["reused"], again.counts["new"]) == (4 + 8, 12)
    assert run.pool_labels.path.read_bytes() == before


def test_a_text_that_was_changed_by_hand_is_labelled_anew(run: Run, other: Path, teacher_folder: Path) -> None:
    gather(run, other, 6)
    ask(run, teacher_folder)
    row, *rest = run.pool.read()
    run.pool.path.unlink()
    append_records(run.pool.path, [row.replace(text="a good and clever story"), *rest[:-1]])
    with pytest.raises(CodError, match="was made for another text"):
        read_trainset(run, "pool")
    counts = ask(run).counts
    assert (counts["new"], counts["gone"]) == (1, 1)
    assert len(read_trainset(run, "pool").rows) == 4 + 5


def labelled(run: Run, other: Path, teacher: Path, n: int = 20) -> Run:
    gather(run, other, n)
    ask(run, teacher)
    return run


def student(run: Run, tmp_path: Path, mix: str, **options: Any) -> dict[str, Any]:
    base = tiny_base(tmp_path / "base", layers=1) if not (tmp_path / "base").exists() else tmp_path / "base"
    settings = DistillSettings(student=str(base), mix=mix, method="kd", device="cpu", **options)
    distill(run, settings, Ui.silent())
    made: dict[str, Any] = yaml.safe_load((run.student(f"kd-{mix}") / "settings.yaml").read_text(encoding="utf-8"))
    return made


def test_the_pool_is_trained_on_beside_the_shots(run: Run, other: Path, teacher_folder: Path, tmp_path: Path) -> None:
    made = student(labelled(run, other, teacher_folder), tmp_path, "pool")
    assert (made["rows"], made["shots"], made["steps"]) == (24, 4, 320)
    assert {"2-pool.jsonl", "3-pool-soft-labels.jsonl"} <= made["inputs"].keys()


def test_all_takes_the_pool_also_where_there_are_no_counterfactuals(
    run: Run, other: Path, teacher_folder: Path
) -> None:
    run = labelled(run, other, teacher_folder)
    assert read_trainset(run, "all").sha() == read_trainset(run, "pool").sha()


def test_all_takes_contrast_sets_and_the_pool_and_twice_the_steps(
    other: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "made")
    finish(run.shots, SHOTS, settings={"data": str(other), "split": None})
    finish(run.counterfactuals, CFES)
    made = student(labelled(run, other, teacher_folder), tmp_path, "all")
    pool_rows, contrast = (read_trainset(run, mix) for mix in ("pool", "contrast"))
    assert made["rows"] == len(contrast.rows) + pool_rows.pool
    assert made["steps"] == 640
    assert made["settings"]["steps"] == 640


def test_the_class_of_a_text_is_the_one_that_its_logits_are_for(run: Run, other: Path, teacher_folder: Path) -> None:
    rows = read_trainset(labelled(run, other, teacher_folder), "pool").rows[4:]
    assert {row.label for row in rows} == {0, 1}
    assert all(row.logits[row.label] == max(row.logits) for row in rows)


def test_a_pool_of_another_teacher_is_refused(run: Run, other: Path, teacher_folder: Path) -> None:
    run = labelled(run, other, teacher_folder)
    manifest = json.loads(run.pool_labels.meta.read_text(encoding="utf-8"))
    run.pool_labels.meta.write_text(json.dumps(manifest | {"teacher": "other"}), encoding="utf-8")
    with pytest.raises(CodError, match="is by another teacher"):
        read_trainset(run, "pool")


def test_without_labels_the_command_that_makes_them_is_named(run: Run, other: Path, teacher_folder: Path) -> None:
    ask(run, teacher_folder)
    gather(run, other)
    with pytest.raises(CodError, match=r"3-pool-soft-labels\.jsonl does not exist") as failed:
        read_trainset(run, "all")
    assert "cod label" in str(failed.value.hint)


@pytest.mark.parametrize("words", ["--from a.jsonl --model m", "", "--model m --split train", "--from a.jsonl -n 0"])
def test_options_that_do_not_fit_are_usage_errors(words: str, run: Run) -> None:
    assert CliRunner().invoke(app, ["pool", str(run.folder), *words.split()]).exit_code == 2


def test_the_command_prints_what_was_left_out_and_as_json(run: Run, other: Path) -> None:
    words = ["pool", str(run.folder), "--from", str(other), "-n", "500"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert "4 equal to a shot, 20 equal to a row that is scored" in done.output.replace("\n", " ")
    said = json.loads(CliRunner().invoke(app, [*words, "--json", "-q"]).stdout)
    assert (said["added"], said["counts"]["scored"]) == (0, 20)


def test_soft_labels_of_the_pool_are_soft_labels(run: Run, other: Path, teacher_folder: Path) -> None:
    rows = labelled(run, other, teacher_folder).pool_labels.read()
    assert [row.id for row in rows] == [row.id for row in run.pool.read()]
    assert all(isinstance(row, SoftLabel) for row in rows)


def test_a_pool_needs_one_source() -> None:
    with pytest.raises(UsageError, match="no source, or two"):
        PoolSettings()


def test_diverse_texts_are_taken_in_the_space_of_the_recorded_teacher(
    run: Run, other: Path, teacher_folder: Path
) -> None:
    gather(run, other, 5)
    ask(run, teacher_folder)
    with pytest.raises(UsageError, match="has no model to read the texts"):
        gather(Run(run.folder), other, 8, force=True, pick="diverse", teacher="openai:m")
    result = gather(run, other, 8, force=True, pick="diverse")
    assert (result.texts, result.counts["candidates"]) == (8, 80)
    diverse = texts(run)
    gather(run, other, 8, force=True)
    assert texts(run) != diverse


def test_a_balanced_pool_has_as_many_texts_of_each_class(run: Run, tmp_path: Path, teacher_folder: Path) -> None:
    rare = [row for row in ROWS[40:] if row[1] == "positive"][:6]
    common = [row for row in ROWS[40:] if row[1] == "negative"][:60]
    source = write_rows(tmp_path / "skewed.jsonl", [*common, *rare])
    result = gather(run, source, 10, balance=True, teacher=str(teacher_folder))
    assert (result.counts["texts_negative"], result.counts["texts_positive"]) == (5, 5)
    assert 10 <= result.counts["teacher_queries"] <= 66
    asked = label(run, LabelSettings(teacher=str(teacher_folder)), Ui.silent())
    assert isinstance(asked, LabelResult)
    assert asked.counts["from_cache"] == 10


@pytest.mark.parametrize(
    "words",
    ["--pick diverse --balance", "--encoder m", "--pick some", "--model m --balance", "--model m --pick diverse"],
)
def test_picks_that_do_not_fit_are_usage_errors(words: str, run: Run) -> None:
    source = [] if "--model" in words else ["--from", "a.jsonl"]
    assert CliRunner().invoke(app, ["pool", str(run.folder), *source, *words.split()]).exit_code == 2


def test_show_prints_the_texts_with_the_teachers_choice(run: Run, other: Path, teacher_folder: Path) -> None:
    words = ["show", str(run.folder), "--pool"]
    assert CliRunner().invoke(app, words).exit_code == 1
    gather(run, other, 6)
    assert "not labelled yet" in CliRunner().invoke(app, words).output
    ask(run, teacher_folder)
    rows = read_trainset(run, "pool").rows[4:]
    told = json.loads(CliRunner().invoke(app, [*words, "--json", "-q", "-n", "3"]).stdout)
    assert [(row["id"], row["label"]) for row in told["texts"]] == [
        (row.id, ["negative", "positive"][row.label]) for row in rows[:3]
    ]
    assert (told["total"], sum(told["chosen"].values())) == (6, 6)
    assert f"{rows[0].id}  " in CliRunner().invoke(app, words).output


def test_a_report_counts_each_text_as_a_query(run: Run, other: Path, teacher_folder: Path) -> None:
    run = labelled(run, other, teacher_folder)
    taken = results._take(run, "pool")
    assert (taken.queries, taken.tokens, taken.money) == (20, 0, 0.0)
    assert results._take(run, "all") == taken
