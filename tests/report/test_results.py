"""What a report finds below a folder."""

from pathlib import Path

import pytest

from cod_cli.errors import CodError
from cod_cli.report.results import Cost, read_evidence
from tests.report.evidence_of import predicted, rescore, scored_run, sweep_json, took, trained

TWO = {"kd-shots": 0.6, "kd-cod": 0.7}


def test_every_run_is_found_however_deep_and_small_k_comes_first(tmp_path: Path) -> None:
    for place in ("b/k16-s0", "b/k8-s0", "a"):
        scored_run(tmp_path / place, TWO)
    found = read_evidence(tmp_path)
    assert [run.folder for run in found.runs] == [tmp_path / "a", tmp_path / "b/k8-s0", tmp_path / "b/k16-s0"]
    assert len(found.results) == 6
    assert len(found.teachers) == 3


def test_one_run_alone_is_evidence_too(tmp_path: Path) -> None:
    scored_run(tmp_path / "run", TWO)
    assert [result.arm for result in read_evidence(tmp_path / "run").results] == ["kd-shots", "kd-cod"]


def test_runs_scored_before_there_was_f1_by_class_have_it_from_what_was_decided(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", TWO, n=4)
    predicted(run, {"kd-cod": [0, 0, 1, 1]}, [0, 1, 1, 1])
    assert '"f1"' not in run.scores.path.read_text()
    found = {result.arm: result.score.f1 for result in read_evidence(tmp_path).results}
    assert found == {"kd-shots": None, "kd-cod": pytest.approx({"negative": 2 / 3, "positive": 4 / 5}, abs=1e-6)}


def test_archived_scores_are_left_alone(tmp_path: Path) -> None:
    scored_run(tmp_path / "run", TWO)
    scored_run(tmp_path / "run" / "archive" / "then", TWO)
    assert len(read_evidence(tmp_path).runs) == 1


def test_the_seed_of_the_shots_is_the_unit(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"kd-cod": 0.7}, seed=4)
    rescore(run, "kd-cod", student="kd-cod-s1", seed=1)
    (result,) = read_evidence(tmp_path).results
    assert (result.arm, result.draw, result.score.seed) == ("kd-cod", 4, 1)


def test_a_folder_without_scores_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(CodError, match="holds no scores") as failure:
        read_evidence(tmp_path)
    assert f"cod eval {tmp_path}" in str(failure.value.hint)
    with pytest.raises(CodError, match="no folder"):
        read_evidence(tmp_path / "nowhere")


def test_a_torn_line_is_named_by_file_and_line(tmp_path: Path) -> None:
    run = scored_run(tmp_path, TWO)
    run.scores.path.write_text(run.scores.path.read_text() + '{"student": ')
    with pytest.raises(CodError, match=r"5-scores\.jsonl, line 4"):
        read_evidence(tmp_path)


def test_a_sweep_tells_its_baseline_and_the_arms_of_another_budget(tmp_path: Path) -> None:
    scored_run(tmp_path / "sst2/k16-s0", TWO)
    sweep_json(tmp_path, "kd-shots", ["pool-queries"])
    found = read_evidence(tmp_path)
    assert (found.baselines, found.other_budget) == ({"kd-shots"}, {"pool-queries"})
    assert found.plans[0].command == "cod sweep grid.yaml"


def test_a_damaged_sweep_file_is_named(tmp_path: Path) -> None:
    scored_run(tmp_path, TWO)
    (tmp_path / "sweep.json").write_text("[]")
    with pytest.raises(CodError, match=r"sweep\.json is damaged"):
        read_evidence(tmp_path)


def test_a_student_cut_from_its_teacher_is_marked(tmp_path: Path) -> None:
    run = scored_run(tmp_path, TWO)
    trained(run, "kd-cod", cut_from_teacher=True)
    assert {result.arm: result.cut for result in read_evidence(tmp_path).results} == {"kd-shots": False, "kd-cod": True}


def test_costs_are_the_shots_those_of_the_texts_and_the_training(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"kd-shots": 0.6, "kd-cod": 0.7, "eda": 0.6})
    took(run, teacher_queries=60, accepted=8, usage={"prompt_tokens": 100, "completion_tokens": 20}, cost=0.5)
    found = {result.arm: result.cost for result in read_evidence(tmp_path).results}
    assert found["kd-shots"] == Cost(shots=16, queries=16, tokens=0, money=0.0, seconds=1.0)
    assert found["kd-cod"] == Cost(shots=8, queries=60, tokens=120, money=0.5, seconds=1.0)
    assert found["eda"].queries is None  # nobody wrote down what it took


def test_a_student_pays_for_the_share_of_the_texts_that_it_trains_on(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"kd-cod": 0.7})
    took(run, teacher_queries=60, accepted=16, usage={"prompt_tokens": 100}, cost=0.5)
    (result,) = read_evidence(tmp_path).results
    assert (result.cost.queries, result.cost.tokens, result.cost.money) == (30, 50, 0.25)


def test_every_row_that_is_trained_on_was_asked_about(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"eda": 0.6})
    took(run, "eda", teacher_queries=0, accepted=8)
    (result,) = read_evidence(tmp_path).results
    assert result.cost.queries == 16


def test_an_llm_that_is_scored_itself_took_what_its_answers_took(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 10}
    scored_run(tmp_path, {"in-context": 0.8}, method="prompt", mix=None, usage=usage, cost=0.5)
    (result,) = read_evidence(tmp_path).results
    assert (result.cost.tokens, result.cost.money) == (1010, 0.5)
