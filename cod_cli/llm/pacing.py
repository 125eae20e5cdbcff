"""How fast an endpoint may be asked: width, rate, and the caps on calls and cost; and what has been spent.

`Limits` come from a command's options, the `Pace` of a session holds all its clients to them.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields

from cod_cli.errors import CodError
from cod_cli.llm.prices import Expected, Price
from cod_cli.settings.shared import EndpointOptions

# Seconds without a request while the server is busy, unless it asks for more.
_LONGEST_PAUSE = 30.0


class StopError(Exception):
    """No request makes sense any more for now; those that are open stay without an answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What the user allows: none of it changes a result.

    Args:
        concurrency: requests under way at once, at most.
        timeout: seconds to wait for one reply.
        max_calls, max_cost: caps on this go of a command; cost needs a price.
        rpm, tpm: requests and tokens per minute.
    """

    concurrency: int = 8
    timeout: float = 60.0
    max_calls: int | None = None
    max_cost: float | None = None
    rpm: float | None = None
    tpm: float | None = None

    @classmethod
    def of(cls, options: EndpointOptions) -> "Limits":
        """The limits that a command's options set."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})


@dataclass
class Spent:
    """What has been sent and paid for since the start; ``cost`` stays 0 without a price."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


class Pace:
    """Lets requests start within the limits; lives on one event loop.

    The width (requests under way at once) starts at ``concurrency``. Whenever the server says that it is
    busy, nothing starts for a while (``backoff`` seconds, doubled each time in a row, or what the server
    asks for) and the width is halved; it grows back by one for every width of answers (AIMD).
    """

    def __init__(self, limits: Limits, backoff: float = 0.5) -> None:
        self.limits = limits
        self.spent = Spent()
        self.width = float(limits.concurrency)
        self.stopped: str | None = None
        self._backoff = backoff
        self._busy_in_a_row = 0
        self._under_way = 0
        self._reserved = 0.0
        self._changed = asyncio.Condition()
        self._next_start = 0.0
        self._paused_until = 0.0

    @asynccontextmanager
    async def slot(self, expected: Expected, price: Price | None = None) -> AsyncIterator[None]:
        """Room for one request, once it may start; what it raises of `StopError` and `CodError` stops all others.

        Raises:
            StopError: it may never start.
        """
        dearest = price.of(expected.prompt, expected.completion_cap) if price else 0.0
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_room(dearest))
            self._under_way += 1
            self._reserved += dearest
            self.spent.calls += 1
        try:
            await self._wait_for_turn(expected)
            yield
        except (StopError, CodError) as stop:
            self.stopped = str(stop)
            raise
        finally:
            self._under_way -= 1
            self._reserved -= dearest
            async with self._changed:
                self._changed.notify_all()

    def _is_room(self, dearest: float) -> bool:
        """Whether a request may start now; what the ones under way will cost is unknown until they end."""
        limits = self.limits
        if self.stopped is not None:
            raise StopError(self.stopped)
        if limits.max_calls is not None and self.spent.calls >= limits.max_calls:
            raise StopError(f"--max-calls {limits.max_calls} is reached")
        if limits.max_cost is not None and self.spent.cost + self._reserved + dearest > limits.max_cost:
            if not self._under_way:
                raise StopError(f"--max-cost {limits.max_cost:g} leaves no room for one more request")
            return False
        return self._under_way < int(self.width)

    async def _wait_for_turn(self, expected: Expected) -> None:
        now = asyncio.get_running_loop().time
        start = max(now(), self._next_start)
        self._next_start = start + max(self._seconds(1, self.limits.rpm), self._token_seconds(expected))
        while (wait := max(start, self._paused_until) - now()) > 0:
            await asyncio.sleep(wait)

    @staticmethod
    def _seconds(amount: float, per_minute: float | None) -> float:
        return 60.0 * amount / per_minute if per_minute else 0.0

    def _token_seconds(self, expected: Expected) -> float:
        return self._seconds(expected.prompt + expected.completion, self.limits.tpm)

    def paid(self, prompt_tokens: int, completion_tokens: int, expected: Expected, price: Price | None = None) -> None:
        """Count an answer; the next start moves by what the estimate of its tokens was off."""
        self.spent.prompt_tokens += prompt_tokens
        self.spent.completion_tokens += completion_tokens
        if price:
            self.spent.cost += price.of(prompt_tokens, completion_tokens)
        off = prompt_tokens + completion_tokens - expected.prompt - expected.completion
        self._next_start += self._seconds(off, self.limits.tpm)
        self.width = min(float(self.limits.concurrency), self.width + 1 / self.width)
        self._busy_in_a_row = 0

    def busy(self, wait: float | None) -> None:
        """The server has asked for less, and perhaps to wait for so many seconds."""
        now = asyncio.get_running_loop().time()
        if now >= self._paused_until:
            # The first to be turned away stands for all that were under way with it.
            self.width = max(1.0, self.width / 2)
            self._busy_in_a_row += 1
        own = min(_LONGEST_PAUSE, self._backoff * 2 ** (self._busy_in_a_row - 1)) * random.uniform(0.5, 1)
        self._paused_until = max(self._paused_until, now + max(own, wait or 0.0))
