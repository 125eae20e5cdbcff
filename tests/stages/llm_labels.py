"""A run of eight shots, and `cod label` with an LLM on it, quietly; for tests of the stage and of calibration."""

from pathlib import Path
from typing import Any

from cod_cli.settings.label import LabelSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages.label import LabelResult, label
from cod_cli.stages.sample import sample
from cod_cli.store.run import Run
from cod_cli.ui import Ui
from tests.llm.fake_llm import FakeLLM
from tests.models.tiny import sentences


def drawn(folder: Path) -> Run:
    """A run of eight shots; its data stand beside it."""
    rows = [f'{{"text": "{text}", "label": "{name}"}}\n' for text, name in dict(sentences(60)).items()]
    data = folder.parent / "data.jsonl"
    data.write_text("".join(rows), encoding="utf-8")
    run = Run(folder)
    sample(run, SampleSettings(data=str(data), shots="8"), Ui.silent())
    return run


def ask(run: Run, llm: FakeLLM | None, **options: Any) -> LabelResult:
    """Run `cod label` with the LLM, or with the teacher of the run before."""
    named = {"teacher": "openai:m", "base_url": llm.url} if llm else {}
    result = label(run, LabelSettings(**named | options), Ui.silent())
    assert isinstance(result, LabelResult)
    return result
