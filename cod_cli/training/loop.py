"""The training loop: fixed steps, last weights, one record per step.

Tried in its place: `transformers.Trainer` (5.24, 100 steps of a tiny BERT on a CPU) with this loop's batches, loss and
seen embedding rows. It made the same bits, after a kill and a resume too. Not taken, since what it saves it asks back:
a kill while it saves leaves a newest checkpoint that it then fails to read; it takes no ``cuda:1``, and all GPUs as
soon as there are several; launched on several it deals each process batches of its own, other steps than one would
make; and batches, best weights, the rows of a step that diverged and history each need a subclass or a callback.
"""

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from transformers import get_scheduler

from cod_cli import __version__
from cod_cli.errors import CodError
from cod_cli.records import Step
from cod_cli.training.batches import Batch
from cod_cli.training.checkpoint import TrainingState
from cod_cli.training.processes import Processes

# Steps between two copies of the weights to fall back on.
KEPT_EVERY = 50
# The loss terms by name, for the model's output on a batch.
Losses = Callable[[Any, Batch], dict[str, Tensor]]


class DivergedError(CodError):
    """The loss or its gradient is not finite any more; the model is left with the last weights kept before."""


def train(
    model: nn.Module,
    epochs: Iterable[Iterable[Batch]],
    losses: Losses,
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
    was read is gone on from: the same ``epochs`` are dealt, and the steps that are done already passed over. Where
    ``steps`` end within an epoch its other batches are left.
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
    for number, (epoch, batch) in enumerate(islice(numbered, done, steps), start=done + 1):
        with _autocast(batch.labels.device):
            terms = losses(model(**batch.inputs), batch)
        total = torch.stack(list(terms.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        values = torch.stack([*terms.values(), total]).detach()
        if processes is not None:
            processes.average([*gradients, values])
        *numbers, loss, grad_norm = torch.cat([values, get_total_norm(gradients).reshape(1)]).tolist()
        if not math.isfinite(loss + grad_norm):
            _copy(kept, parameters)
            raise _diverged(number, epoch, loss, batch)
        if number % KEPT_EVERY == 0:
            _copy(parameters, kept)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        named = dict(zip(terms, numbers, strict=True))
        yield Step(step=number, epoch=epoch, **named, total=loss, grad_norm=grad_norm, lr=rate)
    model.eval()


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
