"""Baselines that are no students, as entrants: neighbours (kNN) or a linear head in an encoder's space; LLMs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cod_cli.evaluation.scores import KNN, LINEAR
from cod_cli.llm.prices import total_usage
from cod_cli.models import folder
from cod_cli.models.inference import Progress, batched_forward, encode, require_finite
from cod_cli.models.load import Encoder, load_encoder
from cod_cli.records import Shot
from cod_cli.store.run import Run
from cod_cli.teachers.base import Logits
from cod_cli.teachers.llm import BlackBoxTeacher
from cod_cli.ui import Ui

Vectors = npt.NDArray[np.float32]
NEIGHBOURS = 5
# Unit vectors of texts and of shots, the shots' classes, how many classes there are: logits of the texts.
ReadOut = Callable[[Vectors, Vectors, Sequence[int], int], Logits]
# Inverse strengths of the regulariser that the shots choose among, and into how many parts they are cut for that.
CS = (0.1, 1.0, 10.0, 100.0, 1000.0)
FOLDS = 5


def sentence_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    max_length: int = 256,
    progress: Progress | None = None,
) -> Vectors:
    """Unit vectors ``(n, hidden)`` in the order of ``texts``: the mean of a text's last hidden states, normalised."""

    def forward(batch: dict[str, torch.Tensor]) -> Vectors:
        mask = batch["attention_mask"].unsqueeze(-1).float()
        hidden = encoder.model(**batch).last_hidden_state.float()
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        vectors: Vectors = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return vectors

    encodings = encode(encoder, texts, max_length)
    rows = batched_forward(encoder, encodings, forward, batch_size=batch_size, progress=progress)
    return require_finite(encoder, texts, rows).reshape(len(texts), encoder.model.config.get_text_config().hidden_size)


def knn_logits(texts: Vectors, shots: Vectors, shot_classes: Sequence[int], classes: int) -> Logits:
    """Log-probabilities ``(n, classes)`` by the votes of the nearest shots.

    Args:
        texts: unit vectors (n, hidden).
        shots: unit vectors (k, hidden).
        shot_classes: the class index of each shot (k,).
        classes: how many classes there are.
    """
    cosines = texts @ shots.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
    weights = np.take_along_axis(cosines, nearest, axis=1).clip(min=0)
    votes = np.eye(classes)[np.asarray(shot_classes)[nearest]]
    totals = (weights[..., None] * votes).sum(axis=1) + 1 / classes
    log_p: Logits = np.log(totals / totals.sum(axis=1, keepdims=True)).astype(np.float32)
    return log_p


def linear_logits(texts: Vectors, shots: Vectors, shot_classes: Sequence[int], classes: int) -> Logits:
    """Log-probabilities ``(n, classes)`` by logistic regression on the shots (a linear probe, LP).

    A class without a shot has the probability of half a vote among those of the shots; with shots of one class alone
    there is nothing to fit.

    Args:
        texts: unit vectors (n, hidden).
        shots: unit vectors (k, hidden).
        shot_classes: the class index of each shot (k,).
        classes: how many classes there are.
    """
    from sklearn.linear_model import LogisticRegression

    known, k = sorted(set(shot_classes)), len(shot_classes)
    p = np.zeros((len(texts), classes))
    if len(known) > 1:
        head = LogisticRegression(C=_strength(shots, shot_classes), max_iter=1000).fit(shots, shot_classes)
        p[:, known] = head.predict_proba(texts)
    else:
        p[:, known] = 1
    if len(known) < classes:
        p = (k * p + 0.5) / (k + 0.5 * classes)
    log_p: Logits = np.log(p.clip(min=1e-12)).astype(np.float32)
    return log_p


def _strength(shots: Vectors, shot_classes: Sequence[int]) -> float:
    """Of `CS` the one under which left-out shots are likeliest; 1 where a class has a single shot, so none can be."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = min(FOLDS, *np.bincount(shot_classes)[sorted(set(shot_classes))].tolist())
    if folds < 2:
        return 1.0
    parts = StratifiedKFold(folds, shuffle=True, random_state=0)

    def likelihood(c: float) -> float:
        head = LogisticRegression(C=c, max_iter=1000)
        return float(cross_val_score(head, shots, shot_classes, cv=parts, scoring="neg_log_loss").mean())

    return max(CS, key=likelihood)


# By the name of a baseline that reads the shots' vectors: how, and what is said meanwhile.
READ_OUTS: Mapping[str, tuple[ReadOut, str]] = {
    KNN: (knn_logits, "Looking for neighbours"),
    LINEAR: (linear_logits, "Fitting a linear head"),
}


@dataclass(frozen=True)
class EncoderEntrant:
    """What one of `READ_OUTS` makes of the shots in the space of the sentence encoder ``model``."""

    name: str
    model: str
    shots: Sequence[Shot]
    labels: Sequence[str]
    device: str
    batch_size: int
    ui: Ui
    on_pairs: bool = True

    @property
    def fingerprint(self) -> str:
        """Over the encoder and the shots."""
        return folder.fingerprint(self.model) + json.dumps([[shot.text, shot.label] for shot in self.shots])

    def logits(self, texts: Sequence[str]) -> Logits:
        """Load the encoder and read its vectors."""
        encoder, (read_out, doing) = load_encoder(self.model, device=self.device), READ_OUTS[self.name]
        every = [*(shot.text for shot in self.shots), *texts]
        with self.ui.progress(doing, total=len(every)) as advance:
            vectors = sentence_vectors(encoder, every, batch_size=self.batch_size, progress=advance)
        k, known = len(self.shots), [self.labels.index(shot.label) for shot in self.shots]
        return read_out(vectors[k:], vectors[:k], known, len(self.labels))

    def made(self) -> Mapping[str, Any]:
        """From the shots alone."""
        return dict.fromkeys(("k", "rows", "shots"), len(self.shots))


@dataclass(frozen=True)
class LLMEntrant:
    """An LLM itself, opened as a teacher is: without shots in its prompt, or with."""

    name: str
    llm: BlackBoxTeacher
    run: Run
    ui: Ui
    on_pairs: bool = False

    @property
    def fingerprint(self) -> str:
        """Over all that it is sent."""
        return self.llm.fingerprint

    def logits(self, texts: Sequence[str]) -> Logits:
        """Ask it.

        Raises:
            PartialError: some texts are without an answer; all else is saved.
        """
        with self.ui.progress(f"Asking {self.llm.name} ({self.name})", total=len(texts)) as advance:
            return self.llm.logits(texts, progress=advance)

    def made(self) -> Mapping[str, Any]:
        """By a prompt that shows shots; what its answers took in tokens and money, those of earlier goes included."""
        shots, asked = self.llm.shown, self.llm.questions
        usage = total_usage(r for r in self.run.read_teacher_replies(self.run.eval_replies) if r.question in asked)
        made = {"method": "prompt", **dict.fromkeys(("k", "rows", "shots"), shots)}
        return made | {"usage": usage.record(), "cost": usage.cost(self.llm.price)}
