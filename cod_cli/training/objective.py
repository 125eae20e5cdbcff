"""What a student is trained to do: the terms of the distillation loss, and the module whose weights they move.

``L = CE(g_s(x), y) + α · T² · KL(softmax(g_t/T) ‖ softmax(g_s/T)) + β · mean_l MSE(h_t^l, P_l h_s^l)``, averaged over
the batch (Hamman et al. 2025, arXiv 2510.21631; the T² is Hinton et al. 2015's). KD has the first two terms; LWD the
third, too, with a linear map P_l for each layer; TED (Liang et al. 2023, arXiv 2210.01351) with filters in their place
that have learned the task before. Whatever the precision of the forward pass, every term is computed in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

from cod_cli.models.inference import Progress, encode, on_device
from cod_cli.models.load import Classifier
from cod_cli.training.batches import Batch, BatchLoader
from cod_cli.training.layers import (
    HiddenStates,
    MatchedStudent,
    check_same_tokens,
    default_beta,
    hidden_size,
    hidden_states,
    linear_maps,
    match_layers,
    n_layers,
    reads_last_token,
    train_filters,
)
from cod_cli.training.loop import Losses
from cod_cli.training.trainset import Example


def hard_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the hard labels, a scalar in nats.

    Args:
        logits: (rows, classes) of the student.
        labels: (rows,) class indices.
    """
    return cross_entropy(logits.float(), labels)


def soft_loss(logits: Tensor, teacher_logits: Tensor, *, alpha: float, temperature: float) -> Tensor:
    """``α · T² · KL(teacher ‖ student)`` at temperature T, a scalar in nats.

    Args:
        logits: (rows, classes) of the student.
        teacher_logits: (rows, classes) of the teacher, raw.
        alpha: the weight α of the term.
        temperature: T, by which both are divided before the softmax.
    """
    student = log_softmax(logits.float() / temperature, dim=-1)
    teacher = log_softmax(teacher_logits.float() / temperature, dim=-1)
    return alpha * temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)


def layer_loss(hidden: Tensor, teacher_hidden: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """``β · mean_l MSE(h_t^l, P_l h_s^l)`` over real tokens only, a scalar.

    Args:
        hidden: (layers, rows, tokens, hidden) of the student, mapped by P_l.
        teacher_hidden: the teacher's, of the same shape.
        mask: (rows, tokens), 1 where a token is real and 0 where it is padding.
        beta: the weight β of the term.
    """
    real = mask.bool()
    return beta * mse_loss(hidden.float()[:, real], teacher_hidden.float()[:, real])


@dataclass(frozen=True)
class Objective:
    """What is optimised: a module, the student with what is trained beside it, and the terms of its loss."""

    module: nn.Module
    losses: Losses


@dataclass(frozen=True)
class Terms:
    """Which terms a loss has and how much each weighs.

    ``hard_labels``: whether it has the cross-entropy; ``alpha``: α of the soft labels, 0 for none, at ``temperature``
    T; ``beta``: β of the layers where the method has them, None for the student family's.
    """

    hard_labels: bool = True
    alpha: float = 20.0
    temperature: float = 2.0
    beta: float | None = None


@dataclass(frozen=True)
class TeacherLayers:
    """Hidden states of the teacher's matched layers for all rows, each of ``size``; its head reads ``token``."""

    states: HiddenStates
    size: int
    token: int


@dataclass(frozen=True)
class Filters:
    """TED's task-aware filters, one for each matched layer of the teacher and each layer of the student."""

    teacher: nn.ModuleList
    student: nn.ModuleList


def read_layers(
    teacher: Classifier,
    student: Classifier,
    loader: BatchLoader,
    rows: Sequence[Example],
    *,
    method: str,
    max_length: int,
    chosen: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> TeacherLayers:
    """Run the teacher once over the rows; for LWD and TED.

    Args:
        teacher: the model that made the soft labels.
        student: one that is to follow it.
        loader: the student's rows, as it reads them.
        rows: the same.
        method: the one asked for, to name it.
        max_length: longest text in tokens.
        chosen: the teacher's layer for each of the student's, from 1; None for evenly spaced ones.
        progress: told how many rows are done.

    Raises:
        UsageError: the two read a text as different tokens, or the layers cannot be matched.
    """
    layers = match_layers(n_layers(student), n_layers(teacher), chosen)
    texts = encode(teacher, [row.text for row in rows], max_length)
    encodings = {row.id: encoding for row, encoding in zip(rows, texts, strict=True)}
    check_same_tokens(teacher, student, encodings, loader.encodings, method)
    states = hidden_states(teacher, encodings, layers, progress=progress)
    return TeacherLayers(states, hidden_size(teacher), -1 if reads_last_token(teacher) else 0)


def learn_filters(
    student: Classifier,
    loader: BatchLoader,
    rows: Sequence[Example],
    teacher: TeacherLayers,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
) -> Filters:
    """TED's stage I: on either side filters learn the task from hidden states that do not change.

    Args:
        student: as it begins; it is not trained here.
        loader: its rows, as it reads them.
        rows: the same, with their hard labels.
        teacher: its hidden states.
        epochs: passes over the rows.
        batch_size: rows in a mini-batch.
        seed: of filters, heads and order.
    """
    labels = {row.id: row.label for row in rows}

    def learn(states: HiddenStates) -> nn.ModuleList:
        return train_filters(
            states,
            torch.tensor([labels[name] for name in states.by_row]),
            size=teacher.size,
            classes=len(student.labels),
            token=teacher.token,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            device=student.device,
        )

    own = hidden_states(student, loader.encodings, range(1, n_layers(student) + 1))
    return Filters(learn(teacher.states), learn(own))


def kd_objective(student: Classifier, terms: Terms) -> Objective:
    """The student alone, on hard and soft labels."""
    return Objective(student.model, _losses(terms, None, 0.0))


def lwd_objective(student: Classifier, terms: Terms, teacher: TeacherLayers, *, seed: int) -> Objective:
    """The student with a linear map for each layer, drawn from ``seed``, that follows the teacher's states, too."""
    shape = n_layers(student), hidden_size(student), teacher.size
    maps = linear_maps(*shape, seed=seed, device=student.device)
    return _follow(student, terms, maps, teacher.states)


def ted_objective(student: Classifier, terms: Terms, teacher: TeacherLayers, filters: Filters) -> Objective:
    """The student with its filters, learned on, that follows what the teacher's let through."""
    maps = filters.student.requires_grad_(True)
    return _follow(student, terms, maps, teacher.states.map(filters.teacher.cpu()))


def _follow(student: Classifier, terms: Terms, maps: nn.ModuleList, states: HiddenStates) -> Objective:
    beta = default_beta(student) if terms.beta is None else terms.beta
    return Objective(MatchedStudent(student.model, maps), _losses(terms, states, beta))


def _losses(terms: Terms, states: HiddenStates | None, beta: float) -> Losses:
    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        found = {}
        if terms.hard_labels:
            found["hard"] = hard_loss(output.logits, batch.labels)
        if terms.alpha > 0:
            found["soft"] = soft_loss(output.logits, batch.logits, alpha=terms.alpha, temperature=terms.temperature)
        if states is not None:
            mask = batch.inputs["attention_mask"]
            hidden = on_device(states.batch(batch.ids, mask.shape[1]), mask.device)
            found["layer"] = layer_loss(output.hidden, hidden, mask, beta=beta)
        return found

    return losses
