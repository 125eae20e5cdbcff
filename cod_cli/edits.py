"""Words, edit ratios and edit spans: how far a counterfactual is from its shot, and where."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

# Scripts written without spaces (kana, CJK, Thai, Lao, Myanmar, Khmer): each character is a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
_LETTERS = rf"(?:(?![{_UNSPACED}])\w)+"
_WORD = rf"[{_UNSPACED}]|{_LETTERS}(?:['’]{_LETTERS})*"
_WORDS = re.compile(_WORD)
_TOKENS = re.compile(rf"{_WORD}|[^\w\s]")


@dataclass(frozen=True)
class Token:
    """A word or punctuation mark and the white space that stands before it."""

    space: str
    text: str


@dataclass(frozen=True)
class Span:
    """A maximal run of changed tokens: ``source[source_start:source_end]`` became
    ``target[target_start:target_end]``, counted in tokens."""

    source_start: int
    source_end: int
    target_start: int
    target_end: int


def words(text: str) -> list[str]:
    """The Unicode words of a text, punctuation left out."""
    return _WORDS.findall(text)


def tokenize(text: str) -> list[Token]:
    """Words and punctuation marks in order; joined with their spaces they give the text back."""
    tokens, end = [], 0
    for match in _TOKENS.finditer(text):
        tokens.append(Token(text[end : match.start()], match.group()))
        end = match.end()
    return tokens


def n_edits(source: str, target: str) -> int:
    """Word-level Levenshtein distance."""
    return Levenshtein.distance(words(source), words(target))


def edit_ratio(source: str, target: str) -> float:
    """Word-level Levenshtein distance divided by the words of the longer text, in [0, 1]."""
    longer = max(len(words(source)), len(words(target)))
    return n_edits(source, target) / longer if longer else float(source != target)


def spans(source: str, target: str) -> list[Span]:
    """The edited spans, in order, that turn ``source`` into ``target``."""
    before = [token.text for token in tokenize(source)]
    after = [token.text for token in tokenize(target)]
    runs: list[Span] = []
    for op in Levenshtein.opcodes(before, after):
        if op.tag == "equal":
            continue
        run = Span(op.src_start, op.src_end, op.dest_start, op.dest_end)
        if runs and (runs[-1].source_end, runs[-1].target_end) == (run.source_start, run.target_start):
            last = runs.pop()
            run = Span(last.source_start, run.source_end, last.target_start, run.target_end)
        runs.append(run)
    return runs


def apply(source: str, target: str, kept: Collection[int]) -> str:
    """``source`` with only the spans whose index is in ``kept`` edited as in ``target``."""
    before, after = tokenize(source), tokenize(target)
    pieces: list[str] = []
    position, undone = 0, False

    def copy_equal(until: int, offset: int) -> None:
        # Behind an undone span the original's spacing fits, elsewhere the edit's.
        nonlocal undone
        for index in range(position, until):
            space = before[index - offset].space if undone else after[index].space
            pieces.append(space + after[index].text)
            undone = False

    offset = 0
    for index, span in enumerate(spans(source, target)):
        copy_equal(span.target_start, offset)
        chosen = after[span.target_start : span.target_end]
        if index not in kept:
            chosen = before[span.source_start : span.source_end]
        pieces.extend(token.space + token.text for token in chosen)
        position, offset, undone = span.target_end, span.target_end - span.source_end, index not in kept
    copy_equal(len(after), offset)
    return "".join(pieces).strip()
