"""An LLM as teacher: what it is asked, what is made of its replies, and that nobody pays twice."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.llm.client import Session
from cod_cli.llm.pacing import Limits
from cod_cli.records import Shot, TeacherReply
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.shared import TeacherSpec
from cod_cli.store.cache import Cache, default_path
from cod_cli.teachers.llm import BlackBoxTeacher
from cod_cli.teachers.open import open_teacher
from tests.llm.fake_llm import Answer, Body, FakeLLM, error, filtered, logprobs, null_content

LABELS = ["negative", "positive"]
SHOTS = [Shot(id=f"d/{i}", text=f"shot {i}", label=LABELS[i % 2]) for i in range(6)]
TEXTS = ["a good film", "a bad film", "a film", "no film"]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def asked_about(body: Body) -> str:
    return re.findall(r"<text>\n(.*?)\n</text>", body["messages"][-1]["content"], re.DOTALL)[-1]


def p_positive(text: str) -> float:
    return 0.9 if "good" in text else 0.2


def told(body: Body) -> Answer:
    """Log-probabilities as they ought to come: the letters hold 0.8 of the mass."""
    p = p_positive(asked_about(body))
    top = [("B", math.log(0.8 * p)), ("A", math.log(0.8 * (1 - p))), ("The", math.log(0.1))]
    return Answer(("B" if p > 0.5 else "A",), "length", logprobs=logprobs(("A", top)))


def silent(body: Body) -> Answer:
    """A server that takes the parameter and gives nothing; of ten votes two are odd."""
    letters = ["B" if p_positive(asked_about(body)) > 0.5 else "A"] * 8 + ["A", "B"]
    return Answer(tuple(letters[: body.get("n") or 1]), "stop")


@pytest.fixture
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(told) as server:
        yield server


@contextmanager
def opened(llm: FakeLLM, folder: Path, **options: Any) -> Iterator[Any]:
    settings = LabelSettings(teacher="openai:m", base_url=llm.url, **{"timeout": 5.0} | options)
    replies = folder / "3-replies.jsonl"
    with (
        Session(Limits.of(settings)) as session,
        open_teacher(settings.teacher_spec, LABELS, replies, session, shots=SHOTS, cache=settings.cache) as teacher,
    ):
        yield teacher


def probs(llm: FakeLLM, folder: Path, texts: list[str] = TEXTS, **options: Any) -> np.ndarray:
    with opened(llm, folder, **options) as teacher:
        return np.exp(teacher.logits(texts))


# By log-probabilities


def test_logits_are_the_renormalised_log_probabilities_in_label_order(llm: FakeLLM, tmp_path: Path) -> None:
    expected = [[1 - p, p] for p in map(p_positive, TEXTS)]
    np.testing.assert_allclose(probs(llm, tmp_path), expected, atol=1e-6)


def test_one_token_is_asked_for_with_its_alternatives(llm: FakeLLM, tmp_path: Path) -> None:
    probs(llm, tmp_path, TEXTS[:1])
    [body] = llm.requests
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"], body["temperature"]) == (1, True, 20, 1.0)
    assert "n" not in body


def test_an_opinion_tells_its_source_and_what_the_classes_cover(llm: FakeLLM, tmp_path: Path) -> None:
    with opened(llm, tmp_path) as teacher:
        [output] = teacher.outputs(TEXTS[:1]).rows
    assert output.source == "logprobs"
    assert output.covered_mass == pytest.approx(0.8)


def test_the_classes_can_be_described_in_a_prompt_of_ones_own(llm: FakeLLM, tmp_path: Path) -> None:
    prompt = tmp_path / "mine.yaml"
    prompt.write_text('description: d\nsystem: $labels\nuser: "<text>\\n$text\\n</text>"\nlabels: {negative: bad!}\n')
    probs(llm, tmp_path, teacher_prompt=str(prompt))
    assert llm.requests[0]["messages"][0]["content"] == "A = negative: bad!\nB = positive"


def test_each_text_is_asked_about_once(llm: FakeLLM, tmp_path: Path) -> None:
    with opened(llm, tmp_path) as teacher:
        seen: list[int] = []
        teacher.logits([*TEXTS, *TEXTS], progress=seen.append)
        assert sum(seen) == 2 * len(TEXTS)
        teacher.logits(TEXTS)
        assert (teacher.new_outputs, teacher.queries) == (len(TEXTS), len(TEXTS))
    assert len(llm.requests) == len(TEXTS)


def test_a_rejected_question_is_no_opinion_and_the_others_are_asked(llm: FakeLLM, tmp_path: Path) -> None:
    llm.then(told({"messages": [{"content": "<text>\ngood\n</text>"}]}), filtered())
    with opened(llm, tmp_path, concurrency=1) as teacher:
        rows = teacher.outputs(TEXTS).rows
    assert [row.covered_mass > 0 for row in rows] == [True, False, True, True]
    assert rows[1].logits == pytest.approx([math.log(0.5)] * 2)


# By votes


def test_a_server_that_returns_nothing_is_noticed_by_the_content_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cod_cli")
    with FakeLLM(silent) as llm, opened(llm, tmp_path, votes=10) as teacher:
        rows = teacher.outputs(TEXTS).rows
        teacher.outputs(["another good one"])
        asked = [body.get("n", 1) for body in llm.requests]
    assert np.exp(rows[0].logits).tolist() == pytest.approx([1.5 / 11, 9.5 / 11])
    assert {row.source for row in rows} == {"votes"}
    assert teacher.source == "votes"
    assert len(caplog.messages) == 1
    assert "gives no log-probabilities" in caplog.messages[0]
    # One probe, and then ten votes for each text in one request.
    assert asked == [1, 10, 10, 10, 10, 10]


@pytest.mark.parametrize(
    "nothing",
    [None, {}, {"content": None}, {"content": []}, {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": []}]}],
)
def test_nothing_has_many_shapes(tmp_path: Path, nothing: object) -> None:
    def script(body: Body) -> Answer:
        return Answer(("A",) * (body.get("n") or 1), logprobs=nothing)

    with FakeLLM(script) as llm, opened(llm, tmp_path, votes=3) as teacher:
        [row] = teacher.outputs(["x"]).rows
    assert (row.source, np.exp(row.logits).tolist()) == ("votes", pytest.approx([3.5 / 4, 0.5 / 4]))


def test_a_server_that_ignores_n_is_asked_until_there_are_enough_votes(tmp_path: Path) -> None:
    with FakeLLM(lambda body: Answer(("A",), "stop")) as llm, opened(llm, tmp_path, votes=3) as teacher:
        [row] = teacher.outputs(["x"]).rows
        asked = [(body.get("n", 1), body.get("seed")) for body in llm.requests[1:]]
    assert asked == [(3, 0), (2, 1), (1, 2)]
    assert np.exp(row.logits).tolist() == pytest.approx([3.5 / 4, 0.5 / 4])


def test_a_server_that_refuses_the_parameter_gets_votes_too(tmp_path: Path) -> None:
    def script(body: Body) -> Answer:
        return error(400, "logprobs is not supported", param="logprobs") if "logprobs" in body else silent(body)

    with FakeLLM(script) as llm:
        assert probs(llm, tmp_path)[0].argmax() == 1


def test_a_server_that_lists_five_alternatives_is_asked_for_five(tmp_path: Path) -> None:
    def script(body: Body) -> Answer:
        most = "Requested sample logprobs of 20, which is greater than max allowed: 5"
        return error(400, most) if body.get("top_logprobs", 0) > 5 else told(body)

    with FakeLLM(script) as llm, opened(llm, tmp_path, concurrency=1) as teacher:
        assert {row.source for row in teacher.outputs(TEXTS).rows} == {"logprobs"}
        assert [body["top_logprobs"] for body in llm.requests] == [20, 5, 5, 5, 5]


def test_a_single_reply_without_probabilities_is_put_to_the_vote(tmp_path: Path) -> None:
    def script(body: Body) -> Answer:
        return silent(body) if "no film" in asked_about(body) else told(body)

    with FakeLLM(script) as llm, opened(llm, tmp_path) as teacher:
        rows = teacher.outputs(TEXTS).rows
    assert [row.source for row in rows] == ["logprobs", "logprobs", "logprobs", "votes"]


def test_an_llm_that_names_no_class_is_asked_no_more(tmp_path: Path) -> None:
    with FakeLLM("Well , let me think about it") as llm, opened(llm, tmp_path, votes=2) as teacher:
        with pytest.raises(CodError, match=r"names none of the classes \(A, B\)") as caught:
            teacher.outputs(TEXTS)
        assert len(llm.requests) == 4
    assert "--teacher-prompt" in str(caught.value.hint)


def test_a_thinking_model_that_comes_back_empty_is_an_error_and_not_uniform_labels(tmp_path: Path) -> None:
    thinks = Answer(("",), "length")
    expected = pytest.raises(CodError, match="names none of the classes")
    with FakeLLM(lambda body: thinks) as llm, opened(llm, tmp_path) as teacher, expected:
        teacher.outputs(TEXTS)


def test_one_text_without_an_answer_does_not_stop_the_probe(llm: FakeLLM, tmp_path: Path) -> None:
    with opened(llm.then(filtered()), tmp_path, concurrency=1) as teacher:
        rows = teacher.outputs(TEXTS).rows
    assert {row.source for row in rows} == {"logprobs"}
    assert rows[0].covered_mass == 0


# Demonstrations


def shown(body: Body) -> list[str]:
    return [message["content"] for message in body["messages"][1:-1]]


def test_demonstrations_are_balanced_turns(llm: FakeLLM, tmp_path: Path) -> None:
    probs(llm, tmp_path, TEXTS[:1], demos=4)
    turns = shown(llm.requests[0])
    assert [re.findall(r"shot \d", turn)[0] for turn in turns[::2]] == ["shot 0", "shot 1", "shot 2", "shot 3"]
    assert turns[1::2] == ["A", "B", "A", "B"]


def test_neither_the_row_itself_nor_its_parent_is_shown(llm: FakeLLM, tmp_path: Path) -> None:
    with opened(llm, tmp_path, demos=6, concurrency=1) as teacher:
        teacher.outputs(["shot 0", "an edit of shot one"], families=["d/0", "d/1"])
        teacher.outputs([" shot 2"])
    for body, kin in zip(llm.requests, ("shot 0", "shot 1", "shot 2"), strict=True):
        text = " ".join(shown(body))
        assert kin not in text
        assert len(re.findall(r"shot \d", text)) == 5


def test_the_demonstrations_are_part_of_who_the_teacher_is(llm: FakeLLM, tmp_path: Path) -> None:
    def fingerprint(**options: Any) -> str:
        with opened(llm, tmp_path, **options) as teacher:
            return str(teacher.fingerprint)

    plain = fingerprint()
    assert re.fullmatch("[0-9a-f]{16}", plain)
    assert fingerprint(concurrency=2, max_calls=4) == plain
    assert len({plain, fingerprint(demos=2), fingerprint(demos=4), fingerprint(votes=5)}) == 4


# Journal, memory, limits


def test_what_was_paid_for_is_on_disk_and_not_asked_again(llm: FakeLLM, tmp_path: Path) -> None:
    first = probs(llm, tmp_path, cache=False)
    second = probs(llm, tmp_path, cache=False)
    np.testing.assert_array_equal(first, second)
    assert len(llm.requests) == len(TEXTS)
    lines = (tmp_path / "3-replies.jsonl").read_text(encoding="utf-8").splitlines()
    replies = [TeacherReply.model_validate_json(line) for line in lines]
    assert len(replies) == len(TEXTS)
    assert all(reply.logprobs and reply.usage for reply in replies)


def test_votes_are_journalled_too(tmp_path: Path) -> None:
    with FakeLLM(silent) as llm:
        first = probs(llm, tmp_path, cache=False)
        asked = len(llm.requests)
        np.testing.assert_array_equal(probs(llm, tmp_path, cache=False), first)
        assert len(llm.requests) == asked


def test_another_run_takes_opinions_from_the_memory(llm: FakeLLM, tmp_path: Path) -> None:
    first = probs(llm, tmp_path / "a")
    with opened(llm, tmp_path / "b") as teacher:
        np.testing.assert_array_equal(np.exp(teacher.logits(TEXTS)), first)
        assert (teacher.new_outputs, teacher.cache_size) == (0, len(TEXTS))
    assert len(llm.requests) == len(TEXTS)


def test_the_memory_keeps_no_text_and_tells_teachers_apart(llm: FakeLLM, tmp_path: Path) -> None:
    probs(llm, tmp_path / "a", ["a secret told to nobody"])
    assert b"secret" not in default_path("soft-labels").read_bytes()
    probs(llm, tmp_path / "b", ["a secret told to nobody"], demos=2)
    probs(llm, tmp_path / "c", ["a secret told to nobody"], cache=False)
    assert len(llm.requests) == 3
    assert Cache[bytes](default_path("soft-labels")).count() == 2


def test_a_cap_leaves_texts_without_an_answer_and_the_rest_is_kept(llm: FakeLLM, tmp_path: Path) -> None:
    with opened(llm, tmp_path, max_calls=2, concurrency=1) as teacher:
        rows = teacher.outputs(TEXTS)
        assert [row is not None for row in rows.rows] == [True, True, False, False]
        assert rows.reason == "--max-calls 2 is reached"
        with pytest.raises(PartialError, match="2 of 4 texts are without an answer of openai:m"):
            teacher.logits(TEXTS)
    probs(llm, tmp_path)
    assert len(llm.requests) == len(TEXTS)


def test_an_estimate_counts_what_nobody_knows_yet(llm: FakeLLM, tmp_path: Path) -> None:
    probs(llm, tmp_path, TEXTS[:1])
    with opened(llm, tmp_path, price=(1.0, 10.0)) as teacher:
        estimate = teacher.estimate(TEXTS)
        assert (estimate.calls, estimate.completion_tokens) == (3, 3)
        assert estimate.cost == pytest.approx((estimate.prompt_tokens + 30) / 1e6)
        assert teacher.estimate(TEXTS, anew=True).calls == 4
    assert len(llm.requests) == 1


# What cannot be


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"teacher": "openai:"}, "names no LLM"),
        ({"teacher_labels": "a=b"}, "--teacher-labels"),
        ({"teacher_prompt": "sentiment"}, "no question about a text's class"),
        ({"teacher_prompt": "nowhere"}, "there is no prompt"),
        ({"max_cost": 1.0}, "--max-cost needs a price"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_a_file_is_made(
    llm: FakeLLM, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    settings = LabelSettings(**{"teacher": "openai:m", "base_url": llm.url} | options)
    replies, session = tmp_path / "3-replies.jsonl", Session(Limits.of(settings))
    with pytest.raises(UsageError, match=said), open_teacher(settings.teacher_spec, LABELS, replies, session):
        pass
    assert not list(tmp_path.iterdir())


def test_more_classes_than_letters_are_refused(llm: FakeLLM, tmp_path: Path) -> None:
    spec = TeacherSpec("openai:m", url=llm.url)
    with pytest.raises(UsageError, match="there are 30"):
        open_teacher(spec, [str(i) for i in range(30)], tmp_path / "r.jsonl", Session()).__enter__()


def test_in_counterfact_the_teacher_may_live_elsewhere_and_cost_otherwise() -> None:
    same = CounterfactSettings(teacher="openai:m", model="m", base_url="http://a/v1", price=(1.0, 2.0))
    assert (same.teacher_spec.url, same.teacher_spec.price) == ("http://a/v1", (1.0, 2.0))
    other = CounterfactSettings(
        teacher="openai:t", model="m", base_url="http://a/v1", teacher_url="http://b/v1", price=(1.0, 2.0)
    )
    assert (other.teacher_spec.url, other.teacher_spec.price) == ("http://b/v1", None)
    with pytest.raises(UsageError, match="--teacher-price"):
        CounterfactSettings(teacher_price=(-1.0, 0.0))


def test_what_is_about_llms_stands_in_a_manifest_only_where_one_teaches() -> None:
    white = LabelSettings(teacher="some/model").results()
    assert not {"votes", "demos", "teacher_prompt", "base_url"} & white.keys()
    black = LabelSettings(teacher="openai:m").results()
    assert {"votes", "demos", "teacher_prompt", "base_url"} <= black.keys()
    assert "price" not in black


def test_null_content_and_no_choices_end_without_a_traceback(tmp_path: Path) -> None:
    with FakeLLM(lambda body: null_content()) as llm, opened(llm, tmp_path, votes=2) as teacher:
        assert isinstance(teacher, BlackBoxTeacher)
        [row] = teacher.outputs(["x"]).rows
    assert row.covered_mass == 0
