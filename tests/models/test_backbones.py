"""What a student takes over of a pretrained model: layers, weights, and a head drawn from the seed."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AlbertModel

from cod_cli.errors import CodError, UsageError
from cod_cli.models.inference import logits_of
from cod_cli.models.load import Classifier, load_classifier
from tests.models.tiny import Family, load_student, tiny_base, tiny_classifier, tiny_tokenizer

FAMILIES = get_args(Family)
LAYERS = [(family, 3, [1, 3, 5]) for family in FAMILIES]


def layer(classifier: Classifier, index: int) -> dict[str, torch.Tensor]:
    """The weights of one layer by their names in it."""
    weights = classifier.model.state_dict()
    found = {name: w for name, w in weights.items() if f".{index}." in name}
    return {name.split(f".{index}.", 1)[1]: weight for name, weight in found.items()}


@pytest.mark.parametrize(
    ("family", "n", "kept"), [*LAYERS, ("bert", 2, [2, 5]), ("bert", 4, [0, 2, 3, 5]), ("bert", 1, [5])]
)
def test_a_student_keeps_evenly_spaced_layers(family: Family, n: int, kept: list[int], tmp_path: Path) -> None:
    folder = str(tiny_classifier(tmp_path, family=family, layers=6))
    whole = load_classifier(folder)
    student = load_student(folder, ["a", "b"], layers=n)
    assert student.model.config.num_hidden_layers == n
    assert not layer(student, n)
    for index, source in enumerate(kept):
        mine, its = layer(student, index), layer(whole, source)
        # ModernBERT's first layer has no norm before its attention.
        assert mine.keys() == its.keys() - ({"attn_norm.weight"} if family == "modernbert" and index == 0 else set())
        assert all(torch.equal(mine[name], its[name]) for name in mine)


def test_a_cut_decoder_keeps_the_types_of_its_layers(tmp_path: Path) -> None:
    folder = tiny_base(tmp_path, family="qwen2", layers=6)
    config = json.loads((folder / "config.json").read_text())
    types = ["full_attention"] * 3 + ["sliding_attention"] * 3
    config |= {"layer_types": types, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 3}
    (folder / "config.json").write_text(json.dumps(config))
    student = load_student(str(folder), ["a", "b"], layers=3)
    assert student.model.config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]
    assert [module.layer_idx for module in student.model.modules() if hasattr(module, "layer_idx")] == [0, 1, 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_student_and_another_seed_another_head(family: Family, tmp_path: Path) -> None:
    folder = str(tiny_base(tmp_path, family=family))
    first, same, other = (load_student(folder, ["a", "b", "c"], seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], other[name])}
    assert changed
    assert changed <= {"classifier", "pre_classifier", "pooler", "head", "score"}


def test_weights_that_a_checkpoint_lacks_are_drawn_from_the_seed_too(tmp_path: Path) -> None:
    folder = tiny_base(tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file({name: w for name, w in weights.items() if "pooler" not in name}, folder / "model.safetensors")
    first, same = (load_student(str(folder), ["a", "b"], seed=3).model.state_dict() for _ in range(2))
    assert first["bert.pooler.dense.weight"].std() > 0
    assert all(torch.equal(first[name], same[name]) for name in first)


def test_a_student_does_not_disturb_random_numbers(tmp_path: Path) -> None:
    folder = str(tiny_base(tmp_path))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load_student(folder, ["a", "b"])
    assert torch.equal(torch.rand(3), expected)


def test_a_head_of_another_task_is_discarded_even_where_its_shape_fits(teacher_folder: Path) -> None:
    teacher, student = load_classifier(str(teacher_folder)), load_student(str(teacher_folder), ["dog", "cat"])
    assert student.labels == ("dog", "cat")
    assert student.model.config.id2label == {0: "dog", 1: "cat"}
    head = student.model.state_dict()["classifier.weight"]
    assert not torch.equal(head, teacher.model.state_dict()["classifier.weight"])


def test_modernberts_pretrained_transform_comes_along_but_a_finished_tasks_does_not(tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path, family="modernbert")
    pretrained = load_classifier(str(folder)).model.state_dict()["head.dense.weight"]
    assert not torch.equal(
        load_student(str(folder), ["a", "b"], seed=5).model.state_dict()["head.dense.weight"], pretrained
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["ModernBertForMaskedLM"]}))
    assert torch.equal(
        load_student(str(folder), ["a", "b"], seed=5).model.state_dict()["head.dense.weight"], pretrained
    )


def test_more_layers_than_there_are_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--student-layers is 3; .* has 2"):
        load_student(str(tiny_base(tmp_path)), ["a", "b"], layers=3)


def test_layers_that_share_their_weights_cannot_be_cut(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(["the film is good"])
    config = AlbertConfig(
        vocab_size=len(tokenizer), embedding_size=8, hidden_size=32, num_attention_heads=2, intermediate_size=32
    )
    AlbertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert np.isfinite(logits_of(load_student(str(tmp_path), ["a", "b"]), ["good"])).all()
    with pytest.raises(CodError, match=r"layers of .* cannot be told apart"):
        load_student(str(tmp_path), ["a", "b"], layers=3)
