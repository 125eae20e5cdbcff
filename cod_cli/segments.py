"""Segments between two texts in a classifier's own embedding space, and what it says along them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cod_cli.crossing import Floats, Indices, align
from cod_cli.errors import CodError
from cod_cli.layers import reads_last_token
from cod_cli.models import Classifier, encode, longest

# Points in one forward pass: few, since padding costs a CPU more than small batches do.
BATCH = 8


@dataclass(frozen=True)
class Pair:
    """A text and its counterfactual, with the teacher's class on either side of its boundary between them, by index."""

    text: str
    counterfactual: str
    before: int
    after: int


class Segments:
    """The straight lines from each pair's text (t = 0) to its counterfactual (t = 1), for one classifier.

    Both are brought to one length in tokens (`crossing.align`), embedded by the classifier's own table, and mixed
    position by position: (1 - t)·E(x) + t·E(x').

    Args:
        classifier: whose segments.
        pairs: their ends.
        order: for each class index of the pairs, its column in the classifier's logits.
        max_length: where texts are cut, in tokens.
        batch_size: points in one forward pass.
    """

    def __init__(
        self,
        classifier: Classifier,
        pairs: Sequence[Pair],
        order: Sequence[int],
        *,
        max_length: int = 256,
        batch_size: int = BATCH,
    ) -> None:
        self.classifier = classifier
        self.batch_size = batch_size
        most = longest(classifier, max_length)
        special = set(classifier.tokenizer.all_special_ids)
        texts = [pair.text for pair in pairs], [pair.counterfactual for pair in pairs]
        ids = ([row["input_ids"] for row in encode(classifier, side, max_length)] for side in texts)
        # Stretching must not make a sequence longer than the model can take.
        self._ends = [
            tuple(side[:most] for side in align(ends[0], ends[1], special)) for ends in zip(*ids, strict=True)
        ]
        self._classes = [(order[pair.before], order[pair.after]) for pair in pairs]

    @torch.inference_mode()
    def margins(self, rows: Indices, places: Floats) -> Floats:
        """At ``places`` (m,) of the segments ``rows`` (m,): logit behind the boundary less the one before it (m,)."""
        found = np.empty(len(rows))
        for chosen in self._batches(rows):
            logits = self._logits([self._ends[rows[i]] for i in chosen], places[chosen])
            classes = np.array([self._classes[rows[i]] for i in chosen])
            before, after = (np.take_along_axis(logits, classes[:, side, None], axis=1)[:, 0] for side in (0, 1))
            found[chosen] = after - before
        return found

    def _batches(self, rows: Indices) -> Iterator[list[int]]:
        """Indices into ``rows``, those of like length together; of one length where the head reads the last token.

        Given embeddings instead of ids, such a head cannot tell where padding begins.
        """
        lengths = [len(self._ends[row][0]) for row in rows]
        exact = reads_last_token(self.classifier)
        batch: list[int] = []
        for i in sorted(range(len(rows)), key=lengths.__getitem__, reverse=True):
            if batch and (len(batch) == self.batch_size or (exact and lengths[i] != lengths[batch[0]])):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _logits(self, ends: Sequence[tuple[list[int], ...]], places: Floats) -> np.ndarray:
        first, second = (self._embedded([side[i] for side in ends]) for i in (0, 1))
        t = torch.tensor(places, dtype=first.dtype, device=first.device)[:, None, None]
        lengths = torch.tensor([len(side[0]) for side in ends])
        mask = (torch.arange(first.shape[1]) < lengths[:, None]).long().to(first.device)
        try:
            output = self.classifier.model(inputs_embeds=(1 - t) * first + t * second, attention_mask=mask)
        except (NotImplementedError, TypeError):
            family = self.classifier.model.config.model_type
            raise CodError(f"this model ({family}) takes no embeddings in the place of tokens") from None
        logits: np.ndarray = output.logits.float().cpu().numpy()
        return logits

    def _embedded(self, rows: Sequence[list[int]]) -> Tensor:
        width = max(map(len, rows))
        filler = self.classifier.tokenizer.pad_token_id
        ids = torch.tensor([row + [filler] * (width - len(row)) for row in rows], device=self.classifier.device)
        embedded: Tensor = self.classifier.model.get_input_embeddings()(ids)
        return embedded
