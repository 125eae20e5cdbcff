"""The client: what it sends, when it tries again, when it stops, and that nothing paid for is lost."""

import contextlib
import gc
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cod_cli.errors import CodError
from cod_cli.llm.client import BUSY_TRIES, TRIES, Client, Session
from cod_cli.llm.journal import open_reply_journal
from cod_cli.llm.messages import MALFORMED, REFUSED, Choice, Outcome, Request
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Price
from cod_cli.records import Reply
from cod_cli.store.cache import Cache
from tests.llm.asking import request
from tests.llm.fake_llm import (
    Answer,
    Body,
    FakeLLM,
    broken_json,
    error,
    filtered,
    hang,
    html,
    logprobs,
    no_choices,
    null_content,
    refused,
    reset,
    truncated,
)

KEY = "sk-a-secret-that-nobody-may-see"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(echo) as server:
        yield server


def echo(body: Body) -> str:
    return "re: " + str(body["messages"][-1]["content"])


@contextmanager
def client(
    llm: FakeLLM, *, timeout: float = 5.0, concurrency: int = 4, backoff: float = 0.01, **rest: Any
) -> Iterator[Client]:
    limits = rest.pop("limits", Limits(concurrency=concurrency, timeout=timeout))
    with Session(limits, backoff=backoff) as session, Client("m", session, base_url=llm.url, **rest) as asking:
        yield asking


def ask(llm: FakeLLM, *requests: Request, **options: Any) -> dict[str, Outcome]:
    with client(llm, **options) as asking:
        return {asked.about: outcome for asked, outcome in asking.ask(requests)}


def ask_one(llm: FakeLLM, asked: Request | None = None, **options: Any) -> Outcome:
    [outcome] = ask(llm, asked or request(), **options).values()
    return outcome


def journalled(path: Path) -> list[Reply]:
    return [Reply.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nothing_is_sent_on_to_another_host(status: int, llm: FakeLLM) -> None:
    with FakeLLM() as other:
        llm.then(Answer(status=status, headers={"Location": f"{other.url}/chat/completions"}, raw=b"moved"))
        with pytest.raises(CodError, match=f"sends requests on to {other.url} ") as caught:
            ask_one(llm)
        assert other.requests == []
        assert caught.value.hint.endswith(f"--base-url {other.url}")


# What is sent and what comes back


def test_every_request_has_its_outcome(llm: FakeLLM) -> None:
    outcomes = ask(llm, *map(request, range(30)))
    assert {key: outcome.choices for key, outcome in outcomes.items()} == {
        f"d/train/{n}": (Choice(f"re: text {n}", "stop"),) for n in range(30)
    }


def test_an_outcome_tells_model_usage_and_time(llm: FakeLLM) -> None:
    outcome = ask_one(llm)
    assert (outcome.model, outcome.usage) == ("m", {"prompt_tokens": 2, "completion_tokens": 3})
    assert 0 < outcome.latency_s < 5


def test_only_what_was_asked_for_is_sent(llm: FakeLLM) -> None:
    ask_one(llm, request(seed=None))
    assert sorted(llm.requests[0]) == ["max_tokens", "messages", "model", "temperature"]


def test_logprobs_are_asked_for_and_read(llm: FakeLLM) -> None:
    llm.then(Answer(("yes",), logprobs=logprobs(("yes", [("yes", -0.1), ("no", -2.4)]))))
    outcome = ask_one(llm, request(top_logprobs=2))
    assert (llm.requests[0]["logprobs"], llm.requests[0]["top_logprobs"]) == (True, 2)
    assert outcome.choices == (Choice("yes", "stop", ((("yes", -0.1), ("no", -2.4)),)),)


def test_several_choices_are_asked_for_in_one_request(llm: FakeLLM) -> None:
    outcome = ask_one(llm.then(Answer(("a", "b", "c"))), request(n=3))
    assert llm.requests[0]["n"] == 3
    assert [choice.text for choice in outcome.choices] == ["a", "b", "c"]


def test_where_the_server_ignores_n_what_came_is_taken(llm: FakeLLM) -> None:
    assert len(ask_one(llm.then(Answer(("a",))), request(n=3)).choices) == 1


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        (null_content(), Choice("", "stop")),
        (no_choices(), Choice("", MALFORMED)),
        (truncated("half a"), Choice("half a", "length")),
        (filtered(), Choice("", "content_filter")),
        (refused("No."), Choice("No.", REFUSED)),
        (Answer(("a \ud800 b",)), Choice("a ? b", "stop")),
        (error(400, "flagged", code="content_policy_violation"), Choice("", "content_filter")),
        (error(400, "This model's maximum context length is 4096 tokens"), Choice("", "length")),
    ],
)
def test_an_answer_without_a_usable_text_is_an_answer(llm: FakeLLM, answer: Answer, choice: Choice) -> None:
    assert ask_one(llm.then(answer)).choices == (choice,)
    assert len(llm.requests) == 1


