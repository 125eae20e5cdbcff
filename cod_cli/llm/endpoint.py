"""An OpenAI-compatible endpoint: its address, its key, what its errors mean, and which parameters it takes.

Called by the client alone, but for `endpoint_url`, by which manifests say where an LLM was asked.
"""

import logging
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from cod_cli.errors import CodError, UsageError
from cod_cli.llm.messages import Choice, Request
from cod_cli.llm.pacing import StopError

log = logging.getLogger(__name__)

OPENAI = "https://api.openai.com/v1"
KEY = "OPENAI_API_KEY"
_NO_KEY = "none"
# Longer than this nobody wants to watch a command wait: it ends, and the same command goes on later.
LONGEST_WAIT = 300.0
_BROKE = {"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"}
_FILTERED = {"content_filter", "content_policy_violation"}
_TOO_LONG = re.compile(r"context[ _](length|size|window)", re.IGNORECASE)


class NoReplyError(Exception):
    """A request got no reply, and trying again makes sense.

    ``wait`` is how long the server asks to wait (seconds), ``busy`` that it asks for fewer requests,
    ``unreachable`` that no server was there.
    """

    def __init__(self, reason: str, *, wait: float | None = None, busy: bool = False, unreachable: bool = False):
        super().__init__(reason)
        self.reason, self.wait, self.busy, self.unreachable = reason, wait, busy, unreachable


class RejectedError(Exception):
    """A single request that will never get a reply; ``finish_reason`` is what a reply would have said."""

    def __init__(self, finish_reason: str) -> None:
        super().__init__(finish_reason)
        self.finish_reason = finish_reason


