"""The distillation objective, term by term, as pure functions of tensors.

``L = CE(g_s(x), y) + α · T² · KL(softmax(g_t/T) ‖ softmax(g_s/T)) + β · mean_l MSE(h_t^l, P_l h_s^l)``, averaged over
the batch (Hamman et al. 2025, arXiv 2510.21631; the T² is Hinton et al. 2015's). Whatever the precision of the forward
pass, every term is computed in float32.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss


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
