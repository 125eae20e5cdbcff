"""How an LLM is asked, and what it may cost."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from cod_cli.errors import UsageError
from cod_cli.settings.base import CHECKS, COST, GENERAL, LLM, option
from cod_cli.settings.teacher import TeacherOptions


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LLMOptions(TeacherOptions):
    """How an LLM is asked, what it may cost, and the teacher that checks what it writes."""

    LIMITS: ClassVar[frozenset[str]] = TeacherOptions.LIMITS | {
        "price",
        "concurrency",
        "timeout",
        "max_calls",
        "max_cost",
        "rpm",
        "tpm",
        "accept_partial",
    }

    model: Annotated[str | None, option("--model", help="The LLM's name at its endpoint.", panel=LLM)] = None
    base_url: Annotated[
        str | None,
        option(help="An OpenAI-compatible endpoint; else OPENAI_BASE_URL.", panel=LLM),
    ] = None
    prompt: Annotated[str | None, option("--prompt", help="A shipped prompt's name or a YAML file.", panel=LLM)] = None
    max_attempts: Annotated[int, option(help="Requests for one CFE before giving up on it.", panel=CHECKS, min=1)] = 3
    temperature: Annotated[float, option(help="Sampling temperature of the LLM.", panel=LLM, min=0, max=2)] = 0.0
    max_tokens: Annotated[int, option(help="Longest reply in tokens.", panel=LLM, min=1)] = 512
    candidates: Annotated[
        int, option(help="Replies to each request; more than one needs a --temperature above 0.", panel=LLM, min=1)
    ] = 1
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
    accept_partial: Annotated[
        bool, option("--accept-partial", help="Close the stage although rows are without an answer.", panel=CHECKS)
    ] = False
    seed: Annotated[int, option(help="Seed sent to the LLM.", panel=GENERAL, min=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.price is not None and min(self.price) < 0:
            raise UsageError(f"--price is {self.price[0]:g} {self.price[1]:g}: a price is not negative")
