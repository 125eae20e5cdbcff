"""One process at a time where two would undo each other's work."""

import os
from pathlib import Path

import pytest

from cod_cli.errors import CodError
from cod_cli.store.locks import alone
from cod_cli.store.run import Run


def test_the_second_is_told_who_is_there_and_nothing_is_left_behind(tmp_path: Path) -> None:
    said = rf"works on {tmp_path}: cod eval \(process {os.getpid()}\)"
    with alone(tmp_path / ".lock", "cod eval"), pytest.raises(CodError, match=said):
        alone(tmp_path / ".lock", "cod label").__enter__()
    assert not list(tmp_path.iterdir())


def test_those_that_share_keep_out_those_that_do_not_until_the_last_has_gone(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with alone(path, "one", shared=True):
        with alone(path, "two", shared=True):
            pass
        with pytest.raises(CodError, match="another process"):
            alone(path, "three").__enter__()
    with alone(path, "three"):
        assert path.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_where_nothing_can_be_written_nothing_is_locked(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with alone(tmp_path / ".lock", "cod eval"):
        assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_there_is_not_made_by_holding_it(tmp_path: Path) -> None:
    with Run(tmp_path / "typo").hold("cod eval"):
        assert not (tmp_path / "typo").exists()


def test_halves_of_files_that_a_kill_left_go_with_the_next_stage(tmp_path: Path) -> None:
    (tmp_path / ".3-soft-labels.jsonl.4711.part").write_text("half")
    with Run(tmp_path).hold("cod label"):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
