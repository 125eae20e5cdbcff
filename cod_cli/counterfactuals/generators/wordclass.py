"""Which words can stand for each other: told from the company they keep in the source's texts, with no extra model.

Words of a part of speech stand between like words (Schütze 1995, arXiv cmp-lg/9503009). Counts of neighbours are too
few for most words, so the company of a word is predicted from its embedding and its ending, by ridge regression on
all words at once. Nothing here knows a language: names are told by their capitals, foreign words by their letters.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from cod_cli.counterfactuals.edits import Token, tokenize

# The most frequent words and marks say what stands beside a word; all others count as one.
COMPANY = 100
# Larger sources say no more of their words' company than their beginning.
ENOUGH_TEXTS = 10_000
# Fewer different words than this are too few to learn from.
ENOUGH_WORDS = 500
LONGEST_ENDING = 3
# An ending that fewer words have says nothing of them.
SHARED_BY = 4
RANK = 30
# Words alike by this cosine or more share a part of speech twice in three, by an English tagger's lexicon, where
# of the nearest words by embedding one in three does.
ALIKE = 0.6
# A letter that is rarer than this among the letters of the source is not of its language: é in English.
FOREIGN = 1e-4
_SENTENCE_END = frozenset(".!?…:\"'`“”‘’«»()[]*-–—。！？")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Names:
    """What the source says of capitals: ``seen`` how often a word stands inside a sentence, ``capital`` so written.

    ``telling`` is False where most words are written so, as in headlines, and for scripts without capitals.
    """

    seen: Mapping[str, int]
    capital: Mapping[str, int]
    telling: bool

    def include(self, tokens: Sequence[Token], position: int) -> bool:
        """Whether a word of a text is a name."""
        text = tokens[position].text
        word, n = text.lower(), self.seen.get(text.lower(), 0)
        if not self.telling:
            return False
        if n:
            return self.capital.get(word, 0) > n / 2
        return text != word and not _opens_sentence(tokens, position)


@dataclass(frozen=True)
class Company:
    """What stands beside words, predicted: ``projection`` (features, rank) of the features of a word less ``center``.

    Features are a word's embedding, scaled to length, and which of ``endings`` it has.
    """

    projection: Tensor
    center: Tensor
    endings: Mapping[str, int]

    def of(self, words: Sequence[str], vectors: Tensor) -> Tensor:
        """Unit vectors (words, rank), from the input embeddings ``vectors`` (words, hidden) of words in lower case."""
        features = _features(words, vectors, self.endings)
        return normalize((features - self.center) @ self.projection, dim=-1)

    def to(self, device: torch.device) -> "Company":
        """The same on a device."""
        return Company(self.projection.to(device), self.center.to(device), self.endings)


@dataclass(frozen=True)
class WordClasses:
    """Which words of a lexicon may stand for a word.

    Args:
        names: which words of a text are names, and so are left alone.
        usable: booleans (words), False for foreign words.
        company: of any word; None where the source is too small to tell.
        lexicon: the company of the lexicon's words (words, rank), if it is told.
    """

    names: Names
    usable: Tensor
    company: Company | None = None
    lexicon: Tensor | None = None

    def fixed(self, tokens: Sequence[Token], position: int) -> bool:
        """Whether a word of a text is to be left alone: nothing in the lexicon is of its kind."""
        return self.names.include(tokens, position)

    def alike(self, words: Sequence[str], vectors: Tensor) -> Tensor:
        """Booleans (rows, lexicon): which words of the lexicon may stand for each of ``words``.

        Args:
            words: in any case.
            vectors: their input embeddings (rows, hidden), of a word of several pieces the mean.
        """
        if self.company is None or self.lexicon is None:
            return self.usable.expand(len(words), -1)
        own = self.company.of([word.lower() for word in words], vectors)
        return (own @ self.lexicon.T >= ALIKE) & self.usable


def learn_classes(words: Sequence[str], vectors: Tensor, texts: Sequence[str]) -> WordClasses:
    """Learn from ``texts`` which of a lexicon's ``words``, with their input embeddings ``vectors``, are of a kind."""
    read = [tokenize(text) for text in texts[:ENOUGH_TEXTS]]
    common = _common_letters(read)
    usable = torch.tensor([common is None or common.issuperset(word) for word in words], dtype=torch.bool)
    rules = WordClasses(_names(read), usable.to(vectors.device))
    counts = _neighbours(words, read)
    if np.count_nonzero(counts.sum(1)) < ENOUGH_WORDS:
        log.info("too few texts to tell parts of speech by: edits leave names alone and put in no foreign words")
        return rules
    company = _learn_company(words, vectors.cpu(), counts).to(vectors.device)
    return WordClasses(rules.names, rules.usable, company, company.of(words, vectors))


