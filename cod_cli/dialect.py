"""What one OpenAI-compatible server takes: parameters, and those that it wants left out or named otherwise."""

import re
from collections.abc import Callable
from typing import Any

from cod_cli.chat import Request

# What can be spared: the reply is then less repeatable, or one instead of several.
_SPARE = ("seed", "n", "temperature")


class Dialect:
    """Turns requests into the parameters of one server, and learns from its refusals.

    Args:
        endpoint: how notes call the server.
        note: told once of each parameter that is left out or renamed.
    """

    def __init__(self, endpoint: str, note: Callable[[str], object]) -> None:
        self._endpoint = endpoint
        self._note = note
        self._left_out: set[str] = set()

    def parameters(self, model: str, request: Request) -> dict[str, Any]:
        """The request as this server takes it."""
        wanted: dict[str, Any] = {
            "model": model,
            "messages": request.sent_messages(),
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
        }
        if "max_tokens" in self._left_out:
            wanted["max_completion_tokens"] = request.max_tokens
        if request.n > 1:
            wanted["n"] = request.n
        if request.seed is not None:
            wanted["seed"] = request.seed
        if request.top_logprobs is not None:
            wanted |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        return {name: value for name, value in wanted.items() if name not in self._left_out}

    def adapt(self, sent: dict[str, Any], param: str | None, message: str) -> bool:
        """Whether a refusal names something that was sent and that can be left out from now on."""
        named = next((n for n in ("max_tokens", *_SPARE) if n in sent and _names(param, message, n)), None)
        if named is None:
            return False
        if named not in self._left_out:
            self._left_out.add(named)
            instead = "max_completion_tokens is sent instead" if named == "max_tokens" else "it is left out"
            self._note(f"{self._endpoint} does not take {named}: {instead}")
        return True


def _names(param: str | None, message: str, name: str) -> bool:
    if param:
        return param == name
    # A lone n stands in many sentences; quoted it is the parameter.
    pattern = r"['\"`]n['\"`]" if name == "n" else rf"\b{name}\b"
    return re.search(pattern, message) is not None