def endpoint_url(base_url: str | None) -> str:
    """The base URL that was given, else ``OPENAI_BASE_URL``, else OpenAI's own; no slash at its end.

    Raises:
        UsageError: it is no http address, or carries a secret, which would end up in files.
    """
    url = (base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).strip().rstrip("/")
    # Wherever they stand: an address that cannot be read may hold a secret, too.
    if any(mark in url for mark in "@?#;"):
        raise UsageError(
            "the base URL holds a user name, a password, parameters or a query", f"put the key into {KEY} instead"
        )
    if not _is_http(url):
        raise UsageError(f"the base URL {url!r} is no http address", "write it as http://localhost:8000/v1")
    return url


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        return (
            parts.scheme in ("http", "https")
            and bool(host)
            and parts.port != 0
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        return False


def api_key() -> str:
    """The key from the environment.

    Raises:
        CodError: there is none, or it holds what no key has; it is never shown.
    """
    key = _key()
    if not key:
        raise CodError(f"{KEY} is not set", f"export {KEY}=…; a local server takes any value: export {KEY}={_NO_KEY}")
    if not (key.isascii() and key.isprintable()):
        raise CodError(f"{KEY} holds characters that no key has", "copy the key again, without spaces or line ends")
    return key


def scrub(text: str) -> str:
    """A server's message on one short line, without the key and without control characters."""
    key = _key()
    # A key as short as a word is one only where it stands by itself.
    if key and key != _NO_KEY:
        text = re.sub(re.escape(key) if len(key) >= 8 else rf"(?<!\w){re.escape(key)}(?!\w)", "[key]", text)
    text = re.sub(r"\b(sk|key)-[\w*.-]{6,}", "[key]", text)
    text = re.sub(r"//[^/\s@]+@", "//[secret]@", text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= 200 else f"{line[:199]}…"


def hide_key(choice: Choice) -> Choice:
    """A reply without the key, should the server send it back; what a local server takes for one may be a word."""
    key = _key()
    if len(key) < 8 or (key.isalpha() and len(key) < 20):
        return choice
    logprobs = choice.logprobs and tuple(
        tuple((token.replace(key, "[key]"), value) for token, value in position) for position in choice.logprobs
    )
    reason = choice.finish_reason and choice.finish_reason.replace(key, "[key]")
    return Choice(choice.text.replace(key, "[key]"), reason, logprobs)


def _key() -> str:
    return os.environ.get(KEY, "").strip()


def explain(
    status: int, headers: Mapping[str, str], body: object, *, endpoint: str, model: str
) -> NoReplyError | StopError | RejectedError | CodError:
    """What an error status means: try again, stop for now, give this request up, or give up at once."""
    message, code = _message(body), _code(body)
    said = f" ({status}: {message})" if message else f" ({status})"
    if 300 <= status < 400:
        elsewhere = scrub(headers.get("location", "")).removesuffix("/chat/completions")
        return CodError(
            f"{endpoint} sends requests on to {elsewhere or 'nowhere'} ({status}), and they are sent nowhere else",
            f"if that is where texts and key may go, name it: --base-url {elsewhere or 'URL'}",
        )
    if status == 402 or code in _BROKE:
        return StopError(f"the account at {endpoint} has no credit left{said}")
    if status in (408, 409, 425, 429) or status >= 500:
        return _try_again(status, headers, f"{endpoint} answers {status}{': ' + message if message else ''}")
    if code in _FILTERED:
        return RejectedError("content_filter")
    if _TOO_LONG.search(f"{code} {message}"):
        return RejectedError("length")
    if status in (401, 403):
        return CodError(
            f"{endpoint} does not accept the key{said}", f"set {KEY} to a key that may use {model}: export {KEY}=…"
        )
    if status == 404:
        return CodError(
            f"{endpoint} knows no model {model!r}, or no chat completions{said}",
            "check --model, and --base-url: it mostly ends in /v1",
        )
    return CodError(f"{endpoint} does not accept the request{said}", "check --model and the options sent with it")


def _try_again(status: int, headers: Mapping[str, str], reason: str) -> NoReplyError | StopError:
    wait = retry_after(headers)
    if wait is not None and wait > LONGEST_WAIT:
        return StopError(f"{reason}; it asks to wait for {wait:.0f} s")
    return NoReplyError(reason, wait=wait, busy=status == 429)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``Retry-After`` (seconds or a date); None where neither helps."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if seconds >= 0:
            return seconds
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _message(body: object) -> str:
    if isinstance(body, dict):
        inner = body.get("error", body)
        body = inner.get("message") or inner if isinstance(inner, dict) else inner
    text = "" if body is None else str(body)
    return "" if "<html" in text.lower() else scrub(text)


def _code(body: object) -> str:
    inner: Any = body.get("error", body) if isinstance(body, dict) else None
    return f"{inner.get('code') or inner.get('type') or ''}" if isinstance(inner, dict) else ""


# What can be spared: the reply is then less repeatable, one instead of several, or without its probabilities.
_SPARE = ("top_logprobs", "logprobs", "seed", "n", "temperature")
# Some servers list no more alternatives than this.
_FEW_LOGPROBS = 5


class Dialect:
    """Turns requests into the parameters of one server, and learns from its refusals.

    Each parameter that is left out or renamed is logged once; ``endpoint`` is how the log calls the server.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
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
            log.info(f"{self._endpoint} does not take {named}: {instead}")
        return True

    def _fewer_logprobs(self, sent: int) -> bool:
        """Ask for a few alternatives only, else for none: not every server says which of the two it minds."""
        if sent > _FEW_LOGPROBS:
            if self._most_logprobs is None:
                self._most_logprobs = _FEW_LOGPROBS
                log.info(f"{self._endpoint} does not take top_logprobs {sent}: {_FEW_LOGPROBS} are asked for instead")
        elif "logprobs" not in self._left_out:
            self._left_out |= {"logprobs", "top_logprobs"}
            log.info(f"{self._endpoint} does not take logprobs: they are left out")
        return True


def _names(param: str | None, message: str, name: str) -> bool:
    if param:
        return param == name
    # A lone n stands in many sentences; quoted it is the parameter.
    pattern = r"['\"`]n['\"`]" if name == "n" else rf"\b{name}\b"
    return re.search(pattern, message) is not None
