"""Train only the rows of the token embedding that the texts use.

A row without a gradient does not move under Adam without weight decay, so leaving it out changes no bit of the result,
and spares the optimiser most of a small model: 30,000 to 250,000 rows, of which few-shot training sees some hundreds.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

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
    small = SeenEmbedding(full, seen)
    model.set_input_embeddings(small)
    try:
        yield
    finally:
        model.set_input_embeddings(full)
        with torch.no_grad():
            full.weight[seen] = small.weight
