"""LWD and TED as a student trains: the loss, the step, what moves and what does not."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import Tensor, nn

from cod_cli.models.load import Classifier, load_classifier
from cod_cli.training.batches import Batch, BatchLoader
from cod_cli.training.layers import MatchedStudent
from cod_cli.training.loop import train
from cod_cli.training.objective import (
    Filters,
    Objective,
    TeacherLayers,
    Terms,
    learn_filters,
    lwd_objective,
    read_layers,
    ted_objective,
)
from cod_cli.training.trainset import Example, Group
from tests.models.tiny import load_student, sentences, tiny_base, tiny_classifier

LABELS = ("negative", "neutral", "positive")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A teacher of four layers of 32 and a student of two layers of 16, for three classes."""
    teacher = tiny_classifier(tmp_path_factory.mktemp("teacher"), labels=LABELS, layers=4, hidden=32, seed=1)
    return teacher, tiny_base(tmp_path_factory.mktemp("student"), layers=2, hidden=16, seed=2)


@dataclasses.dataclass
class Setting:
    teacher: Classifier
    student: Classifier
    loader: BatchLoader
    layers: TeacherLayers
    filters: Filters | None
    objective: Objective


def prepare(folders: tuple[Path, Path], method: Literal["lwd", "ted"], epochs: int = 40, **terms: Any) -> Setting:
    teacher = load_classifier(str(folders[0]), device="cpu")
    student = load_student(folders[1], LABELS)
    rows = [
        Example(f"d/train/{n}", text, LABELS.index(label), (float(n), 1.0, -float(n)))
        for n, (text, label) in enumerate(sentences(7, LABELS, seed=3), start=1)
    ]
    groups: list[Group] = [[row] for row in rows]
    loader = BatchLoader(student, groups, batch_size=3, max_length=64, seed=0)
    layers = read_layers(teacher, student, loader, rows, method=method, max_length=64)
    if method == "lwd":
        objective = lwd_objective(student, Terms(**terms), layers, seed=0)
        return Setting(teacher, student, loader, layers, None, objective)
    filters = learn_filters(student, loader, rows, layers, epochs=epochs, batch_size=3, seed=0)
    return Setting(teacher, student, loader, layers, filters, ted_objective(student, Terms(**terms), layers, filters))


def without_dropout(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def test_all_terms_equal_an_independent_float64_computation(folders: tuple[Path, Path]) -> None:
    found = prepare(folders, "lwd", beta=7.0)
    module = found.objective.module.train(False)
    assert isinstance(module, MatchedStudent)
    for batch in next(found.loader.epochs(1)):
        mask = batch.inputs["attention_mask"].bool()
        assert not mask.all() or len({int(n) for n in mask.sum(1)}) == 1
        with torch.no_grad():
            losses = found.objective.losses(module(**batch.inputs), batch)
            plain = found.student.model(**batch.inputs, output_hidden_states=True)
            theirs = found.teacher.model(**batch.inputs, output_hidden_states=True).hidden_states
        logits = plain.logits.double().numpy()
        hard = -log_softmax(logits, axis=1)[np.arange(len(logits)), batch.labels.numpy()].mean()
        divergence = rel_entr(softmax(batch.logits.double().numpy() / 2, axis=1), softmax(logits / 2, axis=1))
        per_layer = [
            (
                (theirs[2 * (i + 1)][mask].double() - plain.hidden_states[i + 1][mask].double() @ m.weight.double().T)
                ** 2
            ).mean()
            for i, m in enumerate(module.maps)
        ]
        assert losses["hard"].item() == pytest.approx(hard, rel=1e-6)
        assert losses["soft"].item() == pytest.approx(20 * 4 * divergence.sum(axis=1).mean(), rel=1e-6)
        assert losses["layer"].item() == pytest.approx(7 * torch.stack(per_layer).mean().item(), rel=1e-6)


def test_a_step_equals_one_written_by_hand(folders: tuple[Path, Path]) -> None:
    ours, theirs = (prepare(folders, "lwd", beta=7.0) for _ in range(2))
    module = without_dropout(ours.objective.module)
    [record] = list(train(module, take(ours.loader, 1), ours.objective.losses, steps=1, lr=1e-2, seed=0))
    [[batch]] = take(theirs.loader, 1)
    model, maps = theirs.student.model.train(), theirs.objective.module.maps
    without_dropout(model)
    output = model(**batch.inputs, output_hidden_states=True)
    with torch.no_grad():
        goal = theirs.teacher.model(**batch.inputs, output_hidden_states=True).hidden_states
    real = batch.inputs["attention_mask"].bool()
    layer = torch.stack(
        [((m(output.hidden_states[i + 1]) - goal[2 * (i + 1)])[real] ** 2).mean() for i, m in enumerate(maps)]
    )
    teacher = torch.softmax(batch.logits / 2, dim=1)
    soft = (teacher * (teacher.log() - torch.log_softmax(output.logits / 2, dim=1))).sum(dim=1).mean()
    loss = nn.functional.cross_entropy(output.logits, batch.labels) + 80 * soft + 7 * layer.mean()
    loss.backward()
    assert record.total == pytest.approx(loss.item(), rel=1e-5)
    parameters = {**dict(model.named_parameters()), **{f"maps.{k}": v for k, v in maps.named_parameters()}}
    moved = {
        **dict(ours.student.model.named_parameters()),
        **{f"maps.{k}": v for k, v in module.maps.named_parameters()},
    }
    for name, parameter in parameters.items():
        if parameter.grad is None:
            continue
        # Adam's first step: both moments are the gradient itself.
        expected = parameter - 1e-2 * parameter.grad / (parameter.grad.abs() + 1e-6)
        clear = parameter.grad.abs() > 1e-4
        torch.testing.assert_close(moved[name][clear], expected[clear], rtol=1e-4, atol=1e-5)


def take(loader: BatchLoader, batches: int) -> list[list[Batch]]:
    return [list(next(loader.epochs(1)))[:batches]]


@pytest.mark.parametrize("method", ["lwd", "ted"])
def test_maps_move_and_the_teacher_does_not(folders: tuple[Path, Path], method: Literal["lwd", "ted"]) -> None:
    found = prepare(folders, method)
    teacher = snapshot(found.teacher.model)
    states = {name: state.clone() for name, state in found.layers.states.by_row.items()}
    assert states
    before = snapshot(found.objective.module)
    list(train(found.objective.module, found.loader.epochs(2), found.objective.losses, steps=6, lr=1e-3, seed=0))
    after = snapshot(found.objective.module)
    for layer in range(2):
        assert not torch.equal(before[f"maps.{layer}.weight"], after[f"maps.{layer}.weight"])
    assert all(torch.equal(weight, teacher[name]) for name, weight in snapshot(found.teacher.model).items())
    assert all(torch.equal(state, states[name]) for name, state in found.layers.states.by_row.items())


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in module.state_dict().items()}