# Trying again


@pytest.mark.parametrize(
    "fault",
    [
        *(error(status) for status in (408, 429, 500, 502, 503, 504, 529)),
        reset(),
        html(),
        html(502),
        broken_json(),
        Answer(raw=b'{"error": {"message": "upstream is down"}}'),
        Answer(raw=b"null"),
        Answer(raw=b""),
    ],
)
def test_after_a_fault_the_request_is_sent_again(llm: FakeLLM, fault: Answer) -> None:
    outcome = ask_one(llm.then(fault, fault))
    assert outcome.choices[0].text == "re: text 1"
    assert len(llm.requests) == 3


def test_a_hanging_request_is_sent_again_after_the_timeout(llm: FakeLLM) -> None:
    assert ask_one(llm.then(hang()), timeout=0.3).choices[0].text == "re: text 1"
    assert len(llm.requests) == 2


@pytest.mark.parametrize("headers", [{"retry_after": "0.4"}, {"retry_after_ms": "400"}])
def test_retry_after_is_honoured(llm: FakeLLM, headers: dict[str, str]) -> None:
    started = time.monotonic()
    ask_one(llm.then(error(429, **headers)))
    assert 0.4 <= time.monotonic() - started < 3


def test_when_one_is_told_to_wait_everybody_waits(llm: FakeLLM) -> None:
    arrivals: list[float] = []

    def script(body: Body) -> Answer | str:
        arrivals.append(time.monotonic())
        return error(429, retry_after="0.5") if len(arrivals) == 1 else "ok"

    llm.script = script
    ask(llm, *map(request, range(5)), concurrency=1)
    assert arrivals[1] - arrivals[0] >= 0.5


def test_faults_without_end_leave_the_request_without_an_answer(llm: FakeLLM) -> None:
    llm.script = lambda body: error(500, "overloaded")
    outcome = ask_one(llm)
    assert outcome.choices == ()
    assert outcome.error == f"{llm.url} answers 500: overloaded"
    assert len(llm.requests) == TRIES


def test_a_busy_server_is_given_more_time(llm: FakeLLM) -> None:
    llm.script = lambda body: error(429, "slow down")
    assert ask_one(llm, backoff=0.0001).error == f"{llm.url} answers 429: slow down"
    assert len(llm.requests) == BUSY_TRIES


def test_one_request_that_always_fails_does_not_stop_the_others(llm: FakeLLM) -> None:
    llm.script = lambda body: error(500) if body["messages"][0]["content"] == "text 3" else "ok"
    outcomes = ask(llm, *map(request, range(20)), concurrency=1)
    assert [key for key, outcome in outcomes.items() if outcome.error] == ["d/train/3"]


def test_when_nothing_is_answered_any_more_the_rest_is_not_sent(llm: FakeLLM) -> None:
    llm.script = lambda body: error(500, "broken")
    outcomes = ask(llm, *map(request, range(200)))
    assert len(outcomes) == 200
    assert {outcome.error for outcome in outcomes.values()} == {f"{llm.url} answers 500: broken"}
    # All retries included; while one waits for its next try another may start, so the number itself varies.
    assert len(llm.requests) < 100


def test_a_server_that_is_not_there_is_given_up_within_half_a_minute() -> None:
    with Session(backoff=0.02) as session, Client("m", session, base_url="http://127.0.0.1:9/v1") as asking:
        outcomes = [outcome for _, outcome in asking.ask(map(request, range(100)))]
    assert len(outcomes) == 100
    assert all("no connection to http://127.0.0.1:9/v1" in str(outcome.error) for outcome in outcomes)
    longest_wait = sum(0.5 * 2**n for n in range(TRIES - 1))
    assert longest_wait < 20


def test_a_server_that_asks_for_an_hour_is_not_waited_for(llm: FakeLLM) -> None:
    outcomes = ask(llm.then(error(429, "later", retry_after="3600")), *map(request, range(3)), concurrency=1)
    assert ["asks to wait for 3600 s" in str(outcome.error) for outcome in outcomes.values()] == [True] * 3
    assert len(llm.requests) == 1


