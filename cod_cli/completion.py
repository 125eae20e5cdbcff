"""What stands in a chat completion, whatever the server left out, sent as null or shaped in its own way."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from cod_cli.chat import MALFORMED, REFUSED, Choice, TopLogprobs


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
