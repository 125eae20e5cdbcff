"""Replies of odd shapes, through the real client: none hangs, none is lost, none is paid for twice."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from cod_cli.llm.client import Client, Session
from cod_cli.llm.journal import open_reply_journal, open_teacher_journal
from cod_cli.llm.messages import MALFORMED, REFUSED, Choice, Outcome, read_completion
from cod_cli.llm.pacing import Limits
from tests.llm.asking import request
from tests.llm.fake_llm import Answer, Body, FakeLLM

KEY = "sk-a-secret-that-nobody-may-see"
ODD = [
    *(None, True, 5, -1, 2.5, 1e300, float("nan"), float("inf"), "", "text", "\ud83d", "\0"),
    *([], {}, [None], ["x"], [[]], {"a": 1}, {"text": 5}, [{"type": "text", "text": "part"}], [{"message": {}}]),
]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def whole(**changes: Any) -> Body:
    top = [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -2.5}]
    logprobs = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}]}
    message = {"role": "assistant", "content": "edited", "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {"id": "x", "model": "m-1", "choices": [choice], "usage": usage} | changes


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value something can stand."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in places(value[key], (*path, key)))]


def spoil(rng: random.Random) -> bytes:
    """A completion in which one to three things are of an odd kind, or are not there."""
    body: Any = whole()
    for _ in range(rng.randint(1, 3)):
        *path, last = rng.choice(places(body)[1:] or [("model",)])
        at = body
        for key in path:
            at = at[key]
        if isinstance(at, dict) and rng.random() < 0.2:
            del at[last]
        else:
            at[last] = copy.deepcopy(rng.choice(ODD))
    return json.dumps(body).encode()


def texts_of(outcome: Outcome) -> list[tuple[str, str | None]]:
    return [(choice.text, choice.finish_reason) for choice in outcome.choices]


def ask(bodies: list[bytes], path: Path, open_journal: Any = open_reply_journal) -> tuple[dict[str, Outcome], int]:
    """An outcome for each body, the first that the server sends for its request; and how many requests it saw."""
    waiting = {f"text {number}": body for number, body in enumerate(bodies)}

    def answer(body: Body) -> Answer | str:
        raw = waiting.pop(body["messages"][-1]["content"], None)
        return Answer(raw=raw) if raw else "in order"

    limits = Limits(concurrency=8, timeout=5.0)
    with FakeLLM(answer) as llm, Session(limits, backoff=0.001) as session:
        told = []
        for _ in range(2):
            sent = len(llm.requests)
            with Client("m", session, base_url=llm.url, journal=open_journal(path)) as client:
                told.append({asked.about: outcome for asked, outcome in client.ask(map(request, range(len(bodies))))})
    first, again = ({about: texts_of(outcome) for about, outcome in outcomes.items()} for outcomes in told)
    assert first == again
    assert sent == len(llm.requests), "what was on disk was asked for again"
    return told[0], sent


def ask_one(path: Path, **changes: Any) -> Outcome:
    outcomes, sent = ask([json.dumps(whole(**changes)).encode()], path / "2-replies.jsonl")
    assert sent == 1, "it was paid for twice"
    return outcomes["d/train/0"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("open_journal", [open_reply_journal, open_teacher_journal])
def test_whatever_json_a_server_sends_each_request_has_one_outcome_on_disk(
    seed: int, open_journal: Any, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    bodies = [spoil(rng) for _ in range(60)]
    outcomes, _ = ask(bodies, tmp_path / "2-replies.jsonl", open_journal)
    assert len(outcomes) == len(bodies)
    assert all(outcome.choices and outcome.error is None for outcome in outcomes.values())


@pytest.mark.parametrize("odd", [5, [], ["stop"], {"a": 1}, True])
def test_an_odd_finish_reason_or_model_is_one_that_was_not_told(odd: object, tmp_path: Path) -> None:
    choice = whole()["choices"][0] | {"finish_reason": odd}
    outcome = ask_one(tmp_path, choices=[choice], model=odd)
    assert (outcome.choices[0].text, outcome.choices[0].finish_reason, outcome.model) == ("edited", None, "m")


@pytest.mark.parametrize(
    "odd",
    [
        5,
        "abc",
        [],
        [1],
        {"prompt_tokens": "abc"},
        {"prompt_tokens": {}},
        {"prompt_tokens": float("nan")},
        {"prompt_tokens": 1e999},
        {"completion_tokens": -1},
        {"completion_tokens": [1]},
    ],
)
def test_a_usage_that_cannot_be_read_is_unknown(odd: object, tmp_path: Path) -> None:
    outcome = ask_one(tmp_path, usage=odd)
    assert (outcome.choices[0].text, outcome.usage) == ("edited", None)


@pytest.mark.parametrize(
    "odd", ["abc", 5, {}, {"message": {}}, [], [None], ["x"], [{}], [{"message": 5}], [{"message": {"content": 5}}]]
)
def test_choices_that_cannot_be_read_are_malformed(odd: object, tmp_path: Path) -> None:
    assert ask_one(tmp_path, choices=odd).choices == (Choice("", MALFORMED),)


def test_a_choice_that_can_be_read_stands_beside_one_that_cannot(tmp_path: Path) -> None:
    outcome = ask_one(tmp_path, choices=[None, *whole()["choices"]])
    assert [choice.text for choice in outcome.choices] == ["", "edited"]


def test_json_too_deep_to_be_read_is_a_malformed_reply() -> None:
    deep = b'{"choices": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert read_completion(deep).choices == (Choice("", MALFORMED),)


def test_a_number_of_thousands_of_digits_loses_no_reply() -> None:
    body = json.dumps(whole(usage={"prompt_tokens": "many"})).encode().replace(b'"many"', b"9" * 5000)
    completion = read_completion(body)
    assert (completion.choices[0].text, completion.usage) == ("edited", None)


def test_a_content_of_parts_is_the_text_in_them() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "ed"}, {"type": "text", "text": "ited"}, 5]
    body = json.dumps(whole(choices=[{"message": {"content": parts}}])).encode()
    assert read_completion(body).choices == (Choice("edited", None),)


def test_what_goes_wrong_while_a_reply_is_written_reaches_the_caller(tmp_path: Path) -> None:
    class Full(Exception):
        pass

    def refuse(*_: object) -> Any:
        raise Full

    journal = open_reply_journal(tmp_path / "2-replies.jsonl")
    journal.append = refuse  # type: ignore[method-assign]
    with (
        FakeLLM() as llm,
        Session(backoff=0.001) as session,
        Client("m", session, base_url=llm.url, journal=journal) as client,
        pytest.raises(Full),
    ):
        list(client.ask([request()]))


@pytest.mark.parametrize("name", ["content", "refusal"])
def test_the_key_in_a_reply_is_not_kept(name: str, tmp_path: Path) -> None:
    choice = {"message": {"content": "", name: f"it is {KEY} ."}, "finish_reason": KEY}
    outcome = ask_one(tmp_path, choices=[choice], model=f"m-{KEY}")
    assert outcome.choices[0].text == "it is [key] ."
    assert KEY not in str(outcome) + (tmp_path / "2-replies.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", ["none", "x", "anything"])
def test_a_word_that_a_local_server_takes_for_a_key_stays_in_replies(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    said = f"like {key} else"
    assert ask_one(tmp_path, choices=[{"message": {"content": said}}]).choices[0].text == said


def test_a_refusal_of_an_odd_kind_is_a_refusal(tmp_path: Path) -> None:
    assert ask_one(tmp_path, choices=[{"message": {"refusal": {"why": 1}}}]).choices == (Choice("", REFUSED),)
