"""`cod show`: pairs, rejected attempts, quality, and what a prompt sends."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cod_cli.errors import CodError, UsageError
from cod_cli.records import Attempt, Counterfactual, Reply, Shot, SoftLabel, text_sha
from cod_cli.settings.show import ShowSettings
from cod_cli.stages.show import PromptText, QualitySummary, RejectedAttempts, ShownPairs, show
from cod_cli.store.jsonl import to_line, write_records
from cod_cli.store.run import Run
from cod_cli.ui import Ui

LABELS = ["negative", "positive"]
SHOTS = [
    Shot(id="films/train/1", text="a dull film .", label="negative"),
    Shot(id="films/train/2", text="a fine film .", label="positive"),
    Shot(id="films/train/3", text="so it goes .", label="negative"),
]


class Told(Ui):
    """A Ui that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def cfe(shot: Shot, text: str, label: str, **changes: Any) -> Counterfactual:
    fields: dict[str, Any] = {
        "id": f"{shot.id}~{label}",
        "shot_id": shot.id,
        "text": text,
        "label": label,
        "source_label": shot.label,
        "kind": "cfe",
        "generator": "openai:m",
        "prompt": "sentiment@1",
        "flipped": None,
        "p_before": None,
        "p_after": None,
        "edit_ratio": 0.33,
        "n_edits": 1,
        "minimal": None,
        "attempts": 1,
    }
    return Counterfactual(**fields | changes)


