"""The training loop against a step written out by hand, and what it promises about bits, dropout and divergence."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cod_cli.models.load import Classifier
from cod_cli.models.trainable import SeenEmbedding, seen_rows_only
from cod_cli.records import Step
from cod_cli.training.batches import Batch, BatchLoader
from cod_cli.training.loop import KEPT_EVERY, DivergedError, train
from cod_cli.training.objective import hard_loss, soft_loss
from cod_cli.training.trainset import Example, Group
from tests.models.tiny import Family, load_student, sentences, tiny_base

LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def groups(n: int = 6) -> list[Group]:
    return [
        [Example(f"d/train/{row}", text, LABELS.index(label), (float(row), -float(row)))]
        for row, (text, label) in enumerate(sentences(n, seed=3))
    ]


def loader(classifier: Classifier, **options: Any) -> BatchLoader:
    return BatchLoader(classifier, groups(), **{"batch_size": 2, "max_length": 32, "seed": 0, **options})


def objective(output: Any, batch: Batch) -> dict[str, Tensor]:
    return {
        "hard": hard_loss(output.logits, batch.labels),
        "soft": soft_loss(output.logits, batch.logits, alpha=0.5, temperature=2.0),
    }


def test_steps_equal_those_written_by_hand(folder: Path) -> None:
    ours, theirs = (load_student(str(folder), LABELS, device="cpu") for _ in range(2))
    for classifier in (ours, theirs):
        for module in classifier.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    records = list(train(ours.model, loader(ours).epochs(2), objective, steps=6, lr=1e-3, seed=0))
    moments: dict[str, tuple[Tensor, Tensor]] = {}
    batches = [batch for epoch in loader(theirs).epochs(2) for batch in epoch]
    for number, (batch, record) in enumerate(zip(batches, records, strict=True)):
        logits = theirs.model(**batch.inputs).logits
        teacher = torch.softmax(batch.logits / 2, dim=1)
        divergence = (teacher * (teacher.log() - torch.log_softmax(logits / 2, dim=1))).sum(dim=1).mean()
        loss = cross_entropy(logits, batch.labels) + 0.5 * 4 * divergence
        theirs.model.zero_grad()
        loss.backward()
        assert record.total == pytest.approx(loss.item(), rel=1e-5)
        assert record.lr == pytest.approx(1e-3 * (6 - number) / 6)
        squares = [p.grad.square().sum().item() for p in theirs.model.parameters() if p.grad is not None]
        assert record.grad_norm == pytest.approx(math.sqrt(sum(squares)), rel=1e-4)
        adam(theirs.model, moments, number + 1, record.lr)
    for name, weight in theirs.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], weight, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("steps", [0, 1, 3, 4])
def test_steps_end_where_they_are_told_to_within_an_epoch_too(folder: Path, steps: int) -> None:
    student = load_student(str(folder), LABELS, device="cpu")
    records = list(train(student.model, loader(student).epochs(2), objective, steps=steps, lr=1e-3, seed=0))
    assert [(record.step, record.epoch) for record in records] == [(1, 1), (2, 1), (3, 1), (4, 2)][:steps]
    assert [record.lr for record in records] == pytest.approx([1e-3 * (1 - n / max(steps, 1)) for n in range(steps)])


@torch.no_grad()
def adam(model: nn.Module, moments: dict[str, tuple[Tensor, Tensor]], step: int, lr: float) -> None:
    """Kingma & Ba's update with the paper's ε = 1e-6 and β = (0.9, 0.98), and no weight decay."""
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        zero = torch.zeros_like(parameter)
        first, second = moments.get(name, (zero, zero))
        first = 0.9 * first + 0.1 * parameter.grad
        second = 0.98 * second + 0.02 * parameter.grad**2
        moments[name] = first, second
        parameter -= lr * (first / (1 - 0.9**step)) / ((second / (1 - 0.98**step)).sqrt() + 1e-6)


def test_dropout_is_on_while_training_and_off_behind(folder: Path) -> None:
    student = load_student(str(folder), LABELS, device="cpu")
    modes: list[bool] = []

    def watching(output: Any, batch: Batch) -> dict[str, Tensor]:
        modes.append(student.model.training)
        return objective(output, batch)

    list(train(student.model, loader(student).epochs(1), watching, steps=3, lr=1e-3, seed=0))
    assert modes == [True] * 3
    assert not student.model.training


def test_the_seed_of_training_is_dropouts(folder: Path) -> None:
    def losses(seed: int) -> list[float]:
        student = load_student(str(folder), LABELS, device="cpu")
        return [
            s.total for s in train(student.model, loader(student).epochs(1), objective, steps=3, lr=1e-3, seed=seed)
        ]

    assert losses(1) == losses(1) != losses(2)


@pytest.mark.parametrize("family", ["bert", "deberta", "qwen2", "roberta", "modernbert", "distilbert"])
def test_training_only_the_rows_seen_changes_no_bit(tmp_path: Path, family: Family) -> None:
    base = tiny_base(tmp_path / family, family=family)
    full, seen = (load_student(str(base), LABELS, device="cpu") for _ in range(2))
    expected = list(train(full.model, loader(full).epochs(2), objective, steps=6, lr=1e-3, seed=0))
    dealt = loader(seen)
    table = seen.model.get_input_embeddings()
    with seen_rows_only(seen, dealt.encodings.values()):
        small = seen.model.get_input_embeddings()
        assert isinstance(small, SeenEmbedding)
        assert len(small.weight) < table.num_embeddings
        steps = list(train(seen.model, dealt.epochs(2), objective, steps=6, lr=1e-3, seed=0))
    assert seen.model.get_input_embeddings() is table
    # The norm is summed in another order, hence the last digits.
    assert [step.total for step in steps] == [step.total for step in expected]
    assert [step.grad_norm for step in steps] == pytest.approx([step.grad_norm for step in expected], rel=1e-6)
    for name, weight in full.model.state_dict().items():
        assert torch.equal(seen.model.state_dict()[name], weight), name


def test_a_frozen_embedding_is_left_alone(folder: Path) -> None:
    student = load_student(str(folder), LABELS, device="cpu")
    table = student.model.get_input_embeddings()
    table.weight.requires_grad_(False)
    with seen_rows_only(student, loader(student).encodings.values()):
        assert student.model.get_input_embeddings() is table


def test_a_batch_holds_its_groups_rows_in_order_padded_to_the_longest(folder: Path) -> None:
    student = load_student(str(folder), LABELS, device="cpu")
    rows = [group[0] for group in groups()]
    dealt = BatchLoader(student, [rows[:2], rows[2:]], batch_size=6, max_length=32, seed=0)
    assert dealt.n_batches == 1
    [[batch]] = [list(epoch) for epoch in dealt.epochs(1)]
    by_id = {row.id: row for row in rows}
    assert set(batch.ids) == set(by_id)
    assert abs(batch.ids.index(rows[0].id) - batch.ids.index(rows[1].id)) == 1
    assert batch.labels.tolist() == [by_id[name].label for name in batch.ids]
    assert batch.logits.tolist() == [list(by_id[name].logits) for name in batch.ids]
    lengths = batch.inputs["attention_mask"].sum(dim=1).tolist()
    assert lengths == [len(dealt.encodings[name]["input_ids"]) for name in batch.ids]
    assert batch.inputs["input_ids"].shape == (6, max(lengths))


class Fragile(nn.Module):
    """One weight; the output is not finite from the call ``breaks_at`` on."""

    def __init__(self, breaks_at: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.calls, self.breaks_at = 0, breaks_at
        self.seen: list[float] = []

    def forward(self, **_: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(self.weight.item())
        return self.weight * (math.nan if self.calls >= self.breaks_at else 1.0)


def endless(n: int) -> Iterator[list[Batch]]:
    for number in range(n):
        yield [Batch((f"row {number}",), {}, torch.zeros(1), torch.zeros(1))]


def test_a_loss_that_is_not_finite_stops_with_step_epoch_and_rows() -> None:
    done: list[Step] = []
    with pytest.raises(DivergedError, match=r"at step 3 \(epoch 3\): the loss is nan; rows of that batch: row 2"):
        done.extend(train(Fragile(3), endless(9), lambda out, _: {"hard": out}, steps=9, lr=0.1, seed=0))


@pytest.mark.parametrize("breaks_at", [3, KEPT_EVERY + 5])
def test_divergence_goes_back_to_weights_whose_loss_was_finite(breaks_at: int) -> None:
    model = Fragile(breaks_at)
    with pytest.raises(DivergedError):
        list(train(model, endless(99), lambda out, _: {"hard": out}, steps=99, lr=0.01, seed=0))
    kept_at = 1 if breaks_at < KEPT_EVERY else KEPT_EVERY
    assert model.weight.item() == model.seen[kept_at - 1]


def test_a_gradient_that_is_not_finite_stops_too() -> None:
    def steep(out: Tensor, _: Batch) -> dict[str, Tensor]:
        return {"hard": torch.sqrt(out - out.detach())}

    with pytest.raises(DivergedError, match="the gradient is not finite"):
        list(train(Fragile(99), endless(3), steep, steps=3, lr=0.1, seed=0))


def test_each_epoch_deals_the_rows_anew(folder: Path) -> None:
    classifier = load_student(str(folder), LABELS, device="cpu")
    first, second = ([batch.ids for batch in epoch] for epoch in loader(classifier).epochs(2))
    assert first != second
    assert sorted(sum(first, ())) == sorted(sum(second, ())) == sorted(row.id for [row] in groups())


def test_the_rate_falls_from_the_first_of_many_steps_on(folder: Path) -> None:
    student = load_student(str(folder), LABELS, device="cpu")
    records = train(student.model, loader(student).epochs(10), objective, steps=30, lr=1e-3, seed=0)
    assert [record.lr for record in records] == pytest.approx([1e-3 * (30 - n) / 30 for n in range(30)])
