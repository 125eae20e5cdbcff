"""The files of a run: what belongs together and what does not."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from cod_cli.errors import CodError
from cod_cli.store.run import Run, save_folder
from tests.records_of import counterfactual


def test_semifactuals_are_no_rival(tmp_path: Path) -> None:
    run = Run(tmp_path)
    rows = [counterfactual("s", "a film", id="s~=1", kind="semifactual", label="negative", flipped=False)]
    run.semifactuals.finish(run.semifactuals.begin({}, labels=["negative", "positive"]), rows)
    assert run.semifactuals.read() == rows
    assert run.rival_rows() == []


def test_semifactuals_are_archived_with_the_counterfactuals(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert {run.semifactuals.path, run.semifactuals.meta} <= set(run.cfe_files.paths)
    assert run.rival("eda").semifactuals is None


def test_further_counterfactuals_are_known_by_their_ids() -> None:
    assert not counterfactual("s", "a film").is_further
    assert not counterfactual("s", "a film", id="s~positive@eda").is_further
    assert counterfactual("s", "a film", id="s~positive~2").is_further


def test_what_does_not_fit_on_a_full_disk_is_kept_elsewhere_and_the_hint_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def fill(folder: Path) -> None:
        (folder / "model").write_text("trained")
        if folder.parent == tmp_path / "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CodError, match="full/student cannot be written: No space left") as error:
        save_folder(tmp_path / "full" / "student", tmp_path / "archive", fill)
    [spare] = (tmp_path / "temporary").iterdir()
    assert (spare / "model").read_text() == "trained"
    assert f"mv {spare} {tmp_path}/full/student" in str(error.value.hint)
    assert not list((tmp_path / "full").iterdir())


def test_where_nothing_can_be_written_at_all_the_first_reason_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fill(folder: Path) -> None:
        raise OSError(errno.EFBIG, str(folder.name))

    with pytest.raises(OSError, match="part"):
        save_folder(tmp_path / "student", tmp_path / "archive", fill)
    assert not list(tmp_path.iterdir())
