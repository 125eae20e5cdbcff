"""`cod label --calibrate` with an LLM as teacher: a loopback server that leans to one class."""

import math
from pathlib import Path

import numpy as np
import pytest

from cod_cli.store.run import Run
from cod_cli.teachers.calibration import CONTENT_FREE, cross_fit, fit_temperature, quality
from cod_cli.training.trainset import read_trainset
from tests.llm.editing import text_in
from tests.llm.fake_llm import Answer, Body, FakeLLM, logprobs
from tests.models.tiny import LANGUAGE
from tests.stages.llm_labels import ask, drawn


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return drawn(tmp_path / "run")


def leaning(body: Body) -> Answer:
    """Odds of 9 to 1 for A whatever is asked, times 3 either way by what the text says."""
    text = text_in(body)
    good, bad = (sum(word in LANGUAGE[name] for word in text.split()) for name in ("positive", "negative"))
    odds = 9.0 * 3.0 ** (bad - good)
    p = odds / (1 + odds)
    return Answer(("A",), "length", logprobs=logprobs(("A", [("A", math.log(p)), ("B", math.log(1 - p))])))


def test_a_leaning_seen_on_inputs_without_content_is_taken_away(run: Run) -> None:
    with FakeLLM(leaning) as llm:
        result = ask(run, llm, calibrate="contextual")
        found = result.calibration
        assert found is not None
        assert result.accuracy == 0.5
        assert found.bias["positive"] - found.bias["negative"] == pytest.approx(math.log(9), abs=1e-3)
        asked = [text_in(body) for body in llm.requests]
        assert sorted(asked) == sorted([*CONTENT_FREE, *(shot.text for shot in run.shots.read())])
        # All that was asked is on disk: fitting anew is free.
        assert ask(run, llm, calibrate="contextual").calibration == found
        assert len(llm.requests) == len(asked)
    for row in read_trainset(run, "shots").rows:
        assert abs(row.logits[0] - row.logits[1]) == pytest.approx(math.log(3), abs=1e-3)
        assert int(np.argmax(row.logits)) == row.label
    assert found.after["log_likelihood"] == pytest.approx(math.log(0.75), abs=1e-3)


def test_a_temperature_may_come_from_the_shots_each_left_out_in_turn(run: Run) -> None:
    with FakeLLM(leaning) as llm:
        found = ask(run, llm, calibrate="temperature").calibration
    assert found is not None
    shots = run.shots.read()
    logits = [soft.logits for soft in run.soft_labels.read()]
    truth = [["negative", "positive"].index(shot.label) for shot in shots]
    assert found.temperature == pytest.approx(fit_temperature(logits, truth), abs=1e-3)
    assert found.after == pytest.approx(quality(cross_fit(logits, truth, len(shots)), truth), abs=1e-3)
    assert (found.data, found.rows) == ("shots", 8)
