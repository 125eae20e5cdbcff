"""Choices of a chat completion as OpenAI, vLLM, llama.cpp, Ollama and others shape them, with holes."""

from typing import Any

import pytest

from cod_cli.llm.messages import MALFORMED, REFUSED, Choice, read_choice, read_logprobs, read_usage

Body = dict[str, Any]
READ = ((("A", -0.1), (" B", -2.5)),)


def top(token: Any, logprob: Any, **rest: Any) -> Body:
    return {"token": token, "logprob": logprob, **rest}


def position(*alternatives: Any, **rest: Any) -> Body:
    return {"token": "A", "logprob": -0.1, "top_logprobs": list(alternatives), **rest}


OPENAI = {
    "content": [position(top("A", -0.1, bytes=[65]), top(" B", -2.5, bytes=[32, 66]), bytes=[65])],
    "refusal": None,
}
VLLM = {"content": [position(top("A", -0.1, bytes=[65]), top(" B", -2.5, bytes=None), top("C", float("-inf")))]}
LLAMA_CPP = {"content": [position(top("A", -0.1, id=32, bytes=[65]), top(" B", -2.5, id=425, bytes=[32, 66]), id=32)]}
OLLAMA = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": [top("A", -0.1), top(" B", -2.5)]}]}
COMPLETIONS = {"tokens": ["A"], "token_logprobs": [-0.1], "top_logprobs": [{"A": -0.1, " B": -2.5}]}


@pytest.mark.parametrize("shape", [OPENAI, VLLM, LLAMA_CPP, OLLAMA, COMPLETIONS])
def test_each_shape_reads_the_same(shape: Body) -> None:
    assert read_logprobs(shape) == READ


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        {},
        [],
        "none",
        {"content": None},
        {"content": []},
        {"content": [None]},
        {"content": [{}]},
        {"content": [{"token": "A", "logprob": -0.1}]},
        {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": None}]},
        {"content": [position()]},
        {"content": None, "refusal": None, "top_logprobs": None},
        {"tokens": ["A"], "token_logprobs": [-0.1], "top_logprobs": None},
        {"tokens": ["A"], "token_logprobs": [-0.1], "top_logprobs": [None]},
        {"content": [position(top(None, None), top("B", None), top(None, -1.0), None)]},
    ],
)
def test_what_holds_no_alternative_is_nothing(nothing: object) -> None:
    assert read_logprobs(nothing) is None


def test_alternatives_with_holes_are_left_out() -> None:
    holed = {
        "content": [position(top("A", -0.1), top("B", None), top(None, -1.0), None, top("C", True), {}, top("D", 0))]
    }
    assert read_logprobs(holed) == ((("A", -0.1), ("D", 0.0)),)


def test_a_position_without_alternatives_keeps_its_place() -> None:
    assert read_logprobs({"content": [None, position(top("A", -0.1))]}) == ((), (("A", -0.1),))


def test_a_lone_surrogate_in_a_token_can_be_written() -> None:
    [[(token, _)]] = read_logprobs({"content": [position(top("\ud83d", -1.0))]}) or ()
    assert token.encode("utf-8")


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ({"message": {"content": "A"}, "finish_reason": "length"}, Choice("A", "length")),
        ({"message": {"content": None}, "finish_reason": "stop"}, Choice("", "stop")),
        ({"message": {"content": [{"type": "text"}]}}, Choice("", None)),
        ({"message": None, "finish_reason": "stop"}, Choice("", MALFORMED)),
        ({}, Choice("", MALFORMED)),
        ({"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}, Choice("no", REFUSED)),
        ({"message": {"content": "A"}, "finish_reason": "stop", "logprobs": OPENAI}, Choice("A", "stop", READ)),
    ],
)
def test_a_choice_is_read_whatever_is_missing(choice: Body, read: Choice) -> None:
    assert read_choice(choice) == read


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        (None, None),
        ({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}, (3, 1)),
        ({"prompt_tokens": 3, "completion_tokens": None}, (3, 0)),
        ({}, (0, 0)),
    ],
)
def test_usage_is_read_whatever_is_missing(usage: object, read: tuple[int, int] | None) -> None:
    told = read_usage(usage)
    assert (told and (told["prompt_tokens"], told["completion_tokens"])) == read
