"""TED's stage I: filters learn the task from layers that do not move."""

import torch

from cod_cli.training.layers import HiddenStates, linear_maps, train_filters

CPU = torch.device("cpu")


def states(rows: int = 24, layers: int = 2, hidden: int = 6) -> tuple[HiddenStates, torch.Tensor]:
    """Random states whose first token tells the class by the sign of its last dimension, the others' do not."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 2
    found = {}
    for row in range(rows):
        state = torch.randn(layers, 2 + row % 3, hidden, generator=generator)
        state[:, 0, -1] = 2.0 * (2 * labels[row] - 1)
        found[f"d/train/{row}"] = state
    return HiddenStates(found), labels


def trained(
    hidden: HiddenStates, labels: torch.Tensor, *, size: int = 6, token: int = 0, seed: int = 0
) -> torch.nn.ModuleList:
    return train_filters(
        hidden, labels, size=size, classes=2, token=token, epochs=40, batch_size=8, seed=seed, device=CPU
    )


def test_there_is_a_filter_for_each_layer_of_the_size_asked_for() -> None:
    hidden, labels = states()
    assert [tuple(weight.shape) for weight in trained(hidden, labels, size=9).parameters()] == [(9, 6), (9, 6)]


def test_filters_move_and_the_states_do_not() -> None:
    hidden, labels = states()
    before = {name: state.clone() for name, state in hidden.by_row.items()}
    start = linear_maps(2, 6, 6, seed=0, device=CPU)
    for was, is_ in zip(start.parameters(), trained(hidden, labels).parameters(), strict=True):
        assert (was - is_).abs().max() > 1e-3
    assert before
    assert all(torch.equal(before[name], state) for name, state in hidden.by_row.items())


def test_filters_turn_to_what_tells_the_classes_apart() -> None:
    hidden, labels = states()
    for before, after in zip((torch.eye(6),) * 2, trained(hidden, labels).parameters(), strict=True):
        moved = (after - before).norm(dim=0)
        assert moved.argmax() == 5


def test_filters_are_frozen_behind_stage_one_and_repeat_by_seed() -> None:
    hidden, labels = states()
    one, same, other = (trained(hidden, labels, size=4, seed=seed) for seed in (0, 0, 1))
    assert not any(weight.requires_grad for weight in one.parameters())
    assert torch.equal(one[0].weight, same[0].weight)  # type: ignore[arg-type]
    assert not torch.equal(one[0].weight, other[0].weight)  # type: ignore[arg-type]
