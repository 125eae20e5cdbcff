"""Where a classifier's decision changes on the segment between two texts: the bisection, and the segments themselves.

Hamman et al. 2025 (arXiv 2510.21631), Lemma 1: between a text x and its counterfactual x', in embedding space, there is
a point where the teacher is undecided. Where the student is undecided on the same segment can be told likewise.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from cod_cli.errors import CodError
from cod_cli.metrics import Floats, Indices
from cod_cli.models.inference import encode, longest
from cod_cli.models.load import Classifier
from cod_cli.training.layers import reads_last_token

# Of the segments ``rows`` (m,), at the places t (m,) in [0, 1]: the logit of the class behind the boundary less that of
# the class before it (m,).
Margins = Callable[[Indices, Floats], Floats]
# Halvings of the segment: the place is right to 2^-9, a five-hundredth of it.
STEPS = 8


def crossings(margins: Margins, n: int, steps: int = STEPS) -> Floats:
    """The places t ``(n,)`` where the margins pass zero from below, by bisection; not a number where they do not.

    A segment is crossed where its margin is negative at t = 0 and positive at t = 1. Where it passes zero more than
    once in between, one of those places is found.
    """
    ends = np.zeros(n), np.ones(n)
    everything = np.arange(n)
    crossed = (margins(everything, ends[0]) < 0) & (margins(everything, ends[1]) > 0)
    rows = everything[crossed]
    low, high = (end[crossed] for end in ends)
    for _ in range(steps if len(rows) else 0):
        middle = (low + high) / 2
        before = margins(rows, middle) < 0
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    found = np.full(n, np.nan)
    found[rows] = (low + high) / 2
    return found


def align(first: Sequence[int], second: Sequence[int], special: Collection[int] = ()) -> tuple[list[int], list[int]]:
    """Two token sequences brought to one length, position by position, so that points between them can be taken.

    Tokens that both have stay opposite each other. Where a run of tokens became another, the shorter one is stretched
    by repeating its tokens; where one side has none, it repeats the token before, or behind if that is ``special``.

    Args:
        first: token ids, at least one.
        second: likewise.
        special: ids that carry no text, such as [CLS].
    """
    one: list[int] = []
    two: list[int] = []
    for start, end, other_start, other_end in _runs(first, second):
        length = max(end - start, other_end - other_start)
        one += _stretch(first, start, end, length, special)
        two += _stretch(second, other_start, other_end, length, special)
    return one, two


def _runs(first: Sequence[int], second: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Where each run of equal or of changed tokens begins and ends, in either sequence."""
    runs: list[tuple[bool, int, int, int, int]] = []
    for op in Levenshtein.opcodes(first, second):
        equal, start, other_start = op.tag == "equal", op.src_start, op.dest_start
        if runs and not equal and not runs[-1][0]:
            _, start, _, other_start, _ = runs.pop()
        runs.append((equal, start, op.src_end, other_start, op.dest_end))
    return [run[1:] for run in runs]


def _stretch(tokens: Sequence[int], start: int, end: int, length: int, special: Collection[int]) -> list[int]:
    if start == end:
        before = start > 0 and tokens[start - 1] not in special
        return [tokens[start - 1 if before or start == len(tokens) else start]] * length
    return [tokens[start + i * (end - start) // length] for i in range(length)]


def share_and_gap(own: Floats, teachers: Floats) -> tuple[float, float | None]:
    """The share of the teacher's crossings (n,) that a student shares, and the mean distance between the two there.

    A crossing that is not there is NaN; the distance, as a share of the segment, is None where none is shared.
    """
    gaps = np.abs(own - teachers)
    shared = ~np.isnan(gaps)
    return float(shared.mean()), float(gaps[shared].mean()) if shared.any() else None


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

    Both are brought to one length in tokens (`align`), embedded by the classifier's own table, and mixed
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
        first, second = (self._embed([side[i] for side in ends]) for i in (0, 1))
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

    def _embed(self, rows: Sequence[list[int]]) -> Tensor:
        width = max(map(len, rows))
        filler = self.classifier.tokenizer.pad_token_id
        ids = torch.tensor([row + [filler] * (width - len(row)) for row in rows], device=self.classifier.device)
        embedded: Tensor = self.classifier.model.get_input_embeddings()(ids)
        return embedded
