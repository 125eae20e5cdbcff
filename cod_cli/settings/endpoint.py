"""How an LLM's endpoint may be asked: address, limits, price. Every command that asks one shares these options."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from cod_cli.errors import UsageError
from cod_cli.settings.base import COST, GENERAL, LLM, Settings, option

DRY_RUN = option("--dry-run", help="Print calls, tokens and cost; send nothing.", panel=COST)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EndpointOptions(Settings):
    """An OpenAI-compatible endpoint and what may be spent there."""

    LIMITS: ClassVar[frozenset[str]] = Settings.LIMITS | {
        "cache",
        "price",
        "dry_run",
        "concurrency",
        "timeout",
        "max_calls",
        "max_cost",
        "rpm",
        "tpm",
    }

    base_url: Annotated[
        str | None,
        option(help="An OpenAI-compatible endpoint; else OPENAI_BASE_URL.", panel=LLM),
    ] = None
    concurrency: Annotated[int, option(help="Requests under way at once.", panel=COST, min=1)] = 8
    timeout: Annotated[float, option(help="Seconds to wait for one reply.", panel=COST, min=0.1)] = 60.0
    price: Annotated[
        tuple[float, float] | None,
        option(help="Money per million tokens, of prompts and of replies; else prices.yaml.", panel=COST),
    ] = None
    max_cost: Annotated[
        float | None, option(help="Stop before more than so much money is spent in this go.", panel=COST, min=0)
    ] = None
    max_calls: Annotated[int | None, option(help="Stop after so many requests in this go.", panel=COST, min=0)] = None
    rpm: Annotated[float | None, option(help="Requests per minute, at most.", panel=COST, min=0.001)] = None
    tpm: Annotated[float | None, option(help="Tokens per minute, at most.", panel=COST, min=1)] = None
    cache: Annotated[
        bool, option("--cache/--no-cache", help="Keep what was computed or paid for, for other runs.", panel=GENERAL)
    ] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_price("--price", self.price)


def check_price(flag: str, price: tuple[float, float] | None) -> None:
    """Refuse a negative price."""
    if price is not None and min(price) < 0:
        raise UsageError(f"{flag} is {price[0]:g} {price[1]:g}: a price is not negative")
