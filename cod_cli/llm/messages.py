"""What is asked of an LLM, and what it answers: plain data, independent of any client.

Generators and teachers make a `Request` and the client gives an `Outcome` for it. The ``read_`` functions make the
parts of an outcome from a completion's JSON, however a server has it. Journal and cache know a request by its keys.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeGuard

from pydantic import TypeAdapter, ValidationError

Message = dict[str, str]
TopLogprobs = tuple[tuple[str, float], ...]
# Finish reasons beside the servers' own (stop, length, content_filter).
REFUSED = "refusal"
MALFORMED = "malformed"


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
        n: replies wanted.
        top_logprobs: alternatives wanted for each token; None for no log-probabilities.
        prompt: the wording that asks (``name@hash``), for the journal; None where that has no name.
    """

    about: str
    target: str
    sample: int
    messages: tuple[Message, ...]
    feedback: str | None = None
    temperature: float = 0.0
    n: int = 1
    max_tokens: int = 512
    seed: int | None = None
    top_logprobs: int | None = None
    prompt: str | None = None

    def sent_messages(self) -> list[Message]:
        """The chat with the feedback in its last message, before the question: small models answer what stands last."""
        if not self.feedback:
            return list(self.messages)
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


def read_choice(choice: Mapping[str, Any]) -> Choice:
    """One choice of a completion, as JSON."""
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return Choice("", MALFORMED)
    if message.get("refusal"):
        return Choice(_utf8(str(message["refusal"])), REFUSED)
    content = message.get("content")
    text = _utf8(content) if isinstance(content, str) else ""
    return Choice(text, choice.get("finish_reason"), read_logprobs(choice.get("logprobs")))


def read_usage(usage: object) -> dict[str, int] | None:
    """Tokens paid for, None where the server does not say."""
    if not isinstance(usage, Mapping):
        return None
    return {name: int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")}


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
    return tuple((_utf8(token), float(value)) for token, value in pairs if isinstance(token, str) and _is_number(value))


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _utf8(text: str) -> str:
    # A lone surrogate cannot stand in a file; what is used now must be what is read again later.
    return text.encode("utf-8", "replace").decode("utf-8")
