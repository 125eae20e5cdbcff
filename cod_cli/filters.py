"""Task-aware filters (TED, stage I): a linear filter behind each layer, trained on the task with the model frozen.

Liang et al. 2022, arXiv 2210.01351: each filter has a classifier of its own, which is dropped behind the training, so
that what the filter lets through is what the task needs of that layer.
"""

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cod_cli.layers import HiddenStates, linear_maps
from cod_cli.training import Batch, train

# Fresh linear layers on fixed features: the rate for a pretrained model would leave them where they began.
FILTER_LR = 1e-3


class FilteredTask(nn.Module):
    """A filter and a classifier for each layer: (rows, layers, hidden) → logits (layers, rows, classes)."""

    def __init__(self, filters: nn.ModuleList, classes: int, seed: int) -> None:
        super().__init__()
        size = int(filters[0].out_features)  # type: ignore[arg-type]
        self.filters = filters
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.heads = nn.ModuleList(nn.Linear(size, classes) for _ in filters)

    def forward(self, states: Tensor) -> Tensor:
        """Each layer's own answer."""
        pairs = zip(self.filters, self.heads, states.unbind(dim=1), strict=True)
        return torch.stack([head(filter_(state)) for filter_, head, state in pairs])


def train_filters(
    states: HiddenStates,
    labels: Tensor,
    *,
    size: int,
    classes: int,
    token: int,
    epochs: int,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> nn.ModuleList:
    """Train a filter for each layer on the task, from hidden states that do not change.

    Args:
        states: of all rows.
        labels: (rows,) class indices in the order of ``states``.
        size: of what the filters give, the same for teacher and student.
        classes: how many there are.
        token: the one that the model's own head reads: 0 the first, -1 the last.
        epochs: passes over the rows.
        batch_size: rows in a mini-batch.
        seed: of filters, heads and order.
        device: where to train.
    """
    features = states.at(token).to(device)
    filters = linear_maps(features.shape[1], features.shape[2], size, seed=seed, device=device)
    task = FilteredTask(filters, classes, seed).to(device)
    n_batches = -(-len(labels) // batch_size)
    rng = random.Random(seed)

    def batches() -> Iterator[Batch]:
        order = torch.tensor(rng.sample(range(len(labels)), len(labels)), device=device)
        for rows in order.tensor_split(n_batches):
            yield Batch(ids=(), inputs={"states": features[rows]}, labels=labels.to(device)[rows], logits=features[:0])

    passes = (batches() for _ in range(epochs))
    for _ in train(task, passes, _task_loss, steps=epochs * n_batches, lr=FILTER_LR, seed=seed):
        pass
    return filters.requires_grad_(False)


def _task_loss(logits: Any, batch: Batch) -> dict[str, Tensor]:
    return {"hard": sum(cross_entropy(layer.float(), batch.labels) for layer in logits)}  # type: ignore[dict-item]
