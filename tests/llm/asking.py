"""Requests by number; for tests of the client and for the processes that they kill."""

from typing import Any

from cod_cli.llm.messages import Request


def request(number: int = 1, **changes: Any) -> Request:
    """The request of this number: its text and its shot's id hold it."""
    fields: dict[str, Any] = {"about": f"d/train/{number}", "target": "positive", "sample": 1}
    fields["messages"] = ({"role": "user", "content": f"text {number}"},)
    return Request(**fields | changes)
