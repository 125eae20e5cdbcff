"""Counterfactuals without an LLM: the least word edits that flip a teacher whose gradients can be had.

Replacements come from the neighbourhood of each word in the teacher's own embedding table; the gradient of the class
margin ranks them to first order, as in HotFlip (Ebrahimi et al., arXiv 1712.06751), and the teacher has the last word.
The lexicon says which words there are to choose from, with their embeddings: those that the training texts use often.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from cod_cli.counterfactuals.edits import Token, cased, column_tokens, tokenize
from cod_cli.counterfactuals.generators.base import EditRequest, Proposal
from cod_cli.counterfactuals.generators.infill import Infill, open_infill
from cod_cli.counterfactuals.generators.wordclass import WordClasses, learn_classes
from cod_cli.errors import CodError
from cod_cli.metrics import flips
from cod_cli.models.inference import encode, pad, word_tokens
from cod_cli.models.load import Classifier
from cod_cli.records import Shot
from cod_cli.settings.counterfact import Edits, Words
from cod_cli.teachers.base import Oracle, Teacher
from cod_cli.teachers.local import WhiteBoxTeacher

# A word that is rarer in the training texts is a name or a slip of the pen more often than a word to write with.
SEEN_AT_LEAST = 3
# With fewer different words than this the texts are too few to choose from.
ENOUGH = 500


@dataclass(frozen=True)
class Lexicon:
    """``words`` in lower case, and the input embedding of each, ``vectors`` (words, hidden).

    ``classes`` say which of them may stand for a word, None for all.
    """

    words: tuple[str, ...]
    vectors: Tensor
    classes: WordClasses | None = None

    def neighbours(self, vectors: Tensor, n: int) -> Tensor:
        """Indices (rows, n) of the words nearest by cosine to each of ``vectors`` (rows, hidden)."""
        return self._similarity(vectors).topk(min(n, len(self.words)), dim=-1).indices

    def replacements(
        self, words: Sequence[str], vectors: Tensor, n: int, plausible: Tensor | None = None
    ) -> list[Tensor]:
        """For each of ``words``, with their ``vectors`` (rows, hidden), the indices of at most n that may stand for it.

        They are the nearest by cosine, nearest first, or those of the highest ``plausible`` (rows, lexicon).
        """
        if self.classes is None and plausible is None:
            return list(self.neighbours(vectors, n))
        scores = self._similarity(vectors) if plausible is None else plausible
        if self.classes is not None:
            scores = scores.masked_fill(~self.classes.alike(words, vectors), float("-inf"))
        found = scores.topk(min(n, len(self.words)), dim=-1)
        return [row[near > float("-inf")] for row, near in zip(found.indices, found.values, strict=True)]

    def _similarity(self, vectors: Tensor) -> Tensor:
        return normalize(vectors, dim=-1) @ normalize(self.vectors, dim=-1).T


def build_lexicon(
    classifier: Classifier, texts: Sequence[str], words: Words = "source", edits: Edits = "any"
) -> Lexicon:
    """The words that are one token of the classifier's tokenizer, and stand at least three times in ``texts``.

    Args:
        classifier: whose embeddings they get.
        texts: what to learn from.
        words: ``source``: where the texts have few, the tokenizer's own whole words serve, WordPiece, BPE and
            SentencePiece alike; ``teacher``: these always; ``shots``: all words of the texts, and no others.
        edits: with ``fluent`` the lexicon knows which of its words are of a kind, as far as the texts tell.
    """
    tokens: dict[str, int] = {}
    if words != "teacher":
        tokens = _single_tokens(classifier, _words_in(texts, SEEN_AT_LEAST if words == "source" else 1))
    if words == "teacher" or (words == "source" and len(tokens) < ENOUGH):
        tokens |= _single_tokens(classifier, _vocabulary_words(classifier))
    table = cast(Tensor, classifier.model.get_input_embeddings().weight).detach()
    ids = torch.tensor(list(tokens.values()), dtype=torch.long, device=table.device)
    vectors = table[ids].float()
    return Lexicon(tuple(tokens), vectors, learn_classes(list(tokens), vectors, texts) if edits == "fluent" else None)


def _words_in(texts: Iterable[str], times: int) -> list[str]:
    """Words in lower case that stand there so often; those mostly written with a capital are names."""
    seen: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    for text in texts:
        for word in (token.text for token in tokenize(text) if token.text.isalpha()):
            seen[word.lower()] += 1
            capital[word.lower()] += word != word.lower()
    return [word for word, n in seen.items() if n >= times and capital[word] <= n / 2 and len(word) > 1]


def _vocabulary_words(classifier: Classifier) -> list[str]:
    """What the tokenizer's entries spell, where that is letters in lower case."""
    tokenizer = classifier.tokenizer
    spelled = (str(tokenizer.decode([index])).strip() for index in range(len(tokenizer)))
    return list(dict.fromkeys(word for word in spelled if word.isalpha() and word == word.lower() and len(word) > 1))


