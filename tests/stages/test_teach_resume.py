"""`cod teach` interrupted and gone on: the same bits as without; the best epoch; adapters."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cod_cli.errors import CodError, UsageError
from cod_cli.models.load import load_classifier
from cod_cli.settings.teach import TeachSettings
from cod_cli.stages import teach as stage
from cod_cli.stages.teach import teach
from cod_cli.ui import Ui
from tests.models.tiny import tiny_base
from tests.stages.teaching import run, weights, write

STEPS = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """48 rows to train on, six steps an epoch; every step is saved."""
    monkeypatch.setattr(stage, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(stage, "CHECKPOINT_SHARE", 0.0)
    folder = tmp_path / "films"
    folder.mkdir()
    for split, seed in (("train", 0), ("validation", 1)):
        write(folder / f"{split}.jsonl", seed)
    return folder


class Stopping(Ui):
    """Interrupts the training as step ``at`` is done, before it is saved."""

    def __init__(self, at: int) -> None:
        super().__init__(quiet=True)
        self.left = at + 1

    @contextmanager
    def progress(self, description: str, *, total: int | None = None) -> Iterator[Any]:
        def advance(steps: int = 1, *, detail: str = "") -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

        yield advance


def interrupted(out: Path, data: Path, model: Path, at: int, **options: object) -> None:
    chosen = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "max_length": 64, "device": "cpu", **options}
    settings = TeachSettings(data=str(data), model=str(model), **chosen)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        teach(out, settings, Stopping(at))


def checkpoint(out: Path) -> Path:
    return out.with_name(f"{out.name}.checkpoint.safetensors")


@pytest.mark.parametrize("at", [1, 4, 6, 9])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, data: Path, base: Path, at: int) -> None:
    whole = run(tmp_path / "whole", data, base, epochs=2)
    interrupted(tmp_path / "out", data, base, at)
    assert not (tmp_path / "out").exists()
    result = run(tmp_path / "out", data, base, epochs=2, resume=True)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert result.teacher.validation == whole.teacher.validation
    assert (tmp_path / "out/history.jsonl").read_text() == (tmp_path / "whole/history.jsonl").read_text()
    assert not checkpoint(tmp_path / "out").exists()


def test_it_does_go_on_and_not_begin_again(tmp_path: Path, data: Path, base: Path) -> None:
    interrupted(tmp_path / "out", data, base, 9)
    interrupted(tmp_path / "out", data, base, 2, resume=True)
    with pytest.raises(CodError, match=f"at step 11 of {STEPS}"):
        run(tmp_path / "out", data, base, epochs=2)


def test_a_checkpoint_is_neither_overwritten_nor_mixed(tmp_path: Path, data: Path, base: Path) -> None:
    interrupted(tmp_path / "out", data, base, 4)
    with pytest.raises(CodError, match="an interrupted training") as caught:
        run(tmp_path / "out", data, base, epochs=2)
    assert "--resume" in str(caught.value.hint)
    with pytest.raises(CodError, match=r"lr: 0\.001 → 0\.1"):
        run(tmp_path / "out", data, base, epochs=2, lr=0.1, resume=True)
    write(data / "train.jsonl", seed=7)
    with pytest.raises(CodError, match="the rows have changed"):
        run(tmp_path / "out", data, base, epochs=2, resume=True)
    assert run(tmp_path / "out", data, base, epochs=2, force=True).fresh


def test_a_torn_checkpoint_is_named(tmp_path: Path, data: Path, base: Path) -> None:
    interrupted(tmp_path / "out", data, base, 4)
    checkpoint(tmp_path / "out").write_bytes(checkpoint(tmp_path / "out").read_bytes()[:900])
    with pytest.raises(CodError, match="is damaged") as caught:
        run(tmp_path / "out", data, base, epochs=2, resume=True)
    assert "--force" in str(caught.value.hint)


def test_a_checkpoint_without_notes_is_named(tmp_path: Path, data: Path, base: Path) -> None:
    save_file({"weight.a": torch.zeros(1)}, checkpoint(tmp_path / "out"))
    with pytest.raises(CodError, match="does not say what it belongs to") as caught:
        run(tmp_path / "out", data, base, epochs=2, resume=True)
    assert "--force" in str(caught.value.hint)


def test_resume_without_a_checkpoint_starts_and_contradicts_force(tmp_path: Path, data: Path, base: Path) -> None:
    assert run(tmp_path / "out", data, base, resume=True).fresh
    with pytest.raises(UsageError, match="--resume goes on"):
        run(tmp_path / "out", data, base, resume=True, force=True)


def test_the_best_epoch_is_kept_where_it_is_asked_for(tmp_path: Path, data: Path, base: Path) -> None:
    options: dict[str, Any] = {"lr": 5e-3, "epochs": 8}
    last = run(tmp_path / "last", data, base, **options)
    accuracies = last.teacher.validation
    best = run(tmp_path / "best", data, base, keep_best=True, **options)
    assert best.teacher.validation == accuracies
    assert max(accuracies) > accuracies[-1], "the test needs a run whose last epoch is not its best"
    assert best.teacher.best_epoch == accuracies.index(max(accuracies)) + 1
    assert best.teacher.accuracy == max(accuracies)
    assert stage._accuracy(  # the weights on disk are those of that epoch
        load_classifier(str(tmp_path / "best"), device="cpu"),
        stage._load(TeachSettings(data=str(data), model="m"), "validation").rows,
        TeachSettings(data=str(data), model="m"),
    ) == max(accuracies)
    assert "chosen on these very rows" in (tmp_path / "best" / "README.md").read_text()


def test_the_best_weights_outlive_an_interruption(tmp_path: Path, data: Path, base: Path) -> None:
    options: dict[str, Any] = {"lr": 5e-3, "epochs": 8, "keep_best": True}
    best = run(tmp_path / "whole", data, base, **options)
    assert best.teacher.best_epoch is not None
    interrupted(tmp_path / "out", data, base, at=6 * best.teacher.best_epoch + 3, **options)
    run(tmp_path / "out", data, base, resume=True, **options)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


def test_the_best_of_no_validation_is_refused(tmp_path: Path, data: Path, base: Path) -> None:
    with pytest.raises(UsageError, match="--keep-best"):
        run(tmp_path / "out", data / "train.jsonl", base, keep_best=True)


def test_adapters_train_resume_and_leave_an_ordinary_model(tmp_path: Path, data: Path, base: Path) -> None:
    pytest.importorskip("peft")
    options: dict[str, Any] = {"lora": 4, "lr": 1e-2}
    result = run(tmp_path / "whole", data, base, epochs=2, **options)
    interrupted(tmp_path / "out", data, base, 7, **options)
    names = load_file(checkpoint(tmp_path / "out"))
    assert not any("word_embeddings" in name for name in names)
    run(tmp_path / "out", data, base, epochs=2, resume=True, **options)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert result.teacher.parameters == load_classifier(str(tmp_path / "out"), device="cpu").model.num_parameters()


_EVERY_STEP = (
    "import cod_cli.stages.teach as t; t.CHECKPOINT_SECONDS = t.CHECKPOINT_SHARE = 0.0; "
    "import sys; sys.argv[0] = 'cod'; from cod_cli.cli.app import main; main()"
)


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bits(tmp_path: Path, data: Path, base: Path) -> None:
    options = ["--epochs", "30", "--batch-size", "8", "--lr", "1e-3", "--max-length", "64", "--device", "cpu"]
    command = [sys.executable, "-c", _EVERY_STEP, "teach"]
    rest = ["--data", str(data), "--model", str(base), *options]
    subprocess.run([*command, str(tmp_path / "whole"), *rest], check=True)
    process = subprocess.Popen([*command, str(tmp_path / "out"), *rest])
    while not checkpoint(tmp_path / "out").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run([*command, str(tmp_path / "out"), *rest, "--resume"], check=True, stderr=subprocess.PIPE)
    assert b"going on after step" in done.stderr
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert len([json.loads(line) for line in (tmp_path / "out/history.jsonl").open()]) == 180


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(
    data: Path, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".t.checkpoint.safetensors.part").mkdir()
    assert run(tmp_path / "t", data, base).fresh
    assert "t.checkpoint.safetensors cannot be written" in caplog.text
