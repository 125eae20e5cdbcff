"""The distillation objective, term by term, as pure functions of tensors.

``L = CE(g_s(x), y) + α · T² · KL(softmax(g_t/T) ‖ softmax(g_s/T)) + β · mean_l MSE(h_t^l, P_l h_s^l)``, averaged over
the batch (Hamman et al. 2025, arXiv 2510.21631; the T² is Hinton et al. 2015's). Whatever the precision of the forward
pass, every term is computed in float32.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

from cod_cli.models.inference import Progress, encode, on_device
from cod_cli.models.load import Classifier
from cod_cli.settings.distill import DistillSettings
from cod_cli.training.batches import Batch, Feed
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
from cod_cli.training.loop import Objective
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
class Learner:
    """The module whose weights are optimised, the student with what it needs beside, and its loss terms."""

    module: nn.Module
    objective: Objective


@dataclass(frozen=True)
class TeacherLayers:
    """Hidden states of the teacher's matched layers for all rows, each of ``size``; its head reads ``token``."""

    states: HiddenStates
    size: int
    token: int


def read_layers(
    teacher: Classifier,
    student: Classifier,
    feed: Feed,
    rows: list[Example],
    settings: DistillSettings,
    progress: Progress | None = None,
) -> TeacherLayers:
    """Run the teacher once over the rows.

    Raises:
        UsageError: the two read a text as different tokens, or the layers cannot be matched.
    """
    layers = match_layers(n_layers(student), n_layers(teacher), settings.matched_layers)
    texts = encode(teacher, [row.text for row in rows], settings.max_length)
    encodings = {row.id: encoding for row, encoding in zip(rows, texts, strict=True)}
    check_same_tokens(teacher, student, encodings, feed.encodings, settings.method)
    states = hidden_states(teacher, encodings, layers, progress=progress)
    return TeacherLayers(states, hidden_size(teacher), -1 if reads_last_token(teacher) else 0)


def learner_of(
    student: Classifier,
    feed: Feed,
    rows: list[Example],
    settings: DistillSettings,
    *,
    seed: int,
    teacher: TeacherLayers | None,
    filters: Path,
) -> Learner:
    """The student as the method trains it.

    Args:
        student: freshly drawn.
        feed: its rows.
        rows: the same, with their hard labels.
        settings: method, weights of the terms, ablations.
        seed: of maps and filters.
        teacher: its hidden states, for LWD and TED.
        filters: where TED keeps its filters.
    """
    if teacher is None:
        return Learner(student.model, _objective(settings, None, 0.0))
    beta = default_beta(student) if settings.beta is None else settings.beta
    if settings.method == "ted":
        maps, states = _filtered(student, feed, rows, settings, seed, teacher, filters)
    else:
        shape = n_layers(student), hidden_size(student), teacher.size
        maps, states = linear_maps(*shape, seed=seed, device=student.device), teacher.states
    return Learner(MatchedStudent(student.model, maps), _objective(settings, states, beta))


def _objective(settings: DistillSettings, states: HiddenStates | None, beta: float) -> Objective:
    def losses(output: Any, batch: Batch) -> dict[str, Tensor]:
        terms = {}
        if settings.hard_labels == "gold":
            terms["hard"] = hard_loss(output.logits, batch.labels)
        if settings.alpha > 0:
            terms["soft"] = soft_loss(
                output.logits, batch.logits, alpha=settings.alpha, temperature=settings.temperature
            )
        if states is not None:
            mask = batch.inputs["attention_mask"]
            hidden = on_device(states.batch(batch.ids, mask.shape[1]), mask.device)
            terms["layer"] = layer_loss(output.hidden, hidden, mask, beta=beta)
        return terms

    return losses


def _filtered(
    student: Classifier,
    feed: Feed,
    rows: list[Example],
    settings: DistillSettings,
    seed: int,
    teacher: TeacherLayers,
    path: Path,
) -> tuple[nn.ModuleList, HiddenStates]:
    """TED's stage I: the student's filters, to be learned on, and the teacher's states as its own let them through."""
    own = hidden_states(student, feed.encodings, range(1, n_layers(student) + 1))
    labels = {row.id: row.label for row in rows}
    theirs, ours = (
        train_filters(
            states,
            torch.tensor([labels[name] for name in states.by_row]),
            size=teacher.size,
            classes=len(student.labels),
            token=teacher.token,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=seed,
            device=student.device,
        )
        for states in (teacher.states, own)
    )
    both = nn.ModuleDict({"teacher": theirs, "student": ours})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.cpu() for name, weight in both.state_dict().items()}, path)
    return ours.requires_grad_(True), teacher.states.mapped(theirs.cpu())
