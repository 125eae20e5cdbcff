"""The command that each command proposes next runs as it is printed; what nobody can know is in capitals."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cod_cli.cli.app import app
from tests.models.tiny import sentences, tiny_base


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name has to be quoted, with a training and a test split and a model to start from."""
    folder = tmp_path / "my runs"
    (folder / "data").mkdir(parents=True)
    rows = [{"body": text, "label": name} for text, name in dict(sentences(400)).items()]
    for split, part in (("train", rows[:40]), ("test", rows[40:])):
        (folder / "data" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    tiny_base(folder / "base")
    return folder


def cod(words: list[str]) -> list[list[str]]:
    """Run a command; the commands that it proposes next, by their words."""
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (words, done.output, done.exception)
    proposed = re.findall(r"^next: (.*(?:\n.+)*)$", done.stdout, re.MULTILINE)
    lines = [line for found in proposed for line in " ".join(found.split()).split("; ")]
    return [shlex.split(line)[1:] for line in lines]


def follow(words: list[str], known: dict[str, str], **more: list[str]) -> list[str]:
    """Run a command and what it proposes, one after the other, to the end; the names of the commands that ran."""
    ran, open_ = [], [words]
    while open_:
        line = open_.pop(0)
        line = [known.get(word, word) for word in line] + more.get(line[0], [])
        assert not [word for word in line if word.isupper() and len(word) > 1], line
        ran.append(line[0])
        open_ += cod(line)
    return ran


QUICK = ["--epochs", "1", "--method", "kd", "--mix", "shots"]


def test_from_the_shots_to_the_scores(folder: Path, teacher_folder: Path) -> None:
    known = {"TEACHER": str(teacher_folder), "STUDENT": str(folder / "base")}
    first = ["sample", str(folder / "r"), "--data", str(folder / "data"), "--text-column", "body", "-k", "4"]
    ran = follow(first, known, distill=QUICK)
    assert ran == ["sample", "counterfact", "show", "label", "distill", "eval"]


def test_from_a_teacher_to_its_counterfactuals(folder: Path) -> None:
    base, data = str(folder / "base"), str(folder / "data")
    first = ["teach", str(folder / "t"), "--data", data, "--model", base, "--text-column", "body", "--epochs", "1"]
    sampled, written = cod(first)
    assert sampled == ["sample", "RUN", "--data", data, "--text-column", "body"]
    assert written == ["counterfact", "RUN", "--generator", "editor", "--teacher", str(folder / "t")]
    run = {"RUN": str(folder / "r")}
    assert follow(sampled, run | {"TEACHER": str(folder / "t"), "STUDENT": base}, distill=QUICK)[:2] == [
        "sample",
        "counterfact",
    ]


def test_from_a_rival_to_a_student(folder: Path, teacher_folder: Path) -> None:
    cod(["sample", str(folder / "r"), "--data", str(folder / "data"), "--text-column", "body", "-k", "4"])
    first = ["rival", str(folder / "r"), "--kind", "aeda", "--teacher", str(teacher_folder)]
    ran = follow(first, {"STUDENT": str(folder / "base")}, distill=["--epochs", "1", "--method", "kd"])
    assert ran == ["rival", "label", "distill", "distill", "eval", "eval"]


@pytest.mark.parametrize("known", [True, False])
def test_from_a_pool_to_a_student(folder: Path, teacher_folder: Path, known: bool) -> None:
    run = str(folder / "r")
    cod(["sample", run, "--data", str(folder / "data"), "--text-column", "body", "-k", "4"])
    if known:
        cod(["label", run, "--teacher", str(teacher_folder)])
    texts = [json.dumps({"text": f"{text} again {i}"}) + "\n" for i, (text, _) in enumerate(sentences(9, seed=8))]
    (folder / "texts.jsonl").write_text("".join(texts))
    first = ["pool", run, "--from", str(folder / "texts.jsonl"), "-n", "5"]
    names = {"STUDENT": str(folder / "base")} | ({} if known else {"TEACHER": str(teacher_folder)})
    assert follow(first, names, distill=QUICK) == ["pool", "label", "distill", "eval"]


def test_where_nothing_was_accepted_it_is_told_why_and_what_to_do(folder: Path, teacher_folder: Path) -> None:
    run = str(folder / "r")
    cod(["sample", run, "--data", str(folder / "data"), "--text-column", "body", "-k", "4"])
    shots = [json.loads(line) for line in (folder / "r" / "1-shots.jsonl").read_text().splitlines()]
    pairs = [{"id": shot["id"], "text": f"{shot['text']} !", "label": "positive"} for shot in shots]
    pairs = [pair for pair, shot in zip(pairs, shots, strict=True) if shot["label"] == "negative"]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    words = ["counterfact", run, "--generator", "file", "--from", str(folder / "pairs.jsonl"), "--teacher"]
    done = CliRunner().invoke(app, [*words, str(teacher_folder)])
    assert (done.exit_code, "nothing was accepted" in done.stdout) == (0, True)
    assert cod([*words, str(teacher_folder)]) == [["show", run, "--rejected"]]
    shown = CliRunner().invoke(app, ["show", run])
    assert "no counterfactual was accepted: 2 no-flip" in " ".join(shown.stdout.split())


def test_a_run_that_is_not_there_is_not_sent_to_its_second_stage(tmp_path: Path) -> None:
    failed = CliRunner().invoke(app, ["show", str(tmp_path / "nothing")])
    assert (failed.exit_code, "cod sample" in failed.stderr) == (1, True)
