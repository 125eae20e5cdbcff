"""From an LLM's raw reply to the edited text, or to the reason why it holds none.

A model is asked for the edited text alone. What it sends may be wrapped, introduced, explained or refused.
Whatever could belong to either, wrapping or text, is decided by the source: the reading that is closest to
it, word by word, wins, and nothing is taken off that the source has too. A reply is read in a time that grows with its
length: patterns begin at the first of several spaces only, and what is many times the source is not read to its end.
"""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cod_cli.counterfactuals.edits import edit_ratio
from cod_cli.llm import messages
from cod_cli.llm.messages import Choice
from cod_cli.records import AttemptStatus

_TAG = (
    r"(?:(?:edited|new|final|output|rewritten)[_-]?)?"
    r"(?:text|edit|edited|output|answer|result|sentence|review|response)"
)


_ANY_TAG = re.compile(rf"<(/?)({_TAG})>", re.IGNORECASE)
_THOUGHT = re.compile(r"<(/?)think(?:ing)?>")
_STRAY_TAG = re.compile(rf"^\s*</?{_TAG}>|</?{_TAG}>\s*$", re.IGNORECASE)
FENCED = re.compile(r"```(?:[\w-]*[ \t]*\n)?(.*?)```", re.DOTALL)
END_TOKEN = re.compile(r"(?<!\s)\s*+(?:<\|[\w/ ]{1,30}\|>|</s>|<eos>|<end_of_turn>)\s*$")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_STRUCK = re.compile(r"~~.*?~~\s*")
_EDITED = r"edited|modified|revised|rewritten|reworded|changed|updated|corrected|new|final|minimal\w*|counterfactual"


_LEAD = re.compile(
    r"^\W*(?:sure|certainly|of course|okay|ok|absolutely|here(?:'s|’s| is| are| you go)|(?:the |an? )?(?:"
    + _EDITED
    + r")\b|output|answer|result|response|text|sentence|review|edit|rewrite|version|assistant)[^:：\n]{0,100}[:：]\s*",
    re.IGNORECASE,
)


_LIST_MARK = re.compile(r"^(?:\(?\d{1,2}[.)]|[-*•])\s+")


_PREFIXES = (
    _LEAD,
    _LIST_MARK,
    re.compile(r"^[^:：\n]{1,80}[:：]\s*"),
    re.compile(r"^(?:sure|certainly|of course|okay|ok|absolutely)\s*[,.!]\s*", re.IGNORECASE),
)


# Said beside the text, told by how it begins …
ASIDE = re.compile(
    r"^\W*(?:note|explanation|reason(?:ing)?|(?:key )?changes?(?: made)?|original(?: text| sentence)?)\W*[:：]",
    re.IGNORECASE,
)


# … or by what is left when an introduction is taken off.
_CHATTER = re.compile(
    r"^\W*(?:(?:in this|the|this|these) (?:edit|change|version|revision|rewrit)\w*|"
    r"i(?: have|['’]ve)? (?:changed|replaced|edited|swapped|modified)|let me know|(?:i )?hope (?:this|that)|"
    r"(?:sure|certainly|of course|okay|absolutely)\W*$)",
    re.IGNORECASE,
)


_TAIL = re.compile(
    r"(?<!\s)\s*+[(\[](?:note|changed|i changed|edited|explanation|replaced)\b[^)\]]{0,1000}+[)\]]\s*$"
    r"|(?<!\s)\s++(?:\*\*)?(?:note|explanation|changes made)(?:\*\*)?\s*[:：].*$",
    re.IGNORECASE | re.DOTALL,
)


REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]m|i am|we['’]re) (?:very |really |so )?(?:sorry|afraid|unable|not able)\b|sorry,? (?:but )?i\b|"
    r"i apologi[sz]e|as an? (?:ai|artificial|large)\b|unfortunately,? i\b|"
    r"i (?:can(?:no|['’])?t|can not|won['’]t|will not|must decline)\b|"
    r"lo siento|je suis désolée?|désolée?,|es tut mir leid|mi dispiace|desculpe|sinto muito|"
    r"извините|к сожалению|对不起|抱歉|很抱歉|我无法|申し訳|죄송)",
    re.IGNORECASE,
)


