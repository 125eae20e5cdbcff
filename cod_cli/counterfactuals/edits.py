"""Words, edit ratios and edit spans: how far a counterfactual is from its shot, and where."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import regex
from rapidfuzz.distance import Levenshtein

# Scripts written without spaces: each character, with the marks on it, is a word.
_SCRIPTS = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
_UNSPACED = "[[" + "".join(rf"\p{{scx={script}}}" for script in _SCRIPTS) + r"]&&[\p{L}\p{N}]]"
# Elsewhere a word is a run of letters, digits and their marks (vowel signs, accents, joiners).
_LETTERS = rf"[[\p{{L}}\p{{N}}_]--{_UNSPACED}][[\w\p{{N}}]--{_UNSPACED}]*+"
_WORD = rf"{_UNSPACED}[\p{{M}}\u200c\u200d]*+|{_LETTERS}(?:['’]{_LETTERS})*"
_WORDS = regex.compile(_WORD, regex.V1)
_TOKENS = regex.compile(rf"{_WORD}|(?!\s)\X", regex.V1)


Change = Literal["kept", "removed", "added"]


@dataclass(frozen=True)
class Token:
    """A word or punctuation mark and the white space that stands before it."""

    space: str
    text: str


@dataclass(frozen=True)
class Span:
    """A maximal run of changed tokens: ``source[source_start:source_end]`` became
    ``target[target_start:target_end]``, counted in tokens.
    """

    source_start: int
    source_end: int
    target_start: int
    target_end: int


def column_names(text: str, columns: Sequence[str]) -> list[str]:
    """The names of ``columns`` that open the lines of a text, where it was put together of ``name: value`` lines."""
    return [match.group(1) for match in _names_in(text, columns)]


def column_tokens(text: str, columns: Sequence[str]) -> frozenset[int]:
    """The positions of the tokens of these names, which no edit may change."""
    ends = [(match.start(1), match.end(1)) for match in _names_in(text, columns)]
    positions, end = set(), 0
    for position, token in enumerate(tokenize(text)):
        start = end + len(token.space)
        end = start + len(token.text)
        positions |= {position} if any(left <= start < right for left, right in ends) else set()
    return frozenset(positions)


def _names_in(text: str, columns: Sequence[str]) -> "Iterator[regex.Match[str]]":
    if columns:
        yield from regex.finditer(rf"^({'|'.join(map(regex.escape, columns))}):\s", text, regex.MULTILINE)


def words(text: str) -> list[str]:
    """The Unicode words of a text, punctuation left out."""
    return [match.group() for match in _WORDS.finditer(text)]


def tokenize(text: str) -> list[Token]:
    """Words and punctuation marks in order; joined with their spaces they give the text back, but for white space
    at its end.
    """
    return list(_tokens(text))


# A pair is asked for its spans, its edit and its marked words in turn: its texts need not be read each time.
@lru_cache(maxsize=256)
def _tokens(text: str) -> tuple[Token, ...]:
    tokens, end = [], 0
    for match in _TOKENS.finditer(text):
        tokens.append(Token(text[end : match.start()], match.group()))
        end = match.end()
    return tuple(tokens)


def cased(word: str, model: str) -> str:
    """A word in lower case with the capitals of another."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word.capitalize() if model[:1].isupper() else word


def n_edits(source: str, target: str) -> int:
    """Word-level Levenshtein distance."""
    return Levenshtein.distance(words(source), words(target))


def edit_ratio(source: str, target: str) -> float:
    """Word-level Levenshtein distance divided by the words of the longer text, in [0, 1]."""
    before, after = words(source), words(target)
    longer = max(len(before), len(after))
    return Levenshtein.distance(before, after) / longer if longer else float(source != target)


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


def pieces(source: str, target: str) -> list[tuple[str, Change]]:
    """The words of both texts in reading order, what was removed and what was added in its place told apart.

    For a person to read, by `cod show` and by the page of a report. Left out what was removed, the words are the
    target's; left out what was added, the source's. White space stands outside of what changed.
    """
    before, after = tokenize(source), tokenize(target)
    found: list[tuple[str, Change]] = []
    position = 0
    for span in spans(source, target):
        removed, added = before[span.source_start : span.source_end], after[span.target_start : span.target_end]
        space = (added or removed)[0].space
        # The first word of a text has no space before it, and needs one behind what was removed there.
        between = space if span.target_start else _first_space([*before, *after])
        found += [(_join(after[position : span.target_start]) + space, "kept")]
        found += [(_join(removed).lstrip(), "removed")] if removed else []
        found += [(between, "kept")] if removed and (added or not span.target_start) else []
        found += [(_join(added).lstrip(), "added")] if added else []
        position = span.target_end
    return [(piece, change) for piece, change in [*found, (_join(after[position:]), "kept")] if piece]


def _first_space(tokens: Iterable[Token]) -> str:
    """What stands between words, nothing in a script that writes none."""
    return next((token.space for token in tokens if token.space), "")


def _join(tokens: Iterable[Token]) -> str:
    return "".join(token.space + token.text for token in tokens)


def apply(source: str, target: str, kept: Collection[int]) -> str:
    """``source`` with only the spans whose index is in ``kept`` edited as in ``target``.

    White space is the source's, but in and directly behind a kept span.
    """
    before, after = tokenize(source), tokenize(target)
    tokens: list[Token] = []
    position = 0
    for index, span in enumerate(spans(source, target)):
        if index not in kept:
            continue
        tokens += before[position : span.source_start] + after[span.target_start : span.target_end]
        position = span.source_end
        if position < len(before):
            tokens.append(Token(after[span.target_end].space, before[position].text))
            position += 1
    tokens += before[position:]
    return _join(tokens).strip()
