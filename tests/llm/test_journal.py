"""The journal: whole lines only, found again by key, and honest about a full disk."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cod_cli.errors import CodError
from cod_cli.llm.journal import Journal, open_reply_journal
from cod_cli.llm.messages import Choice, Outcome, Request
from cod_cli.records import Reply

OUTCOME = Outcome((Choice("fine", "stop"), Choice("good", "length")), "m", {"prompt_tokens": 9}, 1.23456)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "2-replies.jsonl"


def request(about: str = "d/train/1") -> Request:
    return Request(about, "positive", 2, ({"role": "user", "content": "x"},))


@contextmanager
def opened(path: Path) -> Iterator[Journal[Reply]]:
    journal = open_reply_journal(path)
    try:
        yield journal
    finally:
        journal.close()


def test_an_outcome_is_one_line_for_each_choice_and_the_usage_stands_on_the_first(path: Path) -> None:
    with opened(path) as journal:
        journal.append("k1", request(), OUTCOME).result()
        lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["usage"] for line in lines] == [{"prompt_tokens": 9}, None]
    assert lines[1] == (
        '{"key": "k1", "shot_id": "d/train/1", "target": "positive", "sample": 2, "text": "good", '
        '"finish_reason": "length", "model": "m", "usage": null, "latency_s": 1.235}'
    )


def test_an_outcome_is_found_again_by_its_key(path: Path) -> None:
    with opened(path) as journal:
        journal.append("k1", request(), OUTCOME).result()
        assert journal.find("k1") is None  # asked in this go: nobody asks twice
    with opened(path) as journal:
        found = journal.find("k1")
        assert journal.find("k2") is None
    assert found is not None
    assert (found.choices, found.usage, found.source) == (OUTCOME.choices, {"prompt_tokens": 9}, "journal")


def test_what_waits_is_written_when_the_journal_is_closed(path: Path) -> None:
    with opened(path) as journal:
        futures = [journal.append(f"k{n}", request(f"d/train/{n}"), OUTCOME) for n in range(200)]
    assert all(future.done() for future in futures)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 400


@pytest.mark.parametrize("torn", [b'{"key": "k2", "shot', b'{"key": "k2"}', "é".encode()[:1], b"x" * 200_000])
def test_a_line_that_a_kill_has_torn_is_cut_off(path: Path, torn: bytes) -> None:
    with opened(path) as journal:
        journal.append("k1", request(), OUTCOME).result()
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with opened(path) as journal:
        assert path.read_bytes() == whole
        journal.append("k2", request(), OUTCOME).result()
    with opened(path) as journal:
        assert journal.find("k1")
        assert journal.find("k2")


def test_a_last_line_that_lacks_nothing_but_its_end_is_kept(path: Path) -> None:
    with opened(path) as journal:
        journal.append("k1", request(), OUTCOME).result()
    whole = path.read_bytes()
    path.write_bytes(whole.removesuffix(b"\n"))
    with opened(path) as journal:
        found = journal.find("k1")
    assert (found and len(found.choices), path.read_bytes()) == (2, whole)


def test_a_file_that_is_nothing_but_a_torn_line_begins_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"key": "k1"')
    with opened(path) as journal:
        journal.append("k1", request(), OUTCOME).result()
    assert len(path.read_bytes().splitlines()) == 2


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(path: Path) -> None:
    with opened(path) as journal:
        journal.append("k1", request(), OUTCOME).result()
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(CodError, match=r"2-replies\.jsonl, line 1"):
        open_reply_journal(path)
    path.write_bytes(b"")
    open_reply_journal(path).close()


def test_one_run_is_written_by_one_process(path: Path) -> None:
    with opened(path), pytest.raises(CodError, match="another process is writing"):
        open_reply_journal(path)
    open_reply_journal(path).close()


def test_a_full_disk_is_an_error_and_leaves_no_torn_line(path: Path) -> None:
    with opened(path) as journal:
        journal.append("k1", request(), OUTCOME).result()
        whole = path.read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, hard))
        try:
            with pytest.raises(CodError, match="cannot be written") as caught:
                journal.append("k2", request(), OUTCOME).result()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "free some space" in str(caught.value.hint)
        assert path.read_bytes() == whole
        with pytest.raises(CodError):
            journal.append("k3", request(), OUTCOME).result()
    assert path.read_bytes() == whole


def test_a_reply_counts_as_written_only_after_the_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    path = tmp_path / "2-replies.jsonl"
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.stat().st_size))
    journal = open_reply_journal(path)
    journal.append("key", request(), Outcome((Choice("text", "stop"),))).result()
    assert synced == [path.stat().st_size]
    journal.close()
