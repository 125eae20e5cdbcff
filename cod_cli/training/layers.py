"""Hidden layers: which of the teacher's each of the student's follows, what they say of the rows, and the maps between.

In LWD a student's hidden states, mapped linearly, follow the teacher's, token by token. In TED the maps are filters
that have learned the task before, on either side, each with a classifier of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cod_cli.data.draw import Draws
from cod_cli.errors import UsageError
from cod_cli.models.inference import Encoding, Progress, batched_forward
from cod_cli.models.load import Classifier
from cod_cli.training.batches import Batch
from cod_cli.training.loop import train

# β of the layer loss where the paper has one: DeBERTa's for encoders, and its text's for decoders (Qwen2.5).
BETA_ENCODER = 20.0
BETA_DECODER = 5.0


def match_layers(student: int, teacher: int, chosen: Sequence[int] | None = None) -> list[int]:
    """For each student layer the teacher's, counted from 1 as in ``hidden_states``, where 0 is the embeddings.

    By default student layer i (from 0) follows ⌊(i + 1)·L_t/L_s⌋ (Hamman et al. 2025, layer match).

    Args:
        student: the number L_s of its layers.
        teacher: the number L_t of its layers.
        chosen: the teacher's layers, one for each of the student's.

    Raises:
        UsageError: layers that the teacher does not have, or another number than the student has.
    """
    if chosen is None:
        if student > teacher:
            raise UsageError(
                f"the student has {student} layers, the teacher only {teacher}",
                f"name one of 1 to {teacher} for each of them with --layers, or use a student of fewer layers",
            )
        return [(index + 1) * teacher // student for index in range(student)]
    if len(chosen) != student or not all(1 <= layer <= teacher for layer in chosen):
        raise UsageError(
            f"--layers is {','.join(map(str, chosen))}; the student has {student} layers, the teacher {teacher}",
            f"give {student} numbers from 1 to {teacher}, one for each of the student's layers",
        )
    return list(chosen)


def n_layers(classifier: Classifier) -> int:
    """How many layers a model has."""
    return int(classifier.model.config.get_text_config().num_hidden_layers)


def hidden_size(classifier: Classifier) -> int:
    """The size of a model's hidden states."""
    return int(classifier.model.config.get_text_config().hidden_size)


def reads_last_token(classifier: Classifier) -> bool:
    """Whether the head reads the last token, as a decoder's does, and not the first."""
    return hasattr(classifier.model, "score")


def default_beta(classifier: Classifier) -> float:
    """The weight β of the layer loss for a student of this family."""
    return BETA_DECODER if reads_last_token(classifier) else BETA_ENCODER


def check_same_tokens(
    teacher: Classifier,
    student: Classifier,
    theirs: Mapping[str, Encoding],
    ours: Mapping[str, Encoding],
    method: str,
) -> None:
    """Refuse a student whose tokens are not the teacher's: their positions would not match.

    Args:
        teacher: one model.
        student: the other.
        theirs: the teacher's encodings by row id.
        ours: the student's.
        method: the one asked for, to name it.
    """
    for name, encoding in ours.items():
        left = teacher.tokenizer.convert_ids_to_tokens(theirs[name]["input_ids"])
        right = student.tokenizer.convert_ids_to_tokens(encoding["input_ids"])
        if left != right:
            raise UsageError(
                f"--method {method} compares hidden states token by token, and the student reads {name} as "
                f"{' '.join(right[:6])} …, the teacher as {' '.join(left[:6])} …",
                "use --method kd, which needs no common tokens, or a student with the teacher's tokenizer",
            )


@dataclass(frozen=True)
class HiddenStates:
    """Hidden states by row id, each (layers, tokens, hidden) in float32, kept in the CPU's memory."""

    by_row: Mapping[str, Tensor]

    def batch(self, ids: Sequence[str], tokens: int) -> Tensor:
        """(layers, rows, tokens, hidden) of some rows, padded with zeros on the right."""
        states = [self.by_row[name] for name in ids]
        layers, _, hidden = states[0].shape
        padded = torch.zeros(layers, len(ids), tokens, hidden)
        for row, state in enumerate(states):
            padded[:, row, : state.shape[1]] = state
        return padded

    def at(self, token: int) -> Tensor:
        """(rows, layers, hidden) at one token of each row: 0 is the first, -1 the last."""
        return torch.stack([state[:, token] for state in self.by_row.values()])

    @torch.no_grad()
    def map(self, maps: nn.ModuleList) -> "HiddenStates":
        """The same with each layer's map applied."""
        return HiddenStates(
            {name: torch.stack([m(s) for m, s in zip(maps, state, strict=True)]) for name, state in self.by_row.items()}
        )


def hidden_states(
    classifier: Classifier,
    encodings: Mapping[str, Encoding],
    layers: Sequence[int],
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> HiddenStates:
    """Run a model once over some texts, in eval mode, and keep what some layers say; 0 is the embeddings."""
    classifier.model.train(False)

    def forward(batch: dict[str, Tensor]) -> list[Tensor]:
        output = classifier.model(**batch, output_hidden_states=True)
        states = torch.stack([output.hidden_states[layer] for layer in layers]).float().cpu()
        # Copies, or each row would keep the whole padded batch alive.
        return [states[:, row, :length].clone() for row, length in enumerate(batch["attention_mask"].sum(1).tolist())]

    rows = batched_forward(classifier, list(encodings.values()), forward, batch_size=batch_size, progress=progress)
    return HiddenStates(dict(zip(encodings, rows, strict=True)))


@dataclass(frozen=True)
class MatchedOutput:
    """What a student says: ``logits`` (rows, classes) and mapped ``hidden`` states (layers, rows, tokens, hidden)."""

    logits: Tensor
    hidden: Tensor


class MatchedStudent(nn.Module):
    """A student with a linear map P_l behind each layer, trained with it and left behind when it is saved."""

    def __init__(self, model: nn.Module, maps: nn.ModuleList) -> None:
        super().__init__()
        self.model = model
        self.maps = maps

    def forward(self, **inputs: Tensor) -> MatchedOutput:
        """Logits, and the states of all layers but the embeddings, mapped to the teacher's size."""
        output = self.model(**inputs, output_hidden_states=True)
        hidden = [m(state) for m, state in zip(self.maps, output.hidden_states[1:], strict=True)]
        return MatchedOutput(output.logits, torch.stack(hidden))


def linear_maps(layers: int, from_: int, to: int, *, seed: int, device: torch.device) -> nn.ModuleList:
    """One linear map a layer, without bias: the identity where sizes agree, else drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        maps = nn.ModuleList(nn.Linear(from_, to, bias=False) for _ in range(layers))
    if from_ == to:
        for weight in maps.parameters():
            nn.init.eye_(weight)
    return maps.to(device)


# Fresh linear layers on fixed features: the rate for a pretrained model would leave them where they began.
FILTER_LR = 1e-3


class LayerClassifiers(nn.Module):
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
    task = LayerClassifiers(filters, classes, seed).to(device)
    n_batches = -(-len(labels) // batch_size)
    rng = Draws(seed)

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
