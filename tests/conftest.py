"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest

# Before torch is imported: the workers of pytest share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's cache, nor another test's."""
    monkeypatch.setenv("COD_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that is confidently right on `tiny.sentences`: negative, positive. Read only."""
    from tests.models.tiny import trained_teacher

    return trained_teacher(tmp_path_factory.mktemp("teacher"))
