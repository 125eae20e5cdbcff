"""The worked examples run from end to end, on their own small data, with tiny models and an LLM on loopback.

A shell runs each script with a `cod` that writes down how it is called; the calls are then made here, in one process,
since starting it ten times would take most of the time.
"""

import csv
import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cod_cli.cli.app import app
from cod_cli.records import Counterfactual
from cod_cli.settings.teach import TeachSettings
from cod_cli.stages.teach import teach
from cod_cli.store.jsonl import read_records
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.llm.editing import text_in
from tests.llm.fake_llm import Answer, Body, FakeLLM, logprobs
from tests.models.tiny import tiny_base

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "tests" / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.sh"))


def base(folder: Path, data: str) -> Path:
    """A tiny model that knows the words of an example's data and has seen its classes, as a pretrained one would."""
    with (EXAMPLES / data / "train.csv").open(encoding="utf-8", newline="") as file:
        *columns, label = next(reader := csv.reader(file))
        texts = ["\n".join(f"{name}: {value}" for name, value in zip(columns, row, strict=False)) for row in reader]
    tiny_base(folder / "new", texts)
    settings = TeachSettings(
        data=str(EXAMPLES / data), model=str(folder / "new"), text_column=tuple(columns), label_column=label,
        epochs=12, lr=5e-3, batch_size=16, device="cpu",
    )  # fmt: skip
    teach(folder / "base", settings, Ui.silent())
    return folder / "base"


def calls(script: Path, out: Path, **environment: str) -> list[list[str]]:
    """The words of each call of `cod` in a script, with all that the shell puts in their places."""
    tool, log = out.parent / "bin" / "cod", out.parent / "calls"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\n{{ printf "%s\\0" "$@"; printf "\\0"; }} >> "{log}"\n', encoding="utf-8")
    tool.chmod(0o755)
    out.mkdir()
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", str(script), str(out)], env=os.environ | environment | {"PATH": path}, check=True)
    return [call.split("\0") for call in log.read_text(encoding="utf-8").removesuffix("\0\0").split("\0\0")]


def run_example(name: str, out: Path, **environment: str) -> list[Result]:
    """What each call of a script came to."""
    done = []
    for words in calls(EXAMPLES / name, out, **environment):
        done.append(CliRunner().invoke(app, words))
        assert done[-1].exit_code == 0, f"cod {' '.join(words)}: {done[-1].output}"
    return done


def counterfactuals(out: Path) -> list[Counterfactual]:
    return read_records(Run(out / "run").counterfactuals.path, Counterfactual)


def predicted(last: Result) -> list[str]:
    return [json.loads(line)["label"] for line in last.stdout.splitlines()]


def writer_and_teacher(body: Body) -> Answer | str:
    """An LLM to which a payment is fraud where it was entered online, and which edits just that."""
    text = text_in(body)
    online = "entry: online" in text
    if "Which class?" in body["messages"][-1]["content"]:
        p = 0.9 if online else 0.1
        return Answer(("A",), "length", logprobs=logprobs(("A", [("A", math.log(p)), ("B", math.log(1 - p))])))
    if online:
        return text.replace("entry: online", "entry: chip")
    return text.replace("entry: chip", "entry: online").replace("entry: contactless", "entry: online")


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_stops_at_its_first_failure(name: str) -> None:
    script = EXAMPLES / name
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)


@needs_bash
def test_tickets_of_three_classes(tmp_path: Path) -> None:
    done = run_example("tickets.sh", tmp_path / "out", MODEL=str(base(tmp_path, "tickets")))
    assert {row.label for row in counterfactuals(tmp_path / "out")} == {"billing", "bug", "feature request"}
    assert len(predicted(done[-1])) == 30
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


@needs_bash
def test_rows_of_a_table_as_text(tmp_path: Path) -> None:
    done = run_example("fraud.sh", tmp_path / "out", MODEL=str(base(tmp_path, "fraud")))
    edited = counterfactuals(tmp_path / "out")
    assert edited
    assert all(row.text.startswith("merchant: ") and "\nentry: " in row.text for row in edited)
    assert set(predicted(done[-1])) == {"fraud", "ok"}


@needs_bash
def test_a_teacher_that_is_an_llm_behind_an_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeLLM(writer_and_teacher) as llm:
        monkeypatch.setenv("OPENAI_BASE_URL", llm.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        run_example("black-box.sh", tmp_path / "out", LLM="m", MODEL=str(base(tmp_path, "fraud")))
    assert counterfactuals(tmp_path / "out")
    agreement = {score.student: score.agreement for score in Run(tmp_path / "out" / "run").scores.read()}
    assert agreement["kd-all"] is not None
