"""What training needs at least: counted without loading a weight, and refused where it is not there."""

from pathlib import Path

import pytest
import torch

from cod_cli.errors import CodError
from cod_cli.models import memory
from cod_cli.models.memory import container_bytes, free_bytes, need_of, require_room
from tests.models.tiny import Family, load_student, tiny_base

LABELS = ("negative", "neutral", "positive")


@pytest.mark.parametrize("family", ["bert", "deberta", "qwen2"])
def test_parameters_are_counted_as_the_model_has_them(tmp_path: Path, family: Family) -> None:
    folder = tiny_base(tmp_path / family, family=family)
    model = load_student(str(folder), LABELS, device="cpu").model
    embedding = model.get_input_embeddings().weight.numel()
    need = need_of(str(folder), LABELS)
    assert need.parameters == model.num_parameters()
    assert need.trained == need.parameters - embedding
    # Weights; and for those trained a gradient, two moments and a copy.
    assert need.bytes == 4 * need.parameters + 16 * need.trained


def test_adapters_need_less(tmp_path: Path) -> None:
    folder = tiny_base(tmp_path / "base", hidden=32, layers=1)
    model = load_student(str(folder), LABELS, device="cpu").model
    shapes = [module.weight.shape for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert need_of(str(folder), LABELS, lora=2).trained == sum(2 * (rows + columns) for rows, columns in shapes)


def test_what_cannot_fit_is_refused_with_numbers_and_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tiny_base(tmp_path / "base", hidden=256))
    need, small = need_of(folder, LABELS), need_of(folder, LABELS, lora=memory.LORA_RANK)
    assert small.bytes < need.bytes
    monkeypatch.setattr(memory, "free_bytes", lambda device: need.bytes)
    require_room(folder, LABELS, device="cpu")
    monkeypatch.setattr(memory, "free_bytes", lambda device: need.bytes - 1)
    with pytest.raises(CodError, match=r"cannot be trained on cpu.*parameters need at least") as caught:
        require_room(folder, LABELS, device="cpu")
    assert "--lora 16" in str(caught.value.hint)
    monkeypatch.setattr(memory, "free_bytes", lambda device: small.bytes - 1)
    with pytest.raises(CodError) as caught:
        require_room(folder, LABELS, device="cpu")
    assert "--lora" not in str(caught.value.hint)


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    for name, text in (
        ("memory.max", "1000\n"),
        ("memory.current", "700\n"),
        ("memory.stat", "anon 500\ninactive_file 150\n"),
    ):
        (tmp_path / name).write_text(text)
    assert container_bytes(tmp_path) == 1000 - (700 - 150)
    (tmp_path / "memory.max").write_text("max\n")
    assert container_bytes(tmp_path) > 2**60
    assert container_bytes(tmp_path / "none") > 2**60


def test_this_machine_has_some_memory_left() -> None:
    assert 0 < free_bytes(torch.device("cpu")) < 2**50