def test_stage_one_learns_filters_for_both_sides_and_moves_no_model(folders: tuple[Path, Path]) -> None:
    found = prepare(folders, "ted", epochs=20)
    assert found.filters is not None
    assert [tuple(weight.shape) for weight in found.filters.student.parameters()] == [(32, 16), (32, 16)]
    assert [tuple(weight.shape) for weight in found.filters.teacher.parameters()] == [(32, 32), (32, 32)]
    assert not torch.equal(next(found.filters.teacher.parameters()), torch.eye(32))
    fresh = load_student(str(folders[1]), LABELS, device="cpu", seed=0).model.state_dict()
    assert all(torch.equal(weight, fresh[name]) for name, weight in found.student.model.state_dict().items())


def test_stage_two_follows_what_the_teachers_filters_let_through(folders: tuple[Path, Path]) -> None:
    found = prepare(folders, "ted", epochs=20, beta=3.0)
    assert found.filters is not None
    goal, own = (snapshot(side) for side in (found.filters.teacher, found.filters.student))
    batch = next(iter(next(found.loader.epochs(1))))
    module = found.objective.module.train(False)
    with torch.no_grad():
        layer = found.objective.losses(module(**batch.inputs), batch)["layer"].item()
        ours = found.student.model(**batch.inputs, output_hidden_states=True).hidden_states
        theirs = found.teacher.model(**batch.inputs, output_hidden_states=True).hidden_states
    real = batch.inputs["attention_mask"].bool()
    gaps = [(theirs[2 * (i + 1)] @ goal[f"{i}.weight"].T - ours[i + 1] @ own[f"{i}.weight"].T)[real] for i in range(2)]
    assert layer == pytest.approx(3 * torch.stack([gap.square().mean() for gap in gaps]).mean().item(), rel=1e-5)


def test_terms_that_are_switched_off_are_not_there(folders: tuple[Path, Path]) -> None:
    for options, names in (
        ({"alpha": 0.0}, ["hard", "layer"]),
        ({"hard_labels": False}, ["soft", "layer"]),
        ({"hard_labels": False, "alpha": 0.0}, ["layer"]),
    ):
        found = prepare(folders, "lwd", **options)
        batch = next(iter(next(found.loader.epochs(1))))
        assert list(found.objective.losses(found.objective.module(**batch.inputs), batch)) == names


def test_beta_is_the_familys_unless_given(folders: tuple[Path, Path]) -> None:
    def layer(**options: Any) -> float:
        found = prepare(folders, "lwd", **options)
        batch = next(iter(next(found.loader.epochs(1))))
        output = found.objective.module.train(False)(**batch.inputs)
        return found.objective.losses(output, batch)["layer"].item()

    assert layer() == pytest.approx(20 * layer(beta=1.0), rel=1e-6)