COMMENT = re.compile(
    r"^\W*(?:the (?:given |original |provided )?(?:text|sentence|review|sentiment) (?:is|already|has|does|cannot)|"
    r"no (?:edit|change)s? (?:is|are|was|were)?\s*(?:needed|required|necessary)|"
    r"(?:please|could you) (?:please )?(?:provide|share|give)|there (?:is|are) no (?:need|text|change)|"
    r"it is not possible|to (?:change|turn|edit|make) )",
    re.IGNORECASE,
)


_QUOTES = ('""', "''", "“”", "‘’", "«»", "»«", "„“", "„”", "「」", "『』", "``", "**")
# Above this share of changed words a reply is another text, so what it says of itself may be believed.
_FAR = 0.5
# A reply is read as far as so many times the source and some characters more, and so many readings are weighed.
_TIMES, _MORE, _READINGS = 4, 4000, 500


@dataclass(frozen=True)
class Reading:
    """The edited text, or a status and a reason where there is none."""

    text: str | None
    status: AttemptStatus | None = None
    reason: str | None = None


def read_reply(choice: Choice, source: str) -> Reading:
    """What a reply to "edit ``source``" holds."""
    rejected = by_finish_reason(choice)
    if rejected:
        return rejected
    said = without_thoughts(choice.text, source).strip()[: _TIMES * len(source) + _MORE]
    said = END_TOKEN.sub("", said).strip()
    if not said:
        return Reading(None, "empty", "the reply holds no text")
    if REFUSAL.search(said) and not REFUSAL.search(source) and _distance(said, source) > _FAR:
        return Reading(None, "refused", f"the model says: {shortened(said)}")
    text = edited_text(said, source)
    if not text:
        return Reading(None, "empty", "the reply holds no text")
    if COMMENT.search(text) and not COMMENT.search(source) and _distance(text, source) > _FAR:
        return Reading(None, "malformed", f"a comment instead of a text: {shortened(text)}")
    return Reading(text)


def by_finish_reason(choice: Choice) -> Reading | None:
    """Why a reply holds no text, where its finish reason says so already."""
    match choice.finish_reason:
        case "length" if choice.text:
            return Reading(None, "truncated", "the reply was cut off; allow more with --max-tokens")
        case "length":
            return Reading(None, "truncated", "the model has no room left for a reply; the text is too long for it")
        case "content_filter":
            return Reading(None, "refused", "the provider's filter withheld the reply")
        case messages.REFUSED:
            return Reading(None, "refused", f"the model says: {shortened(choice.text)}")
        case messages.MALFORMED:
            return Reading(None, "malformed", "the answer holds no reply")
    return None


def edited_text(said: str, source: str) -> str:
    """The edited text in a reply, without what was put around it."""
    text = _unpacked(said, source)
    for mark in ("**", "~~"):
        if mark in text and mark not in source:
            text = _STRUCK.sub("", text) if mark == "~~" else text.replace(mark, "")
    candidates = list(itertools.islice(_candidates(text, source), _READINGS))
    kept = [c for c in candidates if ASIDE.search(source) or not ASIDE.search(c)]
    bare = [_bare(candidate, source) for candidate in kept or candidates]
    texts = [c for c in bare if c and (_CHATTER.search(source) or not _CHATTER.search(c))]
    changed = [c for c in texts if c.split() != source.split()]
    return min(changed or texts or bare[:1], key=lambda c: _distance(c, source), default="")


def without_thoughts(text: str, source: str) -> str:
    """What stands behind a reasoning model's thoughts; nothing where it never came to an end."""
    if "think>" in source:
        return text
    kept: list[str] = []
    end, thinking = 0, False
    for tag in _THOUGHT.finditer(text):
        closing = bool(tag.group(1))
        if closing and not thinking:
            kept = []
        elif not closing and not thinking:
            kept.append(text[end : tag.start()])
        thinking, end = not closing, tag.end()
    return "".join(kept if thinking else [*kept, text[end:]])


