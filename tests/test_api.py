"""`cod` from Python: the README's lines run, nothing is printed, nothing heavy is imported before it is needed."""

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cod_cli
from cod_cli import EvalSettings, LabelSettings, Run, SampleSettings, evaluate, label, sample
from cod_cli.errors import CodError
from tests.models.tiny import tiny_base
from tests.stages.students import TRAIN, VALIDATION, write_rows

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where the README's names stand for tiny models and data."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "reviews" / "train.jsonl", TRAIN)
    write_rows(tmp_path / "reviews" / "validation.jsonl", VALIDATION)
    shutil.copytree(teacher_folder, tmp_path / "my-org" / "my-teacher")
    tiny_base(tmp_path / "my-org" / "small-encoder")
    return tmp_path


def readme_lines() -> str:
    [block] = re.findall(r"^```python\n(from cod_cli import .*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(block.splitlines()) <= 10
    return block


def test_the_readmes_lines_run_the_whole_pipeline_and_print_nothing_themselves(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    quick = readme_lines().replace('"16"', '"4"').replace('"editor"', '"editor", per_shot=1')
    capfd.readouterr()
    shown: list[tuple[str, float, float]] = []
    exec(quick.replace('"0,1,2"', '"0", steps=2'), {"print": lambda *words: shown.append(words)})
    assert [name for name, *_ in shown] == ["teacher", "majority", "lwd-all"]
    assert all(0 <= accuracy <= 1 for _, accuracy, _ in shown)
    assert capfd.readouterr() == ("", "")


def test_results_are_records_and_a_runs_files_can_be_read(place: Path) -> None:
    drawn = sample("run", SampleSettings(data="reviews", shots="4"))
    label("run", LabelSettings(teacher="my-org/my-teacher"))
    assert (drawn.shots, drawn.labels) == (4, ("negative", "positive"))
    assert [soft.id for soft in Run("run").soft_labels.read()] == [shot.id for shot in Run("run").shots.read()]


def test_what_a_command_would_say_is_logged(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="cod_cli"):
        sample("run", SampleSettings(data="reviews", shots="4"))
        sample("run", SampleSettings(data="reviews", shots="4"))
    assert any("already" in message or "nothing" in message for message in caplog.messages)


def test_what_goes_wrong_is_raised(place: Path) -> None:
    with pytest.raises(CodError, match="run"):
        evaluate("run", EvalSettings())


def test_nothing_heavy_is_imported_before_a_stage_runs() -> None:
    code = (
        "import sys, cod_cli\nlight = len(sys.modules)\n"
        "from cod_cli import sample, distill, DistillSettings\n"
        "DistillSettings(student='s')\n"
        "print(light < 100, sorted({'torch', 'transformers', 'datasets', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "[]"]


def test_the_package_has_what_it_lists_and_nothing_else() -> None:
    assert all(hasattr(cod_cli, name) for name in cod_cli.__all__)
    with pytest.raises(AttributeError, match="'smaple'"):
        cod_cli.smaple  # noqa: B018