def _opens_sentence(tokens: Sequence[Token], position: int) -> bool:
    return position == 0 or tokens[position - 1].text in _SENTENCE_END


def _names(texts: Iterable[Sequence[Token]]) -> Names:
    seen: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    for tokens in texts:
        for position, token in enumerate(tokens):
            if token.text.isalpha() and not _opens_sentence(tokens, position):
                seen[token.text.lower()] += 1
                capital[token.text.lower()] += token.text != token.text.lower()
    return Names(seen, capital, telling=0 < capital.total() < seen.total() / 2)


def _common_letters(texts: Iterable[Sequence[Token]]) -> set[str] | None:
    """The letters of the source's language, in lower case; None where the texts are too few to have all of them."""
    letters = Counter(letter for tokens in texts for token in tokens for letter in token.text.lower())
    rarest = FOREIGN * letters.total()
    return {letter for letter, n in letters.items() if n >= rarest} if rarest >= 1 else None


def _neighbours(words: Sequence[str], texts: Sequence[Sequence[Token]]) -> np.ndarray:
    """How often each of the commonest words stands before and behind each word: (words, 2 · (COMPANY + 2)).

    Of the two further columns of each side one is for all other words, one for the edge of a text.
    """
    read = [[token.text.lower() for token in tokens] for tokens in texts]
    commonest = Counter(word for tokens in read for word in tokens).most_common(COMPANY)
    column = {word: index for index, (word, _) in enumerate(commonest)}
    row = {word: index for index, word in enumerate(words)}
    width = COMPANY + 2
    cells: list[int] = []
    for tokens in read:
        columns = [COMPANY + 1, *(column.get(word, COMPANY) for word in tokens), COMPANY + 1]
        for before, word, behind in zip(columns, tokens, columns[2:], strict=False):
            if (index := row.get(word)) is not None:
                cells += (2 * width * index + before, 2 * width * index + width + behind)
    counted = np.bincount(np.array(cells, dtype=np.int64), minlength=len(words) * 2 * width)
    return counted.reshape(len(words), 2 * width).astype(np.float64)


# What a frequent word says weighs as much as this many sightings, so that the rest are heard, too.
_HEARD = 20
_RIDGE = 60.0
# The length of an embedding, beside the 1 of an ending.
_LENGTH = 3.0


def _learn_company(words: Sequence[str], vectors: Tensor, counts: np.ndarray) -> Company:
    """Ridge regression from words' features to their neighbours, reduced to the directions in which words differ.

    The company of a word is told by how it differs from that of a word picked from the texts at random.
    """
    endings = _endings(words)
    features = _features(words, vectors, endings).double()
    seen = torch.from_numpy(counts)
    # Square roots of shares: their inner product is how far two distributions overlap.
    shares, base = (seen / seen.sum(1, keepdim=True).clamp(min=1)).sqrt(), (seen.sum(0) / seen.sum()).sqrt()
    targets = shares / base.clamp(min=0.01).sqrt()
    times = seen.sum(1, keepdim=True) / 2
    weights = times.clamp(max=_HEARD)
    centered, aimed = (rows - _mean(rows, weights) for rows in (features, targets))
    ridge = _RIDGE * torch.eye(features.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(centered.T @ (centered * weights) + ridge, centered.T @ (aimed * weights))
    center = _mean(features, times)
    _, _, directions = torch.linalg.svd((features - center) @ solved, full_matrices=False)
    return Company((solved @ directions[:RANK].T).float(), center.float(), endings)


def _mean(rows: Tensor, weights: Tensor) -> Tensor:
    return (rows * weights).sum(0) / weights.sum()


def _endings(words: Iterable[str]) -> dict[str, int]:
    """The endings that several words share, each with its place among the features."""
    shared = Counter(ending for word in words for ending in _endings_of(word))
    return {ending: place for place, ending in enumerate(e for e, n in shared.items() if n >= SHARED_BY)}


def _endings_of(word: str) -> list[str]:
    return [word[-n:] for n in range(1, LONGEST_ENDING + 1) if len(word) > n]


def _features(words: Sequence[str], vectors: Tensor, endings: Mapping[str, int]) -> Tensor:
    marks = torch.zeros(len(words), len(endings))
    cells = [(i, endings[e]) for i, word in enumerate(words) for e in _endings_of(word) if e in endings]
    if cells:
        marks[tuple(torch.tensor(cells).T)] = 1.0
    return torch.cat([_LENGTH * normalize(vectors.float(), dim=-1), marks.to(vectors.device)], dim=1)
