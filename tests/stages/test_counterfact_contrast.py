"""Contrast sets from end to end: further CFEs and semifactuals by the editor and by a loopback LLM."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cod_cli.counterfactuals import harm
from cod_cli.counterfactuals.edits import words
from cod_cli.counterfactuals.generators import editor
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.settings.show import ShowSettings
from cod_cli.stages.counterfact import CounterfactPlan, CounterfactResult, counterfact
from cod_cli.stages.label import LabelResult, label
from cod_cli.stages.sample import sample
from cod_cli.stages.show import QualitySummary, ShownPairs, show
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.llm.editing import OPPOSITE, edit, text_in
from tests.llm.fake_llm import Body, FakeLLM
from tests.models.tiny import LANGUAGE, sentences, tiny_masked_lm, trained_teacher

# No two of them can become the same text.
OF_THEIR_OWN = {
    "the film is bad .": "negative",
    "a great story about two friends .": "positive",
    "i found the whole thing dull and told my sister so .": "negative",
    "its plot is clever , like the one that this director made before .": "positive",
    "what a weak evening we had at the cinema !": "negative",
    "the music , the light and the cast are lovely .": "positive",
}


@pytest.fixture(autouse=True)
def exhaustive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the teacher every replacement, so that nothing hangs on a tiny model's gradient."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    for name in ("NEAREST_WORDS", "SCORED", "PER_WORD"):
        monkeypatch.setattr(editor, name, 10_000)


def sampled(folder: Path, labels: tuple[str, ...] = ("negative", "positive"), k: int = 4) -> Run:
    texts = dict(sentences(60, labels)) if len(labels) > 2 else OF_THEIR_OWN
    rows = [f'{{"text": "{text}", "label": "{name}"}}\n' for text, name in texts.items()]
    (folder / "data.jsonl").write_text("".join(rows), encoding="utf-8")
    run = Run(folder / "run")
    sample(run, SampleSettings(data=str(folder / "data.jsonl"), shots=str(k)), Ui.silent())
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return sampled(tmp_path)


def write(run: Run, teacher: Path, llm: FakeLLM | None = None, **options: Any) -> CounterfactResult:
    options = {"model": "m", "base_url": llm.url, **options} if llm else {"generator": "editor", **options}
    settings = CounterfactSettings(teacher=str(teacher), cache=False, **options)
    result = counterfact(run, settings, Ui.silent())
    assert isinstance(result, CounterfactResult)
    return result


def files(run: Run) -> dict[str, bytes]:
    paths = (run.counterfactuals.path, run.semifactuals.path, run.cfe_files.attempts)
    return {path.name: path.read_bytes() for path in paths}


def reopen(run: Run, keep: int | None = None) -> None:
    """Leave the files as a kill does: unfinished, the last shots not settled."""
    for file in (run.counterfactuals, run.semifactuals):
        manifest = file.require()
        file.note(manifest.replace(complete=False, outputs={}))
    ids = [shot.id for shot in run.shots.read()][:keep]
    for path in (run.counterfactuals.path, run.semifactuals.path, run.cfe_files.attempts):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if any(f'"shot_id":"{i}"' in line.replace(" ", "") for i in ids)]
        path.write_text("".join(kept), encoding="utf-8")


def test_the_editor_fills_both_sides_of_every_family_by_default(run: Run, teacher_folder: Path) -> None:
    result = write(run, teacher_folder)
    cfes, semifactuals = run.counterfactuals.read(), run.semifactuals.read()
    firsts = [row for row in cfes if not row.is_further]
    assert result.counts["further"] == len(cfes) - len(firsts) > len(firsts)
    assert result.counts["semifactuals"] == len(semifactuals) >= 4
    assert max(Counter(row.shot_id for row in semifactuals).values()) <= 16
    assert all(row.flipped and row.label != row.source_label for row in cfes)
    assert all(row.flipped is False and row.label == row.source_label for row in semifactuals)


def test_no_text_stands_in_a_run_twice(run: Run, teacher_folder: Path) -> None:
    write(run, teacher_folder)
    rows = [*run.shots.read(), *run.counterfactuals.read(), *run.semifactuals.read()]
    assert max(Counter(row.text for row in rows).values()) == 1
    assert max(Counter(row.id for row in rows).values()) == 1


def test_the_first_cfes_are_those_of_a_run_without_contrast_sets(tmp_path: Path, teacher_folder: Path) -> None:
    alone, beside = (sampled(tmp_path / name) for name in ("alone", "beside") if (tmp_path / name).mkdir() is None)
    write(alone, teacher_folder, per_shot=1, semifactuals=0)
    write(beside, teacher_folder)
    assert alone.counterfactuals.read() == [row for row in beside.counterfactuals.read() if not row.is_further]
    assert not alone.semifactuals.path.exists()


@pytest.mark.parametrize("keep", [0, 2, 3])
def test_a_run_that_was_killed_ends_with_the_same_files(run: Run, teacher_folder: Path, keep: int) -> None:
    write(run, teacher_folder)
    whole = files(run)
    reopen(run, keep)
    write(run, teacher_folder)
    assert files(run) == whole


def test_a_finished_run_is_left_alone_with_what_was_edited_by_hand(run: Run, teacher_folder: Path) -> None:
    write(run, teacher_folder)
    lines = run.semifactuals.path.read_text(encoding="utf-8").splitlines(keepends=True)
    run.semifactuals.path.write_text("".join(lines[1:]), encoding="utf-8")
    write(run, teacher_folder)
    assert len(run.semifactuals.read()) == len(lines) - 1


def test_a_first_cfe_that_was_deleted_stays_deleted(run: Run, teacher_folder: Path) -> None:
    write(run, teacher_folder)
    gone = run.counterfactuals.read()[0]
    reopen(run, 3)
    lines = run.counterfactuals.path.read_text(encoding="utf-8").splitlines(keepends=True)
    run.counterfactuals.path.write_text("".join(lines[1:]), encoding="utf-8")
    run.semifactuals.path.write_text("", encoding="utf-8")
    write(run, teacher_folder)
    assert gone.id not in {row.id for row in run.counterfactuals.read()}


def test_what_the_mix_cod_did_not_need_is_made_by_a_later_run(run: Run, teacher_folder: Path) -> None:
    write(run, teacher_folder, for_mix="cod")
    firsts = run.counterfactuals.read()
    assert not any(row.is_further for row in firsts)
    assert not run.semifactuals.path.exists()
    write(run, teacher_folder)
    assert {row.shot_id for row in run.semifactuals.read()} == {shot.id for shot in run.shots.read()}
    assert [row for row in run.counterfactuals.read() if row.id == firsts[0].id] == firsts[:1]


def test_with_the_shots_words_nothing_else_is_put_in(run: Run, teacher_folder: Path) -> None:
    write(run, teacher_folder, lexicon="shots")
    known = {word.lower() for shot in run.shots.read() for word in words(shot.text)}
    rows = [*run.counterfactuals.read(), *run.semifactuals.read()]
    assert rows
    assert {word.lower() for row in rows for word in words(row.text)} <= known
    assert run.counterfactuals.require().settings["lexicon"] == "shots"
    with pytest.raises(CodError, match="lexicon: shots → teacher"):
        write(run, teacher_folder, lexicon="teacher")


def test_the_masked_language_model_is_recorded_and_used(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    folder = tiny_masked_lm(tmp_path / "lm", likely={"great": 20.0, "awful": 20.0})
    write(run, teacher_folder, editor_model=str(folder))
    known = {word.lower() for shot in run.shots.read() for word in words(shot.text)} | {"great", "awful"}
    rows = [*run.counterfactuals.read(), *run.semifactuals.read()]
    assert rows
    assert {word.lower() for row in rows for word in words(row.text)} <= known
    recorded = run.counterfactuals.require().settings
    assert (recorded["editor_model"], recorded["edits"]) == (str(folder), "fluent")
    with pytest.raises(CodError, match="editor_model: "):
        write(run, teacher_folder, editor_model=str(teacher_folder))


def test_force_archives_the_semifactuals_too(run: Run, teacher_folder: Path) -> None:
    write(run, teacher_folder)
    write(run, teacher_folder, semifactuals=0, per_shot=1, force=True)
    assert [path.name for path in run.archived.glob("*/2-semifactuals*")]
    assert not run.semifactuals.path.exists()


def test_a_run_of_before_goes_on_as_it_was_and_other_sizes_are_refused(run: Run, teacher_folder: Path) -> None:
    write(run, teacher_folder, per_shot=1, semifactuals=0, target="nearest")
    manifest = run.counterfactuals.require()
    old = {name: value for name, value in manifest.settings.items() if name not in CounterfactSettings.BEFORE}
    run.counterfactuals.note(manifest.replace(settings=old))
    before = run.counterfactuals.path.read_bytes()
    write(run, teacher_folder)
    assert run.counterfactuals.path.read_bytes() == before
    with pytest.raises(CodError, match="per_shot: 1 → 4"):
        write(run, teacher_folder, per_shot=4)
    with pytest.raises(CodError, match="edits: any → fluent"):
        write(run, teacher_folder, edits="fluent")


def test_with_three_classes_every_class_is_a_target_as_often_as_a_label(tmp_path: Path) -> None:
    labels = ("negative", "neutral", "positive")
    run, teacher = sampled(tmp_path, labels, 6), trained_teacher(tmp_path / "teacher", labels)
    write(run, teacher, per_shot=2)
    rows = run.counterfactuals.read()
    tried = {(row.shot_id, row.target) for row in run.cfe_files.read_attempts()}
    assert Counter(target for _, target in tried) == dict.fromkeys(labels, 2)
    assert {row.label for row in rows if row.shot_id == rows[0].shot_id} == set(labels) - {rows[0].source_label}


def test_a_manifest_tells_what_random_edits_do_to_the_teacher(tmp_path: Path, teacher_folder: Path) -> None:
    few = sampled(tmp_path)
    write(few, teacher_folder, per_shot=1, semifactuals=0)
    assert few.counterfactuals.require().random_edits is None
    texts = {f"{word} , {text}": name for text, name in OF_THEIR_OWN.items() for word in ("yes", "no")}
    rows = [json.dumps({"text": text, "label": name}) + "\n" for text, name in texts.items()]
    (tmp_path / "more.jsonl").write_text("".join(rows), encoding="utf-8")
    run = Run(tmp_path / "more")
    sample(run, SampleSettings(data=str(tmp_path / "more.jsonl"), shots="8"), Ui.silent())
    queries = write(run, teacher_folder, per_shot=1, semifactuals=0).counts["teacher_queries"]
    told = run.counterfactuals.require().random_edits
    assert told is not None
    assert set(told) == {"negative", "positive"}
    assert 200 < sum(n for counts in told.values() for n in counts.values()) <= 8 * harm.EDITS
    # They are no part of what the CFEs cost.
    shown = {shot.text for shot in run.shots.read()} | {row.text for row in run.cfe_files.read_attempts() if row.text}
    assert len(shown) <= queries


def test_where_random_edits_leave_nothing_that_is_said(
    tmp_path: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sampled(tmp_path)
    one_way = {"negative": {"negative": 64, "positive": 0}, "positive": {"negative": 64, "positive": 0}}
    monkeypatch.setattr(harm, "turn_at_random", lambda *_: one_way)
    for _ in range(2):
        settings = CounterfactSettings(generator="editor", teacher=str(teacher_folder), cache=False, for_mix="cod")
        counterfact(run, settings, Ui())
        assert "warning: edits are likely to do harm here" in capsys.readouterr().err
    assert run.counterfactuals.require().random_edits == one_way


def test_semifactuals_are_labelled_and_shown(run: Run, teacher_folder: Path) -> None:
    write(run, teacher_folder, per_shot=2)
    labelled = label(run, LabelSettings(teacher=str(teacher_folder), cache=False), Ui.silent())
    assert isinstance(labelled, LabelResult)
    assert labelled.counts["semifactuals"] == len(run.semifactuals.read()) == 8
    assert {row.id for row in run.semifactuals.read()} <= {row.id for row in run.soft_labels.read()}
    shown = show(run, ShowSettings(semifactuals=True), Ui.silent())
    assert isinstance(shown, ShownPairs)
    assert {row.kind for row, _ in shown.pairs} == {"semifactual"}
    summary = show(run, ShowSettings(summary=True), Ui.silent())
    assert isinstance(summary, QualitySummary)
    assert summary.contrast
    assert summary.contrast.semifactuals == {"negative": 4, "positive": 4}
    assert summary.quality.overall.accepted == 4


def another(body: Body) -> str:
    """What a good LLM does that is told what it wrote: the next word of the class that is wanted, or another noun."""
    question, text = body["messages"][-1]["content"], text_in(body)
    written = question.partition("<text>")[0].splitlines()
    own = next(word for word in text.split() if word in OPPOSITE)
    classes = [group for name, group in LANGUAGE.items() if name != "neutral"]
    group = next(group for group in classes if (own in group) == ("must stay" in question))
    return next(new for word in group if (new := text.replace(own, word)) not in (*written, text))


def test_an_llm_is_told_what_it_wrote_and_asked_for_what_is_missing(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(another) as llm:
        result = write(run, teacher_folder, llm, per_shot=3, semifactuals=2)
        asked = len(llm.requests)
    assert (result.counts["accepted"], result.counts["further"], result.counts["semifactuals"]) == (4, 8, 8)
    assert asked == 4 * (3 + 2)
    assert len({(reply.key) for reply in run.cfe_files.read_replies()}) == asked
    assert {row.target for row in run.cfe_files.read_attempts()} == {"negative", "positive", "=negative", "=positive"}


def test_what_an_llm_was_paid_for_is_not_asked_again(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(another) as llm:
        write(run, teacher_folder, llm, per_shot=2, semifactuals=1)
        whole, asked = files(run), len(llm.requests)
        reopen(run, 2)
        write(run, teacher_folder, llm, per_shot=2, semifactuals=1)
        assert len(llm.requests) == asked
    assert files(run) == whole


def test_a_cap_leaves_the_rest_of_the_families_to_the_same_command(run: Run, teacher_folder: Path) -> None:
    sizes: dict[str, Any] = {"per_shot": 2, "semifactuals": 1, "concurrency": 1}
    with FakeLLM(another) as llm:
        with pytest.raises(PartialError, match="requests for further edits are without an answer"):
            write(run, teacher_folder, llm, max_calls=6, **sizes)
        result = write(run, teacher_folder, llm, **sizes)
        assert len(llm.requests) == 12
    assert (result.counts["further"], result.counts["semifactuals"]) == (4, 4)


def test_accept_partial_closes_families_that_lack_rows(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(another) as llm:
        write(run, teacher_folder, llm, per_shot=2, semifactuals=1, max_calls=6, concurrency=1, accept_partial=True)
    assert run.semifactuals.require().complete
    assert run.counterfactuals.require().counts["further_unanswered"] > 0


def test_a_reply_that_does_not_flip_is_a_semifactual_for_free(run: Run, teacher_folder: Path) -> None:
    def first_in_vain(body: Body) -> str:
        if "An earlier edit" in body["messages"][-1]["content"]:
            return edit(body)
        text = text_in(body)
        own = next(word for word in text.split() if word in OPPOSITE)
        group = next(group for group in LANGUAGE.values() if own in group)
        return text.replace(own, next(word for word in group if word != own))

    with FakeLLM(first_in_vain) as llm:
        result = write(run, teacher_folder, llm)
        assert len(llm.requests) == 8
    assert (result.counts["accepted"], result.counts["semifactuals"], result.counts["further"]) == (4, 4, 0)
    assert {row.generator for row in run.semifactuals.read()} == {"openai:m"}
    assert {row.attempts for row in run.semifactuals.read()} == {0}


def test_a_dry_run_says_what_more_would_cost(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        settings = CounterfactSettings(teacher=str(teacher_folder), model="m", base_url=llm.url, dry_run=True)
        plan = counterfact(run, settings, Ui.silent())
        assert llm.requests == []
    assert isinstance(plan, CounterfactPlan)
    assert plan.one_more
    assert plan.one_semifactual
    assert (plan.everything.calls, plan.one_more.calls, plan.one_semifactual.calls) == (4, 4, 4)


def test_a_teacher_that_no_edit_turns_leaves_semifactuals_only(run: Run, teacher_folder: Path) -> None:
    def same(body: Body) -> str:
        return text_in(body).replace(" the ", " this ").replace("a ", "the ").replace("film", "book")

    with FakeLLM(same) as llm:
        result = write(run, teacher_folder, llm, max_attempts=1)
    assert result.contrast
    assert result.counts["semifactuals_only"] == result.contrast.semifactuals_only == result.counts["semifactuals"] > 2
    assert result.mostly_unturned


def test_no_semifactual_is_asked_for_where_nothing_turned_the_teacher(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(lambda body: text_in(body).replace("the ", "this ")) as llm:
        write(run, teacher_folder, llm, max_attempts=1, semifactuals=3)
        assert len(llm.requests) == 4


@pytest.mark.parametrize(
    "options",
    [{"per_shot": 0}, {"semifactuals": -1}, {"semifactuals": 2, "teacher": None}, {"per_shot": 2, "model": "m"}],
)
def test_sizes_that_cannot_be_are_a_usage_error(run: Run, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        counterfact(run, CounterfactSettings(**options), Ui.silent())


def test_a_shot_without_a_word_to_edit_is_a_result(tmp_path: Path, teacher_folder: Path) -> None:
    rows = [*OF_THEIR_OWN.items(), ("12 345 !", "positive")]
    lines = [f'{{"text": "{text}", "label": "{name}"}}\n' for text, name in rows]
    (tmp_path / "data.jsonl").write_text("".join(lines), encoding="utf-8")
    run = Run(tmp_path / "run")
    sample(run, SampleSettings(data=str(tmp_path / "data.jsonl"), shots="all"), Ui.silent())
    result = write(run, teacher_folder)
    assert result.counts["accepted"] >= 6
    assert [row.reason for row in run.cfe_files.read_attempts() if row.shot_id.endswith("/7")] in (
        ["no word can be replaced"],
        ["the teacher reads the shot itself as negative"],
    )


def test_a_judge_says_of_semifactuals_too_whether_they_are_of_their_class(
    run: Run, teacher_folder: Path, tmp_path: Path
) -> None:
    other = trained_teacher(tmp_path / "judge", ("positive", "negative"), seed=3)
    write(run, teacher_folder, per_shot=2)
    result = write(run, teacher_folder, per_shot=2, judge=str(other))
    assert result.contrast
    assert result.contrast.judge_agrees_semifactuals is not None
    assert all(row.judge for row in run.semifactuals.read())
    assert not run.semifactuals.edited()


def test_held_out_pairs_have_nothing_beside_them(run: Run, teacher_folder: Path) -> None:
    result = write(run, teacher_folder, held_out=2)
    assert result.contrast is None
    assert not run.semifactuals.path.exists()
    assert result.counts["cases"] == 2
