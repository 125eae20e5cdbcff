"""How an LLM is asked, and what it may cost."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from cod_cli.settings.base import CHECKS, GENERAL, LLM, TEACHER, option
from cod_cli.settings.endpoint import check_price
from cod_cli.settings.teacher import TeacherOptions


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LLMOptions(TeacherOptions):
    """How an LLM is asked, what it may cost, and the teacher that checks what it writes."""

    LIMITS: ClassVar[frozenset[str]] = TeacherOptions.LIMITS | {"teacher_price", "accept_partial"}
    # The endpoint is the generator's too.
    OF_LLMS: ClassVar[frozenset[str]] = TeacherOptions.OF_LLMS - {"base_url"} | {"teacher_url"}

    model: Annotated[str | None, option("--model", help="The LLM's name at its endpoint.", panel=LLM)] = None
    prompt: Annotated[
        tuple[str, ...],
        option(
            "--prompt",
            help="A shipped prompt's name or a YAML file. Repeat it to compare several:"
            " each is tried on every shot, and the smallest edit that flips wins.",
            panel=LLM,
        ),
    ] = ()
    max_attempts: Annotated[int, option(help="Requests for one CFE before giving up on it.", panel=CHECKS, min=1)] = 3
    temperature: Annotated[float, option(help="Sampling temperature of the LLM.", panel=LLM, min=0, max=2)] = 0.0
    retry_temperature: Annotated[
        float, option(help="The least temperature from the third attempt at a CFE on.", panel=LLM, min=0, max=2)
    ] = 0.8
    max_tokens: Annotated[int, option(help="Longest reply in tokens.", panel=LLM, min=1)] = 512
    candidates: Annotated[
        int, option(help="Replies to each request; more than one needs a --temperature above 0.", panel=LLM, min=1)
    ] = 1
    teacher_url: Annotated[
        str | None, option(help="Endpoint of an openai: teacher, where it is not --base-url.", panel=TEACHER)
    ] = None
    teacher_price: Annotated[
        tuple[float, float] | None,
        option(help="As --price, for an openai: teacher that is another LLM than --model.", panel=TEACHER),
    ] = None
    accept_partial: Annotated[
        bool, option("--accept-partial", help="Close the stage although rows are without an answer.", panel=CHECKS)
    ] = False
    seed: Annotated[int, option(help="Seed sent to the LLM.", panel=GENERAL, min=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_price("--teacher-price", self.teacher_price)

    @property
    def llm_url(self) -> str | None:
        """Where an LLM that is the teacher is asked: its own address, else the generator's."""
        return self.teacher_url or self.base_url

    @property
    def llm_price(self) -> tuple[float, float] | None:
        """What it costs: its own price, else the generator's where it is the same LLM."""
        return self.teacher_price or (self.price if self.llm == self.model else None)

    def results(self) -> dict[str, Any]:
        """As elsewhere; a single prompt as its name."""
        values = super().results()
        if len(self.prompt) < 2:
            values["prompt"] = self.prompt[0] if self.prompt else None
        return values
