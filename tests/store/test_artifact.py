"""When a file that is there was made with other settings, and when not."""

from pathlib import Path

import pytest

from cod_cli.errors import CodError
from cod_cli.store.artifact import changed_settings
from cod_cli.store.run import Run


def test_a_changed_option_is_refused_and_named(tmp_path: Path) -> None:
    shots = Run(tmp_path).shots
    shots.begin({"data": "d", "shots": "8"}, labels=["a", "b"])
    with pytest.raises(CodError, match="shots: 8 → 16"):
        shots.check({"data": "d", "shots": "16"})


def test_a_file_of_an_earlier_version_is_not_refused_for_an_option_that_it_did_not_know(tmp_path: Path) -> None:
    shots = Run(tmp_path).shots
    shots.begin({"data": "d"}, labels=["a", "b"])
    found = shots.check({"data": "d", "new_option": 0.8})
    assert found is not None
    assert found.settings == {"data": "d"}


def test_an_option_that_came_later_is_compared_with_what_it_was_by_default() -> None:
    was, wanted = {"epochs": 8, "gone": 1}, {"epochs": 8, "lora": 4}
    assert changed_settings(was, wanted) == []
    assert changed_settings(was, wanted, {"lora": None}) == ["lora: None → 4"]
    assert changed_settings(was, {"epochs": 8, "lora": None}, {"lora": None}) == []
