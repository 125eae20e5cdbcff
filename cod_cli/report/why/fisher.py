"""What rows can tell a linear classifier about its weights: their Fisher information, and the features it is about.

Hamman et al. 2025 (arXiv 2510.21631), Theorem 1: in logistic regression a row with features z that the model gives the
probability p adds p(1 - p)·zzᵀ to the Fisher information, so a row on the boundary tells most. Arithmetic is float64;
only `features_of` runs a model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cod_cli.errors import CodError
from cod_cli.metrics import Floats
from cod_cli.models.inference import batched_forward, encode
from cod_cli.models.load import Classifier

# The precision λ of a Gaussian prior on the weights: standard deviation 1.
RIDGE = 1.0


def uncertainty(probs: npt.ArrayLike) -> Floats:
    """How unsure a classifier is of each row ``(n,)``, from its probabilities ``(n, C)``.

    Half the trace of the Fisher information about a row's logits, diag(p) - ppᵀ, so ½(1 - Σ p_c²). With two classes
    that is the paper's p(1 - p), at most 0.25; with C it is at most (1 - 1/C)/2.
    """
    p = _matrix(probs)
    half: Floats = (1 - np.square(p).sum(axis=1)) / 2
    return half


def log_det(features: npt.ArrayLike, probs: npt.ArrayLike, ridge: float = RIDGE) -> float:
    """``log det(I + F/λ)`` in nats, F being the Fisher information of all rows about a linear classifier's weights.

    With two classes F = Σ p(1 - p) zzᵀ, that of logistic regression. With C classes it is that of multinomial logistic
    regression, Σ (diag(p) - ppᵀ) ⊗ zzᵀ; that λ is then the prior precision of the difference between two classes'
    weights, as with two, takes half of it: log det(I + F/2λ), whatever the order of the classes. A bias is left out, as
    in the paper.

    Fewer rows than features leave F short of full rank, and log det F is -∞. Its determinant over the span of the rows
    would fall where a row is added that nearly repeats another. With the prior every row adds something, most where no
    other has told yet: it is twice the information, in nats, that the rows give about weights drawn from N(0, I/λ)
    (Bayesian D-optimality, Chaloner and Verdinelli 1995). It depends on the scale of the features, so what is compared
    must share a model and a λ.

    Args:
        features: what the linear layer sees, z ``(n, d)``.
        probs: the model's probabilities ``(n, C)``.
        ridge: λ.
    """
    root = _root(_matrix(features), _matrix(probs)) / np.sqrt(2 * ridge)
    rows, columns = root.shape
    # det(I + RᵀR) = det(I + RRᵀ): the smaller one.
    product = root @ root.T if rows < columns else root.T @ root
    return float(np.linalg.slogdet(np.eye(len(product)) + product).logabsdet)


def _root(features: Floats, probs: Floats) -> Floats:
    """R ``(n·C, C·d)`` with RᵀR = Σ (diag(p) - ppᵀ) ⊗ zzᵀ."""
    if len(features) != len(probs):
        raise ValueError(f"{len(features)} rows of features and {len(probs)} of probabilities")
    n, classes = probs.shape
    # LLᵀ = diag(p) - ppᵀ for L = diag(√p) - p√pᵀ, since the probabilities add up to 1.
    roots = np.sqrt(probs)
    factor = np.einsum("nc,ca->nca", roots, np.eye(classes)) - np.einsum("nc,na->nca", probs, roots)
    root: Floats = np.einsum("nca,nj->nacj", factor, features).reshape(n * classes, -1)
    return root


def _matrix(values: npt.ArrayLike) -> Floats:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"expected a row for each text, not {matrix.shape}")
    return matrix


def features_of(
    classifier: Classifier, texts: Sequence[str], *, batch_size: int = 32, max_length: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """The input of the last linear layer and its raw logits, ``(n, d)`` and ``(n, C)``, float32, in the texts' order.

    A decoder's head looks at every token: its features are those at the last one, by which it decides.

    Raises:
        CodError: the logits are not what a last linear layer makes of its input.
    """
    encodings = encode(classifier, texts, max_length)
    with _watch_head(classifier) as seen:

        def forward(batch: dict[str, Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
            logits = classifier.model(**batch).logits
            features = _decisive(seen, logits, batch["attention_mask"], classifier)
            return list(zip(features.float().cpu().numpy(), logits.float().cpu().numpy(), strict=True))

        pairs = batched_forward(classifier, encodings, forward, batch_size=batch_size)
    features, logits = zip(*pairs, strict=True)
    return np.stack(features), np.stack(logits)


@contextmanager
def _watch_head(classifier: Classifier) -> Iterator[dict[str, Any]]:
    """Keeps, while within, the linear layer with a column for each class that ran last, and its input."""
    seen: dict[str, Any] = {}
    classes = len(classifier.labels)

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["layer"], seen["input"] = module, inputs[0]

    heads = [m for m in classifier.model.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    hooks = [module.register_forward_pre_hook(keep) for module in heads]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _decisive(seen: dict[str, Any], logits: Tensor, mask: Tensor, classifier: Classifier) -> Tensor:
    """The features by which each text was decided."""
    features: Tensor | None = seen.get("input")
    if features is not None and features.dim() == 3:
        features = features[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]
    if features is None or not torch.allclose(seen["layer"](features), logits, rtol=1e-3, atol=1e-3):
        family = classifier.model.config.model_type
        raise CodError(f"this model's ({family}) last linear layer cannot be told", "use a teacher of another family")
    return features
