"""`cod advise`: what a run has and lacks, what the next steps cost and bring."""

import json
from pathlib import Path
from statistics import mean

import pytest
from typer.testing import CliRunner

from cod_cli.cli.app import app
from cod_cli.errors import CodError
from cod_cli.records import PoolText
from cod_cli.settings.advise import AdviseSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages.advise import BROUGHT, Advice, Step, advise
from cod_cli.stages.sample import sample
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.models.tiny import sentences
from tests.stages.students import write_rows

EVIDENCE = Path(__file__).parents[1] / "evidence"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    data = write_rows(tmp_path / "data.jsonl", sentences(40))
    run = Run(tmp_path / "run")
    sample(run, SampleSettings(data=str(data), shots="8"), Ui.silent())
    return run


def ask(run: Run, n: int = 100) -> Advice:
    return advise(run, AdviseSettings(number=n), Ui.silent())


def step(advice: Advice, word: str) -> Step:
    return next(step for step in advice.steps if word in step.command)


def gather(run: Run, n: int, **manifest: object) -> None:
    """A pool of n texts by an LLM."""
    rows = [PoolText(id=f"llm/{number}/1", text=f"text {number}", source="llm") for number in range(1, n + 1)]
    begun = run.pool.begin({"sources": []}, labels=["negative", "positive"])
    run.pool.finish(begun, rows, **manifest)  # type: ignore[arg-type]


def test_a_fresh_run_lacks_all_but_its_shots(run: Run) -> None:
    advice = ask(run)
    assert advice.has == ("8 shots of 2 classes",)
    assert advice.lacks[:3] == ("100 of 100 texts without labels", "counterfactuals", "semifactuals")
    assert step(advice, "--from").queries == 100
    assert step(advice, "--generator editor").queries == 8 * 170


def test_tokens_are_estimated_by_the_prompts_until_there_are_some(run: Run) -> None:
    found = step(ask(run), "--model")
    assert not found.measured
    assert 1000 < found.tokens < 20_000
    assert step(ask(run, 200), "--model").tokens == pytest.approx(2 * found.tokens, abs=1)


def test_tokens_and_money_are_the_runs_own_averages(run: Run) -> None:
    gather(run, 20, counts={"texts": 20}, usage={"prompt_tokens": 700, "completion_tokens": 300}, cost=0.5)
    run.pool_replies.write_text(
        '{"key": "k", "shot_id": "llm/1", "target": "positive", "sample": 1, "text": "", "finish_reason": "stop",'
        ' "model": "m", "usage": null, "latency_s": 2.0}\n',
        encoding="utf-8",
    )
    found = step(ask(run), "--model")
    assert found.measured
    assert (found.queries, found.tokens, found.cost) == (80, 4000, 2.0)
    assert "-n 80 --append" in found.command


def test_rows_without_a_label_are_counted(run: Run) -> None:
    gather(run, 100)
    run.soft_labels.finish(run.soft_labels.begin({}, labels=["negative", "positive"]), [])
    advice = ask(run)
    assert "soft labels of 108 rows" in advice.lacks


def test_what_evidence_says_is_what_its_score_files_say() -> None:
    for found in BROUGHT.values():
        reached: dict[str, list[float]] = {found.arm: [], found.baseline: []}
        for path in (EVIDENCE / found.folder).glob(f"sst2/k{found.k}-s*/5-scores.jsonl"):
            for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
                reached.get(row["student"], []).append(100 * row["accuracy"])
        means = [round(mean(reached[name]), 1) for name in (found.baseline, found.arm)]
        assert (means, len(reached[found.arm])) == ([found.before, found.after], found.seeds)


def test_five_lines_are_printed(run: Run) -> None:
    shown = CliRunner().invoke(app, ["advise", str(run.folder)], env={"COLUMNS": "400"})
    assert shown.exit_code == 0
    assert [line.split(":")[0] for line in shown.stdout.splitlines()] == ["has", "lacks", "next", "next", "next"]


def test_a_folder_without_shots_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CodError, match="1-shots"):
        ask(Run(tmp_path / "nothing"))
