"""An LLM as teacher: how it is asked for a class by a letter, beside which shots; and the cache of its outputs."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from cod_cli.errors import CodError, PartialError
from cod_cli.llm.client import Client
from cod_cli.llm.messages import Choice, Message, Request
from cod_cli.llm.prices import Estimate, Price, estimate
from cod_cli.llm.prompts import Prompt, class_messages
from cod_cli.models.inference import Progress
from cod_cli.records import Shot, digest, text_sha
from cod_cli.store.cache import Cache, read_floats
from cod_cli.teachers.answers import by_logprobs, by_votes, class_codes, is_rejected, uniform_output
from cod_cli.teachers.base import Logits, Output, Outputs

log = logging.getLogger(__name__)

# The most that OpenAI lists.
ALTERNATIVES = 20
# "The answer is **A**." fits.
VOTE_TOKENS = 8
# A teacher that names no class for so many texts in a row is asked no more.
PROBES = 3
# Neither sharpened nor flattened by the server, and a vote is then a draw from the model's own distribution.
TEMPERATURE = 1.0


@dataclass(frozen=True)
class _Question:
    text: str
    messages: tuple[Message, ...]

    @property
    def key(self) -> str:
        """By text and by all that is sent, demonstrations included."""
        return f"{text_sha(self.text)}:{digest(list(self.messages))}"


class BlackBoxTeacher:
    """A classifier made of an LLM and a prompt; a context manager that closes its client.

    The first question is a probe: where the reply holds no log-probabilities, whatever its HTTP status says, each
    text gets votes instead. No text is asked about twice: replies stand in the client's journal, outputs in
    ``cache``, where other runs find them by text and by what was asked.

    Args:
        client: whom to ask; its journal is this teacher's.
        prompt: a question about a text's class.
        labels: the run's classes in order.
        shots: where demonstrations are taken from.
        demos: how many, at most.
        votes: replies counted for a text where there are no log-probabilities.
        cache: outputs of all runs.
        price: for estimates.
    """

    # A question costs money: what may take many of them asks for few.
    cheap = False

    def __init__(
        self,
        client: Client,
        prompt: Prompt,
        labels: Sequence[str],
        *,
        shots: Sequence[Shot] = (),
        demos: int = 0,
        votes: int = 10,
        cache: Cache[bytes] | None = None,
        price: Price | None = None,
    ) -> None:
        self.client = client
        self.name = f"openai:{client.model}"
        self.labels = tuple(labels)
        self.new_outputs = 0
        origin = digest([client.model, client.endpoint])
        self._cache = OutputCache(cache or Cache(None), origin, classes=len(labels), votes=votes)
        self._prompt, self._codes = prompt, class_codes(labels)
        self._shots, self._demos, self._votes = list(shots) if demos else [], demos, votes
        self.price = price
        self._source: Literal["logprobs", "votes"] | None = None
        self._heard = False
        self._known: dict[str, Output] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    def fingerprint(self) -> str:
        """16 hex digits over all that changes the answers: model, endpoint, wording, classes and demonstrations."""
        shown = [(shot.id, shot.text, shot.label) for shot in self._shots]
        asked = [self._prompt.hash, list(self.labels), self._demos, self._votes, shown]
        return digest([self.client.model, self.client.endpoint, *asked])

    @property
    def source(self) -> Literal["logprobs", "votes"]:
        """Where the numbers come from, as far as it is known."""
        return self._source or "logprobs"

    @property
    def shown(self) -> int:
        """How many shots stand beside a text that is none of them."""
        return min(self._demos, len(self._shots))

    @property
    def queries(self) -> int:
        """How many different questions it was asked, answers from the cache included."""
        return len(self._known)

    @property
    def questions(self) -> frozenset[str]:
        """Under which names the journal keeps the questions that it has answered."""
        return frozenset(self._known)

    @property
    def cache_size(self) -> int:
        """Outputs in the cache, those of other LLMs included."""
        return len(self._cache)

    @property
    def cache_problem(self) -> str | None:
        """Why nothing could be kept, None where all is well."""
        return self._cache.problem

    def logits(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> Logits:
        """Log-probabilities [n, C] in float32, columns in the run's label order.

        Raises:
            PartialError: some are without an answer; what has arrived is on disk.
        """
        told = self.outputs(texts, families=families, progress=progress)
        rows = [output.logits for output in told.rows if output is not None]
        if len(rows) < len(texts):
            raise PartialError(
                f"{len(texts) - len(rows)} of {len(texts)} texts are without an answer of {self.name}: {told.reason}",
                "the same command asks again for just those",
            )
        return np.array(rows, dtype=np.float32).reshape(len(texts), len(self.labels))

    def outputs(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> Outputs:
        """What it says of each text.

        Args:
            texts: what to ask about.
            families: for each the id of the shot that it is or stems from, which is then not shown beside it.
            progress: told of each text that is settled.
        """
        asked = self._questions(texts, families)
        missing = self._look_up(asked)
        advance = progress or (lambda n: None)
        advance(len(asked) - len(missing))
        before = set(self._known)
        try:
            reason = self._probe(missing, advance)
        finally:
            fresh = {key: output for key, output in self._known.items() if key not in before}
            self._cache.put_many(fresh)
            self.new_outputs += len(fresh)
        return Outputs(tuple(self._known.get(question.key) for question in asked), reason)

    def estimate(
        self, texts: Sequence[str], families: Sequence[str | None] | None = None, *, anew: bool = False
    ) -> Estimate:
        """What asking about these texts will take, where the server gives log-probabilities.

        Args:
            texts: what to ask about.
            families: see `outputs`.
            anew: whether answers that are there count, too, as for texts like these that nobody has seen yet.
        """
        asked = self._questions(texts, families)
        requests = [self._request(question) for question in (asked if anew else self._look_up(asked))]
        return estimate(((r, "A") for r in requests if anew or not self.client.known(r)), self.price)

    def _questions(self, texts: Sequence[str], families: Sequence[str | None] | None) -> list[_Question]:
        return [self._question(*pair) for pair in zip(texts, families or [None] * len(texts), strict=True)]

    def _question(self, text: str, family: str | None) -> _Question:
        demos = demonstrations(self._shots, self.labels, self._demos, text=text, family=family)
        return _Question(text, tuple(class_messages(self._prompt, text, self.labels, self._codes, demos)))

    def _look_up(self, asked: Iterable[_Question]) -> list[_Question]:
        """Look them up in the cache; return those that nobody has asked yet, each once."""
        wanted = {question.key: question for question in asked if question.key not in self._known}
        self._known |= self._cache.get_many(wanted)
        return [question for key, question in wanted.items() if key not in self._known]

    def _probe(self, missing: Sequence[_Question], advance: Progress) -> str | None:
        """Ask one first; the others once it is clear how this server answers. Returns why some have no answer."""
        done = 0
        while done < len(missing) and not self._heard:
            reason = self._ask(missing[done : done + 1], advance)
            if reason:
                return reason
            done += 1
            self._heard = self._known[missing[done - 1].key].covered_mass > 0
            if done == PROBES and not self._heard:
                raise CodError(
                    f"{self.name} names none of the classes ({', '.join(self._codes)}) in its replies",
                    "see what is sent: cod show RUN --prompt teacher; put it otherwise with --teacher-prompt FILE. "
                    "A model that thinks before it answers cannot be asked for one letter",
                )
        return self._ask(missing[done:], advance)

    def _ask(self, questions: Sequence[_Question], advance: Progress) -> str | None:
        if not questions:
            return None
        silent, reason = list(questions), None
        if self._source != "votes":
            silent, reason = self._by_logprobs(questions, advance)
        if self._source is None and reason is None:
            self._source = "votes" if silent else "logprobs"
            if silent:
                log.info(
                    f"{self.name} at {self.client.endpoint} gives no log-probabilities: {self._votes} replies are "
                    "counted as votes for each text (--votes)"
                )
        return self._by_votes(silent, advance) or reason

    def _by_logprobs(self, questions: Sequence[_Question], advance: Progress) -> tuple[list[_Question], str | None]:
        """Settle what can be; return those whose reply holds no log-probabilities, and why some have no reply."""
        by_key = {question.key: question for question in questions}
        silent, reason = [], None
        for request, outcome in self.client.ask(map(self._request, questions)):
            if outcome.error is not None:
                reason = outcome.error
                continue
            choice = outcome.choices[0]
            if choice.logprobs and choice.logprobs[0]:
                self._settle(request.about, by_logprobs(choice.logprobs[0], self._codes), advance)
            elif is_rejected(choice):
                self._settle(request.about, uniform_output(len(self.labels), "logprobs"), advance)
            else:
                silent.append(by_key[request.about])
        return silent, reason

    def _by_votes(self, questions: Sequence[_Question], advance: Progress) -> str | None:
        """Sample replies until each question has its votes: some servers send fewer at once than were asked for."""
        cast: dict[str, list[Choice]] = {question.key: [] for question in questions}
        voting, reason, sample = list(questions), None, 1
        while voting:
            by_key = {question.key: question for question in voting}
            requests = (self._vote_request(q, sample, self._votes - len(cast[q.key])) for q in voting)
            voting = []
            for request, outcome in self.client.ask(requests):
                key = request.about
                if outcome.error is not None:
                    reason = outcome.error
                    continue
                cast[key] += outcome.choices
                if len(cast[key]) >= self._votes or is_rejected(outcome.choices[0]):
                    said = [choice.text for choice in cast[key][: self._votes]]
                    self._settle(key, by_votes(said, self._codes, self.labels), advance)
                else:
                    voting.append(by_key[key])
            sample += 1
        return reason

    def _settle(self, key: str, output: Output, advance: Progress) -> None:
        self._known[key] = output
        advance(1)

    def _request(self, question: _Question) -> Request:
        return Request(
            about=question.key,
            target="",
            sample=1,
            messages=question.messages,
            temperature=TEMPERATURE,
            max_tokens=1,
            top_logprobs=ALTERNATIVES,
        )

    def _vote_request(self, question: _Question, sample: int, n: int) -> Request:
        return Request(
            about=question.key,
            target="",
            sample=sample,
            messages=question.messages,
            temperature=TEMPERATURE,
            n=n,
            max_tokens=VOTE_TOKENS,
            # A server that honours seeds must not repeat its last vote.
            seed=sample - 1,
        )


def demonstrations(
    shots: Sequence[Shot], labels: Sequence[str], m: int, *, text: str, family: str | None = None
) -> list[Shot]:
    """At most ``m`` shots, the first of each class in turn, so that the classes are balanced.

    Neither the text itself is among them nor the shot that it stems from; where one is left out, the next of its
    class takes its place.

    Args:
        shots: in order.
        labels: the classes in order.
        m: how many, at most.
        text: what is asked about.
        family: the id of the shot that the text is or stems from; None where it stems from none.
    """
    own = text.strip()
    allowed = [shot for shot in shots if shot.id != family and shot.text.strip() != own]
    classes = [[shot for shot in allowed if shot.label == label] for label in labels]
    longest = max(map(len, classes), default=0)
    turns = [of_class[place] for place in range(longest) for of_class in classes if place < len(of_class)]
    return turns[:m]


Told = Literal["logprobs", "votes"]


class OutputCache:
    """Outputs by question; texts are not kept, only their hashes.

    Args:
        cache: where they are kept.
        origin: whose they are: 16 hex digits over model and endpoint.
        classes: how many each has.
        votes: how many one was made of, where it was made of votes.
    """

    def __init__(self, cache: Cache[bytes], origin: str, *, classes: int, votes: int) -> None:
        self._cache = cache
        self._origin, self._classes, self._votes = origin, classes, votes

    @property
    def problem(self) -> str | None:
        """Why nothing could be kept, None where all is well."""
        return self._cache.problem

    def __len__(self) -> int:
        return self._cache.count()

    def get_many(self, keys: Iterable[str]) -> dict[str, Output]:
        """The outputs on those questions that are there; log-probabilities rather than votes."""
        wanted = list(keys)
        found: dict[str, Output] = {}
        sources: tuple[Told, ...] = ("votes", "logprobs")
        for source in sources:
            places = {self._place(key, source): key for key in wanted}
            rows = self._cache.get_many(places)
            found |= {places[at]: read for at, row in rows.items() if (read := self._unpacked(row, source))}
        return found

    def put_many(self, outputs: Mapping[str, Output]) -> None:
        """Keep outputs by question."""
        self._cache.put_many({self._place(key, output.source): _packed(output) for key, output in outputs.items()})

    def _place(self, key: str, source: str) -> str:
        return f"{self._origin}:{key}:{f'votes{self._votes}' if source == 'votes' else source}"

    def _unpacked(self, row: object, source: Told) -> Output | None:
        floats = read_floats(row, "d", self._classes + 1)
        return Output(floats[:-1], source, floats[-1]) if floats else None


def _packed(output: Output) -> bytes:
    return np.array([*output.logits, output.covered_mass], dtype="<f8").tobytes()
