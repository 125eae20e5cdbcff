"""From an LLM's reply to the probabilities of the classes: log-probabilities of one token, else counted votes.

Each class has a code of one token, ``A B C …`` in label order.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

from cod_cli.errors import UsageError
from cod_cli.llm.messages import MALFORMED, REFUSED, Choice, TopLogprobs
from cod_cli.teachers.base import Output, Source

# Less than this nobody can tell from nothing: servers write -9999 for it, or leave it out.
FLOOR = math.log(1e-9)
# Added to each class's votes (Jeffreys' prior): nobody is impossible because few were asked.
SMOOTHING = 0.5
# Tokenizers' marks of a space before the token.
_SPACE_MARKS = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})
_CODE_FIRST = re.compile(r"^\W*([A-Za-z])\s*(?:$|[^\w\s]|\n)")
_CODE_NAMED = re.compile(r"\b(?:answer|class|label|letter|option)\W+(?:is\W+)?([A-Z])\b", re.IGNORECASE)


def class_codes(labels: Sequence[str]) -> list[str]:
    """The code of each class: a capital letter, which is one token everywhere.

    Raises:
        UsageError: there are more classes than letters.
    """
    if len(labels) > len(string.ascii_uppercase):
        raise UsageError(
            f"an LLM can tell 26 classes by their letters, and there are {len(labels)}",
            "use a model folder or Hub id with a classification head as --teacher",
        )
    return list(string.ascii_uppercase[: len(labels)])


def is_rejected(choice: Choice) -> bool:
    """Whether the server or the model would not answer, so that asking otherwise is no use either."""
    rejected = choice.finish_reason in (REFUSED, MALFORMED, "content_filter")
    # What is too long for the model comes back without a word.
    return rejected or (choice.finish_reason == "length" and not choice.text and not choice.logprobs)


def uniform_output(classes: int, source: Source) -> Output:
    """What stands for a reply that says nothing of the classes: all of them alike."""
    return Output((-math.log(classes),) * classes, source, 0.0)


def by_logprobs(alternatives: TopLogprobs, codes: Sequence[str]) -> Output:
    """The output that lies in the first token's most probable alternatives.

    A code's variants (case, a space before it) are summed, and all codes renormalised. What is not listed is taken
    to be as probable as it can be: no more than the least of those listed, nor than what they leave.
    """
    found = dict.fromkeys(codes, 0.0)
    listed = [(token, math.exp(min(logprob, 0.0))) for token, logprob in alternatives]
    for token, mass in listed:
        code = token.translate(_SPACE_MARKS).strip().upper()
        if code in found:
            found[code] += mass
    covered = sum(found.values())
    if covered == 0.0:
        return uniform_output(len(codes), "logprobs")
    masses = [mass for _, mass in listed]
    unlisted = max(0.0, min(1.0 - sum(masses), *masses))
    raw = [max(found[code] or unlisted, math.exp(FLOOR)) for code in codes]
    whole = math.log(sum(raw))
    return Output(tuple(math.log(mass) - whole for mass in raw), "logprobs", min(1.0, covered))


def by_votes(replies: Sequence[str], codes: Sequence[str], labels: Sequence[str]) -> Output:
    """What several sampled replies say together: each names a class, or is a vote for none."""
    votes = Counter(code for reply in replies if (code := read_code(reply, codes, labels)))
    valid = votes.total()
    if not valid:
        return uniform_output(len(codes), "votes")
    whole = valid + SMOOTHING * len(codes)
    logits = tuple(math.log((votes[code] + SMOOTHING) / whole) for code in codes)
    return Output(logits, "votes", valid / len(replies))


def read_code(reply: str, codes: Sequence[str], labels: Sequence[str]) -> str | None:
    """The class that a reply names, by its code or by its name; None where it names none."""
    named = re.sub(r"^\W+|\W+$", "", reply).casefold()
    for code, label in zip(codes, labels, strict=True):
        if named == label.casefold():
            return code
    found = _CODE_FIRST.search(reply) or _CODE_NAMED.search(reply)
    code = found.group(1).upper() if found else ""
    return code if code in codes else None
