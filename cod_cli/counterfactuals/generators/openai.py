"""Counterfactuals by an LLM behind an OpenAI-compatible endpoint."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from cod_cli.counterfactuals.generators.base import Need, Proposal, Rejected
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


class OpenAIGenerator:
    """Asks for edits, with each of its prompts; a context manager that closes its client.

    Args:
        client: see `cod_cli.llm.Client`.
        wordings: the prompts.
        labels: the run's classes in order, for the prompts.
        settings: temperature, candidates, max_tokens, seed and max_attempts are used.
        price: for estimates.
    """

    def __init__(
        self,
        client: Client,
        wordings: Sequence[Prompt],
        labels: Sequence[str],
        settings: LLMOptions,
        price: Price | None = None,
    ) -> None:
        self.client = client
        self.name = f"openai:{client.model}"
        self._wordings = {str(prompt): prompt for prompt in wordings}
        self.prompts: Sequence[str | None] = tuple(self._wordings)
        self.max_attempts = settings.max_attempts
        self.price = price
        self._labels, self._settings = list(labels), settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    def spent(self) -> Spent:
        """Requests, tokens and cost so far."""
        return self.client.spent

    def request(self, need: Need) -> Request:
        """What is sent for a need: the first messages, and on a later try what was wrong with the last."""
        prompt = need.prompt or str(self.prompts[0])
        return Request(
            shot_id=need.shot.id,
            target=need.target,
            sample=need.attempt,
            messages=tuple(messages(self._wordings[prompt], need.shot, need.target, self._labels)),
            feedback=need.feedback if need.attempt > 1 else None,
            temperature=self._temperature(need),
            n=self._settings.candidates,
            max_tokens=self._settings.max_tokens,
            # A server that honours seeds must not repeat its last reply.
            seed=self._settings.seed + need.attempt - 1,
            prompt=prompt,
        )

    def _temperature(self, need: Need) -> float:
        """A second try has the feedback to go by; a third must not be the second's reply again, as at temperature 0."""
        given = self._settings.temperature
        return given if need.attempt <= 2 else max(given, self._settings.retry_temperature)

    def estimate(self, needs: Sequence[Need]) -> Estimate:
        """What asking for these needs once will take, those left out that journal or cache can answer."""
        asked = ((self.request(need), need.shot.text) for need in needs)
        return estimate(((request, text) for request, text in asked if not self.client.known(request)), self.price)

    def propose(self, needs: Sequence[Need], *, progress: Callable[[int], object] | None = None) -> Iterator[Proposal]:
        """One proposal for each need, as the replies arrive."""
        asked = {(need.shot.id, need.target, need.prompt or str(self.prompts[0])): need for need in needs}
        for request, outcome in self.client.ask(map(self.request, needs), progress=progress):
            yield _proposal(asked[request.shot_id, request.target, str(request.prompt)], outcome)


def _proposal(need: Need, outcome: Outcome) -> Proposal:
    if outcome.error is not None:
        return Proposal(need, (), "error", outcome.error)
    readings = [read_reply(choice, need.shot.text) for choice in outcome.choices]
    texts = tuple(reading.text for reading in readings if reading.text is not None)
    rejected = [_rejected(reading) for reading in readings if reading.text is None]
    if texts:
        return Proposal(need, texts, rejected=tuple(rejected))
    first, *others = rejected
    return Proposal(need, (), first.status, first.reason, tuple(others))


def _rejected(reading: Reading) -> Rejected:
    return Rejected(reading.status or "malformed", reading.reason)


def open_generator(
    replies: Path,
    settings: LLMOptions,
    labels: Sequence[str],
    session: Session,
    note: Callable[[str], object] | None = None,
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
        note=note,
    )
    return OpenAIGenerator(client, wordings, labels, settings, price)


def _wordings(names: Sequence[str]) -> list[Prompt]:
    prompts = [find_prompt(name) for name in names]
    for prompt in prompts:
        if prompt.asks_for_class:
            raise UsageError(f"the prompt {prompt.name} asks for a class, not for an edit", "put $target into it")
    if len(set(map(str, prompts))) < len(prompts):
        raise UsageError("--prompt names the same prompt twice", "give each only once")
    return prompts
