"""Which weights of a model are trained: of the token embedding the rows that the texts use, or low-rank adapters."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import PreTrainedModel

from cod_cli.errors import UsageError
from cod_cli.models.inference import Encoding
from cod_cli.models.load import Classifier


class SeenEmbedding(nn.Module):
    """The rows ``seen`` of an embedding, looked up by their indices there."""

    index: Tensor

    def __init__(self, full: nn.Embedding, seen: Tensor) -> None:
        super().__init__()
        index = full.weight.new_full((full.num_embeddings,), -1, dtype=torch.long)
        index[seen] = torch.arange(len(seen), device=index.device)
        self.register_buffer("index", index, persistent=False)
        self.weight = nn.Parameter(full.weight[seen].detach().clone())
        padding = full.padding_idx
        self.padding_idx = None if padding is None or index[padding] < 0 else int(index[padding])

    def forward(self, token_ids: Tensor) -> Tensor:
        """Vectors (…, hidden) of token ids (…), all of them seen."""
        return embedding(self.index[token_ids], self.weight, self.padding_idx)


@contextmanager
def seen_rows_only(classifier: Classifier, encodings: Iterable[Encoding]) -> Iterator[None]:
    """Within, the model holds only the embedding rows of these texts; behind, all, with those trained written back."""
    model = classifier.model
    full = model.get_input_embeddings()
    if type(full) is not nn.Embedding or not full.weight.requires_grad:
        yield
        return
    token_ids = {token for encoding in encodings for token in encoding["input_ids"]}
    seen = torch.tensor(sorted(token_ids | {classifier.tokenizer.pad_token_id}), device=full.weight.device)
    # A row without a gradient does not move under Adam without weight decay, so leaving it out changes no bit of the
    # result, and spares the optimiser most of a small model: 30,000 to 250,000 rows, of which few-shot training sees
    # some hundreds.
    small = SeenEmbedding(full, seen)
    model.set_input_embeddings(small)
    try:
        yield
    finally:
        model.set_input_embeddings(full)
        with torch.no_grad():
            full.weight[seen] = small.weight


def add_lora(classifier: Classifier, rank: int, fresh: set[str], *, seed: int) -> Classifier:
    """The same model, frozen but for low-rank adapters (LoRA) of this rank on every linear layer.

    Args:
        classifier: the student.
        rank: of the adapters; their scale is the usual alpha = 2 · rank.
        fresh: names of weights that no pretraining has seen, the head's; their layers are trained whole.
        seed: of the adapters' first weights.

    Raises:
        UsageError: the package peft is missing.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UsageError("--lora needs the package peft", "pip install 'cod-cli[lora]'") from None
    whole = sorted({name.rpartition(".")[0] for name in fresh})
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=_linear_layers(classifier, whole), modules_to_save=whole
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return replace(classifier, model=cast(PreTrainedModel, get_peft_model(classifier.model, config)))


def merge_lora(classifier: Classifier) -> Classifier:
    """The ordinary model that the adapters of `add_lora` make of it, to be saved and shipped."""
    return replace(classifier, model=cast(Any, classifier.model).merge_and_unload())


def _linear_layers(classifier: Classifier, whole: list[str]) -> list[str]:
    names = (name for name, module in classifier.model.named_modules() if isinstance(module, nn.Linear))
    return [name for name in names if not any(name == kept or name.startswith(kept + ".") for kept in whole)]