def _single_tokens(classifier: Classifier, words: Sequence[str]) -> dict[str, int]:
    """Words that are one token in the middle of a text, each token only once."""
    found: dict[int, str] = {}
    for word, index in zip(words, word_tokens(classifier, words), strict=True):
        if index is not None:
            found.setdefault(index, word)
    return {word: index for index, word in found.items()}


NEAREST_WORDS = 40
SCORED = 40
# So that a gradient which is steep at one word does not crowd out all the others.
PER_WORD = 10
BEAM = 3
MOST_EDITS = 4
# How far the search for the most confident edit goes on: so many changed words are never too far.
CONFIDENT_EDITS = 3
# Requests that are searched together: large batches for the teacher, a screenful of progress.
TOGETHER = 16
Choice = Literal["smallest", "nearest", "confident", "first"]


@dataclass(frozen=True)
class _State:
    """A partly edited text; ``edited`` are the positions of tokens that are not to change any more."""

    tokens: tuple[Token, ...]
    edited: frozenset[int] = frozenset()

    @classmethod
    def of(cls, text: str, columns: Sequence[str]) -> "_State":
        """A text that nothing was changed in; what may not be counts as if it were."""
        return cls(tuple(tokenize(text)), column_tokens(text, columns))

    @property
    def text(self) -> str:
        return "".join(token.space + token.text for token in self.tokens)

    def replace(self, position: int, word: str) -> "_State":
        old = self.tokens[position]
        new = Token(old.space, cased(word, old.text))
        return _State((*self.tokens[:position], new, *self.tokens[position + 1 :]), self.edited | {position})


@dataclass(frozen=True)
class _Edit:
    """A text that was shown to the teacher: whether it flips, and how far the target is ahead there, in logits.

    ``kept``: the teacher's choice is that on the shot.
    """

    flips: bool
    margin: float
    state: _State
    kept: bool


@dataclass(frozen=True)
class Wording:
    """What the editor may put in: the options ``lexicon``, ``edits`` and ``editor_model`` of `cod counterfact`."""

    words: Words = "source"
    edits: Edits = "any"
    model: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Wording":
        """As settings say, or the manifest of an earlier version, which does not speak of it."""
        return cls(settings.get("lexicon", "source"), settings.get("edits", "any"), settings.get("editor_model"))


