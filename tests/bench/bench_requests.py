"""How close the LLM client comes to the ideal time, and that its memory does not grow with the rows.

    python -m tests.bench.bench_requests

A server in a process of its own answers after a second. 512 requests, 64 at once, ideally take 8 s. Then ten
times as many are sent to a quick server, journalled, and the growth of resident memory is printed.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from cod_cli.llm.client import Client, Session
from cod_cli.llm.journal import open_reply_journal
from cod_cli.llm.messages import Request
from cod_cli.llm.pacing import Limits
from tests.llm.fake_llm import FakeLLM

REQUESTS, CONCURRENCY, DELAY = 512, 64, 1.0


def serve(delay: float, pipe: Connection) -> None:
    """Answer until the other side hangs up."""
    with FakeLLM("the film is a charming and often affecting journey .", delay=delay) as llm:
        pipe.send(llm.url)
        pipe.recv()
        pipe.send(llm.peak)


def requests(n: int, first: int = 0) -> Iterator[Request]:
    """Requests as `cod counterfact` sends them, about 300 tokens long."""
    for number in range(first, first + n):
        chat = ({"role": "user", "content": f"{number}: " + "the film is a slow and often tedious journey . " * 25},)
        yield Request(f"sst2/train/{number}", "positive", 1, chat)


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def timed(client: Client, n: int, first: int = 0) -> float:
    """Seconds for ``n`` requests."""
    started = time.perf_counter()
    answers = sum(outcome.error is None for _, outcome in client.ask(requests(n, first)))
    assert answers == n
    return time.perf_counter() - started


def bench(delay: float, rounds: list[int]) -> list[tuple[int, float, float]]:
    """For each round its requests, seconds, and resident MB after it; start-up and connections apart."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(delay, theirs), daemon=True)
    server.start()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    results, first = [], 10**6
    with tempfile.TemporaryDirectory() as folder:
        journal = open_reply_journal(Path(folder) / "2-replies.jsonl")
        with (
            Session(Limits(concurrency=CONCURRENCY)) as session,
            Client("m", session, base_url=ours.recv(), journal=journal) as client,
        ):
            timed(client, CONCURRENCY)
            for n in rounds:
                results.append((n, timed(client, n, first), resident_mb()))
                first += n
    ours.send(None)
    print(f"most requests under way at once: {ours.recv()}")
    server.join()
    return results


def main() -> None:
    """Print both figures."""
    ideal = DELAY * REQUESTS / CONCURRENCY
    [(n, seconds, _)] = bench(DELAY, [REQUESTS])
    print(f"{n} requests, {CONCURRENCY} at once, {DELAY:g} s each: {seconds:.2f} s, {seconds / ideal:.2f} x ideal")
    memory = bench(0.05, [REQUESTS, 10 * REQUESTS])
    for n, seconds, resident in memory:
        print(f"{n} requests, 0.05 s each: {seconds:.2f} s, {n / seconds:.0f} a second, {resident:.1f} MB resident")
    print(f"growth for {memory[1][0]} further requests: {memory[1][2] - memory[0][2]:.1f} MB")


if __name__ == "__main__":
    main()
