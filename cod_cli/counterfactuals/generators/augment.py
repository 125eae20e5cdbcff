"""Simple augmentation, the rival that costs nothing: EDA and AEDA rewrite a shot at random and keep its class.

EDA: Wei and Zou 2019 (arXiv 1901.11196), one of four operations a text at alpha = 0.1; AEDA: Karimi et al. 2021
(arXiv 2108.13230). EDA's synonyms are not WordNet's, which is not at hand everywhere, but the nearest neighbours of a
word in the teacher's embedding table; and texts keep their capitals and punctuation.
"""

from collections.abc import Callable, Iterator, Sequence

from cod_cli.counterfactuals.edits import Token, cased, column_tokens, tokenize, words
from cod_cli.counterfactuals.generators.base import EditRequest, Proposal
from cod_cli.counterfactuals.generators.editor import Lexicon, build_lexicon
from cod_cli.data.draw import Draws
from cod_cli.errors import CodError
from cod_cli.teachers.base import Teacher
from cod_cli.teachers.local import WhiteBoxTeacher

EDA_ALPHA = 0.1
MARKS = (".", ";", "?", ":", "!", ",")
# Neighbours that count as synonyms.
SYNONYMS = 5
# Draws of a word to put in before EDA does without.
DRAWS = 10
# As many words as the editor may change wherever the text is short.
MOST_EXCHANGED = 3
Synonyms = Callable[[str], list[str]]
Rewrite = Callable[[str, Draws], str]


class Augmenter:
    """Rewrites the shot of each request at random, differently on each attempt."""

    prompts: Sequence[str | None] = (None,)
    max_attempts = 5

    def __init__(self, name: str, rewrite: Rewrite, seed: str) -> None:
        self.name = name
        self._rewrite, self._seed = rewrite, seed

    def propose(self, requests: Sequence[EditRequest]) -> Iterator[Proposal]:
        """One proposal for each request, in order."""
        for request in requests:
            rng = Draws(f"{self.name} {self._seed} {request.shot.id} {request.attempt}")
            yield Proposal(request, (self._rewrite(request.shot.text, rng),))


def open_augmenter(name: str, teacher: Teacher | None, texts: Sequence[str], seed: str) -> Augmenter:
    """``eda``, which takes synonyms from the teacher's embeddings, or ``aeda``.

    Raises:
        CodError: EDA without a teacher whose weights are at hand.
    """
    if name == "aeda":
        return Augmenter(name, aeda, seed)
    if not isinstance(teacher, WhiteBoxTeacher):
        raise CodError("eda takes synonyms from the teacher's embeddings", "use a model folder or Hub id as --teacher")
    synonyms = embedding_synonyms(build_lexicon(teacher.classifier, texts))
    return Augmenter(name, lambda text, rng: eda(text, synonyms, rng), seed)


def embedding_synonyms(lexicon: Lexicon) -> Synonyms:
    """A word's nearest neighbours by cosine, in lower case; none for words that the lexicon does not have."""
    place = {word: index for index, word in enumerate(lexicon.words)}

    def synonyms(word: str) -> list[str]:
        index = place.get(word.lower())
        if index is None:
            return []
        near = lexicon.neighbours(lexicon.vectors[index : index + 1], SYNONYMS + 1)[0].tolist()
        return [lexicon.words[other] for other in near if other != index][:SYNONYMS]

    return synonyms


