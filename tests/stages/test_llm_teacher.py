"""The stages with an LLM as teacher: a loopback server that writes edits and names classes, files on disk."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cod_cli.cli.app import app
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.records import Counterfactual, Score
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.stages.counterfact import CounterfactPlan, CounterfactResult, counterfact
from cod_cli.stages.eval import EvalPlan, EvalResult, evaluate
from cod_cli.stages.label import LabelPlan, label
from cod_cli.store.jsonl import write_records
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.llm.editing import OPPOSITE, text_in
from tests.llm.fake_llm import Answer, Body, FakeLLM, error, logprobs
from tests.models.tiny import LANGUAGE
from tests.stages.llm_labels import ask, drawn
from tests.stages.students import add_student


def reply(body: Body) -> Answer | str:
    """Edits where an edit is asked for, else a class with its probabilities."""
    text = text_in(body)
    if "Which class?" not in body["messages"][-1]["content"]:
        return " ".join(OPPOSITE.get(word, word) for word in text.split())
    good, bad = (sum(word in LANGUAGE[name] for word in text.split()) for name in ("positive", "negative"))
    p = 0.5 + 0.4 * (good > bad) - 0.4 * (bad > good)
    return Answer(("A",), "length", logprobs=logprobs(("A", [("A", math.log(1 - p)), ("B", math.log(p))])))


def judged(llm: FakeLLM) -> list[str]:
    return [text_in(body) for body in llm.requests if "Which class?" in body["messages"][-1]["content"]]


@pytest.fixture
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(reply) as server:
        yield server


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return drawn(tmp_path / "run")


def write(run: Run, llm: FakeLLM, **options: Any) -> CounterfactResult:
    settings = CounterfactSettings(**{"teacher": "openai:m", "model": "m", "base_url": llm.url} | options)
    result = counterfact(run, settings, Ui.silent())
    assert isinstance(result, CounterfactResult)
    return result


# cod label


def test_labels_are_log_probabilities_with_source_and_covered_mass(run: Run, llm: FakeLLM) -> None:
    result = ask(run, llm)
    softs = run.soft_labels.read()
    assert softs
    assert [soft.id for soft in softs] == [shot.id for shot in run.shots.read()]
    assert {(soft.source, round(soft.covered_mass, 6)) for soft in softs} == {("logprobs", 1.0)}
    assert all(sum(map(math.exp, soft.logits)) == pytest.approx(1, abs=1e-5) for soft in softs)
    assert (result.accuracy, result.covered_mass) == (1.0, 1.0)


def test_the_manifest_says_who_was_asked_where_and_what_it_took(run: Run, llm: FakeLLM) -> None:
    result = ask(run, llm, price=(1.0, 10.0))
    manifest = run.soft_labels.require()
    assert manifest.settings["teacher"] == "openai:m"
    assert manifest.settings["base_url"] == llm.url
    assert manifest.usage["completion_tokens"] == 8
    assert manifest.cost == pytest.approx((manifest.usage["prompt_tokens"] + 80) / 1e6)
    assert (result.usage, result.cost) == (manifest.usage, manifest.cost)
    everything = "".join(path.read_text(encoding="utf-8") for path in run.folder.iterdir() if path.is_file())
    assert "secret-key" not in everything


def test_the_address_may_come_from_the_environment_and_is_found_again(
    run: Run, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", llm.url)
    ask(run, None, teacher="openai:m")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert ask(run, None).counts["reused"] == 8
    with pytest.raises(CodError, match="begun with other settings"):
        ask(run, None, teacher="openai:m")


def test_a_cap_ends_in_a_partial_error_and_the_same_command_goes_on(run: Run, llm: FakeLLM) -> None:
    with pytest.raises(PartialError, match=r"5 of 8 rows are without a label of openai:m: --max-calls 3") as caught:
        ask(run, llm, max_calls=3, concurrency=1)
    assert caught.value.exit_code == 3
    assert not run.soft_labels.manifest().complete  # type: ignore[union-attr]
    assert len(run.soft_labels.peek()) == 3
    assert ask(run, llm).counts["reused"] == 3
    assert len(llm.requests) == 8


def test_a_server_that_goes_down_loses_nothing(run: Run, llm: FakeLLM) -> None:
    answered = iter(range(4))
    llm.script = lambda body: reply(body) if next(answered, None) is not None else error(503, "overloaded")
    with pytest.raises(PartialError, match="overloaded"):
        ask(run, llm, concurrency=1, cache=False, timeout=1.0)
    llm.script, before = reply, len(llm.requests)
    ask(run, llm, cache=False)
    assert len(llm.requests) - before == 4


def test_another_run_pays_only_for_what_is_new(run: Run, llm: FakeLLM) -> None:
    first = ask(run, llm)
    assert (first.hit_rate, first.memory_size) == (0.0, 8)
    other = drawn(run.folder.parent / "other")
    assert ask(other, llm).hit_rate == 1.0
    assert len(llm.requests) == 8
    assert ask(other, llm).hit_rate is None


def test_the_memory_of_models_of_ones_own_is_counted_too(run: Run, teacher_folder: Path) -> None:
    result = ask(run, None, teacher=str(teacher_folder))
    assert (result.hit_rate, result.memory_size, result.usage, result.cost) == (0.0, 8, {}, None)
    other = drawn(run.folder.parent / "other")
    assert ask(other, None, teacher=str(teacher_folder)).hit_rate == 1.0


def test_a_dry_run_sends_nothing(run: Run, llm: FakeLLM) -> None:
    settings = LabelSettings(teacher="openai:m", base_url=llm.url, price=(1.0, 10.0), dry_run=True)
    plan = label(run, settings, Ui.silent())
    assert isinstance(plan, LabelPlan)
    assert (plan.estimate.calls, plan.rows, llm.requests) == (8, 8, [])
    assert plan.estimate.cost is not None
    assert not run.soft_labels.meta.exists()


def test_a_dry_run_about_a_model_of_ones_own_is_a_usage_error(run: Run, teacher_folder: Path) -> None:
    with pytest.raises(UsageError, match="--dry-run"):
        label(run, LabelSettings(teacher=str(teacher_folder), dry_run=True), Ui.silent())


def test_a_counterfactual_is_never_shown_its_shot(run: Run, llm: FakeLLM) -> None:
    write(run, llm, demos=4)
    llm.requests.clear()
    run.teacher_replies.unlink()
    ask(run, llm, demos=4, cache=False, force=True)
    shots = {shot.id: shot.text for shot in run.shots.read()}
    parents = {cfe.text: shots[cfe.shot_id or ""] for cfe in run.counterfactuals.read()}
    kin = parents | {text: text for text in shots.values()}
    assert set(parents) <= {text_in(body) for body in llm.requests}
    assert parents
    for body in llm.requests:
        turns = [message["content"] for message in body["messages"][1:-1]]
        assert len(turns) == 8
        assert not any(kin[text_in(body)] in turn for turn in turns)


def test_the_shell_prints_memory_and_tokens(run: Run, llm: FakeLLM) -> None:
    command = ["label", str(run.folder), "--teacher", "openai:m", "--base-url", llm.url]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0
    assert "cache: 0 of 8 new labels were there (0%); it holds 8" in said.stdout
    assert "100.0% of its probability falls on the classes" in said.stdout
    document = json.loads(CliRunner().invoke(app, [*command, "--json", "-q"]).stdout)
    assert (document["memory_size"], document["hit_rate"]) == (8, None)


# cod counterfact


def test_an_llm_writes_and_another_checks(run: Run, llm: FakeLLM) -> None:
    result = write(run, llm, teacher="openai:t")
    rows = run.counterfactuals.read()
    assert result.counts["accepted"] == len(rows) == 8
    assert all(row.flipped and row.minimal and row.p_after == pytest.approx(0.9, abs=1e-5) for row in rows)
    assert {body["model"] for body in llm.requests} == {"m", "t"}
    assert run.counterfactuals.require().settings["teacher_url"] == llm.url


def test_what_was_checked_is_not_asked_again_by_label(run: Run, llm: FakeLLM) -> None:
    write(run, llm, cache=False)
    asked = len(llm.requests)
    assert ask(run, llm, cache=False).counts["flipped"] == 8
    assert ask(run, llm, force=True).counts["new"] == 16
    assert len(llm.requests) == asked


def test_an_option_that_is_given_with_its_default_is_given(run: Run, llm: FakeLLM) -> None:
    ask(run, llm, votes=5)
    said = CliRunner().invoke(app, ["label", str(run.folder), "--votes", "10", "-q"])
    assert said.exit_code == 1
    assert "votes: 5 → 10" in said.stderr
    assert CliRunner().invoke(app, ["label", str(run.folder), "-q"]).exit_code == 0


def test_label_takes_over_the_teacher_that_checked(run: Run, llm: FakeLLM) -> None:
    write(run, llm, demos=2)
    result = ask(run, None)
    assert result.teacher == "openai:m"
    assert run.soft_labels.require().teacher == run.counterfactuals.require().teacher


def test_a_rerun_asks_nobody(run: Run, llm: FakeLLM) -> None:
    write(run, llm)
    asked = len(llm.requests)
    write(run, llm)
    assert len(llm.requests) == asked


def test_generator_and_teacher_share_one_cap(run: Run, llm: FakeLLM) -> None:
    with pytest.raises(PartialError, match="--max-calls 12 is reached"):
        write(run, llm, max_calls=12, concurrency=2)
    assert len(llm.requests) == 12
    attempts = run.cfe_files.read_attempts()
    assert {attempt.status for attempt in attempts} <= {"accepted", "error"}
    assert {(a.shot_id, a.target) for a in attempts} == {
        (shot.id, "positive" if shot.label == "negative" else "negative") for shot in run.shots.read()
    }
    write(run, llm)
    assert run.counterfactuals.require().counts["accepted"] == 8
    assert len(llm.requests) == len({json.dumps(body, sort_keys=True) for body in llm.requests})


def test_a_cap_that_ends_the_shots_reading_leaves_no_half_begun_file(run: Run, llm: FakeLLM) -> None:
    with pytest.raises(PartialError, match="4 of 8 texts are without an answer"):
        write(run, llm, max_calls=4, concurrency=1)
    assert not run.counterfactuals.meta.exists()
    write(run, llm)


def test_usage_tells_generator_and_teacher_apart_and_cost_adds_them_up(run: Run, llm: FakeLLM) -> None:
    result = write(run, llm, price=(1.0, 10.0))
    usage = result.usage
    assert usage["teacher_completion_tokens"] == len(judged(llm))
    prompts = usage["prompt_tokens"] + usage["teacher_prompt_tokens"]
    replies = usage["completion_tokens"] + usage["teacher_completion_tokens"]
    assert result.cost == pytest.approx((prompts + 10 * replies) / 1e6)


def test_a_teacher_of_unknown_price_makes_the_cost_unknown(run: Run, llm: FakeLLM) -> None:
    assert write(run, llm, teacher="openai:t", price=(1.0, 10.0)).cost is None


def test_a_reply_that_does_not_flip_is_not_searched_word_by_word(run: Run, llm: FakeLLM) -> None:
    llm.script = lambda body: reply(body) if "Which class?" in str(body) else "the film is about two friends ."
    write(run, llm, max_attempts=2, max_edit_ratio=1.0)
    shots = {shot.text for shot in run.shots.read()}
    assert set(judged(llm)) == shots | {"the film is about two friends ."}


def test_the_revert_pass_is_frugal_with_an_llm(run: Run, llm: FakeLLM) -> None:
    def wordy(body: Body) -> Answer | str:
        said = reply(body)
        return f"well , {said} my dear old friend" if isinstance(said, str) else said

    llm.script = wordy
    write(run, llm, max_edit_ratio=1.0, for_mix="cod")
    rows = run.counterfactuals.read()
    assert rows
    assert all(row.flipped for row in rows)
    # For each pair the shot, the edit, and at most six subsets of three spans a round.
    assert len(judged(llm)) <= 8 + len(rows) * 13


def test_the_editor_needs_gradients(run: Run, llm: FakeLLM) -> None:
    with pytest.raises(UsageError, match="gradients") as caught:
        write(run, llm, generator="editor")
    assert "--generator openai" in str(caught.value.hint)
    with pytest.raises(UsageError, match="gradients"):
        write(run, llm, fallback="editor")
    assert not llm.requests


def test_a_plan_counts_the_checks_and_sends_nothing(run: Run, llm: FakeLLM) -> None:
    settings = CounterfactSettings(teacher="openai:m", model="m", base_url=llm.url, price=(1.0, 10.0), dry_run=True)
    plan = counterfact(run, settings, Ui.silent())
    assert isinstance(plan, CounterfactPlan)
    assert plan.everything.calls == 8
    assert plan.checks is not None
    assert plan.checks.calls == 16
    assert llm.requests == []


def test_pairs_from_a_file_can_be_checked_by_an_llm(run: Run, llm: FakeLLM, tmp_path: Path) -> None:
    shots = run.shots.read()
    lines = [
        json.dumps(
            {
                "id": shot.id,
                "text": " ".join(OPPOSITE.get(word, word) for word in shot.text.split()),
                "label": "positive" if shot.label == "negative" else "negative",
            }
        )
        for shot in shots
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    result = write(run, llm, generator="file", from_file=tmp_path / "pairs.jsonl", model=None)
    assert result.counts["accepted"] == 8
    assert result.usage["prompt_tokens"] == 0


def test_a_mended_pair_is_asked_about_again(run: Run, llm: FakeLLM) -> None:
    write(run, llm)
    ask(run, llm)
    rows: list[Counterfactual] = run.counterfactuals.read()
    write_records(run.counterfactuals.path, [rows[0].replace(text="a quite lovely film ."), *rows[1:]])
    asked = len(llm.requests)
    assert ask(run, llm).counts["new"] == 1
    assert judged(llm)[-1] == "a quite lovely film ."
    assert len(llm.requests) == asked + 1


# cod eval


@pytest.fixture
def scored_run(run: Run, llm: FakeLLM, tmp_path: Path) -> Run:
    """A run labelled by the LLM, with a student of random weights and 52 rows to score on."""
    ask(run, llm)
    add_student(run, "kd-shots")
    llm.requests.clear()
    return run


def score(run: Run, llm: FakeLLM, **options: Any) -> EvalResult:
    result = evaluate(run, EvalSettings(base_url=llm.url, device="cpu", **options), Ui.silent())
    assert isinstance(result, EvalResult)
    return result


def by_name(result: EvalResult) -> dict[str, Score]:
    return {row.student: row for row in result.scores}


def test_eval_buys_nothing_unasked_and_the_table_says_so(scored_run: Run, llm: FakeLLM) -> None:
    result = score(scored_run, llm)
    assert llm.requests == []
    assert list(by_name(result)) == ["majority", "kd-shots"]
    row = by_name(result)["kd-shots"]
    assert (row.agreement, row.kl) == (None, None)
    assert row.accuracy is not None
    said = CliRunner().invoke(app, ["eval", str(scored_run.folder), "-q"]).stdout
    assert f"no agreement and no KL: openai:m was not asked about {row.n} of these rows" in " ".join(said.split())
    assert "--teacher-on-split" in said


def test_with_teacher_on_split_the_teacher_is_asked_once_and_scored(scored_run: Run, llm: FakeLLM) -> None:
    rows = by_name(score(scored_run, llm, teacher_on_split=True))
    assert len(llm.requests) == rows["teacher"].n
    assert rows["teacher"].accuracy == 1.0
    assert rows["kd-shots"].kl is not None
    softs = scored_run.teacher_labels.read()
    assert {soft.source for soft in softs} == {"logprobs"}
    # What was bought is used also where nobody asks for it again.
    again = by_name(score(scored_run, llm))
    assert again["kd-shots"].kl == rows["kd-shots"].kl
    assert len(llm.requests) == rows["teacher"].n


def test_agreement_and_kl_are_to_the_llms_probabilities(scored_run: Run, llm: FakeLLM) -> None:
    row = by_name(score(scored_run, llm, teacher_on_split=True))["kd-shots"]
    truth = {soft.id: soft.logits for soft in scored_run.teacher_labels.read()}
    decided = scored_run.read_predictions()
    mine = next(p for p in decided if p.student == "kd-shots").decided
    agree = [max((0, 1), key=logits.__getitem__) == own for logits, own in zip(truth.values(), mine, strict=True)]
    assert row.agreement == pytest.approx(sum(agree) / len(agree), abs=1e-6)


def test_a_cap_on_the_split_leaves_it_unscored_and_goes_on_later(scored_run: Run, llm: FakeLLM) -> None:
    with pytest.raises(PartialError, match="rows are without an answer of openai:m: --max-calls 5"):
        score(scored_run, llm, teacher_on_split=True, max_calls=5, cache=False)
    result = score(scored_run, llm, teacher_on_split=True, cache=False)
    assert len(llm.requests) == by_name(result)["teacher"].n


def test_the_llm_itself_is_scored_without_and_with_shots(scored_run: Run, llm: FakeLLM) -> None:
    result = score(scored_run, llm, in_context="openai:m", price=(1.0, 10.0), concurrency=1)
    rows = by_name(result)
    assert list(rows) == ["majority", "in-context", "kd-shots", "zero-shot"]
    zero, shown = rows["zero-shot"], rows["in-context"]
    assert (zero.method, zero.mix, zero.shots, shown.shots, shown.k) == ("prompt", None, 0, 8, 8)
    assert zero.accuracy == shown.accuracy == 1.0
    assert zero.f1 == shown.f1 == {"negative": 1.0, "positive": 1.0}
    assert len(llm.requests) == 2 * zero.n
    assert sorted({len(body["messages"]) for body in llm.requests}) == [2, 18]
    assert zero.usage
    assert shown.usage
    assert shown.usage["prompt_tokens"] > 2 * zero.usage["prompt_tokens"]
    assert zero.cost == pytest.approx((zero.usage["prompt_tokens"] + 10 * zero.n) / 1e6)
    asked = len(llm.requests)
    assert by_name(score(scored_run, llm, in_context="openai:m", price=(1.0, 10.0))) == rows
    assert len(llm.requests) == asked


def test_rivals_are_shown_as_many_shots_as_asked_for(scored_run: Run, llm: FakeLLM) -> None:
    rows = by_name(score(scored_run, llm, in_context="openai:m", demos=2))
    assert (rows["zero-shot"].shots, rows["in-context"].shots) == (0, 2)
    assert max(len(body["messages"]) for body in llm.requests) == 6


def test_rivals_agree_with_the_teacher_where_it_was_asked(scored_run: Run, llm: FakeLLM) -> None:
    rows = by_name(score(scored_run, llm, in_context="openai:m", teacher_on_split=True))
    assert (rows["zero-shot"].agreement, rows["zero-shot"].kl) == (1.0, 0.0)
    # The teacher saw no shots either: the same questions, paid for once.
    assert len(llm.requests) == 2 * rows["teacher"].n


def test_rivals_need_no_student(run: Run, llm: FakeLLM) -> None:
    ask(run, llm)
    assert by_name(score(run, llm, in_context="openai:m"))["zero-shot"].accuracy == 1.0


def test_the_shell_prints_what_the_rivals_took(scored_run: Run, llm: FakeLLM) -> None:
    command = ["eval", str(scored_run.folder), "--in-context", "openai:m", "--base-url", llm.url, "-q"]
    said = CliRunner().invoke(app, [*command, "--price", "1", "10"])
    assert said.exit_code == 0, said.output
    assert re.search(r"zero-shot: \d+ questions took [\d,]+ \+ \d+ tokens, cost 0\.\d{4}", said.stdout)
    assert "(prompt-None)" not in said.stdout


def test_all_who_are_asked_share_one_cap(scored_run: Run, llm: FakeLLM) -> None:
    n = by_name(score(scored_run, llm))["kd-shots"].n
    with pytest.raises(PartialError, match=f"--max-calls {n + 3} is reached"):
        score(scored_run, llm, in_context="openai:r", teacher_on_split=True, max_calls=n + 3)
    assert len(llm.requests) == n + 3


def test_a_plan_of_eval_sends_nothing(scored_run: Run, llm: FakeLLM) -> None:
    settings = EvalSettings(base_url=llm.url, in_context="openai:m", price=(1.0, 10.0), dry_run=True)
    plan = evaluate(scored_run, settings, Ui.silent())
    assert isinstance(plan, EvalPlan)
    assert [(name, what.calls) for name, what in plan.estimates.items()] == [
        (name, plan.rows) for name in ("teacher", "zero-shot", "in-context")
    ]
    assert llm.requests == []
    assert not scored_run.scores.path.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"in_context": "gpt-4o"}, "write it as openai:gpt-4o"),
        ({"in_context": "openai:"}, "openai:MODEL"),
    ],
)
def test_a_rival_that_is_no_llm_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        EvalSettings(**options)
    assert said in str(caught.value.hint)


def test_one_price_for_two_llms_is_refused(scored_run: Run, llm: FakeLLM) -> None:
    with pytest.raises(UsageError, match="two are asked: openai:m and openai:r"):
        score(scored_run, llm, in_context="openai:r", teacher_on_split=True, price=(1.0, 1.0))


def test_a_teacher_that_cannot_be_asked_is_an_error_where_it_was_asked_for(
    scored_run: Run, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(CodError, match="OPENAI_API_KEY is not set"):
        score(scored_run, llm, teacher_on_split=True)
