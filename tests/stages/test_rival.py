"""`cod rival` from end to end: every kind on a tiny teacher, and what a student then trains on."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cod_cli.cli import views
from cod_cli.counterfactuals.edits import n_edits, words
from cod_cli.counterfactuals.generators import editor
from cod_cli.counterfactuals.rivals import Material, writers_of
from cod_cli.data.heldout import draw_pool, rows_to_score
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.metrics import flips
from cod_cli.mixes import OTHER_BUDGET, RIVALS, select
from cod_cli.records import Counterfactual
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.rival import RivalSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.settings.shared import TeacherSpec
from cod_cli.stages.counterfact import counterfact
from cod_cli.stages.distill import distill
from cod_cli.stages.label import label
from cod_cli.stages.rival import Made, RivalPlan, RivalResult, rival
from cod_cli.stages.sample import sample
from cod_cli.store.run import Run
from cod_cli.teachers.local import WhiteBoxTeacher
from cod_cli.teachers.open import load_teacher
from cod_cli.ui import Ui
from tests.llm.editing import edit
from tests.llm.fake_llm import FakeLLM
from tests.models.tiny import sentences, tiny_base

K = 8
LABELS = ["negative", "positive"]
LOCAL = ["eda", "aeda", "pool-rows", "pool-queries", "cod-unverified", "cod-unreverted", "cod-nearest", "cod-confident"]


@pytest.fixture
def exhaustive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score every replacement, so that what is found does not hang on a tiny model's gradient."""
    for name in ("NEAREST_WORDS", "SCORED", "PER_WORD"):
        monkeypatch.setattr(editor, name, 60)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Eight shots of a folder with a training and a test split that share some texts."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    rows = list(dict(sentences(400)).items())
    for split, part in (("train", rows[:70]), ("test", rows[60:])):
        lines = [json.dumps({"text": text, "label": name}) + "\n" for text, name in part]
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    run = Run(tmp_path / "run")
    sample(run, SampleSettings(data=str(tmp_path / "data"), shots=str(K), split="train"), Ui.silent())
    return run


@pytest.fixture
def with_cfes(run: Run, teacher_folder: Path, exhaustive: None) -> Run:
    settings = CounterfactSettings(generator="editor", teacher=str(teacher_folder), for_mix="cod", cache=False)
    counterfact(run, settings, Ui.silent())
    return run


def make(run: Run, kind: str, teacher: Path | None = None, **options: Any) -> Made:
    named = {"teacher": str(teacher)} if teacher else {}
    result = rival(run, RivalSettings(kind=kind, cache=False, **named, **options), Ui.silent())
    assert isinstance(result, RivalResult)
    [made] = result.made
    return made


def rows(run: Run, kind: str) -> list[Counterfactual]:
    return run.rival(kind).rows.read()