def _unpacked(text: str, source: str) -> str:
    """The inside of fences, tags or a JSON object."""
    if "```" not in source and (fenced := FENCED.search(text)):
        text = fenced.group(1)
    tagged = [inside for name, inside in _tagged(text) if f"<{name}" not in source]
    if tagged:
        text = tagged[-1]
    if not _STRAY_TAG.search(source):
        text = _STRAY_TAG.sub("", _STRAY_TAG.sub("", text))
    text = text.strip()
    if text.startswith("{") and not source.startswith("{"):
        text = _from_json(text)
    return text


def _tagged(text: str) -> Iterator[tuple[str, str]]:
    """Name and inside of each tag that is closed; those inside another are part of it."""
    tags = list(_ANY_TAG.finditer(text))
    closings: dict[str, list[re.Match[str]]] = {}
    for tag in reversed(tags):
        if tag.group(1):
            closings.setdefault(tag.group(2).casefold(), []).append(tag)
    end = 0
    for tag in tags:
        if tag.group(1) or tag.start() < end:
            continue
        ahead = closings.get(tag.group(2).casefold(), [])
        while ahead and ahead[-1].start() < tag.end():
            ahead.pop()
        if ahead:
            yield tag.group(2), text[tag.end() : ahead[-1].start()]
            end = ahead[-1].end()


def _from_json(text: str) -> str:
    try:
        values = [value for value in json.loads(text).values() if isinstance(value, str)]
    except (ValueError, RecursionError):
        return text
    return values[-1] if values else text


def _candidates(text: str, source: str) -> Iterator[str]:
    """The readings of a reply: as many lines or sentences in a row as the source has, and its paragraphs."""
    for arrow in ("→", "⇒", "->", "=>"):
        before, found, after = text.partition(arrow)
        if found and arrow not in source and _distance(before, source) < _FAR:
            yield after
    lines = text.split("\n")
    filled = [index for index, line in enumerate(lines) if line.strip()]
    height = sum(bool(line.strip()) for line in source.split("\n"))
    for first in range(len(filled) - height + 1):
        yield "\n".join(lines[filled[first] : filled[first + height - 1] + 1])
    if height == 1:
        paragraphs = [" ".join(paragraph.split("\n")) for paragraph in re.split(r"\n\s*\n", text)]
        yield from paragraphs
        yield from (window for paragraph in paragraphs for window in _sentences(paragraph, source))
    else:
        yield text


def _sentences(paragraph: str, source: str) -> Iterator[str]:
    """As many sentences in a row as the source has, where the paragraph has more."""
    text = paragraph.strip()
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    parts = [(start, end) for start, end in itertools.pairwise([0, *ends, len(text)]) if start < end]
    wanted = sum(bool(part) for part in _SENTENCE_END.split(source.strip()))
    if len(parts) > wanted:
        for first in range(len(parts) - wanted + 1):
            yield text[parts[first][0] : parts[first + wanted - 1][1]]


def _bare(text: str, source: str) -> str:
    """A reading without introduction, explanation behind it, and quotes around it."""
    text = text.strip()
    for _ in range(3):
        shorter = unquoted(_without_prefix(_without_tail(text, source), source), source)
        if shorter == text:
            break
        text = shorter
    return text


def _without_tail(text: str, source: str) -> str:
    return text if _TAIL.search(source) else _TAIL.sub("", text)


def _without_prefix(text: str, source: str) -> str:
    for pattern in _PREFIXES:
        rest = pattern.sub("", text, count=1).lstrip()
        if rest == text:
            continue
        gain = _distance(text, source) - _distance(rest, source)
        told = pattern in (_LEAD, _LIST_MARK) and not pattern.search(source)
        if gain > 0 or (gain == 0 and told) or not rest:
            return rest
    return text


def unquoted(text: str, source: str) -> str:
    """A text without quotes around it, unless ``source`` has some."""
    for opening, closing in (tuple(pair) for pair in _QUOTES):
        if len(text) < 2 or not (text.startswith(opening) and text.endswith(closing)):
            continue
        if source.startswith(opening) or source.endswith(closing):
            continue
        inside = text[1:-1]
        if opening not in inside or text.count(opening) - source.count(opening) >= 2:
            return inside.strip()
    return text


def _distance(text: str, source: str) -> float:
    return edit_ratio(source.casefold(), text.casefold())


def shortened(text: str) -> str:
    """A text on one line of 100 characters at most, for reasons."""
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"
