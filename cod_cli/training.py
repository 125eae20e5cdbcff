"""The training loop: fixed steps, last weights, one record per step."""

import math
import platform
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from transformers import get_scheduler

from cod_cli import __version__
from cod_cli.batches import Group, batches_per_epoch, random_batches
from cod_cli.errors import CodError
from cod_cli.models import Classifier, encode, on_device, pad
from cod_cli.processes import Processes
from cod_cli.records import Step
from cod_cli.resume import TrainingState

# How far lengths are stretched when rows of like length are put together (see `random_batches`): a few rows need
# much of it to find new company in every epoch, thousands hardly any.
SPREAD = 0.3
SPREAD_OF_MANY = 0.1
MANY = 1000
# Steps between two copies of the weights to fall back on.
KEPT_EVERY = 50


@dataclass(frozen=True)
class Batch:
    """Padded rows on the model's device; ``ids`` name them.

    ``inputs`` are (rows, tokens) each, ``labels`` (rows,), ``logits`` the teacher's (rows, classes). ``weight`` is what
    a mean over them counts for where several processes share a batch.
    """

    ids: tuple[str, ...]
    inputs: Mapping[str, Tensor]
    labels: Tensor
    logits: Tensor
    weight: float = 1.0


# The loss terms by name, for the model's output on a batch.
Objective = Callable[[Any, Batch], dict[str, Tensor]]


class DivergedError(CodError):
    """The loss or its gradient is not finite any more; the model is left with the last weights kept before."""


def train(
    model: nn.Module,
    epochs: Iterable[Iterable[Batch]],
    objective: Objective,
    *,
    steps: int,
    lr: float,
    seed: int,
    state: TrainingState | None = None,
    processes: Processes | None = None,
) -> Iterator[Step]:
    """Train a model in place, yielding each step's record as it is done.

    Adam with the paper's ε and β, without weight decay; the rate falls linearly from ``lr`` to 0 over ``steps``. The
    forward pass runs in bfloat16 on GPUs that have it, all else in float32. ``seed`` is dropout's. A ``state`` that
    was read is gone on from: the same ``epochs`` are dealt, and the steps that are done already passed over.
    Several ``processes`` average their gradients and their losses, which are to be weighted by `Batch.weight`.

    Raises:
        DivergedError: with the step and the rows of its batch.
    """
    torch.manual_seed(seed + (processes.rank if processes else 0))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0, fused=True)
    schedule = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=steps)
    done = state.bind(model, optimizer, schedule) if state else 0
    kept = [parameter.detach().clone() for parameter in parameters]
    model.train()
    numbered = ((epoch, batch) for epoch, batches in enumerate(epochs, start=1) for batch in batches)
    for number, (epoch, batch) in enumerate(islice(numbered, done, None), start=done + 1):
        with _autocast(batch.labels.device):
            losses = objective(model(**batch.inputs), batch)
        total = torch.stack(list(losses.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        values = torch.stack([*losses.values(), total]).detach()
        if processes is not None:
            processes.average([*gradients, values])
        *terms, loss, grad_norm = torch.cat([values, get_total_norm(gradients).reshape(1)]).tolist()
        if not math.isfinite(loss + grad_norm):
            _copy(kept, parameters)
            raise _diverged(number, epoch, loss, batch)
        if number % KEPT_EVERY == 0:
            _copy(parameters, kept)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        named = dict(zip(losses, terms, strict=True))
        yield Step(step=number, epoch=epoch, **named, total=loss, grad_norm=grad_norm, lr=rate)
    model.eval()


class Feed:
    """Tokenised groups of rows, dealt out as padded batches, epoch after epoch.

    Args:
        classifier: whose tokenizer and device to use.
        groups: rows that share a batch; see `batches.random_batches` for the order of each epoch.
        batch_size: rows in a batch, exceeded by less than a group.
        max_length: longest text in tokens.
        seed: of the order.
    """

    def __init__(
        self, classifier: Classifier, groups: Sequence[Group], *, batch_size: int, max_length: int, seed: int
    ) -> None:
        rows = list(chain.from_iterable(groups))
        self._classifier = classifier
        self._groups = groups
        self._random = random.Random(seed)
        self.n_batches = batches_per_epoch(groups, batch_size)
        self.encodings = dict(
            zip([row.id for row in rows], encode(classifier, [row.text for row in rows], max_length), strict=True)
        )

    def epochs(self, n: int) -> Iterator[Iterator[Batch]]:
        """The batches of ``n`` epochs."""
        spread = SPREAD if len(self._groups) < MANY else SPREAD_OF_MANY
        for _ in range(n):
            yield map(self._collate, random_batches(self._groups, self.n_batches, self._random, self._length, spread))

    def _length(self, group: Group) -> int:
        return max(len(self.encodings[row.id]["input_ids"]) for row in group)

    def _collate(self, groups: Iterable[Group]) -> Batch:
        rows = list(chain.from_iterable(groups))
        device = self._classifier.device
        return Batch(
            ids=tuple(row.id for row in rows),
            inputs=pad(self._classifier, [self.encodings[row.id] for row in rows]),
            labels=on_device(torch.tensor([row.label for row in rows]), device),
            logits=on_device(torch.tensor([row.logits for row in rows]), device),
        )


def share_of(batch: Batch, processes: Processes) -> Batch:
    """One process's rows of a batch; where there are fewer rows than processes, the first one without weight."""
    if processes.count == 1:
        return batch
    total = len(batch.ids)
    mine = list(range(processes.rank, total, processes.count))
    rows = torch.tensor(mine or [0], device=batch.labels.device)
    return Batch(
        ids=tuple(batch.ids[row] for row in mine or [0]),
        inputs={name: tensor[rows] for name, tensor in batch.inputs.items()},
        labels=batch.labels[rows],
        logits=batch.logits[rows],
        weight=len(mine) * processes.count / total,
    )


def versions() -> dict[str, str]:
    """Versions of what the bits of a training hang on, beside machine and thread count."""
    return {
        "cod": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _autocast(device: torch.device) -> torch.autocast:
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for from_, to in zip(source, target, strict=True):
        to.copy_(from_)


def _diverged(step: int, epoch: int, loss: float, batch: Batch) -> DivergedError:
    what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
    rows = ", ".join(batch.ids)
    return DivergedError(f"training diverged at step {step} (epoch {epoch}): {what}; rows of that batch: {rows}")
