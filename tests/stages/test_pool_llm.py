"""`cod pool --model` from end to end: an LLM on loopback that writes texts, files on disk, the teacher's labels."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cod_cli.cli.app import app
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.records import Reply
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.pool import PoolSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages.label import LabelResult, label
from cod_cli.stages.pool import PoolPlan, PoolResult, pool
from cod_cli.stages.sample import sample
from cod_cli.store.jsonl import read_records
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.llm.fake_llm import FakeLLM, error
from tests.models.tiny import sentences
from tests.pools.writing import writer_of_new_texts
from tests.stages.students import write_rows


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    write_rows(tmp_path / "data" / "train.jsonl", sentences(40))
    write_rows(tmp_path / "data" / "test.jsonl", [("what a dull day by the sea", "negative")])
    run = Run(tmp_path / "run")
    sample(run, SampleSettings(data=str(tmp_path / "data"), shots="8"), Ui.silent())
    return run


def options(llm: FakeLLM, n: int, **more: Any) -> PoolSettings:
    return PoolSettings(**{"model": "m", "base_url": llm.url, "number": n, "cache": False, "concurrency": 1} | more)


def write(run: Run, llm: FakeLLM, n: int = 24, **more: Any) -> PoolResult:
    result = pool(run, options(llm, n, **more), Ui.silent())
    assert isinstance(result, PoolResult)
    return result


def test_an_llm_writes_the_texts_that_are_wanted(run: Run) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        result = write(run, llm, 20)
    rows = run.pool.read()
    assert (len(rows), result.texts, result.added) == (20, 20, 20)
    assert {row.source for row in rows} == {"llm"}
    assert rows[0].id == "llm/1/1"
    assert result.usage["completion_tokens"] > 0
    assert run.pool.require().counts["replies"] == 4


def test_copies_of_shots_of_scored_rows_and_of_one_another_are_left_out_and_counted(run: Run) -> None:
    new, shot = writer_of_new_texts(3), run.shots.read()[0].text
    with FakeLLM(lambda body: f"{new(body)}\n4. {shot}\n5. What a dull day by the sea !\n6. all the same again") as llm:
        result = write(run, llm, 12)
    assert (result.counts["shots"], result.counts["scored"]) == (4, 4)
    assert result.counts["near_copies"] == 3
    assert result.counts["rows"] == 24


def test_a_cap_ends_in_exit_code_3_and_the_same_command_goes_on(run: Run) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        with pytest.raises(PartialError, match=r"--max-calls 2 is reached; 12 of 24 texts"):
            write(run, llm, max_calls=2)
        assert len(run.pool.peek()) == 12
        with pytest.raises(CodError, match="not complete"):
            run.pool.require()
        result = write(run, llm)
        assert len(llm.requests) == 4
    assert result.texts == 24


def test_accept_partial_takes_what_is_there(run: Run) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        assert write(run, llm, max_calls=2, accept_partial=True).texts == 12
    assert run.pool.require().complete


def test_a_pool_that_is_there_is_not_asked_for_again_and_none_of_other_options_begun(run: Run) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        write(run, llm)
        assert write(run, llm).added == 0
        with pytest.raises(CodError, match=r"temperature: 0\.9 → 0\.1"):
            write(run, llm, temperature=0.1)
        assert len(llm.requests) == 4


def test_more_texts_are_appended_by_further_requests(run: Run) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        first = write(run, llm, 9)
        both = write(run, llm, 12, append=True)
    rows = run.pool.read()
    assert (both.texts, both.added, len({row.id for row in rows})) == (21, 12, 21)
    assert both.usage["completion_tokens"] > first.usage["completion_tokens"]
    assert sum(both.usage.values()) == sum(
        tokens for reply in run.read_pool_replies() for tokens in (reply.usage or {}).values()
    )


def test_force_archives_what_was_paid_for(run: Run) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        write(run, llm, 6)
        replies = run.pool_replies.read_bytes()
        write(run, llm, 6, force=True)
        assert len(llm.requests) == 2
    [archived] = (run.folder / "archive").glob("*/2-pool-replies.jsonl")
    assert archived.read_bytes() == replies


def test_a_start_without_an_answer_binds_nobody_to_its_options(run: Run) -> None:
    with FakeLLM(error(401)) as wrong, pytest.raises(CodError, match="does not accept the key"):
        write(run, wrong)
    with FakeLLM(writer_of_new_texts()) as llm:
        assert write(run, llm).texts == 24


def test_an_llm_that_repeats_itself_leaves_a_smaller_pool_and_says_so(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeLLM("1. a slow evening at the lake\n2. the long road to our harbour") as llm:
        result = pool(run, options(llm, 100), Ui())
        asked = len(llm.requests)
        assert write(run, llm, 100).texts == 2
        assert len(llm.requests) == asked
    assert isinstance(result, PoolResult)
    assert result.texts == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the LLM repeats itself: its last 8 replies brought" in said
    assert "2 of 100 are there" in said


def test_an_llm_that_only_apologises_is_one_error(run: Run) -> None:
    with FakeLLM("I'm sorry, but I can't write such texts.") as llm:
        with pytest.raises(CodError, match="held nothing new: the model says: I'm sorry") as caught:
            write(run, llm)
        assert caught.value.exit_code == 1
        asked = len(llm.requests)
        with pytest.raises(CodError):
            write(run, llm)
        assert len(llm.requests) == asked


def test_a_dry_run_prices_and_sends_nothing(run: Run) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        plan = pool(run, options(llm, 24, dry_run=True, price=(1.0, 2.0)), Ui.silent())
        assert llm.requests == []
    assert isinstance(plan, PoolPlan)
    assert plan.estimate.calls == 4
    assert plan.estimate.cost
    assert sorted(path.name for path in run.folder.glob("2-*")) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"prompt": "sentiment"}, "does not ask for new texts"),
        ({"max_cost": 1.0}, "--max-cost needs a price"),
        ({"base_url": "ftp://x"}, "no http address"),
    ],
)
def test_what_cannot_work_is_found_before_anything_is_sent(run: Run, more: dict[str, Any], said: str) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        with pytest.raises(UsageError, match=said):
            write(run, llm, **more)
        assert llm.requests == []
    assert run.pool.manifest() is None


def test_a_dry_run_is_about_an_llm() -> None:
    with pytest.raises(UsageError, match="--from has none"):
        PoolSettings(from_data="x.txt", dry_run=True)


def test_the_teacher_disagrees_with_some_of_the_classes_asked_for(run: Run, teacher_folder: Path) -> None:
    """The LLM is asked for both classes in turn and writes lovely texts only."""
    new = writer_of_new_texts()
    with FakeLLM(lambda body: new(body).replace("awful", "lovely")) as llm:
        write(run, llm, 24)
    done = label(run, LabelSettings(teacher=str(teacher_folder), cache=False), Ui.silent())
    assert isinstance(done, LabelResult)
    assert done.asked is not None
    assert done.asked.of == {"negative": 12, "positive": 12}
    assert done.asked.agree["positive"] > done.asked.agree["negative"]
    shown = CliRunner().invoke(app, ["label", str(run.folder), "--no-cache"])
    assert "it disagrees with the class asked for on" in " ".join(shown.stdout.split())


def test_the_command_line_tells_replies_and_tokens(run: Run) -> None:
    with FakeLLM(writer_of_new_texts()) as llm:
        llm.then("I'm sorry, but I can't write such texts.")
        words = ["pool", str(run.folder), "--model", "m", "-n", "6", "--base-url", llm.url, "--no-cache"]
        shown = CliRunner().invoke(app, [*words, "--concurrency", "1"])
        capped = CliRunner().invoke(app, [*words, "-n", "7", "--append", "--max-calls", "0", "--json"])
    assert shown.exit_code == 0
    assert "2 replies (1 refused)" in " ".join(shown.stdout.split())
    assert capped.exit_code == 3
    assert json.loads(run.pool.meta.read_text(encoding="utf-8"))["complete"] is False


def test_the_first_request_can_be_shown(run: Run) -> None:
    shown = CliRunner().invoke(app, ["show", str(run.folder), "--prompt", "pool"])
    assert shown.exit_code == 0
    assert "more texts that are" in " ".join(shown.stdout.split())


def start(run: Run, llm: FakeLLM) -> "subprocess.Popen[bytes]":
    root = Path(__file__).parents[2]
    words = f"pool {run.folder} --model m -n 200 --base-url {llm.url} --concurrency 4 --no-cache -q".split()
    environment = os.environ | {"PYTHONPATH": str(root), "OPENAI_API_KEY": "none"}
    return subprocess.Popen([sys.executable, "-m", "cod_cli", *words], cwd=root, env=environment)


@pytest.mark.slow
def test_killed_again_and_again_it_sends_nothing_that_is_on_disk(run: Run) -> None:
    rng, kills = random.Random(0), 4
    with FakeLLM(writer_of_new_texts(), delay=0.1) as llm:
        for kill in range(kills + 1):
            on_disk = {reply.sample for reply in run.read_pool_replies()}
            llm.requests.clear()
            process = start(run, llm)
            while kill < kills and not llm.requests and process.poll() is None:
                time.sleep(0.01)
            if kill < kills:
                time.sleep(rng.uniform(0, 0.8))
                process.kill()
            process.wait()
            assert not {body["seed"] for body in llm.requests} & on_disk
    assert process.returncode == 0
    replies = read_records(run.pool_replies, Reply)
    assert len({reply.key for reply in replies}) == len(replies)
    assert len(run.pool.read()) == 200
