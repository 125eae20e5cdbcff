"""What is asked of an LLM, and what it answers: plain data, independent of any client.

Generators and teachers make a `Request` and the client gives an `Outcome` for it. `read_completion` and the other
``read_`` functions make an outcome's parts of what a server sends. Journal and cache know a request by its keys.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeGuard

from pydantic import TypeAdapter, ValidationError

Message = dict[str, str]
TopLogprobs = tuple[tuple[str, float], ...]
# Finish reasons beside the servers' own (stop, length, content_filter).
REFUSED = "refusal"
MALFORMED = "malformed"
# No number of tokens and no log-probability lies above it.
_COUNTABLE = 2**53


@dataclass(frozen=True)
class Request:
    """One chat completion that is wanted.

    Args:
        about: for the journal: the id of the shot that is to be edited, or the hash of a question to a teacher.
        target: the class that is wanted, empty for a question.
        sample: which go at it, from 1.
        messages: the chat, the same whenever this sample is asked for.
        feedback: put before the last message. It may differ between runs (it quotes a teacher's figures), so
            it is not part of the journal's key.
        sent: the chat as it is sent, where that differs between runs (it quotes other replies); it is no part of the
            journal's key either.
        n: replies wanted.
        top_logprobs: alternatives wanted for each token; None for no log-probabilities.
        prompt: the wording that asks (``name@hash``), for the journal; None where that has no name.
    """

    about: str
    target: str
    sample: int
    messages: tuple[Message, ...]
    feedback: str | None = None
    sent: tuple[Message, ...] | None = None
    temperature: float = 0.0
    n: int = 1
    max_tokens: int = 512
    seed: int | None = None
    top_logprobs: int | None = None
    prompt: str | None = None

    def sent_messages(self) -> list[Message]:
        """The chat with the feedback in its last message, before the question: small models answer what stands last."""
        if not self.feedback:
            return list(self.sent or self.messages)
        *before, last = self.messages
        return [*before, {**last, "content": f"{self.feedback}\n\n{last['content']}"}]

    def key(self, model: str, endpoint: str) -> str:
        """The journal's key: 32 hex digits over all that changes the answer but the feedback."""
        return self._key(model, endpoint, self.messages)

    def cache_key(self, model: str, endpoint: str) -> str:
        """The key by which other runs find the answer: over all that changes it."""
        return self._key(model, endpoint, self.sent_messages())

    def _key(self, model: str, endpoint: str, messages: Sequence[Message]) -> str:
        changing = [model, endpoint, list(messages), self.temperature, self.n, self.seed, self.max_tokens, self.sample]
        if self.top_logprobs is not None:
            changing.append(self.top_logprobs)
        return hashlib.sha256(json.dumps(changing, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Choice:
    """One reply. ``finish_reason`` is the server's, or ``refusal`` (``text`` says why) or ``malformed``.

    ``logprobs`` holds for each token its most probable alternatives: (token, natural log of p).
    """

    text: str
    finish_reason: str | None
    logprobs: tuple[TopLogprobs, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether the model came to an end by itself, so that the reply may serve another run."""
        return self.finish_reason in ("stop", None) and bool(self.text.strip())


@dataclass(frozen=True)
class Outcome:
    """What became of a request: choices, or in ``error`` why there is no answer yet.

    ``usage`` (prompt_tokens, completion_tokens) is None where nothing was paid; ``source`` says where the
    choices come from.
    """

    choices: tuple[Choice, ...] = ()
    model: str = ""
    usage: Mapping[str, int] | None = None
    latency_s: float = 0.0
    error: str | None = None
    source: Literal["server", "journal", "cache"] = "server"

    def to_cache(self) -> str | None:
        """The choices as JSON, None where one is cut off or refused and better asked for again."""
        if not self.choices or not all(choice.whole for choice in self.choices):
            return None
        return json.dumps({"model": self.model, "choices": [asdict(choice) for choice in self.choices]})

    @classmethod
    def from_cache(cls, value: object) -> "Outcome | None":
        """The outcome that `to_cache` wrote, which costs nothing; None where something else stands there."""
        try:
            kept = _KEPT.validate_json(value)  # type: ignore[arg-type]
        except ValidationError:
            return None
        return cls(kept.choices, model=kept.model, source="cache") if kept.choices else None


@dataclass(frozen=True)
class _Kept:
    """An outcome as it stands in the cache."""

    model: str
    choices: tuple[Choice, ...]


_KEPT = TypeAdapter(_Kept)


@dataclass(frozen=True)
class Completion:
    """What a server's answer holds: at least one choice, and the model and usage (see `read_usage`) where it says."""

    choices: tuple[Choice, ...]
    model: str | None = None
    usage: dict[str, int] | None = None


def read_completion(body: bytes) -> Completion:
    """The one place that makes a reply of what a server sends, whatever its JSON holds: it has been paid for.

    What is no choice is a malformed one; a model, a finish reason or a usage of an odd kind counts as not told.

    Raises:
        ValueError: it is no completion, says what it is instead, and may be asked for again.
    """
    try:
        whole = json.loads(body, parse_int=_read_integer)
    except RecursionError:
        return Completion((Choice("", MALFORMED),))
    except ValueError as error:
        page = not body.lstrip().startswith((b"{", b"["))
        raise ValueError("a page of text; does --base-url end in /v1?" if page else str(error)) from None
    if not isinstance(whole, Mapping):
        raise ValueError("a page of text; does --base-url end in /v1?")
    listed = whole.get("choices")
    if listed is None:
        raise ValueError(str(whole.get("error", "it has no choices")))
    choices = tuple(map(read_choice, listed)) if _is_list(listed) else ()
    return Completion(
        choices or (Choice("", MALFORMED),), _read_text(whole.get("model")), read_usage(whole.get("usage"))
    )


def read_choice(choice: object) -> Choice:
    """One choice of a completion, as JSON."""
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        return Choice("", MALFORMED)
    if message.get("refusal"):
        return Choice(_read_text(message["refusal"]) or "", REFUSED)
    text = _read_content(message.get("content"))
    if text is None:
        return Choice("", MALFORMED)
    return Choice(text, _read_text(choice.get("finish_reason")), read_logprobs(choice.get("logprobs")))


def _read_content(content: object) -> str | None:
    """A message's text: as a whole, or the parts of it that are text; None where it is neither."""
    if content is None:
        return ""
    if _is_list(content):
        parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        return "".join(_read_text(part) or "" for part in parts)
    return _read_text(content)


def read_usage(usage: object) -> dict[str, int] | None:
    """Tokens paid for, None where the server does not say, or says what no count can be."""
    if not isinstance(usage, Mapping):
        return None
    told = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    counts: dict[str, Any] = {name: 0 if count is None else count for name, count in told.items()}
    if not all(_is_number(count) and count >= 0 for count in counts.values()):
        return None
    return {name: int(count) for name, count in counts.items()}


def read_logprobs(logprobs: object) -> tuple[TopLogprobs, ...] | None:
    """For each token of a reply its most probable alternatives; None where there is not one.

    Chat completions list them under ``content`` (OpenAI, vLLM, llama.cpp, Ollama). Some servers answer chats in the
    shape of the older text completions: ``tokens`` beside ``top_logprobs``, a mapping from token to log p.
    Alternatives without a token or a number are left out; minus infinity is one of those.
    """
    if not isinstance(logprobs, Mapping):
        return None
    content, legacy = logprobs.get("content"), logprobs.get("top_logprobs")
    positions: list[TopLogprobs] = []
    if _is_list(content):
        positions = [_alternatives(at.get("top_logprobs")) if isinstance(at, Mapping) else () for at in content]
    elif _is_list(legacy):
        positions = [_alternatives(at) for at in legacy]
    return tuple(positions) if any(positions) else None


def _alternatives(listed: object) -> TopLogprobs:
    if isinstance(listed, Mapping):
        pairs = list(listed.items())
    elif _is_list(listed):
        pairs = [(top.get("token"), top.get("logprob")) for top in listed if isinstance(top, Mapping)]
    else:
        return ()
    return tuple(
        (text, float(value)) for token, value in pairs if (text := _read_text(token)) is not None and _is_number(value)
    )


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: object) -> bool:
    """Whether it is a number of a size that one can count with: neither infinite nor none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _COUNTABLE


def _read_integer(digits: str) -> int | float:
    # Python refuses integers of thousands of digits; a reply must not be lost for one.
    return int(digits) if len(digits) < 20 else float(digits)


def _read_text(value: object) -> str | None:
    # A lone surrogate cannot stand in a file; what is used now must be what is read again later.
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else None
