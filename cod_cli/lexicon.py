"""The words that an edit may put in: whole words of the teacher's own embedding table."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cod_cli.edits import tokenize
from cod_cli.models import Classifier

# A word that is rarer in the training texts is a name or a slip of the pen more often than a word to write with.
SEEN_AT_LEAST = 3
# With fewer different words than this the texts are too few to choose from.
ENOUGH = 500


@dataclass(frozen=True)
class Lexicon:
    """``words`` in lower case, and the input embedding of each, ``vectors`` (words, hidden)."""

    words: tuple[str, ...]
    vectors: Tensor

    def neighbours(self, vectors: Tensor, n: int) -> Tensor:
        """Indices (rows, n) of the words nearest by cosine to each of ``vectors`` (rows, hidden)."""
        similarity = normalize(vectors, dim=-1) @ normalize(self.vectors, dim=-1).T
        return similarity.topk(min(n, len(self.words)), dim=-1).indices


def build_lexicon(classifier: Classifier, texts: Sequence[str]) -> Lexicon:
    """The words that stand at least three times in ``texts`` and are one token of the classifier's tokenizer.

    With few texts the tokenizer's own whole words serve, WordPiece, BPE and SentencePiece alike.
    """
    words = _frequent_words(texts)
    tokens = _single_tokens(classifier, words)
    if len(tokens) < ENOUGH:
        tokens |= _single_tokens(classifier, _vocabulary_words(classifier))
    table = cast(Tensor, classifier.model.get_input_embeddings().weight).detach()
    ids = torch.tensor(list(tokens.values()), device=table.device)
    return Lexicon(tuple(tokens), table[ids].float())


def _frequent_words(texts: Iterable[str]) -> list[str]:
    """Words in lower case; those mostly written with a capital are names."""
    seen: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    for text in texts:
        for word in (token.text for token in tokenize(text) if token.text.isalpha()):
            seen[word.lower()] += 1
            capital[word.lower()] += word != word.lower()
    return [word for word, n in seen.items() if n >= SEEN_AT_LEAST and capital[word] <= n / 2 and len(word) > 1]


def _vocabulary_words(classifier: Classifier) -> list[str]:
    """What the tokenizer's entries spell, where that is letters in lower case."""
    tokenizer = classifier.tokenizer
    spelled = (str(tokenizer.decode([index])).strip() for index in range(len(tokenizer)))
    return list(dict.fromkeys(word for word in spelled if word.isalpha() and word == word.lower() and len(word) > 1))


def _single_tokens(classifier: Classifier, words: Sequence[str]) -> dict[str, int]:
    """Words that are one token in the middle of a text, each token only once."""
    if not words:
        return {}
    tokenizer = classifier.tokenizer
    encoded = tokenizer([f"a {word}" for word in words], add_special_tokens=False, return_offsets_mapping=True)
    found: dict[int, str] = {}
    for word, ids, offsets in zip(words, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        behind = [index for index, (start, end) in zip(ids, offsets, strict=True) if end > max(start, 2)]
        if len(behind) == 1 and behind[0] != tokenizer.unk_token_id:
            found.setdefault(behind[0], word)
    return {word: index for index, word in found.items()}
