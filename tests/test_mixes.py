"""The mixes and the rivals by name."""

import pytest

from cod_cli.errors import UsageError
from cod_cli.mixes import MIXES, OTHER_BUDGET, RIVALS, require_mix, rival_named


def test_what_takes_another_budget_is_known() -> None:
    assert {"all", "contrast", "pool", "pool-queries", "random-edits"} == OTHER_BUDGET


def test_no_rival_is_called_like_a_mix_or_a_file_of_the_run() -> None:
    assert not set(RIVALS) & {*MIXES, "counterfactuals", "replies", "attempts"}


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(UsageError) as failed:
        rival_named("edda")
    assert "eda, aeda, pool-rows" in str(failed.value.hint)
    with pytest.raises(UsageError):
        require_mix("edda")
    require_mix("eda")


def test_a_rival_goes_by_its_name_of_version_0_1_too() -> None:
    assert rival_named("pool") is rival_named("pool-rows")
