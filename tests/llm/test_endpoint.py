"""Addresses, keys and errors of endpoints."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from cod_cli.errors import CodError, UsageError
from cod_cli.llm.endpoint import (
    LONGEST_WAIT,
    NoReplyError,
    RejectedError,
    api_key,
    endpoint_url,
    explain,
    retry_after,
    scrub,
)
from cod_cli.llm.pacing import StopError


def test_the_address_is_the_option_then_the_environment_then_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert endpoint_url(None) == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1/")
    assert endpoint_url(None) == "http://localhost:1/v1"
    assert endpoint_url("http://localhost:2/v1") == "http://localhost:2/v1"


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://host/v1",
        "http://",
        "/v1",
        "http://[::1",
        "http://host:port/v1",
        "http://host:99999/v1",
        "http://a\x00b/v1",
        "http://a b/v1",
        "http://" + "a" * 70 + ".org/v1",
    ],
)
def test_an_address_that_is_none_is_an_error(url: str) -> None:
    with pytest.raises(UsageError, match="is no http address"):
        endpoint_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *("http://me:s3cret@host/v1", "http://host/v1?key=s3cret", "https://s3cret@host", "me:s3cret@host/v1"),
        *("http://host/v1#s3cret", "http://host/v1;key=s3cret", "http://[::1?key=s3cret", "//me:s3cret@host/v1"),
    ],
)
def test_an_address_with_a_secret_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        endpoint_url(url)
    assert "s3cret" not in caught.value.message + str(caught.value.hint)


def test_spaces_around_a_key_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " sk-1\n")
    assert api_key() == "sk-1"


@pytest.mark.parametrize("key", ["sk-é", "sk-1\nsk-2"])
def test_a_key_that_cannot_be_sent_is_an_error_that_does_not_show_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(CodError) as caught:
        api_key()
    assert "sk-" not in caught.value.message + str(caught.value.hint)


def test_messages_of_servers_are_one_short_line_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "my-own-secret")
    said = scrub("bad key\nmy-own-secret or sk-proj-12**********34\x1b[31m red " + "x" * 400)
    assert "my-own-secret" not in said
    assert "sk-proj" not in said
    assert "\x1b" not in said
    assert len(said) == 200


@pytest.mark.parametrize("key", ["abc", "k", "pass+1"])
def test_a_short_key_is_taken_out_of_messages_where_it_stands_by_itself(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert scrub(f"bad key {key}: token{key}s") == f"bad key [key]: token{key}s"


def test_what_local_servers_are_given_for_a_key_is_a_word_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert scrub("there is none") == "there is none"


def test_a_password_in_the_address_of_a_proxy_is_taken_out_of_messages() -> None:
    assert "s3cret" not in scrub("Unknown scheme for proxy URL 'socks9://me:s3cret@host:1'")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)
    wait = retry_after({"retry-after": format_datetime(later, usegmt=True)})
    assert wait is not None
    assert 28 < wait <= 30
    assert retry_after({"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}) == 0


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, {"message": "slow down"}, NoReplyError),
        (500, None, NoReplyError),
        (503, "<html>", NoReplyError),
        (429, {"error": {"code": "insufficient_quota"}}, StopError),
        (402, {"message": "Insufficient Balance"}, StopError),
        (400, {"code": "content_filter"}, RejectedError),
        (400, {"type": "exceed_context_size_error", "message": "too long"}, RejectedError),
        (400, {"message": "bad"}, CodError),
        (401, None, CodError),
        (404, "<html>nothing here</html>", CodError),
        (418, [1, 2], CodError),
    ],
)
def test_an_error_status_is_retried_waited_out_or_final(status: int, body: object, kind: type[Exception]) -> None:
    error = explain(status, {}, body, endpoint="http://host/v1", model="m")
    assert isinstance(error, kind)
    assert "<html" not in str(error)


def test_only_429_asks_for_fewer_requests() -> None:
    busy = [explain(status, {}, None, endpoint="e", model="m") for status in (429, 503)]
    assert [error.busy for error in busy if isinstance(error, NoReplyError)] == [True, False]


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_what_may_be_otherwise_in_a_moment_is_tried_again(status: int) -> None:
    assert isinstance(explain(status, {}, None, endpoint="http://e", model="m"), NoReplyError)


@pytest.mark.parametrize(("seconds", "kind"), [(LONGEST_WAIT, NoReplyError), (LONGEST_WAIT + 1, StopError)])
def test_the_longest_wait_is_still_waited(seconds: float, kind: type[Exception]) -> None:
    found = explain(503, {"retry-after": str(seconds)}, None, endpoint="http://e", model="m")
    assert type(found) is kind
