"""An LLM itself as a rival of the students: asked about the held-out rows, without and with the shots in its prompt."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cod_cli.data.heldout import HeldOut
from cod_cli.errors import UsageError
from cod_cli.evaluation.scores import ZERO_SHOT, Logits
from cod_cli.llm.client import Session
from cod_cli.llm.prices import price_within, prices_path, total_usage
from cod_cli.models.inference import Progress, batched_forward, encode
from cod_cli.models.load import Encoder
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.shared import BLACK_BOX, EndpointOptions
from cod_cli.store.run import Run
from cod_cli.teachers.llm import BlackBoxTeacher
from cod_cli.teachers.open import open_llm


@dataclass(frozen=True)
class Answers:
    """What a rival says of the held-out rows ``(n, classes)``, and what its answers took, in tokens and money."""

    logits: Logits
    usage: dict[str, int]
    cost: float | None


def open_rival(
    name: str,
    run: Run,
    labels: Sequence[str],
    settings: EvalSettings,
    session: Session,
    note: Callable[[str], object] | None = None,
) -> BlackBoxTeacher:
    """The LLM of ``--in-context``, as the rival of that name: ``zero-shot``, or ``in-context``, which sees shots.

    Args:
        name: which.
        run: whose shots it is shown, and where its replies are journalled.
        labels: the run's classes in order.
        settings: which LLM, where, and how it is asked.
        session: where it is asked, within the limits of the command.
        note: told of what its server does not take.
    """
    shots = run.shots.read()
    limits = {field.name: getattr(settings, field.name) for field in dataclasses.fields(EndpointOptions)}
    options = LabelSettings(
        **limits,
        teacher=settings.in_context,
        teacher_prompt=settings.teacher_prompt,
        votes=settings.votes,
        demos=0 if name == ZERO_SHOT else settings.demos or len(shots),
    )
    return open_llm(options, labels, run.eval_replies, session, shots, note)


def answers(run: Run, rival: BlackBoxTeacher, rows: HeldOut, settings: EvalSettings, progress: Progress) -> Answers:
    """Ask about all held-out rows.

    Raises:
        PartialError: some are without an answer; all else is saved.
    """
    logits = rival.logits(rows.texts, progress=progress)
    asked = rival.question_keys(rows.texts)
    usage = total_usage(r for r in run.read_teacher_replies(run.eval_replies) if r.question in asked)
    price = price_within(rival.client.model, settings.price, settings.max_cost)
    return Answers(np.asarray(logits), usage.record(), usage.cost(price))


def require_one_price(run: Run, settings: EvalSettings) -> None:
    """Refuse one price for two LLMs: the one of ``--in-context``, and the teacher where it is asked, too."""
    made = run.soft_labels.manifest() if settings.teacher_on_split else None
    teacher = str(made.settings.get("teacher")) if made else ""
    asked = sorted({name for name in (settings.in_context or "", teacher) if name.startswith(BLACK_BOX)})
    if settings.price is not None and len(asked) > 1:
        raise UsageError(
            f"--price is for one LLM, and two are asked: {' and '.join(asked)}",
            f"ask one after the other, or write both prices into {prices_path()}",
        )


Floats = npt.NDArray[np.float32]
N_NEIGHBOURS = 5


def sentence_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    max_length: int = 256,
    progress: Progress | None = None,
) -> Floats:
    """Unit vectors ``(n, hidden)`` in the order of ``texts``: the mean of a text's last hidden states, normalised."""

    def forward(batch: dict[str, torch.Tensor]) -> Floats:
        mask = batch["attention_mask"].unsqueeze(-1).float()
        hidden = encoder.model(**batch).last_hidden_state.float()
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        vectors: Floats = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return vectors

    encodings = encode(encoder, texts, max_length)
    rows = batched_forward(encoder, encodings, forward, batch_size=batch_size, progress=progress)
    return np.array(rows, dtype=np.float32).reshape(len(texts), encoder.model.config.get_text_config().hidden_size)


def neighbour_logits(texts: Floats, shots: Floats, shot_classes: Sequence[int], classes: int) -> Floats:
    """Log-probabilities ``(n, classes)`` by the votes of the nearest shots.

    Args:
        texts: unit vectors (n, hidden).
        shots: unit vectors (k, hidden).
        shot_classes: the class index of each shot (k,).
        classes: how many classes there are.
    """
    cosines = texts @ shots.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :N_NEIGHBOURS]
    weights = np.take_along_axis(cosines, nearest, axis=1).clip(min=0)
    votes = np.eye(classes)[np.asarray(shot_classes)[nearest]]
    totals = (weights[..., None] * votes).sum(axis=1) + 1 / classes
    log_p: Floats = np.log(totals / totals.sum(axis=1, keepdims=True)).astype(np.float32)
    return log_p
