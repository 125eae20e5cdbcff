"""Tokens estimated, money counted, a user's price list."""

from pathlib import Path

import pytest

from cod_cli.errors import UsageError
from cod_cli.llm.messages import Request
from cod_cli.llm.prices import (
    Price,
    Usage,
    estimate,
    expected_tokens,
    find_price,
    prices_path,
    prompt_tokens,
    tokens_in,
)


def request(text: str = "x" * 40, **changes: int) -> Request:
    return Request("d/train/1", "positive", 1, ({"role": "user", "content": text},), **changes)  # type: ignore[arg-type]


@pytest.fixture
def price_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = prices_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_price_is_for_a_million_tokens() -> None:
    assert Price(2.5, 10.0).of(1000, 200) == pytest.approx(0.0045)


def test_the_usage_of_several_replies_adds_up() -> None:
    both = Usage(1000, 150) + Usage.from_record({"completion_tokens": 50})
    assert (both.record(), both.tokens) == ({"prompt_tokens": 1000, "completion_tokens": 200}, 1200)
    assert both.cost(Price(2.5, 10.0)) == pytest.approx(0.0045)
    assert both.cost(None) is None


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("a stirring and funny film , at once warm and cold", 13), ("电影很好看", 8), ("фильм", 5)],
)
def test_tokens_are_estimated_from_the_bytes(text: str, tokens: int) -> None:
    assert tokens_in(text) == tokens


def test_a_chat_has_tokens_around_its_messages() -> None:
    assert prompt_tokens([{"role": "user", "content": "x" * 40}] * 2) == 3 + 2 * (4 + 10)


def test_an_estimate_adds_up() -> None:
    whole = estimate([(request(), "y" * 20), (request(n=3), "y" * 40)], Price(1e6, 1e6))
    assert (whole.calls, whole.prompt_tokens, whole.completion_tokens) == (2, 34, 5 + 30)
    assert whole.cost == 69


def test_no_reply_is_estimated_longer_than_it_may_be() -> None:
    assert estimate([(request(max_tokens=7), "y" * 4000)], None).completion_tokens == 7
    expected = expected_tokens(request(max_tokens=7, n=2))
    assert (expected.prompt, expected.completion, expected.completion_cap) == (17, 14, 14)


def test_without_a_price_there_is_no_cost(price_list: Path) -> None:
    assert find_price("m", None) is None
    assert estimate([(request(), "y")], None).cost is None


def test_the_price_is_taken_from_the_option_then_from_the_list(price_list: Path) -> None:
    price_list.write_text("m: [2.5, 10]\nfree: [0, 0]\n", encoding="utf-8")
    assert find_price("m", (1.0, 2.0)) == Price(1.0, 2.0)
    assert find_price("m", None) == Price(2.5, 10.0)
    assert find_price("free", None) == Price(0.0, 0.0)
    assert find_price("other", None) is None


@pytest.mark.parametrize("content", ["m: 3", "m: [1]", "m: [a, b]", "- m", "m: [", "m: [-1, 2]"])
def test_a_bad_price_list_is_an_error_that_names_it(price_list: Path, content: str) -> None:
    price_list.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"prices\.yaml is no price list"):
        find_price("m", None)