@pytest.mark.parametrize("answer", [error(429, "no money", code="insufficient_quota"), error(402, "no money")])
def test_an_account_without_credit_stops_the_run_for_now(llm: FakeLLM, answer: Answer) -> None:
    outcomes = ask(llm.then(answer), *map(request, range(3)), concurrency=1)
    assert ["no credit left" in str(outcome.error) for outcome in outcomes.values()] == [True] * 3
    assert len(llm.requests) == 1


# Giving up at once


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (error(401, f"Incorrect key {KEY}"), "does not accept the key", "OPENAI_API_KEY"),
        (error(403, "not your model"), "does not accept the key", "OPENAI_API_KEY"),
        (error(404, "no such model"), "knows no model 'm'", "--model"),
        (html(404), "knows no model 'm'", "--base-url"),
        (error(400, "what is this?"), "does not accept the request (400: what is this?)", "--model"),
        (error(422, "what is this?"), "does not accept the request (422: what is this?)", "--model"),
    ],
)
def test_what_trying_again_cannot_mend_is_an_error_at_once(llm: FakeLLM, answer: Answer, said: str, hint: str) -> None:
    with pytest.raises(CodError) as caught:
        ask(llm.then(answer), *map(request, range(9)), concurrency=1)
    assert said in caught.value.message
    assert hint in str(caught.value.hint)
    assert len(llm.requests) == 1
    assert KEY not in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_key_is_an_error_that_says_what_local_servers_need(
    llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(CodError, match="OPENAI_API_KEY is not set") as caught:
        ask_one(llm)
    assert "export OPENAI_API_KEY=none" in str(caught.value.hint)


def test_the_key_is_sent_and_stands_nowhere_else(llm: FakeLLM, tmp_path: Path) -> None:
    path = tmp_path / "2-replies.jsonl"
    llm.script = lambda body: error(500, f"your key is {KEY}")
    llm.then("ok")
    outcomes = ask(llm, *map(request, range(3)), journal=open_reply_journal(path), concurrency=1)
    # The case of a header is the HTTP library's own affair.
    assert {name.lower(): value for name, value in llm.headers[0].items()}["authorization"] == f"Bearer {KEY}"
    assert KEY not in path.read_text(encoding="utf-8")
    assert KEY not in str(outcomes)
    assert "[key]" in str(outcomes)


def test_the_key_in_an_error_of_the_connection_is_not_shown() -> None:
    # The answer's first line is no HTTP, and stands in what the client says.
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_with_the_key, args=(server,), daemon=True).start()
        with Session(backoff=0.001) as session:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
            with Client("m", session, base_url=url) as asking:
                [(_, outcome)] = asking.ask([request()])
    assert KEY not in str(outcome.error)
    assert "[key]" in str(outcome.error)