class Editor:
    """Searches, for each request, the fewest word replacements that flip the teacher.

    Args:
        teacher: whom to flip.
        lexicon: the words that may be put in.
        choice: which of the edits that flip to take: ``smallest`` (of those with the fewest words the surest one),
            ``nearest`` to the teacher's boundary, the most ``confident`` one within three words; or the ``first``
            that the gradient proposes, whether it flips or not.
        oracle: who is shown the edits, where somebody keeps what the teacher says; else the teacher itself.
        columns: names of columns that stand in the texts and are not to be changed.
        infill: who says what is plausible in the place of a word, else the words nearest to it are tried.
    """

    name = "editor"
    prompts: Sequence[str | None] = (None,)
    max_attempts = 1

    def __init__(
        self,
        teacher: WhiteBoxTeacher,
        lexicon: Lexicon,
        choice: Choice = "smallest",
        *,
        oracle: Oracle | None = None,
        columns: Sequence[str] = (),
        infill: Infill | None = None,
    ) -> None:
        self.teacher = teacher
        self.infill = infill
        self.oracle: Oracle = oracle or teacher
        self.columns = columns
        self.lexicon = lexicon
        self.choice = choice

    def propose(self, requests: Sequence[EditRequest]) -> Iterator[Proposal]:
        """The flipped text of each request; where none is found, the nearest edit, which the verifier turns down."""
        for start in range(0, len(requests), TOGETHER):
            part = requests[start : start + TOGETHER]
            found = self._first(part) if self.choice == "first" else self._search(part)
            for request, text in zip(part, found, strict=True):
                yield Proposal(request, (text,)) if text else Proposal(request, (), "empty", "no word can be replaced")

    def _first(self, requests: Sequence[EditRequest]) -> list[str | None]:
        """The replacement that the gradient promises most of, which the teacher has not seen."""
        states = [_State.of(request.shot.text, self.columns) for request in requests]
        families = self._expand(states, [self.teacher.labels.index(request.target) for request in requests])
        return [family[0].text if family else None for family in families]

    def _search(self, requests: Sequence[EditRequest]) -> list[str | None]:
        """Beam search over the number of edits, for all requests at once."""
        targets = [self.teacher.labels.index(request.target) for request in requests]
        shots = [request.shot for request in requests]
        before = self.oracle.logits([shot.text for shot in shots], families=[shot.id for shot in shots])
        beams = {i: [_State.of(shot.text, self.columns)] for i, shot in enumerate(shots)}
        best: dict[int, _Edit] = {}
        for edits in range(1, MOST_EDITS + 1):
            for i, found in self._score_children(beams, shots, targets, before).items():
                ranked = sorted(found, key=_rank, reverse=True)
                best[i] = self._better(best.get(i), ranked)
                beams[i] = _beam(ranked)
            beams = {i: beam for i, beam in beams.items() if beam and not self._done(best.get(i), edits)}
            if not beams:
                break
        return [best[i].state.text if i in best else None for i in range(len(requests))]

    def search_on(self, goals: Sequence[tuple[Shot, str]], *, flipped: int, kept: int) -> None:
        """Show the teacher further edits of shots toward classes; whoever looks on (``oracle``) keeps them.

        Args:
            goals: shots, each with a class.
            flipped: go on, up to three edits, until so many turn the teacher to that class …
            kept: … and so many do not change its choice.
        """
        for start in range(0, len(goals), TOGETHER):
            part = goals[start : start + TOGETHER]
            shots = [shot for shot, _ in part]
            targets = [self.teacher.labels.index(label) for _, label in part]
            before = self.oracle.logits([shot.text for shot in shots], families=[shot.id for shot in shots])
            beams = {i: [_State.of(shot.text, self.columns)] for i, shot in enumerate(shots)}
            seen: dict[int, list[_Edit]] = {i: [] for i in beams}
            for _ in range(CONFIDENT_EDITS):
                tried = self._score_children(beams, shots, targets, before)
                for i, found in tried.items():
                    seen[i] += found
                beams = {
                    i: _beam(sorted(found, key=_rank, reverse=True))
                    for i, found in tried.items()
                    if not _enough(seen[i], flipped, kept)
                }
                if not beams:
                    break

    def _score_children(
        self,
        beams: Mapping[int, Sequence[_State]],
        shots: Sequence[Shot],
        targets: Sequence[int],
        before: np.ndarray,
    ) -> dict[int, list[_Edit]]:
        """What the teacher says to the children of each beam, where it has any."""
        owners = [i for i, states in beams.items() for _ in states]
        children = self._expand(list(chain.from_iterable(beams.values())), [targets[i] for i in owners])
        families = [shots[i].id for i, found in zip(owners, children, strict=True) for _ in found]
        texts = [child.text for found in children for child in found]
        after = iter(self.oracle.logits(texts, families=families))
        tried: dict[int, list[_Edit]] = {}
        for i, family in zip(owners, children, strict=True):
            found = [_score(child, before[i], next(after), targets[i]) for child in family]
            if found:
                tried.setdefault(i, []).extend(found)
        return tried

    def _better(self, old: _Edit | None, ranked: Sequence[_Edit]) -> _Edit:
        """The one to keep, of the best so far and of what one more edit gives, best first."""
        flipped = [found for found in ranked if found.flips]
        if self.choice == "nearest" and flipped:
            return flipped[-1]
        if self.choice == "confident" and old is not None:
            return max(old, ranked[0], key=_rank)
        return ranked[0]

    def _done(self, best: _Edit | None, edits: int) -> bool:
        return best is None or (best.flips and (self.choice != "confident" or edits >= CONFIDENT_EDITS))

    def _expand(self, states: Sequence[_State], targets: Sequence[int]) -> list[list[_State]]:
        """For each state the replacements that promise most, by the gradient."""
        if not states:
            return []
        embedded, gradients, offsets = self._gradients([state.text for state in states], targets)
        places = [self._places(*row) for row in zip(states, offsets, strict=True)]
        plausible: Sequence[Tensor | None] = [None] * len(states)
        if self.infill is not None:
            plausible = self.infill.plausible([(s.tokens, list(at)) for s, at in zip(states, places, strict=True)])
        return [self._children(*row) for row in zip(states, embedded, gradients, places, plausible, strict=True)]

    def _children(
        self,
        state: _State,
        embedded: Tensor,
        gradient: Tensor,
        places: Mapping[int, Sequence[int]],
        plausible: Tensor | None,
    ) -> list[_State]:
        if not places:
            return []
        means = torch.stack([embedded[pieces].mean(0) for pieces in places.values()])
        own = [state.tokens[position].text for position in places]
        near = self.lexicon.replacements(own, means, NEAREST_WORDS + 1, plausible)
        promising: list[tuple[float, int, str]] = []
        for (position, pieces), indices in zip(places.items(), near, strict=True):
            # The first-order change of the margin when every piece of the word becomes the new word.
            now = (gradient[pieces] * embedded[pieces]).sum()
            gains = self.lexicon.vectors[indices] @ gradient[pieces].sum(0) - now
            words = [self.lexicon.words[index] for index in indices.tolist()]
            this = state.tokens[position].text.lower()
            ranked = sorted(((g, w) for g, w in zip(gains.tolist(), words, strict=True) if w != this), reverse=True)
            promising += [(gain, position, word) for gain, word in ranked[:PER_WORD]]
        promising.sort(key=lambda t: -t[0])
        return [state.replace(position, word) for _, position, word in promising[:SCORED]]

    def _places(self, state: _State, offsets: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
        """Positions of the words that may be replaced, each with the indices of its pieces."""
        places, classes = _places(state, offsets), self.lexicon.classes
        return {i: pieces for i, pieces in places.items() if classes is None or not classes.fixed(state.tokens, i)}

    def _gradients(
        self, texts: Sequence[str], targets: Sequence[int]
    ) -> tuple[list[Tensor], list[Tensor], list[list[tuple[int, int]]]]:
        """Input embeddings and the margin's gradient at them, (tokens, hidden) a text, and the tokens' offsets."""
        classifier = self.teacher.classifier
        self.teacher.gradients += len(texts)
        encodings = encode(classifier, texts, self.teacher.max_length)
        offsets = [self._offsets(text) for text in texts]
        inputs = pad(classifier, encodings)
        embedded = classifier.model.get_input_embeddings()(inputs.pop("input_ids")).detach().requires_grad_(True)
        logits = classifier.model(inputs_embeds=embedded, **inputs).logits.float()
        own = torch.tensor([self.teacher.order[target] for target in targets], device=logits.device)
        target = logits.gather(1, own[:, None])[:, 0]
        other = logits.masked_fill(one_hot(own, logits.shape[1]).bool(), float("-inf")).max(1).values
        (gradient,) = torch.autograd.grad((target - other).sum(), embedded)
        starts = [_first(mask) for mask in inputs["attention_mask"]]
        cut = [slice(start, start + len(spans)) for start, spans in zip(starts, offsets, strict=True)]
        return (
            [row[where] for row, where in zip(embedded.detach(), cut, strict=True)],
            [row[where] for row, where in zip(gradient, cut, strict=True)],
            offsets,
        )

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        tokenizer = self.teacher.classifier.tokenizer
        encoded = tokenizer(text, truncation=True, max_length=self.teacher.max_length, return_offsets_mapping=True)
        return [(start, end) for start, end in encoded["offset_mapping"]]


def open_editor(
    teacher: Teacher | None,
    texts: Sequence[str],
    choice: Choice = "smallest",
    *,
    wording: Wording = Wording(),
    oracle: Oracle | None = None,
    columns: Sequence[str] = (),
) -> Editor:
    """The editor for a teacher whose weights are at hand; ``texts`` are those that it learns words from.

    ``choice``, ``oracle``, ``columns``: see `Editor`.
    """
    if not isinstance(teacher, WhiteBoxTeacher):
        raise CodError("the editor needs the teacher's gradients", "use a model folder or Hub id as --teacher")
    lexicon = build_lexicon(teacher.classifier, texts, wording.words, wording.edits)
    infill = None
    if wording.model is not None:
        device = str(teacher.classifier.device)
        infill = open_infill(wording.model, lexicon.words, max_length=teacher.max_length, device=device)
    return Editor(teacher, lexicon, choice, oracle=oracle, columns=columns, infill=infill)


def _score(child: _State, before: np.ndarray, after: np.ndarray, target: int) -> _Edit:
    margin = float(after[target] - np.delete(after, target).max())
    return _Edit(flips(before, after, target), margin, child, int(after.argmax()) == int(before.argmax()))


def _beam(ranked: Sequence[_Edit]) -> list[_State]:
    """The different texts that are best, to go on from."""
    return list({edit.state.text: edit.state for edit in ranked}.values())[:BEAM]


def _enough(seen: Sequence[_Edit], flipped: int, kept: int) -> bool:
    turned = {edit.state.text for edit in seen if edit.flips}
    same = {edit.state.text for edit in seen if edit.kept}
    return len(turned) >= flipped and len(same) >= kept


def _rank(found: _Edit) -> tuple[bool, float]:
    return found.flips, found.margin


def _places(state: _State, offsets: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """Positions of the words that may be replaced, each with the indices of its pieces."""
    places: dict[int, list[int]] = {}
    end = 0
    for position, token in enumerate(state.tokens):
        start = end + len(token.space)
        end = start + len(token.text)
        pieces = [i for i, (left, right) in enumerate(offsets) if right > left and left < end and right > start]
        if pieces and position not in state.edited and token.text.isalpha():
            places[position] = pieces
    return places


def _first(mask: Tensor) -> int:
    """Where a row's tokens begin: behind the padding where that is on the left."""
    return int(mask.argmax())