CFES = [cfe(SHOTS[0], "a smart film .", "positive"), cfe(SHOTS[1], "a poor film .", "negative")]
ATTEMPTS = [
    Attempt(shot_id=SHOTS[0].id, target="positive", n=1, text=SHOTS[0].text, status="unchanged", reason="as it was"),
    Attempt(shot_id=SHOTS[0].id, target="positive", n=2, text=CFES[0].text, status="accepted", reason=None),
    Attempt(shot_id=SHOTS[1].id, target="negative", n=1, text=CFES[1].text, status="accepted", reason=None),
    Attempt(shot_id=SHOTS[2].id, target="positive", n=0, text=None, status="teacher-wrong", reason="reads positive"),
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    run.shots.finish(run.shots.begin({"data": "films"}, labels=LABELS), SHOTS)
    manifest = run.counterfactuals.begin({}, labels=LABELS).replace(price=(2.0, 4.0))
    run.counterfactuals.finish(manifest, CFES, cost=0.5)
    write_records(run.cfe_files.attempts, ATTEMPTS)
    return run


def add_soft_labels(run: Run, logits: dict[str, list[float]], labels: list[str] = LABELS) -> None:
    texts = {row.id: row.text for row in (*SHOTS, *CFES)}
    rows = [
        SoftLabel(
            id=row_id, text_sha=text_sha(texts[row_id]), logits=row, teacher="t", source="logits", covered_mass=1.0
        )
        for row_id, row in logits.items()
    ]
    run.soft_labels.finish(run.soft_labels.begin({}, labels=labels, teacher="t"), rows)


def run_show(run: Run | None, ui: Ui | None = None, **options: Any) -> Any:
    return show(run, ShowSettings(**options), ui or Ui.silent())


# Pairs


def test_every_cfe_comes_with_its_shots_text(run: Run) -> None:
    found = run_show(run)
    assert isinstance(found, ShownPairs)
    assert found.pairs == ((CFES[0], SHOTS[0].text), (CFES[1], SHOTS[1].text))


def test_the_limit_is_said(run: Run) -> None:
    ui = Told()
    found = run_show(run, ui, limit=1)
    assert (len(found.pairs), found.total) == (1, 2)
    assert ui.told == ["Showing 1 of 2; all: --limit 2"]


@pytest.mark.parametrize("only", [SHOTS[1].id, CFES[1].id])
def test_an_id_picks_the_pairs_of_a_shot_or_one_pair(run: Run, only: str) -> None:
    assert [row.id for row, _ in run_show(run, only=only).pairs] == [CFES[1].id]


def test_an_unknown_id_is_an_error_that_shows_one(run: Run) -> None:
    with pytest.raises(CodError, match="no CFE with the id 'films/train/9'") as failure:
        run_show(run, only="films/train/9")
    assert SHOTS[0].id in str(failure.value.hint)


def test_without_a_teacher_in_file_2_probabilities_come_from_file_3(run: Run) -> None:
    third, half = [math.log(2), 0.0], [0.0, math.log(3)]
    add_soft_labels(run, {SHOTS[0].id: third, CFES[0].id: half})
    first, second = (row for row, _ in run_show(run).pairs)
    assert (first.flipped, first.p_before, first.p_after) == (True, pytest.approx(1 / 3), pytest.approx(3 / 4))
    assert second.p_before is None


def test_logits_are_read_in_the_order_of_file_3s_own_labels(run: Run) -> None:
    add_soft_labels(run, {SHOTS[0].id: [0.0, math.log(2)], CFES[0].id: [math.log(3), 0.0]}, LABELS[::-1])
    first = run_show(run).pairs[0][0]
    assert (first.flipped, first.p_before, first.p_after) == (True, pytest.approx(1 / 3), pytest.approx(3 / 4))


def test_a_cfe_mended_by_hand_has_no_probability_of_its_old_text(run: Run) -> None:
    add_soft_labels(run, {SHOTS[0].id: [1.0, 0.0], CFES[0].id: [0.0, 1.0]})
    run.counterfactuals.path.write_text(to_line(CFES[0].replace(text="a clever film .")))
    ui = Told()
    first = run_show(run, ui).pairs[0][0]
    assert first.p_after is None
    assert any("changed by hand" in line for line in ui.told)


def test_soft_labels_that_are_still_being_written_are_not_read(run: Run) -> None:
    add_soft_labels(run, {SHOTS[0].id: [1.0, 0.0], CFES[0].id: [0.0, 1.0]})
    run.soft_labels.begin({}, labels=LABELS, teacher="t")
    run.soft_labels.path.write_text('{"id": "torn')
    assert run_show(run).pairs[0][0].p_after is None


def test_a_cfe_whose_shot_is_gone_is_counted_not_shown(run: Run) -> None:
    write_records(run.shots.path, SHOTS[:1])
    ui = Told()
    assert run_show(run, ui).total == 1
    assert any("1 CFEs are not shown" in line for line in ui.told)


def test_an_unfinished_file_is_shown_and_said_to_be_so(run: Run) -> None:
    run.counterfactuals.finish(run.counterfactuals.begin({}, labels=LABELS), CFES, complete=False)
    ui = Told()
    assert run_show(run, ui).total == 2
    assert any("not complete yet" in line for line in ui.told)


def test_pairs_as_json_hold_the_records_and_their_sources_text(run: Run) -> None:
    document = json.loads(json.dumps(run_show(run).as_json()))
    assert document["total"] == 2
    assert document["pairs"][0]["source_text"] == SHOTS[0].text
    assert document["pairs"][0]["text"] == CFES[0].text


# Rejected attempts


def test_rejected_attempts_come_with_reasons_and_counts_of_all(run: Run) -> None:
    found = run_show(run, rejected=True)
    assert isinstance(found, RejectedAttempts)
    assert [row.status for row in found.attempts] == ["unchanged", "teacher-wrong"]
    assert found.counts == {"accepted": 2, "unchanged": 1, "teacher-wrong": 1}
    assert found.sources[SHOTS[0].id] == SHOTS[0].text


@pytest.mark.parametrize("only", [SHOTS[0].id, f"{SHOTS[0].id}~positive"])
def test_an_id_picks_rejected_attempts_too(run: Run, only: str) -> None:
    assert [row.status for row in run_show(run, rejected=True, only=only).attempts] == ["unchanged"]


def test_rejected_attempts_are_limited_too(run: Run) -> None:
    found = run_show(run, rejected=True, limit=1)
    assert (len(found.attempts), found.total) == (1, 2)
    assert json.loads(json.dumps(found.as_json()))["total"] == 2


# Quality


def test_the_summary_measures_files_and_replies(run: Run) -> None:
    add_soft_labels(run, {r.id: [1.0, 0.0] if r.label == "negative" else [0.0, 1.0] for r in (*SHOTS, *CFES)})
    reply = Reply(
        key="k",
        shot_id=SHOTS[0].id,
        target="positive",
        sample=1,
        text="x",
        finish_reason="stop",
        model="m",
        usage={"prompt_tokens": 30, "completion_tokens": 10},
        latency_s=0.1,
    )
    write_records(run.cfe_files.replies, [reply])
    found = run_show(run, summary=True)
    assert isinstance(found, QualitySummary)
    overall = found.quality.overall
    assert (overall.requests, overall.accepted, overall.teacher_wrong) == (3, 2, 1)
    assert (overall.first_flip_rate, overall.flip_rate) == (0.5, 1.0)
    assert (overall.tokens_per_accepted, overall.cost_per_accepted) == (20, (30 * 2 + 10 * 4) / 1e6 / 2)
    assert set(json.loads(json.dumps(found.as_json()))) == {"overall", "by_class", "by_prompt"}


# Prompts


def test_without_a_run_the_prompts_file_is_shown_to_start_another_from(tmp_path: Path) -> None:
    found = run_show(None, prompt="sentiment")
    assert isinstance(found, PromptText)
    assert found.messages == ()
    (tmp_path / "mine.yaml").write_text(found.text + "\n")
    again = run_show(None, prompt=str(tmp_path / "mine.yaml"))
    assert again.text == found.text
    assert again.prompt.partition("@")[2] == found.prompt.partition("@")[2]


def test_with_a_run_the_messages_for_its_first_shot_are_shown(run: Run) -> None:
    found = run_show(run, prompt="sentiment")
    assert (found.shot_id, found.target) == (SHOTS[0].id, "positive")
    assert found.messages[-1]["role"] == "user"
    assert SHOTS[0].text in found.messages[-1]["content"]
    assert found.messages[-1]["content"] in found.text
    assert "$" not in found.text


def test_of_several_classes_the_one_that_was_asked_for_is_the_target(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.shots.finish(run.shots.begin({}, labels=["negative", "neutral", "positive"]), SHOTS)
    ui = Told()
    assert run_show(run, ui, prompt="sentiment").target == "neutral"
    assert "--target nearest" in ui.told[0]
    write_records(run.cfe_files.attempts, ATTEMPTS)
    assert run_show(run, prompt="sentiment").target == "positive"


def test_a_prompt_that_asks_for_a_class_is_shown_with_its_letters(run: Run) -> None:
    found = run_show(run, prompt="teacher")
    assert (found.shot_id, found.target) == (SHOTS[0].id, None)
    assert "A = negative" in found.messages[0]["content"]
    assert SHOTS[0].text in found.messages[-1]["content"]


def test_a_prompt_needs_no_counterfactuals(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.shots.finish(run.shots.begin({}, labels=LABELS), SHOTS)
    assert run_show(run, prompt="generic").target == "positive"


# Usage


def test_neither_run_nor_prompt_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="nothing to show") as failure:
        run_show(None)
    assert "cod show RUN" in str(failure.value.hint)


def test_two_views_at_once_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--rejected and --summary"):
        ShowSettings(rejected=True, summary=True)


def test_a_run_without_counterfactuals_names_the_command_that_writes_them(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.shots.finish(run.shots.begin({}, labels=LABELS), SHOTS)
    with pytest.raises(CodError, match="does not exist") as failure:
        run_show(run)
    assert f"cod counterfact {run.folder}" in str(failure.value.hint)
