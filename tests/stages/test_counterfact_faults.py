"""`cod counterfact` as a process: a server full of faults, and kills in between."""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cod_cli.records import Reply
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages.sample import sample
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.llm.editing import edit, text_in
from tests.llm.fake_llm import Answer, FakeLLM, broken_json, error, hang, html, null_content, reset
from tests.models.tiny import sentences

SHOTS, CONCURRENCY, KILLS = 60, 4, 6

# What was asked: the text to edit, and the number of the try, which the seed follows.
Asked = tuple[str, int]


def asked(body: dict[str, Any]) -> Asked:
    return text_in(body), body["seed"] + 1


class FaultyEditor:
    """A third of the requests meet a fault, some replies are empty, null, cut off or no edit; counts the paid."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.paid: Counter[Asked] = Counter()
        self.lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Answer | str:
        faults = [error(429, retry_after="0.01"), error(500), error(503), reset(), hang(), html(), broken_json()]
        poor: list[Answer | str] = [Answer(("",)), null_content(), Answer(("a cut",), finish_reason="length"), "same"]
        with self.lock:
            if self.random.random() < 0.33:
                return self.random.choice(faults)
            self.paid[asked(body)] += 1
            return self.random.choice(poor) if self.random.random() < 0.3 else edit(body)


def on_disk(run: Run, texts: dict[str, str]) -> set[Asked]:
    if not run.cfe_files.replies.exists():
        return set()
    whole = run.cfe_files.replies.read_bytes().rpartition(b"\n")[0].decode("utf-8").splitlines()
    replies = [Reply.model_validate_json(line) for line in whole]
    return {(texts[reply.shot_id], reply.sample) for reply in replies}


def start(run: Run, teacher: Path, llm: FakeLLM) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    options = f"--model m --base-url {llm.url} --concurrency {CONCURRENCY} --timeout 0.5 --no-cache -q".split()
    command = [sys.executable, "-m", "cod_cli", "counterfact", str(run.folder), "--teacher", str(teacher), *options]
    environment = os.environ | {"PYTHONPATH": str(root), "OPENAI_API_KEY": "none"}
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_every_shot_is_accounted_for_and_nothing_on_disk_is_sent_again(
    tmp_path: Path, teacher_folder: Path, seed: int
) -> None:
    rows = [f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in dict(sentences(2000)).items()]
    (tmp_path / "data.jsonl").write_text("".join(rows), encoding="utf-8")
    run, rng, editor = Run(tmp_path / "run"), random.Random(seed), FaultyEditor(seed)
    sample(run, SampleSettings(data=str(tmp_path / "data.jsonl"), shots=str(SHOTS)), Ui.silent())
    texts = {shot.id: shot.text for shot in run.shots.read()}
    with FakeLLM(editor, delay=0.02) as llm:
        for kill in range(KILLS + 10):
            known = on_disk(run, texts)
            llm.requests.clear()
            process = start(run, teacher_folder, llm)
            if kill < KILLS:
                while not llm.requests and process.poll() is None:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0, 1.0))
                process.kill()
            said = process.communicate()[0]
            again = {asked(body) for body in llm.requests} & known
            assert not again, f"sent again although the reply is on disk: {again}"
            if kill >= KILLS and process.returncode == 0:
                break
            assert kill < KILLS or process.returncode == 3, said
    paid = on_disk(run, texts)
    assert sum(editor.paid.values()) - len(paid) <= CONCURRENCY * KILLS
    counts = run.counterfactuals.require().counts
    assert counts["accepted"] + counts["not_flipped"] + counts["teacher_wrong"] == counts["cases"] == SHOTS
    attempts, accepted = run.cfe_files.read_attempts(), run.counterfactuals.read()
    assert {attempt.shot_id for attempt in attempts} == set(texts)
    assert {cfe.shot_id for cfe in accepted} == {row.shot_id for row in attempts if row.status == "accepted"}
    assert len(accepted) == counts["accepted"] > SHOTS / 2
