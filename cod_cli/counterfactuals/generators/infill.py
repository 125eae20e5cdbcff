"""Which words a masked language model finds plausible in the place of another: for `cod counterfact --editor-model`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cod_cli.counterfactuals.edits import Token
from cod_cli.models.inference import batched_forward, encode, word_tokens
from cod_cli.models.load import Encoder, load_masked_lm

# A word may stand where the model gives it at least a hundredth of what it gives the word that stands there, and a
# thousandth of what it gives the likeliest of the lexicon; a word of several pieces has no probability at one mask.
MARGIN, FARTHEST = math.log(100), math.log(1000)
# Each row brings the whole vocabulary at each of its tokens.
_BATCH = 8


@dataclass(frozen=True)
class Infill:
    """A masked language model, and ``ids`` (words), the token that each word of a lexicon is to it, -1 for none."""

    model: Encoder
    ids: Tensor
    max_length: int

    def plausible(self, texts: Sequence[tuple[Sequence[Token], Sequence[int]]]) -> list[Tensor]:
        """For each text and its positions, how plausible each word of the lexicon is there (positions, words).

        That is the word's term in the text's pseudo-log-likelihood (Salazar et al., arXiv 1910.14659), negative
        infinity for what may not stand there.
        """
        masked = [self._masked(tokens, position) for tokens, positions in texts for position in positions]
        own = [tokens[position].text for tokens, positions in texts for position in positions]
        tokens_of = dict(zip(own, word_tokens(self.model, own), strict=True))
        encodings = encode(self.model, masked, self.max_length)
        found = batched_forward(self.model, encodings, self._forward, batch_size=_BATCH)
        rows = iter([self._scored(row, tokens_of[word]) for row, word in zip(found, own, strict=True)])
        return [
            torch.stack([next(rows) for _ in positions])
            if positions
            else self.ids.new_zeros(0, len(self.ids), dtype=torch.float32)
            for _, positions in texts
        ]

    def _masked(self, tokens: Sequence[Token], position: int) -> str:
        mask = str(self.model.tokenizer.mask_token)
        return "".join(t.space + (mask if i == position else t.text) for i, t in enumerate(tokens))

    def _forward(self, batch: dict[str, Tensor]) -> list[Tensor]:
        """Log-probabilities (vocabulary) at the mask of each row; where it was cut off, nothing is plausible."""
        logits = self.model.model(**batch).logits.float()
        places = batch["input_ids"] == self.model.tokenizer.mask_token_id
        return [
            row[where].log_softmax(-1)[0] if bool(where.any()) else torch.full_like(row[0], float("-inf"))
            for row, where in zip(logits, places, strict=True)
        ]

    def _scored(self, row: Tensor, own: int | None) -> Tensor:
        scores = torch.where(self.ids >= 0, row[self.ids.clamp(min=0)], float("-inf"))
        least = scores.max() - FARTHEST
        if own is not None:
            least = torch.maximum(least, row[own] - MARGIN)
        return torch.where(scores >= least, scores, float("-inf"))


def open_infill(name: str, words: Sequence[str], *, max_length: int, device: str) -> Infill:
    """The masked language model of that name, for the words of a lexicon; those of several tokens to it are none."""
    model = load_masked_lm(name, device=device)
    ids = [-1 if token is None else token for token in word_tokens(model, words)]
    return Infill(model, torch.tensor(ids, dtype=torch.long, device=model.device), max_length)
