"""Several processes that train one model: shares of a batch, and the same weights as by one process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cod_cli.errors import UsageError
from cod_cli.training.batches import Batch, share_of
from cod_cli.training.processes import Processes, join_processes
from tests.models.tiny import tiny_base
from tests.stages.teaching import run, write


def batch(rows: int) -> Batch:
    numbers = torch.arange(rows)
    inputs = {"input_ids": numbers.repeat(3, 1).T}
    return Batch(tuple(f"r{i}" for i in range(rows)), inputs, numbers, numbers.float().unsqueeze(1))


@pytest.mark.parametrize(("rows", "count"), [(8, 2), (9, 2), (7, 3), (2, 4), (1, 2)])
def test_shares_are_the_whole_and_their_weighted_means_average_to_its_mean(rows: int, count: int) -> None:
    whole = batch(rows)
    shares = [share_of(whole, Processes(rank, count, "cpu")) for rank in range(count)]
    taken = [name for share in shares if share.weight for name in share.ids]
    assert sorted(taken) == sorted(whole.ids)
    means = [share.weight * share.logits.mean() for share in shares]
    assert torch.stack(means).mean() == pytest.approx(whole.logits.mean().item())
    for share in shares:
        assert share.ids == tuple(f"r{i}" for i in share.labels.tolist())
        assert share.inputs["input_ids"][:, 0].tolist() == share.labels.tolist()


def test_one_process_keeps_the_batch_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = batch(3)
    assert share_of(whole, Processes(0, 1, "cpu")) is whole
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes("auto") == Processes(0, 1, "auto")


@pytest.mark.slow
def test_two_processes_train_the_same_teacher_as_one(tmp_path: Path) -> None:
    base, data = tiny_base(tmp_path / "base"), tmp_path / "films"
    config = json.loads((base / "config.json").read_text())
    # Dropout differs between the two, as it must.
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (base / "config.json").write_text(json.dumps(config))
    data.mkdir()
    for split, seed in (("train", 0), ("validation", 1)):
        write(data / f"{split}.jsonl", seed)
    # 48 rows in batches of 9 or so: shares of unequal size.
    alone = run(tmp_path / "alone", data, base, epochs=2, batch_size=9)
    script = tmp_path / "cod.py"
    script.write_text("from cod_cli.cli.app import main\n\nmain()\n")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", str(script)]
    options = ["--epochs", "2", "--batch-size", "9", "--lr", "1e-3", "--max-length", "64", "--device", "cpu", "--json"]
    command = [*launch, "teach", str(tmp_path / "two"), "--data", str(data), "--model", str(base), *options]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    assert json.loads(printed)["teacher"]["steps"] == alone.teacher.steps
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-5, msg=name)
    lines = [(tmp_path / name / "history.jsonl").read_text().splitlines() for name in ("alone", "two")]
    for mine, theirs in zip(*lines, strict=True):
        assert json.loads(theirs)["total"] == pytest.approx(json.loads(mine)["total"], rel=1e-4)


def test_a_number_of_processes_that_is_none_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "abc")
    with pytest.raises(UsageError, match="WORLD_SIZE is 'abc'"):
        join_processes("cpu")
