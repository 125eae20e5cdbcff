"""The LLM generator: what it asks, what it makes of the replies, what it estimates."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cod_cli.counterfactuals.generators.base import EditRequest, Proposal
from cod_cli.counterfactuals.generators.openai import OpenAIGenerator, open_generator
from cod_cli.errors import CodError, UsageError
from cod_cli.llm.client import Session
from cod_cli.llm.pacing import Limits
from cod_cli.records import Reply, Shot
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.store.jsonl import read_records
from tests.llm.fake_llm import Answer, FakeLLM, error, filtered, no_choices, null_content, refused, truncated

LABELS = ["negative", "positive"]
DULL = Shot(id="d/train/1", text="the film is dull and costs $label .", label="negative")
LONG = Shot(id="d/train/2", text="the film is long .", label="negative")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(as_asked) as server:
        yield server


def as_asked(body: dict[str, list[dict[str, str]]]) -> str:
    text = body["messages"][-1]["content"].partition("<text>\n")[2].partition("\n</text>")[0]
    return text.replace("dull", "clever").replace("long", "short")


@contextmanager
def generator(llm: FakeLLM, folder: Path, **options: object) -> Iterator[OpenAIGenerator]:
    settings = CounterfactSettings(model="m", base_url=llm.url, **options)  # type: ignore[arg-type]
    replies = folder / "2-replies.jsonl"
    with Session(Limits.of(settings)) as session, open_generator(replies, settings, LABELS, session) as writer:
        yield writer


def propose(llm: FakeLLM, folder: Path, *requests: EditRequest, **options: object) -> list[Proposal]:
    with generator(llm, folder, **options) as writer:
        return list(writer.propose(requests))


def first(shot: Shot) -> EditRequest:
    return EditRequest(shot, "positive", 1)


def test_a_need_becomes_a_proposal(llm: FakeLLM, tmp_path: Path) -> None:
    [proposal] = propose(llm, tmp_path, first(DULL))
    assert proposal == Proposal(first(DULL), ("the film is clever and costs $label .",))


@pytest.mark.parametrize(("given", "asked"), [({}, [0, 0, 0.8]), ({"retry_temperature": 0.3}, [0, 0, 0.3])])
def test_a_third_try_is_sampled_so_as_not_to_repeat_the_second(
    llm: FakeLLM, tmp_path: Path, given: dict[str, object], asked: list[float]
) -> None:
    for attempt in (1, 2, 3):
        propose(llm, tmp_path, EditRequest(DULL, "positive", attempt, "closer!"), **given)
    assert [body["temperature"] for body in llm.requests] == asked


def test_a_later_try_is_as_warm_as_the_first_where_that_is_warmer(llm: FakeLLM, tmp_path: Path) -> None:
    propose(llm, tmp_path, EditRequest(DULL, "positive", 3, "closer!"), temperature=1.2)
    assert [body["temperature"] for body in llm.requests] == [1.2]


def test_the_request_is_the_prompt_with_the_options(llm: FakeLLM, tmp_path: Path) -> None:
    propose(llm, tmp_path, first(DULL), temperature=0.7, max_tokens=99, seed=5, candidates=2)
    [body] = llm.requests
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"], body["n"]) == ("m", 0.7, 99, 5, 2)
    assert body["messages"][0]["role"] == "system"
    assert "from negative to positive" in llm.texts()[0]
    assert "response_format" not in body


def test_the_prompt_is_the_one_that_fits_the_labels(llm: FakeLLM, tmp_path: Path) -> None:
    with generator(llm, tmp_path) as writer:
        assert str(writer.prompts[0]).startswith("sentiment@")
        assert writer.name == "openai:m"
    settings = CounterfactSettings(model="m", base_url=llm.url)
    with open_generator(tmp_path / "2-replies.jsonl", settings, ["ham", "spam"], Session()) as writer:
        assert str(writer.prompts[0]).startswith("generic@")


def test_a_later_try_says_what_was_wrong_and_has_another_seed(llm: FakeLLM, tmp_path: Path) -> None:
    propose(llm, tmp_path, EditRequest(DULL, "positive", 2, "Your last try came back unchanged."))
    assert llm.texts()[0].startswith("Your last try came back unchanged.\n\nEdit this text")
    assert llm.requests[0]["seed"] == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (null_content(), "empty"),
        (no_choices(), "malformed"),
        (truncated("the film is"), "truncated"),
        (filtered(), "refused"),
        (refused(), "refused"),
        (Answer(("I'm sorry, but I can't assist with that.",)), "refused"),
        (error(400, "flagged", code="content_filter"), "refused"),
        (error(400, "maximum context length is 9", code="context_length_exceeded"), "truncated"),
    ],
)
def test_a_reply_without_a_text_is_a_result_with_a_reason(
    llm: FakeLLM, tmp_path: Path, answer: Answer, status: str
) -> None:
    [proposal] = propose(llm.then(answer), tmp_path, first(DULL))
    assert (proposal.texts, proposal.status) == ((), status)
    assert proposal.reason


def test_replies_without_a_text_are_told_beside_those_with_one(llm: FakeLLM, tmp_path: Path) -> None:
    llm.then(Answer(("", "the film is clever .", None)))
    [proposal] = propose(llm, tmp_path, first(DULL), candidates=3)
    assert (proposal.texts, proposal.status) == (("the film is clever .",), None)
    assert [rejected.status for rejected in proposal.rejected] == ["empty", "empty"]


def test_a_request_without_any_text_counts_each_reply_once(llm: FakeLLM, tmp_path: Path) -> None:
    [proposal] = propose(llm.then(Answer(("", None))), tmp_path, first(DULL), candidates=2)
    assert (proposal.status, [rejected.status for rejected in proposal.rejected]) == ("empty", ["empty"])


def test_a_cap_leaves_needs_without_an_answer(llm: FakeLLM, tmp_path: Path) -> None:
    proposals = propose(llm, tmp_path, first(DULL), first(LONG), max_calls=1, concurrency=1)
    assert {(p.status, p.reason) for p in proposals} == {(None, None), ("error", "--max-calls 1 is reached")}
    assert len(llm.requests) == 1


def test_what_was_paid_for_is_not_asked_again(llm: FakeLLM, tmp_path: Path) -> None:
    again = EditRequest(DULL, "positive", 2, "the teacher says 71% negative")
    wobbling = EditRequest(DULL, "positive", 2, "the teacher says 72% negative")
    before = propose(llm, tmp_path, first(DULL)) + propose(llm, tmp_path, again)
    after = propose(llm, tmp_path, first(DULL)) + propose(llm, tmp_path, wobbling)
    assert len(llm.requests) == 2
    assert [p.texts for p in before] == [p.texts for p in after]


def test_another_prompt_is_asked_anew(llm: FakeLLM, tmp_path: Path) -> None:
    propose(llm, tmp_path, first(DULL))
    propose(llm, tmp_path, first(DULL), prompt=("generic",))
    assert len(llm.requests) == 2


def test_each_need_is_asked_with_its_own_prompt_and_the_reply_says_so(llm: FakeLLM, tmp_path: Path) -> None:
    with generator(llm, tmp_path, prompt=("sentiment", "generic")) as writer:
        proposals = list(writer.propose([EditRequest(DULL, "positive", 1, prompt=name) for name in writer.prompts]))
    assert {str(proposal.request.prompt).partition("@")[0] for proposal in proposals} == {"sentiment", "generic"}
    assert len({body["messages"][0]["content"] for body in llm.requests}) == 2
    replies = read_records(tmp_path / "2-replies.jsonl", Reply)
    assert sorted(str(reply.prompt) for reply in replies) == sorted(map(str, writer.prompts))


def test_the_same_prompt_twice_is_a_usage_error(llm: FakeLLM, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same prompt twice"):
        generator(llm, tmp_path, prompt=("sentiment", "sentiment")).__enter__()


def test_another_run_takes_the_reply_from_the_cache_and_journals_it_free_of_charge(
    llm: FakeLLM, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    paid = propose(llm, tmp_path / "a", first(DULL))
    assert propose(llm, tmp_path / "b", first(DULL)) == paid
    assert len(llm.requests) == 1
    lines = (tmp_path / "b" / "2-replies.jsonl").read_text(encoding="utf-8").splitlines()
    [reply] = [Reply.model_validate_json(line) for line in lines]
    assert (reply.usage, reply.latency_s) == (None, 0)


def test_without_the_cache_another_run_pays_again(llm: FakeLLM, tmp_path: Path) -> None:
    propose(llm, tmp_path / "a", first(DULL))
    propose(llm, tmp_path / "b", first(DULL), cache=False)
    assert len(llm.requests) == 2


@pytest.mark.parametrize("answer", [truncated("the film"), refused(), null_content(), no_choices()])
def test_a_reply_that_is_not_whole_does_not_serve_other_runs(llm: FakeLLM, tmp_path: Path, answer: Answer) -> None:
    llm.then(answer)
    propose(llm, tmp_path / "a", first(DULL))
    assert propose(llm, tmp_path / "b", first(DULL))[0].texts
    assert len(llm.requests) == 2


def test_an_estimate_counts_what_is_not_known_yet(llm: FakeLLM, tmp_path: Path) -> None:
    propose(llm, tmp_path, first(DULL))
    with generator(llm, tmp_path, price=(1.0, 10.0)) as writer:
        assert writer.estimate([first(DULL)]).calls == 0
        estimate = writer.estimate([first(DULL), first(LONG)])
    assert estimate.calls == 1
    assert estimate.completion_tokens == 5
    assert estimate.cost == pytest.approx((estimate.prompt_tokens + 10 * estimate.completion_tokens) / 1e6)
    assert len(llm.requests) == 1


def test_what_was_spent_is_counted(llm: FakeLLM, tmp_path: Path) -> None:
    with generator(llm, tmp_path, price=(1.0, 10.0)) as writer:
        list(writer.propose([first(LONG)]))
        spent = writer.spent
    words = sum(len(m["content"].split()) for m in llm.requests[0]["messages"])
    assert (spent.calls, spent.prompt_tokens, spent.completion_tokens) == (1, words, 5)
    assert spent.cost == pytest.approx((words + 50) / 1e6)


def test_without_a_model_nothing_can_be_asked(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_generator(tmp_path / "2-replies.jsonl", CounterfactSettings(), LABELS, Session())
    assert "--model" in str(caught.value.hint)


def test_a_cap_on_cost_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--max-cost needs a price"):
        open_generator(tmp_path / "2-replies.jsonl", CounterfactSettings(model="m", max_cost=1.0), LABELS, Session())


def test_a_second_process_on_the_same_run_is_refused(llm: FakeLLM, tmp_path: Path) -> None:
    with generator(llm, tmp_path), pytest.raises(CodError, match="another process is writing"):
        generator(llm, tmp_path).__enter__()


def test_nothing_asked_leaves_no_file(llm: FakeLLM, tmp_path: Path) -> None:
    with generator(llm, tmp_path) as writer:
        writer.estimate([first(DULL)])
    assert not (tmp_path / "2-replies.jsonl").exists()


def test_a_price_is_not_negative() -> None:
    with pytest.raises(UsageError, match="--price is 1 -2"):
        CounterfactSettings(price=(1.0, -2.0))
