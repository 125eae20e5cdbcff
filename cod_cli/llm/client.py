"""How an LLM is asked: one `Session` for a command, and in it a `Client` for each model, endpoint and journal.

Requests come in (`cod_cli.llm.messages`), outcomes go out as they arrive: concurrent, within limits, tried again in the
open, on disk before they are used. Called by the generator and the teacher that are LLMs; the only importer of openai.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Self, TypeVar

import openai

from cod_cli.errors import CodError
from cod_cli.llm.endpoint import Dialect, NoReplyError, RejectedError, api_key, endpoint_url, explain, hide_key, scrub
from cod_cli.llm.journal import Journal
from cod_cli.llm.messages import Choice, Outcome, Request, read_completion
from cod_cli.llm.pacing import Limits, Pace, Spent, StopError
from cod_cli.llm.prices import Expected, Price, expected_tokens, tokens_in
from cod_cli.store.cache import Cache

# How often one request is sent: on faults, and while the server only says that it is busy.
TRIES = 6
BUSY_TRIES = 12
# So many requests in a row without an answer, each sent `TRIES` times: the endpoint is down.
_HOPELESS = 3
_CONNECT_S = 10.0
_Deliver = Callable[[Outcome | BaseException], None]
T = TypeVar("T")


class Session:
    """What all clients of one command share: limits, what is spent, and an event loop; a context manager.

    Stages open one and hand it to whatever asks an LLM. The loop runs in a thread of its own, which starts with the
    first request: a session that sends nothing costs nothing. Close its clients first.

    Args:
        limits: what may be under way and spent, by all clients together.
        backoff: seconds before the second try of a request; doubled for each further one.
    """

    def __init__(self, limits: Limits | None = None, *, backoff: float = 0.5) -> None:
        self.limits = limits or Limits()
        self.backoff = backoff
        self.pace = Pace(self.limits, backoff)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin some work on the loop; cancelling the future cancels it."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="llm", daemon=True)
            self._thread.start()
        # anyio's blocking portal waits for the loop at every start, which costs a third of the requests a second.
        return asyncio.run_coroutine_threadsafe(work, self._loop)


class Client:
    """Asks one model at one endpoint; a plain iterator outside, coroutines on the session's loop inside.

    Args:
        model: its name at the endpoint.
        session: whose limits hold, and which outlives the client.
        base_url: see `endpoint_url`.
        price: for the cost in `spent` and the cap on it.
        journal: where replies are written before they are used, and found when they are asked for again.
            It is closed with the client.
        cache: replies of other runs.
    """

    def __init__(
        self,
        model: str,
        session: Session,
        *,
        base_url: str | None = None,
        price: Price | None = None,
        journal: Journal[Any] | None = None,
        cache: Cache[str] | None = None,
    ) -> None:
        self.model = model
        self.endpoint = endpoint_url(base_url)
        self._session = session
        self._limits, self._pace = session.limits, session.pace
        self._price = price
        self._journal, self._cache = journal, cache
        self._dialect = Dialect(self.endpoint)
        self._sdk: openai.AsyncOpenAI | None = None
        self._sending: set[asyncio.Task[Any]] = set()
        self._heard = False
        self._in_vain = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections and journal; whatever has arrived is on disk afterwards."""
        if self._sdk is not None:
            self._session.start(self._hang_up(self._sdk)).result()
            self._sdk = None
        if self._journal is not None:
            self._journal.close()

    @property
    def spent(self) -> Spent:
        """Requests sent, tokens and cost so far; answers from journal and cache cost nothing."""
        return self._pace.spent

    def known(self, request: Request) -> bool:
        """Whether the reply is in the journal or the cache, so that asking costs nothing."""
        return self._look_up(request) is not None

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Outcome]]:
        """An outcome for each request, as they arrive; only a window of ``requests`` is ever in memory.

        An outcome with an ``error`` has no answer yet: the endpoint is down, or a cap is reached.

        Raises:
            CodError: asking makes no sense (key, model or request refused), or the journal cannot be written.
        """
        done: SimpleQueue[tuple[int, Request, Outcome | BaseException]] = SimpleQueue()
        numbered = enumerate(requests)
        under_way: dict[int, Future[None]] = {}
        try:
            while True:
                while len(under_way) < 2 * self._limits.concurrency and (following := next(numbered, None)):
                    number, request = following
                    under_way[number] = self._begin(request, partial(_put, done, number, request))
                if not under_way:
                    return
                number, request, outcome = done.get()
                del under_way[number]
                if isinstance(outcome, BaseException):
                    raise outcome
                self._share(request, outcome)
                yield request, outcome
        finally:
            for future in under_way.values():
                future.cancel()

    def _begin(self, request: Request, deliver: _Deliver) -> "Future[None]":
        """Look the reply up, else send the request; either way it is delivered, once it is on disk."""
        outcome = self._look_up(request)
        if outcome is None:
            self._connect()
            return self._session.start(self._answer_durably(request, deliver))
        if outcome.source == "journal":
            deliver(outcome)
        else:
            self._write(request, outcome, deliver)
        return Future()

    def _look_up(self, request: Request) -> Outcome | None:
        outcome = self._journal.find(request.key(self.model, self.endpoint)) if self._journal else None
        if outcome is None and self._cache is not None:
            key = request.cache_key(self.model, self.endpoint)
            outcome = Outcome.from_cache(self._cache.get_many([key]).get(key))
        return outcome

    def _share(self, request: Request, outcome: Outcome) -> None:
        if self._cache is not None and outcome.source == "server" and (value := outcome.to_cache()):
            self._cache.put_many({request.cache_key(self.model, self.endpoint): value})

    def _write(self, request: Request, outcome: Outcome, deliver: _Deliver) -> None:
        if self._journal is None or outcome.error is not None:
            deliver(outcome)
        else:
            written = self._journal.append(request.key(self.model, self.endpoint), request, outcome)
            written.add_done_callback(lambda future: deliver(future.exception() or outcome))

    def _connect(self) -> None:
        """Make the SDK's client when the first request has to be sent: without a key nothing can be."""
        if self._sdk is None:
            timeout = openai.Timeout(self._limits.timeout, connect=min(self._limits.timeout, _CONNECT_S))
            key = api_key()
            try:
                # Not sent on to other hosts: they would get the texts.
                direct = openai.DefaultAsyncHttpxClient(follow_redirects=False, timeout=timeout)
                self._sdk = openai.AsyncOpenAI(
                    api_key=key, base_url=self.endpoint, max_retries=0, timeout=timeout, http_client=direct
                )
            except Exception as error:
                # httpx reads proxies and certificates from the environment, and has no error of its own for either.
                raise CodError(
                    f"no connection to {self.endpoint} can be made ready: {scrub(str(error))}",
                    "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY (http or https) and SSL_CERT_FILE, SSL_CERT_DIR",
                ) from None

    async def _hang_up(self, sdk: openai.AsyncOpenAI) -> None:
        # A caller that was interrupted has not cancelled what it asked for; none of it may reach a closed journal.
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await sdk.close()

    async def _answer_durably(self, request: Request, deliver: _Deliver) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        try:
            self._write(request, await self._answer(request), deliver)
        except Exception as error:
            # Whatever it is, the caller waits for it.
            deliver(error)

    async def _answer(self, request: Request) -> Outcome:
        """Send a request until there is a reply or no hope."""
        expected = expected_tokens(request)
        tries = 0
        while True:
            tries += 1
            try:
                async with self._pace.slot(expected, self._price):
                    outcome = await self._send(request, expected)
            except StopError as stop:
                return Outcome(error=stop.reason)
            except RejectedError as rejected:
                return Outcome((Choice("", rejected.finish_reason),), model=self.model)
            except NoReplyError as fault:
                if tries >= (BUSY_TRIES if fault.busy else TRIES):
                    return self._give_up(fault)
                await self._back_off(fault, tries)
            else:
                self._in_vain = 0
                return outcome

    def _give_up(self, fault: NoReplyError) -> Outcome:
        self._in_vain += 1
        if (fault.unreachable and not self._heard) or self._in_vain >= _HOPELESS:
            self._pace.stopped = fault.reason
        return Outcome(error=fault.reason)

    async def _back_off(self, fault: NoReplyError, tries: int) -> None:
        if fault.busy:
            # Everybody waits: the next request would be turned away like this one.
            self._pace.busy(fault.wait)
        else:
            own = self._session.backoff * 2 ** (tries - 1) * random.uniform(0.5, 1)
            await asyncio.sleep(max(fault.wait or 0.0, own))

    async def _send(self, request: Request, expected: Expected) -> Outcome:
        """One request, one reply; sent again only where the server wants a parameter left out."""
        assert self._sdk is not None
        while True:
            parameters = self._dialect.parameters(self.model, request)
            started = perf_counter()
            try:
                async with asyncio.timeout(self._limits.timeout):
                    response = await self._sdk.chat.completions.with_raw_response.create(**parameters)
            except (openai.APITimeoutError, TimeoutError):
                raise NoReplyError(f"{self.endpoint} gave no answer within {self._limits.timeout:g} s") from None
            except openai.APIStatusError as error:
                self._heard = True
                adaptable = error.status_code in (400, 422)
                if not (adaptable and self._dialect.adapt(parameters, error.param, str(error.body))):
                    raise self._explained(error) from None
            except openai.APIConnectionError as error:
                cause = scrub(str(error.__cause__ or "")) or type(error.__cause__ or error).__name__
                raise NoReplyError(f"no connection to {self.endpoint} ({cause})", unreachable=True) from None
            else:
                return self._outcome(response.content, perf_counter() - started, expected)

    def _explained(self, error: openai.APIStatusError) -> Exception:
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        body = error.body if error.body is not None else error.response.text
        return explain(error.status_code, headers, body, endpoint=self.endpoint, model=self.model)

    def _outcome(self, body: bytes, latency_s: float, expected: Expected) -> Outcome:
        self._heard = True
        try:
            completion = read_completion(body)
        except ValueError as error:
            what = scrub(str(error))
            raise NoReplyError(f"{self.endpoint} sends something that is no chat completion ({what})") from None
        choices, usage = tuple(map(hide_key, completion.choices)), completion.usage
        if usage is None:  # not told: the estimate counts, so that a cap on the cost still holds
            paid = expected.prompt, sum(tokens_in(choice.text) for choice in choices)
        else:
            paid = usage["prompt_tokens"], usage["completion_tokens"]
        self._pace.paid(*paid, expected, self._price)
        model = self.model if completion.model in (self.model, None, "") else scrub(completion.model)
        return Outcome(choices, model, usage, latency_s)


def _put(done: "SimpleQueue[Any]", number: int, request: Request, outcome: Outcome | BaseException) -> None:
    done.put((number, request, outcome))
