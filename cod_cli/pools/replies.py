"""From an LLM's reply to the several texts that it holds, or to the reason why it holds none.

A model is asked for each text between tags, as it was shown some. It may send a numbered list, JSON or plain lines
instead, introduce and explain them, or refuse. Nothing is taken off that the texts which it was shown have, too.
A reply is read in a time that grows with its length.
"""

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cod_cli.counterfactuals.replies import (
    ASIDE,
    COMMENT,
    END_TOKEN,
    FENCED,
    REFUSAL,
    by_finish_reason,
    shortened,
    unquoted,
    without_thoughts,
)
from cod_cli.llm.messages import Choice
from cod_cli.records import AttemptStatus

# A reply is read as far as this; --max-tokens keeps those of an honest server far below.
_MOST_CHARACTERS = 200_000
_MARK = re.compile(r"^[ \t]*+(?:\*\*)?(?:\(?\d{1,3}[.):](?:\*\*)?|[-*•–])[ \t]++(?=\S)", re.MULTILINE)
_TAG = re.compile(r"<(\w{1,20})>")
_TEXT_TAG = re.compile(r"<(text)>", re.IGNORECASE)
# A line that is nothing but a tag, or what a small model makes of one.
_TAG_LINE = re.compile(r"^[ \t]*+[<(\[]/?\w{1,20}[>)\]][ \t]*+$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*+\n")
_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Texts:
    """The texts of a reply in order; a status and a reason where there are none."""

    texts: tuple[str, ...] = ()
    status: AttemptStatus | None = None
    reason: str | None = None


def read_texts(choice: Choice, shown: Sequence[str], labels: Sequence[str]) -> Texts:
    """The texts in a reply to "write texts such as ``shown``", whose classes are ``labels``.

    Of a reply that was cut off the last text is left out.
    """
    cut = choice.finish_reason == "length" and bool(choice.text)
    rejected = None if cut else by_finish_reason(choice)
    if rejected is not None:
        return Texts((), rejected.status, rejected.reason)
    said = without_thoughts(choice.text, "\n".join(shown)).strip()[:_MOST_CHARACTERS]
    said = END_TOKEN.sub("", said).strip()
    if not said:
        return Texts((), "empty", "the reply holds no text")
    texts = [_bare(item, shown, labels) for item in _items(said, shown, cut=cut)]
    names = {label.casefold() for label in labels}
    kept = [text for text in texts if _WORD.search(text) and text.casefold() not in names and not ASIDE.search(text)]
    if kept:
        return Texts(tuple(kept))
    if REFUSAL.search(said):
        return Texts((), "refused", f"the model says: {shortened(said)}")
    if cut:
        return Texts((), "truncated", "the reply was cut off before a text was whole; allow more with --max-tokens")
    return Texts((), "malformed", f"no text, but: {shortened(said)}")


def _items(said: str, shown: Sequence[str], *, cut: bool) -> list[str]:
    """The parts of a reply that are a text each, as they stand."""
    if not _any_has(shown, "```") and (fenced := FENCED.search(said)):
        said = fenced.group(1).strip()
    if not any(map(_TAG.search, shown)) and (tagged := _between_tags(said, cut=cut)):
        return tagged
    if said.startswith(("[", "{", '"')) and (found := _from_json(said)) is not None:
        return found
    items = _listed(said, shown) or _unlisted(said, shown)
    return items[:-1] if cut else items


def _between_tags(said: str, *, cut: bool) -> list[str]:
    """What stands behind each opening ``<text>``, or behind whatever tag the reply begins with."""
    opening = _TEXT_TAG.search(said) or _TAG.match(said)
    if opening is None:
        return []
    tags = list(re.finditer(rf"<(/?){opening.group(1)}>", said, re.IGNORECASE))
    spans = itertools.pairwise([*tags, None])
    inside = [said[tag.end() : end.start() if end else None] for tag, end in spans if tag and not tag.group(1)]
    return inside[:-1] if cut and not tags[-1].group(1) else inside


def _from_json(said: str) -> list[str] | None:
    """The strings of a JSON document, or of JSON lines; None where it is neither."""
    for documents in ([said], [line for line in said.splitlines() if line.strip()]):
        try:
            return list(_strings([json.loads(document) for document in documents]))
        except (ValueError, RecursionError):
            continue
    return None


def _strings(value: Any) -> Iterable[str]:
    """The texts in a JSON value: strings of lists, and of objects what is called ``text``, else all."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in [value["text"]] if "text" in value else value.values():
            yield from _strings(item)


def _listed(said: str, shown: Sequence[str]) -> list[str]:
    """The entries of a numbered or bulleted list; what stands before it, and behind an empty line, is no part of it."""
    marks = list(_MARK.finditer(said))
    spans = itertools.pairwise([*marks, None])
    entries = [said[mark.end() : following.start() if following else None].strip() for mark, following in spans if mark]
    if not any(_BLANK_LINE.search(text) for text in shown):
        entries = [_BLANK_LINE.split(entry, maxsplit=1)[0] for entry in entries]
    return entries if _any_has(shown, "\n") else [" ".join(map(str.strip, entry.splitlines())) for entry in entries]


def _unlisted(said: str, shown: Sequence[str]) -> list[str]:
    """Lines, or paragraphs where the texts that were shown have several lines, without what is no text."""
    if REFUSAL.search(said) or COMMENT.search(said):
        return []
    said = _TAG_LINE.sub("\n", said)
    parts = _BLANK_LINE.split(said) if _any_has(shown, "\n") else said.splitlines()
    return [part for part in parts if part.strip() and not part.rstrip().endswith((":", "："))]


def _bare(item: str, shown: Sequence[str], labels: Sequence[str]) -> str:
    """A text without bold type, quotes and the name of its class around it."""
    text = item.strip()
    if "**" in text and not _any_has(shown, "**"):
        text = text.replace("**", "").strip()
    named = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
    text = re.sub(rf"^[(\[]?(?:{named})[)\]]?[ \t]*[:：–-][ \t]*", "", text, flags=re.IGNORECASE)
    text = re.sub(rf"(?<![ \t])[ \t]*+[(\[](?:{named})[)\]]$", "", text, flags=re.IGNORECASE)
    return text if any(unquoted(example, "") != example for example in shown) else unquoted(text, "")


def _any_has(texts: Sequence[str], part: str) -> bool:
    return any(part in text for text in texts)
