"""`cod counterfact` from end to end: a loopback LLM, a tiny teacher, files on disk."""

from pathlib import Path
from typing import Any

import pytest

from cod_cli.counterfactuals.generators import editor
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages.counterfact import CounterfactPlan, CounterfactResult, counterfact
from cod_cli.stages.sample import sample
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.llm.editing import edit
from tests.llm.fake_llm import FakeLLM, error
from tests.models.tiny import sentences, tiny_classifier, trained_teacher


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    rows = [f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in dict(sentences(60)).items()]
    (tmp_path / "data.jsonl").write_text("".join(rows), encoding="utf-8")
    run = Run(tmp_path / "run")
    sample(run, SampleSettings(data=str(tmp_path / "data.jsonl"), shots="8"), Ui.silent())
    return run


def write(run: Run, teacher: Path | None, llm: FakeLLM | None = None, **options: Any) -> CounterfactResult:
    if llm:
        options = {"model": "m", "base_url": llm.url, "cache": False, **options}
    settings = CounterfactSettings(teacher=str(teacher) if teacher else None, **options)
    result = counterfact(run, settings, Ui.silent())
    assert isinstance(result, CounterfactResult)
    return result


def test_every_shot_gets_a_counterfactual_that_flips_the_teacher(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        result = write(run, teacher_folder, llm)
    rows = run.counterfactuals.read()
    assert result.counts["accepted"] == len(rows) == 8
    assert all(row.flipped and row.minimal and row.n_edits == 1 for row in rows)
    assert [row.id for row in rows] == [
        f"{shot.id}~{row.label}" for shot, row in zip(run.shots.read(), rows, strict=True)
    ]


def test_a_reply_that_does_not_flip_is_asked_for_again_with_what_was_wrong(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        llm.then("the film is about two friends .")
        write(run, teacher_folder, llm, concurrency=1)
        again = llm.texts()[8:]
    assert len(again) == 1
    assert "the film is about two friends ." in again[0]
    assert [row.attempts for row in run.counterfactuals.read()].count(2) == 1


def test_an_llm_that_never_flips_is_a_result_and_not_an_error(run: Run, teacher_folder: Path) -> None:
    with FakeLLM("the story , the light and the evening were what one makes of them at home") as llm:
        result = write(run, teacher_folder, llm, max_attempts=2)
    assert result.counts["not_flipped"] == 8
    assert len(run.cfe_files.read_attempts()) == 16
    assert run.counterfactuals.require().complete


def test_a_rerun_sends_nothing_that_is_on_disk(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        write(run, teacher_folder, llm)
        before = run.counterfactuals.path.read_bytes()
        run.cfe_files.attempts.unlink()
        run.counterfactuals.path.unlink()
        manifest = run.counterfactuals.manifest()
        assert manifest is not None
        run.counterfactuals.meta.write_text(
            manifest.replace(complete=False).model_dump_json(by_alias=True), encoding="utf-8"
        )
        write(run, teacher_folder, llm)
        assert len(llm.requests) == 8
    assert run.counterfactuals.path.read_bytes() == before


def test_rows_without_an_answer_are_asked_for_by_the_same_command(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        with pytest.raises(PartialError, match="5 of 8"):
            write(run, teacher_folder, llm, max_calls=3, concurrency=1)
        assert len(run.counterfactuals.peek()) == 3
        write(run, teacher_folder, llm)
        assert len(llm.requests) == 8
    assert len(run.counterfactuals.read()) == 8


def test_accept_partial_closes_the_stage(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        result = write(run, teacher_folder, llm, max_calls=3, concurrency=1, accept_partial=True)
    assert result.counts["unanswered"] == 5
    assert run.counterfactuals.require().complete


def test_a_start_without_an_answer_binds_nobody_to_its_options(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(error(401)) as wrong, pytest.raises(CodError):
        write(run, teacher_folder, wrong)
    with FakeLLM(edit) as llm:
        assert write(run, teacher_folder, llm).counts["accepted"] == 8


def test_other_options_are_refused_once_there_are_answers(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        write(run, teacher_folder, llm)
        with pytest.raises(CodError, match=r"temperature: 0\.0 → 1\.0"):
            write(run, teacher_folder, llm, temperature=1.0)


def test_force_archives_what_was_paid_for(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        write(run, teacher_folder, llm)
        replies = run.cfe_files.replies.read_bytes()
        write(run, teacher_folder, llm, temperature=1.0, force=True)
    [archived] = (run.folder / "archive").glob("*/2-replies.jsonl")
    assert archived.read_bytes() == replies


def test_for_mix_cod_asks_for_half_and_a_later_run_goes_on(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        assert write(run, teacher_folder, llm, for_mix="cod").counts["not_asked"] == 4
        assert len(llm.requests) == 4
        assert write(run, teacher_folder, llm).counts["accepted"] == 8
        assert len(llm.requests) == 8


def test_a_dry_run_sends_nothing_and_writes_no_row(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        options = CounterfactSettings(
            teacher=str(teacher_folder), model="m", base_url=llm.url, dry_run=True, price=(1.0, 2.0), cache=False
        )
        plan = counterfact(run, options, Ui.silent())
        assert llm.requests == []
    assert isinstance(plan, CounterfactPlan)
    assert (plan.everything.calls, plan.for_mix_cod.calls) == (8, 4)
    assert plan.everything.cost is not None
    assert plan.everything.cost > 0
    assert run.counterfactuals.manifest() is None


def test_usage_and_cost_stand_in_the_manifest(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        result = write(run, teacher_folder, llm, price=(1e6, 0.0))
    assert result.usage["prompt_tokens"] > 0
    assert run.counterfactuals.require().cost == pytest.approx(result.usage["prompt_tokens"])


def test_the_key_is_in_no_file(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        write(run, teacher_folder, llm)
    assert not [path for path in run.folder.rglob("*") if path.is_file() and b"secret-key" in path.read_bytes()]


def test_without_a_teacher_nothing_is_claimed_about_flips(run: Run) -> None:
    with FakeLLM(edit) as llm:
        write(run, None, llm)
    assert {row.flipped for row in run.counterfactuals.read()} == {None}


def test_the_editor_needs_no_llm(run: Run, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEAREST_WORDS", "SCORED", "PER_WORD"):
        monkeypatch.setattr(editor, name, 10_000)
    write(run, teacher_folder, generator="editor", per_shot=1, semifactuals=0)
    rows = run.counterfactuals.read()
    assert {row.generator for row in rows} == {"editor"}
    assert all(row.flipped and row.minimal for row in rows)
    # In a small language an edited text may be another shot's own.
    attempts = run.cfe_files.read_attempts()
    assert [a.status for a in attempts if a.status != "accepted"] == ["duplicate"] * (8 - len(rows))


def test_pairs_from_a_file_are_checked_like_any_other(run: Run, teacher_folder: Path) -> None:
    shots = run.shots.read()
    other = {"negative": "positive", "positive": "negative"}
    good = [edit({"messages": [{"content": f"<text>\n{shot.text}\n</text>"}]}) for shot in shots]
    good[0] = shots[0].text
    lines = [f"{s.id}\t{text}\t{other[s.label]}\n" for s, text in zip(shots, good, strict=True)]
    pairs = run.folder / "pairs.tsv"
    pairs.write_text("id\ttext\tlabel\n" + "".join(lines), encoding="utf-8")
    write(run, teacher_folder, generator="file", from_file=pairs)
    assert [row.status for row in run.cfe_files.read_attempts()] == ["unchanged"] + ["accepted"] * 7


def test_a_file_that_is_not_there_is_found_before_anything_is_put_away(run: Run, teacher_folder: Path) -> None:
    write(run, teacher_folder, generator="editor")
    with pytest.raises(FileNotFoundError, match="typo"):
        write(run, teacher_folder, generator="file", from_file=run.folder / "typo.jsonl", force=True)
    assert run.counterfactuals.read()


def test_the_fallback_closes_what_the_llm_left_open_and_is_marked(
    run: Run, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NEAREST_WORDS", "SCORED", "PER_WORD"):
        monkeypatch.setattr(editor, name, 10_000)
    first = run.shots.read()[0]

    def only_the_first(body: dict[str, Any]) -> str:
        return edit(body) if first.text in body["messages"][-1]["content"] else "nothing of the kind"

    with FakeLLM(only_the_first) as llm:
        result = write(run, teacher_folder, llm, fallback="editor", max_attempts=2)
    rows = run.counterfactuals.read()
    assert [row.generator for row in rows] == ["openai:m"] + ["editor"] * (len(rows) - 1)
    assert len(rows) > 4
    prompt = str(rows[0].prompt)
    assert {row.writer for row in run.cfe_files.read_attempts() if row.shot_id != first.id} == {prompt, "editor"}
    assert result.quality.by_prompt[prompt].accepted == 1
    assert result.quality.by_prompt["editor"].accepted == len(rows) - 1


def test_two_prompts_are_compared_on_every_shot(run: Run, teacher_folder: Path) -> None:
    def good_with_one(body: dict[str, Any]) -> str:
        generic = "sentiment" not in body["messages"][0]["content"]
        return "what the weather was like" if generic else edit(body)

    with FakeLLM(good_with_one) as llm:
        result = write(run, teacher_folder, llm, prompt=("sentiment", "generic"), max_attempts=1)
        assert len(llm.requests) == 16
    assert {name.partition("@")[0]: part.flip_rate for name, part in result.quality.by_prompt.items()} == {
        "sentiment": 1.0,
        "generic": 0.0,
    }
    assert result.counts["accepted"] == 8


def test_a_dry_run_counts_every_prompt(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        options: dict[str, Any] = {
            "model": "m",
            "base_url": llm.url,
            "cache": False,
            "prompt": ("sentiment", "generic"),
        }
        settings = CounterfactSettings(teacher=str(teacher_folder), dry_run=True, **options)
        plan = counterfact(run, settings, Ui.silent())
    assert isinstance(plan, CounterfactPlan)
    assert plan.everything.calls == 16


@pytest.fixture(scope="module")
def second_opinion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another classifier of the same language, with its classes in the other order."""
    return trained_teacher(tmp_path_factory.mktemp("judge"), ("positive", "negative"), seed=3)


def test_a_judge_says_of_each_counterfactual_what_it_takes_it_for(
    run: Run, teacher_folder: Path, second_opinion: Path
) -> None:
    with FakeLLM(edit) as llm:
        result = write(run, teacher_folder, llm, judge=str(second_opinion))
    assert [row.judge for row in run.counterfactuals.read()] == [row.label for row in run.counterfactuals.read()]
    assert result.quality.overall.judge_agrees == 1.0
    assert str(run.counterfactuals.require().judge).startswith(str(second_opinion))


def test_a_judge_can_be_asked_later_and_nothing_is_sent_again(
    run: Run, teacher_folder: Path, second_opinion: Path
) -> None:
    with FakeLLM(edit) as llm:
        write(run, teacher_folder, llm)
        write(run, teacher_folder, llm, judge=str(second_opinion))
        assert len(llm.requests) == 8
    assert [bool(row.judge) for row in run.counterfactuals.read()] == [True] * 8
    assert not run.counterfactuals.edited()


def test_neither_the_teacher_nor_the_llm_that_writes_may_judge(run: Run, teacher_folder: Path) -> None:
    with pytest.raises(UsageError, match="the teacher itself"):
        write(run, teacher_folder, generator="editor", judge=str(teacher_folder))
    with pytest.raises(UsageError, match="the LLM that writes"):
        write(run, teacher_folder, model="m", judge="openai:m")


def test_a_judge_of_other_classes_is_refused_by_its_own_name(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    stranger = tiny_classifier(tmp_path / "stranger", labels=("LABEL_0", "LABEL_1"))
    with pytest.raises(CodError, match=r"the judge's labels \(LABEL_0") as caught:
        write(run, teacher_folder, generator="editor", judge=str(stranger))
    assert "--judge-labels" in str(caught.value.hint)


def test_names_that_the_judge_does_not_have_are_a_usage_error_about_the_judge(
    run: Run, teacher_folder: Path, second_opinion: Path
) -> None:
    with pytest.raises(UsageError, match=r"--judge-labels: there is no label 'bad'") as caught:
        write(run, teacher_folder, generator="editor", judge=str(second_opinion), judge_labels="bad=negative")
    assert "the judge's are" in str(caught.value.hint)
    assert "--teacher" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"generator": "editor"}, "needs a teacher"),
        ({"model": "m", "fallback": "editor"}, "needs a teacher"),
        ({"generator": "file", "fallback": "editor"}, "closes what an LLM leaves open"),
        ({"generator": "file"}, "needs the pairs"),
        ({}, "no LLM is named"),
        ({"model": "m", "target": "nonsense"}, "no label of these shots"),
    ],
)
def test_options_that_cannot_work_are_a_usage_error(run: Run, options: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        write(run, None, **options)
