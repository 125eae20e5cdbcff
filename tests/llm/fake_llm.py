"""An OpenAI-compatible server on loopback that plays the LLM: a script of answers and faults, and a history."""

import contextlib
import json
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Body = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the server sends back for one request: choices, or ``raw`` bytes, or a fault of the connection."""

    texts: tuple[str | None, ...] = ("",)
    finish_reason: str | None = "stop"
    refusal: str | None = None
    logprobs: Any = None
    usage: dict[str, int] | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = "application/json"
    delay: float = 0.0
    fault: Literal["reset", "hang"] | None = None


def error(
    status: int, message: str = "no", *, param: str | None = None, code: str | None = None, **headers: str
) -> Answer:
    """An error in OpenAI's shape; ``retry_after="2"`` and the like become headers."""
    body = {"error": {"message": message, "type": "error", "param": param, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, raw=json.dumps(body).encode(), headers=named)


def reset() -> Answer:
    """The connection is reset before a byte is sent."""
    return Answer(fault="reset")


def hang() -> Answer:
    """The request is taken and never answered."""
    return Answer(fault="hang")


def html(status: int = 200) -> Answer:
    """A proxy's page where JSON was expected."""
    return Answer(status=status, raw=b"<html><body>Bad gateway</body></html>", content_type="text/html")


def broken_json() -> Answer:
    """A body that ends in the middle."""
    return Answer(raw=b'{"id": "x", "choices": [{"mess')


def no_choices() -> Answer:
    """A well-formed completion with an empty list of choices."""
    return Answer(texts=())


def null_content() -> Answer:
    """A choice whose content is null."""
    return Answer(texts=(None,))


def truncated(text: str) -> Answer:
    """A reply cut off at max_tokens."""
    return Answer(texts=(text,), finish_reason="length")


def filtered() -> Answer:
    """A reply withheld by the provider's filter."""
    return Answer(texts=(None,), finish_reason="content_filter")


def refused(text: str = "I can't help with that.") -> Answer:
    """A reply in the ``refusal`` field."""
    return Answer(texts=(None,), refusal=text)


Script = Callable[[Body], "Answer | str"]


class FakeLLM:
    """Answers ``POST …/chat/completions``: from the queue while there is one, then by the script.

    ``url`` is the base URL; ``requests`` the bodies in order of arrival, ``headers`` theirs; ``peak``
    the most requests that were under way at once.
    """

    def __init__(self, script: Script | str = "ok", *, delay: float = 0.0) -> None:
        self.script = script
        self.delay = delay
        self.queue: deque[Answer | str] = deque()
        self.requests: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.peak = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "FakeLLM":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def then(self, *answers: Answer | str) -> "FakeLLM":
        """Queue answers for the next requests, in order of arrival."""
        self.queue.extend(answers)
        return self

    def texts(self) -> list[str]:
        """The last message of every request so far."""
        return [body["messages"][-1]["content"] for body in self.requests]

    @contextlib.contextmanager
    def counted(self, body: Body, headers: dict[str, str]) -> Iterator[Answer]:
        """The answer to one request, which counts as under way inside the ``with``."""
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
            queued = self.queue.popleft() if self.queue else None
        try:
            answer = queued if queued is not None else self.script
            answer = answer(body) if callable(answer) else answer
            answer = Answer(texts=(answer,) * (body.get("n") or 1)) if isinstance(answer, str) else answer
            self.closing.wait(0 if answer.fault else self.delay + answer.delay)
            yield answer
        finally:
            with self._lock:
                self._under_way -= 1


def completion(body: Body, answer: Answer) -> bytes:
    """The answer as a chat completion; tokens are counted as words."""
    choices = [_choice(index, text, answer) for index, text in enumerate(answer.texts)]
    asked = sum(len(str(m["content"]).split()) for m in body["messages"])
    written = sum(len((text or "").split()) for text in answer.texts)
    usage = {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}
    whole = {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": choices,
        "usage": answer.usage or usage,
    }
    return json.dumps(whole).encode()


def _choice(index: int, text: str | None, answer: Answer) -> Body:
    message = {"role": "assistant", "content": text, "refusal": answer.refusal}
    return {"index": index, "message": message, "finish_reason": answer.finish_reason, "logprobs": answer.logprobs}


def logprobs(*tokens: tuple[str, Sequence[tuple[str, float]]]) -> Body:
    """The ``logprobs`` of a choice: for each token the most probable alternatives, (token, log p)."""
    content = []
    for token, top in tokens:
        alternatives = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in top]
        own = dict(top).get(token, -20.0)
        content.append({"token": token, "logprob": own, "bytes": list(token.encode()), "top_logprobs": alternatives})
    return {"content": content, "refusal": None}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def _handler_for(llm: FakeLLM) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # one write for head and body

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with llm.counted(body, dict(self.headers)) as answer:
                if answer.fault == "reset":
                    self.close_connection = True
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                elif answer.fault == "hang":
                    self._wait_for_the_client_to_leave()
                else:
                    self._send(answer, answer.raw if answer.raw is not None else completion(body, answer))

        def _send(self, answer: Answer, raw: bytes) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(raw)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)
            self.wfile.flush()

        def _wait_for_the_client_to_leave(self) -> None:
            self.close_connection = True
            while not llm.closing.wait(0.05):
                if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                    return

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is logged."""

    return Handler
