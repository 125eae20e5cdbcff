"""The environment of all tests, whatever it is outside, and fixtures that several test modules share."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

# Here and not in a fixture: Typer, transformers and torch read theirs when they are imported, child processes inherit.
# What people set to have output coloured, plain, wide or narrow; what `accelerate` and an LLM's user set.
_UNSET = (
    *("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS"),
    *("COLUMNS", "LINES", "TERMINAL_WIDTH"),
    *("WORLD_SIZE", "RANK", "LOCAL_RANK"),
    *("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
)
for _name in _UNSET:
    os.environ.pop(_name, None)
# One thread: the workers of pytest share the cores.
os.environ |= {"TERM": "xterm", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
# Without a home `~` is nobody's.
_HOME = TemporaryDirectory(prefix="cod-tests-home-")
os.environ.setdefault("HOME", _HOME.name)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's cache and prices, nor another test's."""
    monkeypatch.setenv("COD_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that is confidently right on `tiny.sentences`: negative, positive. Read only."""
    from tests.models.tiny import trained_teacher

    return trained_teacher(tmp_path_factory.mktemp("teacher"))
