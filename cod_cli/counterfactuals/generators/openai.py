"""Counterfactuals by an LLM behind an OpenAI-compatible endpoint."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from cod_cli.counterfactuals.generators.base import EditRequest, EmptyReply, Proposal
from cod_cli.counterfactuals.replies import Reading, read_reply
from cod_cli.data.tasks import prompt_family
from cod_cli.errors import UsageError
from cod_cli.llm.client import Client, Session
from cod_cli.llm.journal import open_reply_journal
from cod_cli.llm.messages import Outcome, Request
from cod_cli.llm.pacing import Spent
from cod_cli.llm.prices import Estimate, Price, estimate, price_within
from cod_cli.llm.prompts import Prompt, find_prompt, messages
from cod_cli.settings.shared import LLMOptions
from cod_cli.store.cache import Cache, default_path


@dataclass(frozen=True)
class Sampling:
    """How an LLM is asked for an edit: all that changes its replies, and how often it is asked.

    Args:
        temperature: of the first two attempts; later ones take ``retry_temperature`` where that is higher.
        retry_temperature: the least from the third attempt on.
        candidates: replies to each request.
        max_tokens: of each reply.
        seed: sent with the first attempt, and one more with each after it.
        max_attempts: requests for one case.
    """

    temperature: float = 0.0
    retry_temperature: float = 0.8
    candidates: int = 1
    max_tokens: int = 512
    seed: int = 0
    max_attempts: int = 3

    @classmethod
    def of(cls, options: LLMOptions) -> "Sampling":
        """As a command's options say."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})


class OpenAIGenerator:
    """Asks for edits, with each of its prompts; a context manager that closes its client.

    Args:
        client: see `cod_cli.llm.Client`.
        wordings: the prompts.
        labels: the run's classes in order, for the prompts.
        sampling: how it is asked.
        price: for estimates.
    """

    def __init__(
        self,
        client: Client,
        wordings: Sequence[Prompt],
        labels: Sequence[str],
        sampling: Sampling,
        price: Price | None = None,
    ) -> None:
        self.client = client
        self.name = f"openai:{client.model}"
        self._keep = find_prompt("semifactual")
        self._wordings = {str(prompt): prompt for prompt in wordings}
        self.prompts: Sequence[str | None] = tuple(self._wordings)
        self.max_attempts = sampling.max_attempts
        self.price = price
        self._labels, self._sampling = list(labels), sampling

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    def spent(self) -> Spent:
        """Requests, tokens and cost so far."""
        return self.client.spent

    def request(self, edit: EditRequest) -> Request:
        """What is sent for an edit: the first messages, and on a later attempt what was wrong with the last."""
        wording = self._keep if edit.keep else self._wordings[edit.prompt or str(self.prompts[0])]
        return Request(
            about=edit.shot.id,
            # What asks for a semifactual is told from what asks for a CFE of the same class.
            target=f"={edit.target}" if edit.keep else edit.target,
            sample=edit.attempt,
            messages=tuple(messages(wording, edit.shot, edit.target, self._labels)),
            feedback=edit.feedback if edit.attempt > 1 or edit.keep else None,
            temperature=self._temperature(edit),
            n=self._sampling.candidates,
            max_tokens=self._sampling.max_tokens,
            # A server that honours seeds must not repeat its last reply.
            seed=self._sampling.seed + edit.attempt - 1,
            prompt=str(wording),
        )

    def _temperature(self, edit: EditRequest) -> float:
        """A second attempt has feedback to go by; a third must not be the second's reply again, as at temperature 0."""
        given = self._sampling.temperature
        return given if edit.attempt <= 2 else max(given, self._sampling.retry_temperature)

    def estimate(self, edits: Sequence[EditRequest]) -> Estimate:
        """What asking for these edits once will take, those left out that journal or cache can answer."""
        asked = ((self.request(edit), edit.shot.text) for edit in edits)
        return estimate(((request, text) for request, text in asked if not self.client.known(request)), self.price)

    def propose(self, edits: Sequence[EditRequest]) -> Iterator[Proposal]:
        """One proposal for each edit, as the replies arrive."""
        requests = [self.request(edit) for edit in edits]
        asked = {(r.about, r.target, r.prompt): edit for r, edit in zip(requests, edits, strict=True)}
        for request, outcome in self.client.ask(requests):
            yield _proposal(asked[request.about, request.target, request.prompt], outcome)


def _proposal(edit: EditRequest, outcome: Outcome) -> Proposal:
    if outcome.error is not None:
        return Proposal(edit, (), "error", outcome.error)
    readings = [read_reply(choice, edit.shot.text) for choice in outcome.choices]
    texts = tuple(reading.text for reading in readings if reading.text is not None)
    rejected = [_rejected(reading) for reading in readings if reading.text is None]
    if texts:
        return Proposal(edit, texts, rejected=tuple(rejected))
    first, *others = rejected
    return Proposal(edit, (), first.status, first.reason, tuple(others))


def _rejected(reading: Reading) -> EmptyReply:
    return EmptyReply(reading.status or "malformed", reading.reason)


def open_generator(
    replies: Path,
    settings: LLMOptions,
    labels: Sequence[str],
    session: Session,
) -> OpenAIGenerator:
    """The generator that a command's options ask for; replies are journalled in ``replies``.

    Without ``--prompt`` the shipped one is taken that fits the labels.

    Raises:
        UsageError: no model, an unknown prompt or one given twice, a base URL that is none, a cap on cost without
            a price.
        CodError: another process is writing ``replies``.
    """
    if settings.model is None:
        raise UsageError("no LLM is named", "add --model NAME, or choose another --generator")
    wordings = _wordings(settings.prompt or (prompt_family(labels),))
    price = price_within(settings.model, settings.price, settings.max_cost)
    client = Client(
        settings.model,
        session,
        base_url=settings.base_url,
        price=price,
        journal=open_reply_journal(replies),
        cache=Cache[str](default_path("replies")) if settings.cache else None,
    )
    return OpenAIGenerator(client, wordings, labels, Sampling.of(settings), price)


def _wordings(names: Sequence[str]) -> list[Prompt]:
    prompts = [find_prompt(name) for name in names]
    for prompt in prompts:
        if prompt.asks_for_class:
            raise UsageError(f"the prompt {prompt.name} asks for a class, not for an edit", "put $target into it")
        if prompt.asks_for_texts:
            raise UsageError(f"the prompt {prompt.name} asks for new texts, not for an edit", "it is for `cod pool`")
    if len(set(map(str, prompts))) < len(prompts):
        raise UsageError("--prompt names the same prompt twice", "give each only once")
    return prompts
