"""Counterfactuals without an LLM: the least word edits that flip a teacher whose gradients can be had.

Replacements come from the neighbourhood of each word in the teacher's own embedding table; the gradient of the class
margin ranks them to first order, as in HotFlip (Ebrahimi et al., arXiv 1712.06751), and the teacher has the last word.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from cod_cli.edits import Token, tokenize
from cod_cli.errors import CodError
from cod_cli.generators import Need, Proposal
from cod_cli.lexicon import Lexicon, build_lexicon
from cod_cli.metrics import flips
from cod_cli.models import encode, pad
from cod_cli.teachers import Teacher, WhiteBoxTeacher

NEIGHBOURS = 40
SCORED = 40
# So that a gradient which is steep at one word does not crowd out all the others.
PER_WORD = 10
BEAM = 3
MOST_EDITS = 4
# Needs that are searched together: large batches for the teacher, a screenful of progress.
TOGETHER = 16


@dataclass(frozen=True)
class _State:
    """A partly edited text; ``edited`` are the positions of its changed tokens."""

    tokens: tuple[Token, ...]
    edited: frozenset[int] = frozenset()

    @property
    def text(self) -> str:
        return "".join(token.space + token.text for token in self.tokens)

    def replace(self, position: int, word: str) -> "_State":
        old = self.tokens[position]
        new = Token(old.space, _cased(word, old.text))
        return _State((*self.tokens[:position], new, *self.tokens[position + 1 :]), self.edited | {position})


class Editor:
    """Searches, for each need, the fewest word replacements that flip the teacher."""

    name = "editor"
    prompt: str | None = None
    max_attempts = 1

    def __init__(self, teacher: WhiteBoxTeacher, lexicon: Lexicon) -> None:
        self.teacher = teacher
        self.lexicon = lexicon

    def propose(self, needs: Sequence[Need], *, progress: Callable[[int], object] | None = None) -> Iterator[Proposal]:
        """The flipped text of each need; where none was found, the nearest try, which the verifier will turn down."""
        for start in range(0, len(needs), TOGETHER):
            part = needs[start : start + TOGETHER]
            for need, text in zip(part, self._search(part), strict=True):
                yield Proposal(need, (text,)) if text else Proposal(need, (), "empty", "no word can be replaced")

    def _search(self, needs: Sequence[Need]) -> list[str | None]:
        """Beam search over the number of edits, for all needs at once."""
        targets = [self.teacher.labels.index(need.target) for need in needs]
        before = self.teacher.logits([need.shot.text for need in needs])
        beams = {i: [_State(tuple(tokenize(need.shot.text)))] for i, need in enumerate(needs)}
        found: list[str | None] = [None] * len(needs)
        for _ in range(MOST_EDITS):
            owners = [i for i, states in beams.items() for _ in states]
            states = list(chain.from_iterable(beams.values()))
            children = self._expand(states, [targets[i] for i in owners])
            after = self.teacher.logits([child.text for family in children for child in family])
            scored: dict[int, list[tuple[float, bool, _State]]] = {i: [] for i in beams}
            rows = iter(after)
            for i, family in zip(owners, children, strict=True):
                scored[i] += [_scored(child, before[i], next(rows), targets[i]) for child in family]
            beams = {}
            for i, tries in scored.items():
                tries.sort(key=lambda t: (t[1], t[0]), reverse=True)
                if tries:
                    found[i] = tries[0][2].text
                if tries and not tries[0][1]:
                    beams[i] = list({state.text: state for _, _, state in tries}.values())[:BEAM]
            if not beams:
                break
        return found

    def _expand(self, states: Sequence[_State], targets: Sequence[int]) -> list[list[_State]]:
        """For each state the replacements that promise most, by the gradient."""
        if not states:
            return []
        embedded, gradients, offsets = self._gradients([state.text for state in states], targets)
        return [self._children(*row) for row in zip(states, embedded, gradients, offsets, strict=True)]

    def _children(
        self, state: _State, embedded: Tensor, gradient: Tensor, offsets: Sequence[tuple[int, int]]
    ) -> list[_State]:
        places = _places(state, offsets)
        if not places:
            return []
        means = torch.stack([embedded[pieces].mean(0) for pieces in places.values()])
        near = self.lexicon.neighbours(means, NEIGHBOURS + 1)
        tries: list[tuple[float, int, str]] = []
        for (position, pieces), indices in zip(places.items(), near, strict=True):
            # The first-order change of the margin when every piece of the word becomes the new word.
            now = (gradient[pieces] * embedded[pieces]).sum()
            gains = self.lexicon.vectors[indices] @ gradient[pieces].sum(0) - now
            words = [self.lexicon.words[index] for index in indices.tolist()]
            own = state.tokens[position].text.lower()
            ranked = sorted(((g, w) for g, w in zip(gains.tolist(), words, strict=True) if w != own), reverse=True)
            tries += [(gain, position, word) for gain, word in ranked[:PER_WORD]]
        tries.sort(key=lambda t: -t[0])
        return [state.replace(position, word) for _, position, word in tries[:SCORED]]

    def _gradients(
        self, texts: Sequence[str], targets: Sequence[int]
    ) -> tuple[list[Tensor], list[Tensor], list[list[tuple[int, int]]]]:
        """Input embeddings and the margin's gradient at them, (tokens, hidden) a text, and the tokens' offsets."""
        classifier = self.teacher.classifier
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


def open_editor(teacher: Teacher | None, texts: Sequence[str]) -> Editor:
    """The editor for a teacher whose weights are at hand; ``texts`` are those whose words it may use."""
    if not isinstance(teacher, WhiteBoxTeacher):
        raise CodError("the editor needs the teacher's gradients", "use a model folder or Hub id as --teacher")
    return Editor(teacher, build_lexicon(teacher.classifier, texts))


def _scored(child: _State, before: np.ndarray, after: np.ndarray, target: int) -> tuple[float, bool, _State]:
    margin = float(after[target] - np.delete(after, target).max())
    return margin, flips(before, after, target), child


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


def _cased(word: str, model: str) -> str:
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word.capitalize() if model[:1].isupper() else word


def _first(mask: Tensor) -> int:
    """Where a row's tokens begin: behind the padding where that is on the left."""
    return int(mask.argmax())
