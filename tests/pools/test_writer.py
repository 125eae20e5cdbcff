"""The writer: what it asks for, what it keeps, when it stops, and that nothing paid for is asked for again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cod_cli.llm.client import Client, Session
from cod_cli.llm.journal import open_reply_journal
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Price
from cod_cli.llm.prompts import find_prompt
from cod_cli.pools.plan import Plan
from cod_cli.pools.writer import REPLIES, TextWriter, Written, agreement
from cod_cli.records import Reply, SoftLabel
from cod_cli.store.jsonl import read_records
from tests.llm.fake_llm import FakeLLM, error, filtered, hang, truncated
from tests.pools.writing import LABELS, SHOTS, class_in, writer_of_new_texts


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@contextmanager
def opened(llm: FakeLLM, journal: Path, price: Price | None = None, **limits: float) -> Iterator[TextWriter]:
    with Session(Limits(**{"concurrency": 1, **limits}), backoff=0.01) as session:  # type: ignore[arg-type]
        client = Client("m", session, base_url=llm.url, price=price, journal=open_reply_journal(journal))
        plan = Plan(SHOTS, LABELS, 0, 512)
        with TextWriter(client, find_prompt("pool"), plan, temperature=0.9, price=price) as writer:
            yield writer


def write(llm: FakeLLM, journal: Path, n: int, **limits: float) -> Written:
    """Have n texts written; a text is admitted once."""
    taken: set[str] = set()

    def admit(text: str) -> str | None:
        new = text not in taken
        taken.add(text)
        return text if new else None

    written = Written()
    with opened(llm, journal, **limits) as writer:
        for _, latest in writer.write(n, admit):
            written = latest
    return written


def test_texts_are_written_in_both_classes_until_there_are_enough(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        written = write(llm, tmp_path / "j", 30)
        assert len(llm.requests) == 5
    assert len(written.taken) == 30
    for new in written.taken:
        assert ("awful" in new.text) == (new.asked == "negative")
    assert len({new.id for new in written.taken}) == 30


def test_a_request_quotes_the_last_texts_of_its_class(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        written = write(llm, tmp_path / "j", 18)
        first, *_, third = llm.texts()
    assert "Written before" not in first
    assert written.taken[5].text in third
    assert written.taken[6].text not in third


def test_the_prompt_shows_shots_and_asks_for_a_number_of_texts(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        write(llm, tmp_path / "j", 6)
        chat = llm.requests[0]["messages"]
    assert [message["role"] for message in chat] == ["system", "user"]
    assert sum(shot.text in chat[1]["content"] for shot in SHOTS) >= 3
    assert "Write 6 more texts" in chat[1]["content"]
    assert "$" not in chat[0]["content"] + chat[1]["content"]


def test_replies_on_disk_are_not_asked_for_again(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        first = write(llm, tmp_path / "j", 30)
        again = write(llm, tmp_path / "j", 30)
        assert len(llm.requests) == 5
        assert again.taken == first.taken
        more = write(llm, tmp_path / "j", 42)
        assert len(llm.requests) == 7
    assert more.taken[:30] == first.taken


def test_the_journal_holds_the_class_asked_for(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        written = write(llm, tmp_path / "j", 12)
        classes = [class_in(body) for body in llm.requests]
    replies = read_records(tmp_path / "j", Reply)
    assert [reply.target for reply in replies] == classes
    assert {new.id.rpartition("/")[0] for new in written.taken} == {reply.shot_id for reply in replies}


def test_another_source_begins_behind_the_requests_of_the_last(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm, opened(llm, tmp_path / "j") as writer:
        first = [new.id for _, written in writer.write(6, str) for new in written.taken]
        more = [new.id for _, written in writer.write(6, str, start=2) for new in written.taken]
    assert first == [f"llm/1/{place}" for place in range(1, 7)]
    assert more == [f"llm/2/{place}" for place in range(1, 7)]


def test_of_more_texts_than_are_wanted_the_first_of_the_plan_are_taken(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        written = write(llm, tmp_path / "j", 8)
    assert [new.id for new in written.first(8)] == [*(f"llm/1/{place}" for place in range(1, 7)), "llm/2/1", "llm/2/2"]


def test_a_cap_leaves_the_rest_for_the_next_go(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        capped = write(llm, tmp_path / "j", 30, max_calls=2)
        assert (len(capped.taken), len(llm.requests)) == (12, 2)
        assert capped.unanswered
        assert "--max-calls 2" in str(capped.reason)
        assert len(write(llm, tmp_path / "j", 30).taken) == 30
        assert len(llm.requests) == 5


def test_a_reply_that_does_not_come_is_no_result(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        llm.then(*[hang()] * 6)
        assert write(llm, tmp_path / "j", 6, timeout=0.05).unanswered == 1
        assert len(write(llm, tmp_path / "j", 6).taken) == 6


def test_faults_in_between_are_tried_again(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        llm.then(error(500), error(429, retry_after="0"))
        assert len(write(llm, tmp_path / "j", 12).taken) == 12


def test_an_llm_that_repeats_itself_is_asked_no_more(tmp_path: Path) -> None:
    with FakeLLM("1. a slow evening at the lake\n2. a long road to the sea") as llm:
        written = write(llm, tmp_path / "j", 100)
        asked = len(llm.requests)
        assert REPLIES <= asked <= REPLIES + 1  # one may be under way
        write(llm, tmp_path / "j", 100)
        assert len(llm.requests) == asked
    assert written.exhausted
    assert len(written.taken) == 2
    assert written.read == 2 * asked


def test_refusals_and_other_replies_without_a_text_are_counted_and_end_it(tmp_path: Path) -> None:
    with FakeLLM("I'm sorry, but I can't write such texts.") as llm:
        llm.then(filtered(), truncated("1. a slow"), "1. fine", "")
        written = write(llm, tmp_path / "j", 100)
    assert written.exhausted
    assert not written.unanswered
    assert written.replies == {"texts": 1, "truncated": 1, "empty": 1, "refused": written.replies["refused"]}
    assert REPLIES <= written.replies.total() <= REPLIES + 1
    assert [new.text for new in written.taken] == ["fine"]


def test_few_new_texts_among_many_copies_do_not_end_it(tmp_path: Path) -> None:
    new = writer_of_new_texts(2)
    with FakeLLM(lambda body: f"{new(body)}\n3. old\n4. old\n5. old\n6. old") as llm:
        assert len(write(llm, tmp_path / "j", 40).taken) >= 40


def test_an_estimate_is_about_what_it_takes_and_leaves_out_what_is_known(tmp_path: Path) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        with opened(llm, tmp_path / "j", Price(1.0, 2.0)) as writer:
            before = writer.estimate(30)
            assert llm.requests == []
        write(llm, tmp_path / "j", 18)
        with opened(llm, tmp_path / "j", Price(1.0, 2.0)) as writer:
            after = writer.estimate(30)
    assert (before.calls, after.calls) == (5, 2)
    assert before.cost is not None
    assert after.cost is not None
    assert 0 < after.cost < before.cost


def test_the_share_on_which_the_teacher_agrees_with_the_class_asked_for() -> None:
    def reply(number: int, target: str) -> Reply:
        return Reply(
            key="k", shot_id=f"llm/{number}", target=target, sample=number, text="", finish_reason="stop", model="m",
            usage=None, latency_s=0,
        )  # fmt: skip

    def soft(row_id: str, *logits: float) -> SoftLabel:
        return SoftLabel(
            id=row_id, text_sha="", logits=list(logits), teacher="t", source="logits", covered_mass=1.0
        )  # fmt: skip

    replies = [reply(1, "positive"), reply(2, "negative")]
    softs = [soft("llm/1/1", 0, 1), soft("llm/1/2", 1, 0), soft("llm/2/1", 3, 1), soft("reviews/train/4", 1, 0)]
    found = agreement(softs, replies, LABELS)
    assert found is not None
    assert (found.agree, found.of) == ({"positive": 1, "negative": 1}, {"positive": 2, "negative": 1})
    assert found.share == pytest.approx(2 / 3)
    assert agreement(softs[3:], replies, LABELS) is None
