"""The files of a run: what belongs together and what does not."""

from pathlib import Path

from cod_cli.store.run import Run
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