def aeda(text: str, rng: Draws) -> str:
    """The text with punctuation marks before some of its words: from one up to a third of the words."""
    tokens = tokenize(text)
    places = _places(tokens)
    if not places:
        return text
    chosen = set(rng.sample(places, 1 + rng.below(max(1, len(places) // 3))))
    rewritten: list[Token] = []
    for position, token in enumerate(tokens):
        if position in chosen:
            rewritten.append(Token(token.space, rng.choice(MARKS)))
            token = Token(token.space or " ", token.text)
        rewritten.append(token)
    return _text(rewritten)


def eda(text: str, synonyms: Synonyms, rng: Draws, alpha: float = EDA_ALPHA) -> str:
    """One of EDA's operations, drawn at random, on ``max(1, alpha · words)`` words; deletion takes each with alpha.

    Args:
        text: of any language with spaces between words.
        synonyms: the words that may stand for a word.
        rng: all that is random.
        alpha: share of the words.
    """
    tokens = tokenize(text)
    places = _places(tokens)
    if not places:
        return text
    n = max(1, int(alpha * len(places)))
    operation = rng.choice(("replace", "insert", "swap", "delete"))
    if operation == "replace":
        return _text(_replaced(tokens, places, synonyms, n, rng))
    if operation == "insert":
        return _text(_inserted(tokens, synonyms, n, rng))
    if operation == "swap":
        return _text(_swapped(tokens, places, n, rng))
    return _text(_deleted(tokens, places, alpha, rng))


def exchanged(text: str, vocabulary: Sequence[str], rng: Draws, columns: Sequence[str] = ()) -> str:
    """The text with one to three of its words exchanged for others of ``vocabulary``, both drawn at random.

    Args:
        text: of any language.
        vocabulary: words in lower case, at least one.
        rng: all that is random.
        columns: those whose names stand before their values in the text, and stay.
    """
    tokens, names = tokenize(text), column_tokens(text, columns)
    places = [place for place in _places(tokens) if place not in names]
    if not places:
        return text
    chosen = rng.sample(places, min(1 + rng.below(MOST_EXCHANGED), len(places)))
    drawn = {place: cased(rng.choice(vocabulary), tokens[place].text) for place in chosen}
    return _text([Token(token.space, drawn.get(place, token.text)) for place, token in enumerate(tokens)])


def _replaced(tokens: list[Token], places: Sequence[int], synonyms: Synonyms, n: int, rng: Draws) -> list[Token]:
    """Up to n different words, no stop words, replaced wherever they stand."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    candidates = list(dict.fromkeys(tokens[i].text.lower() for i in places))
    chosen: dict[str, str] = {}
    for word in rng.sample(candidates, len(candidates)):
        found = synonyms(word) if word not in ENGLISH_STOP_WORDS else []
        if found and len(chosen) < n:
            chosen[word] = rng.choice(found)
    return [Token(t.space, cased(chosen[t.text.lower()], t.text)) if t.text.lower() in chosen else t for t in tokens]


def _inserted(tokens: list[Token], synonyms: Synonyms, n: int, rng: Draws) -> list[Token]:
    """As often as ``n`` says a synonym of some word of the text, anywhere."""
    tokens = list(tokens)
    for _ in range(n):
        draws = (synonyms(tokens[rng.choice(_places(tokens))].text) for _ in range(DRAWS))
        found = next((words for words in draws if words), [])
        if found:
            place = rng.below(len(tokens) + 1)
            if place == 0:
                tokens[0] = Token(" ", tokens[0].text)
            tokens.insert(place, Token(" " if place else "", rng.choice(found)))
    return tokens


def _swapped(tokens: list[Token], places: Sequence[int], n: int, rng: Draws) -> list[Token]:
    """As often as ``n`` says two words that change places."""
    tokens = list(tokens)
    for _ in range(n if len(places) > 1 else 0):
        one, other = rng.sample(places, 2)
        first, second = tokens[one], tokens[other]
        tokens[one], tokens[other] = Token(first.space, second.text), Token(second.space, first.text)
    return tokens


def _deleted(tokens: list[Token], places: Sequence[int], alpha: float, rng: Draws) -> list[Token]:
    """Each word left out with probability alpha, but never all."""
    gone = {i for i in places if rng.random() < alpha}
    if len(gone) == len(places):
        gone.remove(rng.choice(places))
    return [token for i, token in enumerate(tokens) if i not in gone]


def _places(tokens: Sequence[Token]) -> list[int]:
    return [i for i, token in enumerate(tokens) if words(token.text)]


def _text(tokens: Sequence[Token]) -> str:
    return "".join(token.space + token.text for token in tokens).strip()
