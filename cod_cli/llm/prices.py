"""What requests cost: tokens, estimated before and counted after, and a user's price for them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from platformdirs import user_config_path

from cod_cli.errors import UsageError
from cod_cli.llm.messages import Message, Request
from cod_cli.store.yaml import read_yaml

# What chat formats put around a message and before the answer.
_PER_MESSAGE = 4
_PER_CHAT = 3


@dataclass(frozen=True)
class Price:
    """Money for a million tokens, in the user's currency."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The cost of so many tokens."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass(frozen=True)
class Usage:
    """Tokens that an LLM was paid for: those of what it was sent and those of what it replied."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)

    def __sub__(self, other: "Usage") -> "Usage":
        """What is left of it without the other's."""
        return Usage(self.prompt_tokens - other.prompt_tokens, self.completion_tokens - other.completion_tokens)

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt_tokens + self.completion_tokens

    def cost(self, price: Price | None) -> float | None:
        """What they cost, None without a price."""
        return price.of(self.prompt_tokens, self.completion_tokens) if price else None

    def record(self) -> dict[str, int]:
        """As it stands in manifests and scores."""
        return asdict(self)

    @classmethod
    def from_record(cls, counts: Mapping[str, int]) -> "Usage":
        """What a reply, a manifest or a score tells; what it does not tell is 0."""
        return cls(counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0))


class Paid(Protocol):
    """A reply on disk; ``usage`` stands on the first choice of a request only, and where the server told it."""

    @property
    def usage(self) -> dict[str, int] | None:
        """prompt_tokens and completion_tokens."""
        ...


def total_usage(replies: Iterable[Paid]) -> Usage:
    """The tokens of several replies together."""
    return sum((Usage.from_record(reply.usage) for reply in replies if reply.usage), Usage())


def find_price(model: str, given: tuple[float, float] | None) -> Price | None:
    """The price that was given, else the model's in the user's ``prices.yaml``, else None.

    The file stands in the user's configuration folder: ``gpt-4o: [2.5, 10]`` (prompt, completion).
    """
    if given is not None:
        return Price(*given)
    path = prices_path()
    if not path.is_file():
        return None
    rows = _read_prices(path)
    return Price(*rows[model]) if model in rows else None


def price_within(model: str, given: tuple[float, float] | None, max_cost: float | None) -> Price | None:
    """As `find_price`, but a cap on the cost must be able to hold.

    Raises:
        UsageError: there is a cap and no price.
    """
    price = find_price(model, given)
    if max_cost is not None and price is None:
        raise UsageError(
            f"--max-cost needs a price of {model}", "add --price PROMPT COMPLETION, in money per million tokens"
        )
    return price


def prices_path() -> Path:
    """Where a user's price list is looked for."""
    return user_config_path("cod", appauthor=False) / "prices.yaml"


def _read_prices(path: Path) -> Mapping[str, tuple[float, float]]:
    try:
        values = read_yaml(path, "") or {}
        prices = {str(model): (float(pair[0]), float(pair[1])) for model, pair in values.items()}
    except (UsageError, AttributeError, TypeError, ValueError, LookupError):
        prices = {path.name: (-1, -1)}
    if not all(0 <= number < math.inf for pair in prices.values() for number in pair):
        raise UsageError(
            f"{path} is no price list", "write one `model: [prompt, completion]` a line, in money per million tokens"
        )
    return prices


def tokens_in(text: str) -> int:
    """About how many tokens a text has: a quarter of its ASCII characters and half of its other UTF-8 bytes.

    English prose has 4 to 4.5 characters a token with current tokenizers, other scripts 2 bytes or more, so
    the estimate errs on the high side.
    """
    ascii_bytes = sum(character.isascii() for character in text)
    return math.ceil(ascii_bytes / 4 + (len(text.encode("utf-8", "replace")) - ascii_bytes) / 2)


def prompt_tokens(messages: Iterable[Message]) -> int:
    """About how many tokens a chat has, roles and separators included."""
    return _PER_CHAT + sum(_PER_MESSAGE + tokens_in(message["content"]) for message in messages)


@dataclass(frozen=True)
class Expected:
    """Tokens that a request is expected to take; ``completion_cap`` is the most its replies can have."""

    prompt: int
    completion: int
    completion_cap: int


def expected_tokens(request: Request) -> Expected:
    """What a request is expected to take; a reply is mostly no longer than the last message."""
    reply = min(request.max_tokens, tokens_in(request.messages[-1]["content"]))
    return Expected(prompt_tokens(request.sent_messages()), request.n * reply, request.n * request.max_tokens)


@dataclass(frozen=True)
class Estimate:
    """What some requests will take; ``cost`` is None without a price."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None

    def __add__(self, other: "Estimate") -> "Estimate":
        """Both together."""
        known = self.cost is not None and other.cost is not None
        return Estimate(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            (self.cost or 0.0) + (other.cost or 0.0) if known else None,
        )


def estimate(requests: Iterable[tuple[Request, str]], price: Price | None) -> Estimate:
    """Calls, tokens and cost of requests, each given with a text about as long as one reply to it."""
    calls = prompt = completion = 0
    for request, reply in requests:
        calls += 1
        prompt += prompt_tokens(request.sent_messages())
        completion += request.n * min(request.max_tokens, tokens_in(reply))
    return Estimate(calls, prompt, completion, price.of(prompt, completion) if price else None)