def _answer_with_the_key(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 200 OK\r\nbad {KEY}\r\n\r\n".encode())
            connection.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("HTTPS_PROXY", "gopher://127.0.0.1:1"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_a_proxy_or_a_certificate_that_cannot_be_used_is_an_error_that_names_the_variables(
    name: str, value: str, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CodError, match=r"no connection to .* can be made ready") as caught:
        ask_one(llm)
    assert name in str(caught.value.hint)
    # The SDK closes what it has half made when that is collected, should a loop run then.
    del caught
    gc.collect()


# What some servers do not take


def refusing(*names: str) -> Any:
    def script(body: Body) -> Answer | str:
        named = next((name for name in names if name in body), None)
        return error(400, f"Unsupported parameter: '{named}'", param=named) if named else "ok"

    return script


@pytest.mark.parametrize("name", ["seed", "n", "temperature", "max_tokens"])
def test_a_parameter_that_the_server_refuses_is_left_out_once_and_told(
    llm: FakeLLM, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cod_cli")
    llm.script = refusing(name)
    outcomes = ask(llm, *(request(i, n=2, seed=1) for i in range(9)), concurrency=1)
    assert [bool(outcome.choices) for outcome in outcomes.values()] == [True] * 9
    assert len(llm.requests) == 10
    assert len(caplog.messages) == 1
    assert f"does not take {name}:" in caplog.messages[0]


def test_newer_models_are_given_max_completion_tokens(llm: FakeLLM) -> None:
    llm.script = refusing("max_tokens")
    ask_one(llm, request(max_tokens=77))
    assert llm.requests[-1]["max_completion_tokens"] == 77


def test_several_refused_parameters_are_left_out_one_by_one(llm: FakeLLM) -> None:
    llm.script = refusing("seed", "n", "temperature", "max_tokens")
    assert ask_one(llm, request(n=2, seed=1)).choices[0].text == "ok"
    assert sorted(llm.requests[-1]) == ["max_completion_tokens", "messages", "model"]


def test_requests_under_way_together_learn_it_together(llm: FakeLLM, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "cod_cli")
    llm.script = refusing("seed")
    llm.delay = 0.05
    ask(llm, *(request(i, seed=1) for i in range(8)), concurrency=8)
    assert len(caplog.messages) == 1
    assert len(llm.requests) <= 16


# Limits


def together(n: int) -> Callable[[Body], Answer | str]:
    """Answers once so many are under way at once, however long that takes on a busy machine; fewer are an error."""
    all_there = threading.Barrier(n, timeout=30)

    def answer(body: Body) -> Answer | str:
        try:
            all_there.wait()
        except threading.BrokenBarrierError:
            return error(400, "fewer are under way")
        time.sleep(0.05)
        return echo(body)

    return answer


def test_no_more_requests_are_under_way_than_allowed(llm: FakeLLM) -> None:
    llm.script = together(6)
    ask(llm, *map(request, range(24)), concurrency=6, timeout=60.0)
    assert llm.peak == 6


def test_after_a_429_fewer_requests_are_under_way(llm: FakeLLM) -> None:
    llm.delay = 0.05
    llm.then(*[error(429)] * 8)
    with client(llm, concurrency=8, timeout=60.0) as asking:
        list(asking.ask(map(request, range(8))))
        llm.peak = 0
        list(asking.ask(map(request, range(100, 104))))
        cut = llm.peak
        list(asking.ask(map(request, range(200, 280))))
        llm.peak, llm.script = 0, together(8)
        list(asking.ask(map(request, range(300, 316))))
    assert cut < 8
    assert llm.peak == 8


def test_requests_are_drawn_as_they_are_needed(llm: FakeLLM) -> None:
    drawn: list[int] = []

    def endless() -> Iterator[Request]:
        for number in range(10_000):
            drawn.append(number)
            yield request(number)

    with client(llm, concurrency=4) as asking:
        for count, _ in enumerate(asking.ask(endless()), start=1):
            assert len(drawn) <= count + 2 * 4
            if count == 50:
                break
    assert len(drawn) >= 50


def test_the_cap_on_calls_holds_over_several_rounds_and_retries(llm: FakeLLM) -> None:
    llm.then(error(500))
    with client(llm, limits=Limits(max_calls=5)) as asking:
        first = [outcome.error for _, outcome in asking.ask(map(request, range(3)))]
        second = [outcome.error for _, outcome in asking.ask(map(request, range(3, 9)))]
    assert (first, second.count(None), len(llm.requests)) == ([None] * 3, 1, 5)
    assert set(second) == {None, "--max-calls 5 is reached"}


def test_the_cap_on_cost_is_not_passed(llm: FakeLLM) -> None:
    requests = [request(n, max_tokens=10) for n in range(20)]
    limits = Limits(max_cost=0.5, concurrency=4)
    with client(llm, limits=limits, price=Price(0, 10_000)) as asking:
        outcomes = [outcome for _, outcome in asking.ask(requests)]
        spent = asking.spent
    # A reply costs 0.03 and may cost 0.1: after 14, 0.42 are spent and one more might be too much.
    assert spent.cost == pytest.approx(0.42)
    assert sum(outcome.error is None for outcome in outcomes) == 14


def test_a_server_that_tells_no_usage_is_counted_by_estimate(llm: FakeLLM) -> None:
    llm.then(Answer(raw=b'{"choices": [{"message": {"content": "nine words"}, "finish_reason": "stop"}]}'))
    with client(llm, price=Price(0, 1e6)) as asking:
        [(_, outcome)] = asking.ask([request()])
        assert outcome.usage is None
        assert asking.spent.cost == 3  # ten characters


# Journal and cache


def test_a_reply_is_on_disk_before_it_is_used(llm: FakeLLM, tmp_path: Path) -> None:
    path = tmp_path / "2-replies.jsonl"
    with client(llm, journal=open_reply_journal(path)) as asking:
        for asked, outcome in asking.ask(map(request, range(25))):
            texts = {reply.shot_id: reply.text for reply in journalled(path)}
            assert texts[asked.about] == outcome.choices[0].text
    assert len(journalled(path)) == 25


def test_a_reply_that_is_on_disk_is_not_asked_for_again(llm: FakeLLM, tmp_path: Path) -> None:
    path = tmp_path / "2-replies.jsonl"
    before = ask(llm, *map(request, range(5)), journal=open_reply_journal(path))
    after = ask(llm, *map(request, range(8)), journal=open_reply_journal(path))
    assert len(llm.requests) == 8
    assert [after[key].choices for key in before] == [outcome.choices for outcome in before.values()]
    assert len(before) == 5
    assert [outcome.source for outcome in after.values()].count("journal") == 5


def test_where_everything_is_on_disk_neither_key_nor_server_is_needed(
    llm: FakeLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "2-replies.jsonl"
    ask(llm, request(), journal=open_reply_journal(path))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask_one(llm, journal=open_reply_journal(path)).choices[0].text == "re: text 1"


def test_an_error_is_not_journalled(llm: FakeLLM, tmp_path: Path) -> None:
    path = tmp_path / "2-replies.jsonl"
    llm.then(*[error(500)] * TRIES)
    assert ask_one(llm, journal=open_reply_journal(path)).error
    assert ask_one(llm, journal=open_reply_journal(path)).error is None


def test_what_is_left_when_the_caller_stops_early_is_saved(llm: FakeLLM, tmp_path: Path) -> None:
    path = tmp_path / "2-replies.jsonl"
    with client(llm, journal=open_reply_journal(path)) as asking:
        seen = [next(answers := asking.ask(map(request, range(50))))[0].about]
        seen += [next(answers)[0].about for _ in range(9)]
        answers.close()  # type: ignore[attr-defined]
    assert set(seen) <= {reply.shot_id for reply in journalled(path)}


def test_a_hit_in_the_cache_is_journalled_and_costs_nothing(llm: FakeLLM, tmp_path: Path) -> None:
    cache = Cache[str](tmp_path / "cache.sqlite")
    ask(llm, request(n=2), cache=cache)
    with client(llm, cache=cache, journal=open_reply_journal(tmp_path / "b.jsonl"), price=Price(1, 1)) as asking:
        [(_, outcome)] = asking.ask([request(n=2)])
        assert (asking.spent.calls, asking.spent.cost) == (0, 0)
    assert (outcome.source, outcome.usage, len(outcome.choices)) == ("cache", None, 2)
    assert [(reply.usage, reply.latency_s) for reply in journalled(tmp_path / "b.jsonl")] == [(None, 0), (None, 0)]


@pytest.mark.parametrize(
    "value", ["", "{", "[]", "5", '{"model": "m"}', '{"model": "m", "choices": [{"text": 5, "finish_reason": "stop"}]}']
)
def test_what_is_no_reply_in_the_cache_is_asked_for_again(value: str, llm: FakeLLM, tmp_path: Path) -> None:
    cache = Cache[str](tmp_path / "cache.sqlite")
    first = ask_one(llm, cache=cache)
    with sqlite3.connect(tmp_path / "cache.sqlite") as db:
        db.execute("UPDATE entries SET value = ?", [value])
    db.close()
    again = ask_one(llm, cache=cache)
    assert (again.source, again.choices) == ("server", first.choices)


def test_the_cache_tells_feedback_apart_and_the_journal_does_not() -> None:
    plain, told = request(sample=2), request(sample=2, feedback="closer!")
    assert plain.key("m", "e") == told.key("m", "e")
    assert plain.cache_key("m", "e") != told.cache_key("m", "e")


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": ({"role": "user", "content": "x"},)},
        {"sample": 2},
        {"temperature": 0.5},
        {"n": 2},
        {"max_tokens": 9},
        {"seed": 1},
        {"top_logprobs": 5},
    ],
)
def test_whatever_changes_the_answer_changes_the_key(changes: dict[str, Any]) -> None:
    assert request(**changes).key("m", "e") != request().key("m", "e")
    assert request(**changes).cache_key("m", "e") != request().cache_key("m", "e")


def test_model_and_endpoint_change_the_key_and_names_do_not() -> None:
    keys = {request().key("m", "e"), request().key("m2", "e"), request().key("m", "e2")}
    assert len(keys) == 3
    assert request(about="other", target="other").key("m", "e") in keys


# Kills: a process asks, is killed, and asks again

_ASK = """
import signal, sys
# Where pytest runs in the background of a shell it ignores interrupts, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
from cod_cli.llm.journal import open_reply_journal
from cod_cli.llm.client import Client, Session
from cod_cli.llm.pacing import Limits
from tests.llm.asking import request
url, path, n, concurrency = sys.argv[1:]
limits = Limits(concurrency=int(concurrency), timeout=2.0)
from pathlib import Path
with (
    Session(limits, backoff=0.01) as session,
    Client("m", session, base_url=url, journal=open_reply_journal(Path(path))) as client,
):
    print("ready", flush=True)
    for asked, outcome in client.ask(map(request, range(int(n)))):
        print(asked.about, outcome.error, flush=True)
"""


def asking_process(llm: FakeLLM, path: Path, n: int, concurrency: int) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", _ASK, llm.url, str(path), str(n), str(concurrency)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)


class Faulty:
    """Answers a third of the requests with faults, and counts the answers that were worth money."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.paid: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __call__(self, body: Body) -> Answer | str:
        faults = [error(429, retry_after="0.01"), error(500), reset(), hang(), html(), broken_json()]
        answers = [Answer(("",)), null_content(), Answer(("edited",)), Answer(("edited",))]
        with self.lock:
            if self.random.random() < 0.33:
                return self.random.choice(faults)
            self.paid[body["messages"][0]["content"]] += 1
            return self.random.choice(answers)


def wait_for_requests(llm: FakeLLM, process: "subprocess.Popen[str]", count: int) -> None:
    """Until the server has seen so many, however long the process takes to begin, or the process is done."""
    while len(llm.requests) < count and process.poll() is None:
        time.sleep(0.002)


def kill_until_done(folder: Path, *, n: int, concurrency: int, kills: int, seed: int) -> None:
    path, faulty, rng = folder / "2-replies.jsonl", Faulty(seed), random.Random(seed)
    with FakeLLM(faulty, delay=0.02) as llm:
        for round_number in range(kills + 1):
            known = {reply.shot_id for reply in _whole_lines(path)}
            llm.requests.clear()
            process = asking_process(llm, path, n, concurrency)
            assert process.stdout is not None
            process.stdout.readline()
            if round_number < kills:
                wait_for_requests(llm, process, rng.randint(1, n // kills))
                time.sleep(rng.uniform(0, 0.03))
                process.kill()
            lines = process.communicate()[0].splitlines()
            asked = {body["messages"][0]["content"].replace("text ", "d/train/") for body in llm.requests}
            assert not asked & known, "a request whose reply is on disk was sent again"
        assert process.returncode == 0
    assert len(lines) == n
    unanswered = {line.split()[0] for line in lines if not line.endswith(" None")}
    replies = journalled(path)
    assert len({reply.shot_id for reply in replies}) == len(replies) == n - len(unanswered)
    assert not {reply.shot_id for reply in replies} & unanswered
    assert faulty.paid.total() - len(replies) <= concurrency * kills


def _whole_lines(path: Path) -> list[Reply]:
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0].decode("utf-8")
    return [Reply.model_validate_json(line) for line in whole.splitlines()]


def test_kills_between_faults_lose_nothing_and_repeat_little(tmp_path: Path) -> None:
    kill_until_done(tmp_path, n=40, concurrency=4, kills=2, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_many_kills_between_faults_lose_nothing_and_repeat_little(tmp_path: Path, seed: int) -> None:
    kill_until_done(tmp_path, n=600, concurrency=8, kills=25, seed=seed)


def test_an_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "2-replies.jsonl"
    with FakeLLM(echo, delay=0.05) as llm:
        process = asking_process(llm, path, 2000, 4)
        assert process.stdout is not None
        finished = [process.stdout.readline() for _ in range(20)][1:]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert len(llm.requests) < 1000, "it went on asking"
    assert process.returncode != 0
    assert {line.split()[0] for line in finished} <= {reply.shot_id for reply in journalled(path)}


def test_the_first_request_that_finds_no_server_stops_all_others() -> None:
    limits = Limits(concurrency=1, timeout=5.0)
    with Session(limits, backoff=0.001) as session, Client("m", session, base_url="http://127.0.0.1:9/v1") as asking:
        assert len(list(asking.ask(map(request, range(20))))) == 20
        # While the first waits for its next try a second one may start.
        assert asking.spent.calls < 2 * TRIES
