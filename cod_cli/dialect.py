"""What one OpenAI-compatible server takes: parameters, and those that it wants left out or named otherwise."""

import re
from collections.abc import Callable
from typing import Any

from cod_cli.chat import Request

# What can be spared: the reply is then less repeatable, one instead of several, or without its probabilities.
_SPARE = ("top_logprobs", "logprobs", "seed", "n", "temperature")
# Some servers list no more alternatives than this.
_FEW_LOGPROBS = 5


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
        self._most_logprobs: int | None = None

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
            most = min(request.top_logprobs, self._most_logprobs or request.top_logprobs)
            wanted |= {"logprobs": True, "top_logprobs": most}
        return {name: value for name, value in wanted.items() if name not in self._left_out}

    def adapt(self, sent: dict[str, Any], param: str | None, message: str) -> bool:
        """Whether a refusal names something that was sent and that can be left out from now on."""
        named = next((n for n in ("max_tokens", *_SPARE) if n in sent and _names(param, message, n)), None)
        if named is None:
            return False
        if named.endswith("logprobs"):
            return self._fewer_logprobs(int(sent.get("top_logprobs", 0)))
        if named not in self._left_out:
            self._left_out.add(named)
            instead = "max_completion_tokens is sent instead" if named == "max_tokens" else "it is left out"
            self._note(f"{self._endpoint} does not take {named}: {instead}")
        return True

    def _fewer_logprobs(self, sent: int) -> bool:
        """Ask for a few alternatives only, else for none: not every server says which of the two it minds."""
        if sent > _FEW_LOGPROBS:
            if self._most_logprobs is None:
                self._most_logprobs = _FEW_LOGPROBS
                self._note(f"{self._endpoint} does not take top_logprobs {sent}: {_FEW_LOGPROBS} are asked for instead")
        elif "logprobs" not in self._left_out:
            self._left_out |= {"logprobs", "top_logprobs"}
            self._note(f"{self._endpoint} does not take logprobs: they are left out")
        return True


def _names(param: str | None, message: str, name: str) -> bool:
    if param:
        return param == name
    # A lone n stands in many sentences; quoted it is the parameter.
    pattern = r"['\"`]n['\"`]" if name == "n" else rf"\b{name}\b"
    return re.search(pattern, message) is not None
