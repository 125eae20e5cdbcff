"""Texts that an LLM writes in the manner of the shots: asked for, journalled, read, sifted and counted.

A request is known by its number in the plan, from 1, and its reply stands in the journal with the class asked for.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cod_cli.counterfactuals.replies import shortened
from cod_cli.errors import UsageError
from cod_cli.llm.client import Client, Session
from cod_cli.llm.journal import open_reply_journal
from cod_cli.llm.messages import Outcome, Request
from cod_cli.llm.pacing import Spent
from cod_cli.llm.prices import Estimate, Price, estimate, price_within
from cod_cli.llm.prompts import Prompt, Wish, find_prompt, writing_messages
from cod_cli.pools.plan import Plan
from cod_cli.pools.replies import Texts, read_texts
from cod_cli.records import PoolText, Reply, Shot, SoftLabel
from cod_cli.settings.pool import PoolSettings
from cod_cli.store.cache import Cache, default_path

# An LLM that brings fewer new texts than this share of those it was asked for, over so many replies, has no more.
LEAST_NEW, REPLIES = 0.2, 8
# So many of the last texts of a class are shown again, so that the next ones differ.
_REMEMBERED = 5
# The text as it is let in, None where it is not; whoever decides remembers it, and counts why.
Admit = Callable[[str], str | None]


@dataclass(frozen=True)
class NewText:
    """A text that an LLM wrote at a ``place`` in the reply to request ``number``, from 1; ``asked`` is its class."""

    number: int
    place: int
    text: str
    asked: str

    @property
    def id(self) -> str:
        """The id of its row in the pool."""
        return f"{_name(self.number)}/{self.place}"


@dataclass
class Written:
    """What has come so far.

    Args:
        taken: the texts that were let in.
        read: how many texts the replies held.
        replies: how many replies held texts (``texts``) or none (a status of attempts).
        reasons: why they held none.
        unanswered: requests without a reply, and in ``reason`` why.
    """

    taken: list[NewText] = field(default_factory=list)
    read: int = 0
    replies: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    reason: str | None = None
    _lately: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=REPLIES))

    def take(self, number: int, wish: Wish, read: Texts, admit: Admit) -> int:
        """Keep what is new of a reply; how many that are."""
        admitted = [(place, admit(text)) for place, text in enumerate(read.texts, 1)]
        new = [NewText(number, place, text, wish.label) for place, text in admitted if text is not None]
        self.taken += new
        self.read += len(read.texts)
        self.replies[read.status or "texts"] += 1
        if read.reason:
            self.reasons[read.reason] += 1
        self._lately.append((len(new), wish.n))
        return len(new)

    def counts(self) -> dict[str, int]:
        """Texts read and replies, for a manifest: all, and those that hold no text."""
        poor = {f"replies_{status}": n for status, n in sorted(self.replies.items()) if status != "texts"}
        return {"rows": self.read, "replies": self.replies.total(), **poor}

    def short(self, n: int) -> str | None:
        """That there are fewer than n texts because the LLM has no more, and why; None where it is not so."""
        if len(self.taken) >= n or not self.exhausted:
            return None
        new, asked = (sum(numbers) for numbers in zip(*self._lately, strict=True))
        said = (
            f"the LLM repeats itself: its last {len(self._lately)} replies brought {new} new texts of {asked} asked for"
        )
        if self.reasons and not new:
            said = f"the last {len(self._lately)} replies held nothing new: {self.reasons.most_common(1)[0][0]}"
        return f"{said}; {len(self.taken)} of {n} are there"

    def first(self, n: int) -> list[NewText]:
        """The first n in the order of the plan, whichever came first: what is beyond is there for a later pool."""
        return sorted(self.taken, key=lambda new: (new.number, new.place))[:n]

    @property
    def exhausted(self) -> bool:
        """Whether the last replies brought hardly anything new."""
        new, asked = (sum(numbers) for numbers in zip(*self._lately, strict=True)) if self._lately else (0, 1)
        return len(self._lately) == REPLIES and new < LEAST_NEW * asked

    def last(self, label: str) -> list[str]:
        """The last texts of a class, the newest last."""
        return [shortened(new.text) for new in self.taken if new.asked == label][-_REMEMBERED:]


class TextWriter:
    """Asks an LLM for texts; a context manager that closes its client.

    Args:
        client: see `cod_cli.llm.Client`.
        prompt: how it is asked.
        plan: what it is asked for.
        temperature: of all requests.
        price: for estimates.
    """

    def __init__(
        self, client: Client, prompt: Prompt, plan: Plan, *, temperature: float, price: Price | None = None
    ) -> None:
        self.client, self.price = client, price
        self._prompt, self._plan, self._temperature = prompt, plan, temperature

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    def spent(self) -> Spent:
        """Requests, tokens and cost so far."""
        return self.client.spent

    def request(self, number: int, before: Sequence[str] = ()) -> Request:
        """The request of that number; ``before`` was written before and is shown again."""
        plan, wish = self._plan, self._plan.wish(number)
        return Request(
            about=_name(number),
            target=wish.label,
            sample=number,
            messages=tuple(writing_messages(self._prompt, wish, plan.labels)),
            sent=tuple(writing_messages(self._prompt, wish, plan.labels, before)),
            temperature=self._temperature,
            max_tokens=plan.max_tokens,
            seed=plan.seed + number,
            prompt=str(self._prompt),
        )

    def estimate(self, n: int, start: int = 1) -> Estimate:
        """What asking for n texts will take at least, where all are new; what the journal holds is left out."""
        shots = [shot.text for shot in self._plan.shots]
        asked = (self.request(start + number, shots[:_REMEMBERED]) for number in range(self._requests_for(n)))
        typical = "\n".join(sorted(shots, key=len)[len(shots) // 2] for _ in range(self._plan.texts_each))
        return estimate(((request, typical) for request in asked if not self.client.known(request)), self.price)

    def _requests_for(self, n: int) -> int:
        return math.ceil(n / self._plan.texts_each)

    def write(self, n: int, admit: Admit, start: int = 1) -> Iterator[tuple[int, Written]]:
        """Ask until there are n texts, the LLM repeats itself, or it does not answer; how many each reply adds.

        ``start`` is the number of the first request: those before it are another source's.

        Raises:
            CodError: asking makes no sense, or the journal cannot be written.
        """
        written, number = Written(), start
        while len(written.taken) < n and not written.exhausted and not written.unanswered:
            numbers = range(number, number + self._requests_for(n - len(written.taken)))
            number = numbers.stop
            for request, outcome in self.client.ask(self._requests(numbers, written)):
                yield self._settle(request, outcome, written, admit), written

    def _requests(self, numbers: range, written: Written) -> Iterator[Request]:
        for number in numbers:
            if written.exhausted or written.unanswered:
                return
            yield self.request(number, written.last(self._plan.wish(number).label))

    def _settle(self, request: Request, outcome: Outcome, written: Written, admit: Admit) -> int:
        if outcome.error is not None:
            written.unanswered += 1
            written.reason = outcome.error
            return 0
        plan = self._plan
        read = read_texts(outcome.choices[0], [shot.text for shot in plan.shots], plan.labels)
        return written.take(request.sample, plan.wish(request.sample), read, admit)


def open_writer(
    replies: Path, settings: PoolSettings, shots: Sequence[Shot], labels: Sequence[str], session: Session
) -> TextWriter:
    """The writer that a command's options ask for; replies are journalled in ``replies``.

    Raises:
        UsageError: no model, no prompt of this sort, a base URL that is none, a cap on cost without a price.
        CodError: another process is writing ``replies``.
    """
    if settings.model is None:
        raise UsageError("no LLM is named", "add --model NAME")
    prompt = find_prompt(settings.prompt)
    plan = Plan(shots, labels, settings.seed, settings.max_tokens)
    writing_messages(prompt, plan.wish(1), labels)  # a prompt of another sort is found before a file is made
    price = price_within(settings.model, settings.price, settings.max_cost)
    client = Client(
        settings.model,
        session,
        base_url=settings.base_url,
        price=price,
        journal=open_reply_journal(replies),
        cache=Cache[str](default_path("replies")) if settings.cache else None,
    )
    return TextWriter(client, prompt, plan, temperature=settings.temperature, price=price)


def next_number(before: Sequence[PoolText]) -> int:
    """The number of the first request that none of these texts is from."""
    return 1 + max((int(row.id.split("/")[1]) for row in before if row.source == "llm"), default=0)


def _name(number: int) -> str:
    return f"llm/{number}"


@dataclass(frozen=True)
class Agreement:
    """On how many texts of each class asked for the teacher agrees; ``of`` by class how many it has read."""

    agree: Mapping[str, int]
    of: Mapping[str, int]

    @property
    def share(self) -> float:
        """The share of all texts on which it agrees, in [0, 1]."""
        return sum(self.agree.values()) / sum(self.of.values())


def agreement(softs: Sequence[SoftLabel], replies: Sequence[Reply], labels: Sequence[str]) -> Agreement | None:
    """How far the teacher agrees with the classes that an LLM was asked for; None where it wrote none of these rows.

    Args:
        softs: the teacher's labels of the pool.
        replies: the journal.
        labels: the classes in the order of the logits.
    """
    asked = {reply.shot_id: reply.target for reply in replies}
    found = [(asked.get(soft.id.rpartition("/")[0]), soft) for soft in softs]
    read = [(name, labels[max(range(len(labels)), key=soft.logits.__getitem__)]) for name, soft in found if name]
    if not read:
        return None
    of, agree = Counter(name for name, _ in read), Counter(name for name, chosen in read if name == chosen)
    return Agreement(agree={name: agree[name] for name in of}, of=dict(of))
