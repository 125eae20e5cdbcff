"""Width, rate and caps, on an event loop with real time."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from cod_cli.llm.pacing import Limits, Pace, StopError
from cod_cli.llm.prices import Expected, Price

SMALL = Expected(prompt=50, completion=50, completion_cap=100)


def run(pace: Pace, n: int, seconds: float = 0.0, price: Price | None = None) -> list[float]:
    """When each of ``n`` requests of so many seconds started, counted from the first."""

    async def one(starts: list[float]) -> None:
        async with pace.slot(SMALL, price):
            starts.append(time.monotonic())
            await asyncio.sleep(seconds)

    async def together() -> list[float]:
        starts: list[float] = []
        await asyncio.gather(*(one(starts) for _ in range(n)))
        return [start - starts[0] for start in sorted(starts)]

    return asyncio.run(together())


def in_loop(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(steps)


def test_requests_per_minute_spread_the_starts() -> None:
    starts = run(Pace(Limits(concurrency=10, rpm=1200)), 6)
    assert starts[-1] >= 5 * 0.05 - 0.01


def test_tokens_per_minute_spread_the_starts() -> None:
    starts = run(Pace(Limits(concurrency=10, tpm=120_000)), 6)
    assert starts[-1] >= 5 * 0.05 - 0.01


def test_an_estimate_that_was_too_low_delays_the_next_start() -> None:
    async def steps() -> None:
        pace = Pace(Limits(tpm=120_000))
        async with pace.slot(SMALL):
            pace.paid(300, 200, SMALL)
        started = time.monotonic()
        async with pace.slot(SMALL):
            assert time.monotonic() - started >= 0.24

    in_loop(steps())


def test_the_width_is_halved_once_for_all_that_were_turned_away_together() -> None:
    async def steps() -> None:
        pace = Pace(Limits(concurrency=8), backoff=0.05)
        for _ in range(8):
            pace.busy(None)
        assert pace.width == 4
        await asyncio.sleep(0.06)
        pace.busy(None)
        assert pace.width == 2

    in_loop(steps())


def test_the_width_never_falls_below_one_and_grows_back_with_answers() -> None:
    async def steps() -> None:
        pace = Pace(Limits(concurrency=4), backoff=0)
        for _ in range(6):
            pace.busy(None)
        assert pace.width == 1
        for _ in range(20):
            pace.paid(1, 1, SMALL)
        assert pace.width == 4

    in_loop(steps())


def test_each_refusal_in_a_row_doubles_the_pause() -> None:
    async def steps() -> None:
        pace = Pace(Limits(), backoff=0.08)
        waits = []
        for _ in range(3):
            pace.busy(None)
            started = time.monotonic()
            async with pace.slot(SMALL):
                waits.append(time.monotonic() - started)
        assert 0.03 < waits[0] < 0.12
        assert 0.16 <= waits[2] < 0.4

    in_loop(steps())


def test_what_requests_under_way_may_cost_is_kept_free() -> None:
    pace = Pace(Limits(concurrency=8, max_cost=1.0))
    starts = run(pace, 4, seconds=0.3, price=Price(0, 4000))  # each may cost 0.4
    assert [int((start + 0.15) / 0.3) > 0 for start in starts] == [False, False, True, True]


def test_what_stops_one_request_stops_those_that_wait() -> None:
    async def steps() -> None:
        pace = Pace(Limits(concurrency=1))

        async def failing() -> None:
            async with pace.slot(SMALL):
                await asyncio.sleep(0.01)
                raise StopError("no credit left")

        results = await asyncio.gather(*(failing() for _ in range(5)), return_exceptions=True)
        assert [str(result) for result in results] == ["no credit left"] * 5
        assert pace.spent.calls == 1

    in_loop(steps())


@pytest.mark.parametrize(
    ("limits", "said"), [(Limits(max_calls=0), "--max-calls 0"), (Limits(max_cost=0), "--max-cost 0")]
)
def test_a_cap_names_its_option(limits: Limits, said: str) -> None:
    with pytest.raises(StopError, match=said):
        run(Pace(limits), 1, price=Price(1, 1))