def run_data(run: Run, split: str) -> list[str]:
    lines = (run.folder.parent / "data" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def teacher_of(folder: Path) -> WhiteBoxTeacher:
    return load_teacher(TeacherSpec(str(folder)), LABELS, cache=False)


@pytest.mark.parametrize("kind", ["eda", "aeda"])
def test_augmented_shots_keep_their_class(kind: str, run: Run, teacher_folder: Path) -> None:
    make(run, kind, teacher_folder)
    shots = run.shots.read()
    made = rows(run, kind)
    assert [row.id for row in made] == [f"{shot.id}~{shot.label}@{kind}" for shot in shots[: K // 2]]
    assert made
    for row, shot in zip(made, shots, strict=False):
        assert row.label == row.source_label == shot.label
        assert row.text != shot.text
        assert row.kind == kind


def test_the_pool_holds_other_real_texts_with_the_teachers_label(run: Run, teacher_folder: Path) -> None:
    make(run, "pool-rows", teacher_folder)
    made = rows(run, "pool-rows")
    assert len(made) == K // 2
    train, test = (run_data(run, split) for split in ("train", "test"))
    shots = {shot.text for shot in run.shots.read()}
    logits = teacher_of(teacher_folder).logits([row.text for row in made])
    for row, scores in zip(made, logits, strict=True):
        assert row.shot_id is None
        assert row.text == train[int(row.id.rpartition("/")[2]) - 1]
        assert row.text not in shots | set(test)
        assert row.label == LABELS[int(scores.argmax())]


def run_of_own_columns(folder: Path) -> Run:
    """As `run`, of files with other names for text and label; five texts of training stand in the test split too."""
    rows = list(dict(sentences(400)).items())
    for split, part in (("train", rows[:20]), ("test", rows[14:30])):
        lines = [json.dumps({"review": text, "verdict": name}) + "\n" for text, name in part]
        folder.mkdir(exist_ok=True)
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    run = Run(folder / "run")
    columns: dict[str, Any] = {"text_column": ("review",), "label_column": "verdict"}
    sample(run, SampleSettings(data=str(folder), shots=str(K), split="train", **columns), Ui.silent())
    return run


def test_the_pool_never_holds_a_scored_text_whatever_the_columns_are_called(tmp_path: Path) -> None:
    run = run_of_own_columns(tmp_path / "own")
    pool = {row.text for row in draw_pool(run, 20, "0 0")}
    _, scored = rows_to_score(run, LABELS)
    assert pool
    assert not pool & set(scored.texts)


def test_without_knowing_what_is_scored_no_pool_is_drawn(tmp_path: Path) -> None:
    run = run_of_own_columns(tmp_path / "own")
    (tmp_path / "own" / "test.jsonl").write_text("{torn", encoding="utf-8")
    with pytest.raises(CodError, match="the rows that are scored cannot be read"):
        draw_pool(run, 20, "0 0")


def test_a_smaller_pool_is_a_prefix_and_other_shots_have_another(run: Run, teacher_folder: Path) -> None:
    assert draw_pool(run, 20, "0 0")[:5] == draw_pool(run, 5, "0 0")
    assert draw_pool(run, 20, "1 0") != draw_pool(run, 20, "0 0")


def test_pool_queries_buys_a_text_for_each_query_of_the_cfes(with_cfes: Run) -> None:
    queries = with_cfes.counterfactuals.require().counts["teacher_queries"]
    made = make(with_cfes, "pool-queries")
    assert made.counts["wanted"] == queries > K
    train, test = (run_data(with_cfes, split) for split in ("train", "test"))
    free = set(train) - set(test) - {shot.text for shot in with_cfes.shots.read()}
    assert {row.text for row in rows(with_cfes, "pool-queries")} == free
    assert made.rows == len(free) < queries


def test_random_edits_are_as_many_of_each_shot_as_its_contrast_set_has(with_cfes: Run, teacher_folder: Path) -> None:
    counterfact(with_cfes, CounterfactSettings(generator="editor", teacher=str(teacher_folder)), Ui.silent())
    made = make(with_cfes, "random-edits")
    edits = rows(with_cfes, "random-edits")
    shots = with_cfes.shots.read()
    derived = [*with_cfes.counterfactuals.read(), *with_cfes.semifactuals.read()]
    wanted = Counter(getattr(row, "shot_id", None) for [row] in select("contrast", shots, derived))
    assert made.counts["wanted"] == made.rows == len(edits) > 2 * K
    assert Counter(row.shot_id for row in edits) == Counter({k: n for k, n in wanted.items() if k})
    assert len({row.id for row in edits}) == len({row.text for row in edits} - {s.text for s in shots}) == len(edits)


def test_random_edits_exchange_one_to_three_words_for_words_of_the_source_and_the_teacher_says_which_class(
    with_cfes: Run, teacher_folder: Path
) -> None:
    counterfact(with_cfes, CounterfactSettings(generator="editor", teacher=str(teacher_folder)), Ui.silent())
    make(with_cfes, "random-edits")
    made, texts = rows(with_cfes, "random-edits"), {shot.id: shot.text for shot in with_cfes.shots.read()}
    known = {word for text in run_data(with_cfes, "train") for word in words(text)}
    changed = {n_edits(texts[row.shot_id or ""], row.text) for row in made}
    assert changed == {1, 2, 3}
    assert all(set(words(row.text)) <= known for row in made)
    chosen = teacher_of(teacher_folder).logits([row.text for row in made]).argmax(axis=-1)
    assert [row.label for row in made] == [LABELS[place] for place in chosen]
    assert {row.label == row.source_label for row in made} == {True, False}


def test_random_edits_train_for_the_steps_of_contrast_sets(
    with_cfes: Run, teacher_folder: Path, tmp_path: Path
) -> None:
    counterfact(with_cfes, CounterfactSettings(generator="editor", teacher=str(teacher_folder)), Ui.silent())
    made = make(with_cfes, "random-edits")
    label(with_cfes, LabelSettings(cache=False), Ui.silent())
    start: dict[str, Any] = {"student": str(tiny_base(tmp_path / "student", layers=1, hidden=16)), "method": "kd"}
    results = [
        distill(with_cfes, DistillSettings(mix=mix, max_length=32, device="cpu", **start), Ui.silent()).students[0]
        for mix in ("random-edits", "contrast")
    ]
    assert [(student.rows, student.steps, student.shots) for student in results] == [(K + made.rows, 320, K)] * 2


def test_cfes_that_the_equal_budget_does_not_use_are_not_counted(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        options = {"model": "m", "base_url": llm.url, "teacher": str(teacher_folder), "cache": False}
        counterfact(run, CounterfactSettings(**options), Ui.silent())
    counts = run.counterfactuals.require().counts
    assert counts["accepted"] == K
    assert make(run, "pool-queries").counts["wanted"] == round(counts["teacher_queries"] / 2)


def test_the_queries_of_a_checked_reply_are_counted_one_by_one(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        options = {"model": "m", "base_url": llm.url, "teacher": str(teacher_folder), "cache": False}
        counterfact(run, CounterfactSettings(**options), Ui.silent())
    # Each shot, and each reply, whose single edit leaves nothing to try without.
    texts = {row.text for row in [*run.shots.read(), *run.counterfactuals.read()]}
    assert run.counterfactuals.require().counts["teacher_queries"] == len(texts)


def test_what_one_rival_costs_does_not_hang_on_another(with_cfes: Run) -> None:
    settings = RivalSettings(kind="cod-unreverted,cod-nearest", cache=False)
    together = rival(with_cfes, settings, Ui.silent()).made
    alone = make(with_cfes, "cod-nearest", force=True)
    assert together[1].counts["teacher_queries"] == alone.counts["teacher_queries"]


def test_variants_of_the_editor_choose_the_nearest_and_the_surest_edit(with_cfes: Run) -> None:
    for kind in ("cod-unreverted", "cod-nearest", "cod-confident"):
        make(with_cfes, kind)
    smallest = {row.shot_id: row for row in rows(with_cfes, "cod-unreverted")}
    nearest = {row.shot_id: row for row in rows(with_cfes, "cod-nearest")}
    surest = {row.shot_id: row for row in rows(with_cfes, "cod-confident")}
    assert len(smallest) == len(nearest) == len(surest) == K // 2
    for shot_id, row in smallest.items():
        assert 0.5 < nearest[shot_id].p_after <= row.p_after <= surest[shot_id].p_after  # type: ignore[operator]
        assert nearest[shot_id].n_edits == row.n_edits


@pytest.mark.parametrize("kind", ["cod-nearest", "cod-unverified", "cod-unreverted"])
def test_variants_of_the_editor_are_as_fluent_as_the_cfes(kind: str, with_cfes: Run, teacher_folder: Path) -> None:
    teacher = load_teacher(TeacherSpec(str(teacher_folder)), LABELS, cache=False)
    for edits, gated in (("any", False), ("fluent", True)):
        recorded = {**with_cfes.counterfactuals.require().settings, "edits": edits}
        [writer] = writers_of(kind, Material(with_cfes, with_cfes.shots.read(), LABELS, teacher, recorded), 0)
        assert isinstance(writer, editor.Editor)
        assert (writer.lexicon.classes is not None) == gated
    shots = {word.lower() for shot in with_cfes.shots.read() for word in words(shot.text)}
    [writer] = writers_of(kind, Material(with_cfes, [], LABELS, teacher, {**recorded, "lexicon": "shots"}), 0)
    assert isinstance(writer, editor.Editor)
    assert set(writer.lexicon.words) <= shots


def test_the_unverified_first_edit_is_the_gradients_own(with_cfes: Run) -> None:
    make(with_cfes, "cod-unverified")
    texts = {shot.id: shot.text for shot in with_cfes.shots.read()}
    made = rows(with_cfes, "cod-unverified")
    assert len(made) == K // 2
    assert all(row.flipped is None and n_edits(texts[row.shot_id or ""], row.text) == 1 for row in made)


def test_an_llms_first_reply_is_taken_as_it_was_and_nothing_is_sent(run: Run, teacher_folder: Path) -> None:
    shots = run.shots.read()
    with FakeLLM(edit) as llm:
        llm.then("a story about two friends .", shots[1].text)
        options = {"model": "m", "base_url": llm.url, "teacher": str(teacher_folder), "cache": False}
        counterfact(run, CounterfactSettings(**options, concurrency=1, for_mix="cod"), Ui.silent())
        sent = len(llm.requests)
        make(run, "cod-unverified")
        make(run, "cod-unreverted")
        assert len(llm.requests) == sent
    made = rows(run, "cod-unverified")
    assert made[0].text == "a story about two friends ."
    assert (made[1].text, made[1].label) == (shots[1].text, made[1].label) != (shots[1].text, shots[1].label)
    assert len(made) == K // 2
    assert {row.text for row in rows(run, "cod-unreverted")} == {row.text for row in run.counterfactuals.read()}


def test_needless_edits_stay_where_the_revert_pass_is_off(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(lambda body: f"well {edit(body)}") as llm:
        options = {"model": "m", "base_url": llm.url, "teacher": str(teacher_folder), "cache": False}
        counterfact(run, CounterfactSettings(**options), Ui.silent())
    make(run, "cod-unreverted")
    reverted = {row.shot_id: row for row in run.counterfactuals.read()}
    kept = {row.shot_id: row for row in rows(run, "cod-unreverted")}
    assert kept
    assert all(kept[shot_id].n_edits == reverted[shot_id].n_edits + 1 == 2 for shot_id in kept)
    assert all(kept[shot_id].flipped for shot_id in kept)


def test_a_paraphrase_is_kept_if_the_teacher_reads_it_as_the_shot(run: Run, teacher_folder: Path) -> None:
    def script(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"].split("<text>")[1].split("</text>")[0].strip()
        return " ".join(reversed(text.split()))

    with FakeLLM(script) as llm:
        llm.then("the film is good and bad", "bad good")
        made = make(run, "paraphrase", teacher_folder, model="m", base_url=llm.url, concurrency=1)
        assert len(llm.requests) < K + 6
        assert "must stay" in llm.texts()[0]
    teacher = teacher_of(teacher_folder)
    texts = {shot.id: shot for shot in run.shots.read()}
    assert made.rows == K // 2
    assert len(rows(run, "paraphrase")) == K // 2
    for row in rows(run, "paraphrase"):
        shot = texts[row.shot_id or ""]
        before, after = teacher.logits([shot.text, row.text])
        assert (row.label, row.flipped) == (shot.label, False)
        assert before.argmax() == after.argmax()


def test_an_opposite_text_may_share_no_word_but_must_flip_the_teacher(run: Run, teacher_folder: Path) -> None:
    answers = {"negative": "awful weak dull boring stupid ugly", "positive": "great clever strong funny fine smart"}
    count = iter(range(100))

    def script(body: dict[str, Any]) -> str:
        target = body["messages"][-1]["content"].split('"')[3]
        return f"{answers[target]} {'!' * next(count)}"

    with FakeLLM(script) as llm:
        made = make(run, "opposite", teacher_folder, model="m", base_url=llm.url, concurrency=1)
        assert len(llm.requests) == made.rows == K // 2  # only what the walk needs
        assert make(run, "opposite", teacher_folder, model="m", base_url=llm.url).rows == made.rows
        assert len(llm.requests) == K // 2  # and nothing twice
    teacher = teacher_of(teacher_folder)
    texts = {shot.id: shot.text for shot in run.shots.read()}
    assert len(rows(run, "opposite")) == K // 2
    for row in rows(run, "opposite"):
        before, after = teacher.logits([texts[row.shot_id or ""], row.text])
        assert flips(before, after, LABELS.index(row.label))
        assert not set(words(row.text)) & set(words(texts[row.shot_id or ""]))
    assert made.usage["completion_tokens"] > 0


def test_unanswered_rivals_are_asked_for_by_the_same_command(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        options: dict[str, Any] = {"model": "m", "base_url": llm.url, "concurrency": 1}
        with pytest.raises(PartialError):
            make(run, "opposite", teacher_folder, max_calls=2, **options)
        make(run, "opposite", teacher_folder, **options)
        assert len(llm.requests) == K // 2
    assert run.counterfactuals.manifest() is None
    assert not run.cfe_files.replies.exists()


@pytest.mark.parametrize("kind", LOCAL)
def test_every_rival_trains_on_k_rows_for_as_many_steps_as_the_shots(kind: str, with_cfes: Run, tmp_path: Path) -> None:
    make(with_cfes, kind)
    label(with_cfes, LabelSettings(cache=False), Ui.silent())
    student = tiny_base(tmp_path / "student", layers=1, hidden=16)
    options: dict[str, Any] = {"epochs": 1, "batch_size": 2, "max_length": 32, "device": "cpu"}
    trained = {
        mix: distill(with_cfes, DistillSettings(student=str(student), mix=mix, **options), Ui.silent()).students[0]
        for mix in ("shots", kind)
    }
    if kind in OTHER_BUDGET:
        assert trained[kind].rows == K + len(rows(with_cfes, kind))
        assert trained[kind].steps > trained["shots"].steps
        assert trained[kind].shots == K
    else:
        assert (trained[kind].rows, trained[kind].steps) == (K, trained["shots"].steps)
        assert trained[kind].shots == K // 2


def test_label_labels_rivals_and_all_leaves_them_out(with_cfes: Run) -> None:
    make(with_cfes, "aeda")
    make(with_cfes, "pool-rows")
    result = label(with_cfes, LabelSettings(cache=False), Ui.silent())
    assert result.counts["rivals"] == K
    from cod_cli.training.trainset import read_trainset

    trained = [row.id for row in read_trainset(with_cfes, "all").rows]
    assert len(trained) > K
    assert not any("@" in row_id for row_id in trained)


def test_a_rival_that_was_not_made_names_its_command(with_cfes: Run, tmp_path: Path) -> None:
    label(with_cfes, LabelSettings(cache=False), Ui.silent())
    with pytest.raises(CodError) as failed:
        distill(with_cfes, DistillSettings(student="x", mix="aeda"), Ui.silent())
    assert f"cod rival {with_cfes.folder} --kind aeda" in str(failed.value.hint)


def test_other_options_are_refused_and_force_archives(run: Run, teacher_folder: Path) -> None:
    make(run, "aeda", teacher_folder)
    with pytest.raises(CodError, match="seed: 0 → 5"):
        make(run, "aeda", teacher_folder, seed=5)
    before = [row.text for row in rows(run, "aeda")]
    make(run, "aeda", teacher_folder, seed=5, force=True)
    assert [row.text for row in rows(run, "aeda")] != before
    assert list(run.folder.glob("archive/*/2-aeda.jsonl"))


def test_a_rival_of_cfes_that_are_not_there_names_what_makes_them(run: Run, teacher_folder: Path) -> None:
    for kind in ("pool-queries", "cod-unverified", "cod-unreverted"):
        with pytest.raises(CodError) as failed:
            make(run, kind, teacher_folder)
        assert "cod counterfact" in str(failed.value.hint)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"kind": "edda"}, "no rival 'edda'"),
        ({"kind": "eda,opposite"}, "opposite needs an LLM"),
        ({"kind": "paraphrase,opposite", "model": "m", "prompt": ("generic",)}, "--prompt is for one kind"),
    ],
)
def test_options_that_cannot_work_are_a_usage_error(options: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        RivalSettings(**options)


def test_without_a_teacher_anywhere_it_says_so(run: Run) -> None:
    with pytest.raises(UsageError, match="no teacher"):
        make(run, "aeda")


def test_only_kinds_that_an_llm_writes_depend_on_its_options() -> None:
    assert "temperature" not in RivalSettings(kind="eda", model="m").results()
    assert RivalSettings(kind="opposite", model="m").results()["temperature"] == 0.0
    assert {kind for kind in RIVALS if RIVALS[kind].llm} == {"paraphrase", "opposite"}


def test_the_queries_of_an_earlier_go_are_counted_too(run: Run, teacher_folder: Path) -> None:
    with FakeLLM(edit) as llm:
        options = {"model": "m", "base_url": llm.url, "teacher": str(teacher_folder), "cache": False}
        with pytest.raises(PartialError):
            counterfact(run, CounterfactSettings(**options, max_calls=1), Ui.silent())
        before = run.counterfactuals.manifest().counts["teacher_queries"]
        counterfact(run, CounterfactSettings(**options), Ui.silent())
    # The shots are shown to the teacher in each go; in the second the other replies.
    assert before > 0
    assert run.counterfactuals.require().counts["teacher_queries"] > before + K


# What it would cost


def test_a_dry_run_counts_what_an_llm_would_be_asked_and_writes_nothing(run: Run, teacher_folder: Path) -> None:
    before = sorted(path.name for path in run.folder.iterdir() if not path.name.startswith("."))
    with FakeLLM() as llm:
        options: dict[str, Any] = {"model": "m", "base_url": llm.url, "price": (1.0, 2.0), "cache": False}
        settings = RivalSettings(kind="paraphrase,opposite,eda", teacher=str(teacher_folder), dry_run=True, **options)
        plan = rival(run, settings, Ui.silent())
        assert llm.requests == []
    assert isinstance(plan, RivalPlan)
    assert {kind: what.calls for kind, what in plan.estimates.items()} == {"paraphrase": K // 2, "opposite": K // 2}
    assert all(what.cost and what.cost > 0 for what in plan.estimates.values())
    assert "paraphrase: 4 requests" in str(views.rival(plan))
    made = sorted(path.name for path in run.folder.iterdir() if not path.name.startswith("."))
    assert [name for name in made if name not in before and not name.endswith("replies.jsonl")] == []


def test_a_dry_run_of_what_costs_nothing_is_refused(run: Run, teacher_folder: Path) -> None:
    with pytest.raises(UsageError, match="eda has none"):
        rival(run, RivalSettings(kind="eda", teacher=str(teacher_folder), dry_run=True), Ui.silent())
