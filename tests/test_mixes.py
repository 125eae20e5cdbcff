"""The mixes and the rivals by name."""

import pytest

from cod_cli.errors import UsageError
from cod_cli.mixes import MIXES, OTHER_BUDGET, RIVALS, require_mix, rival_named, select, select_as_in_0_1
from tests.stages.labelling import CFES, SHOTS


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


def test_what_each_rival_is() -> None:
    def those(what: str) -> set[str]:
        return {name for name, kind in RIVALS.items() if getattr(kind, what)}

    assert those("llm") == {"paraphrase", "opposite"}
    assert those("real") == {"pool-rows", "pool-queries"}
    assert those("many") == {"random-edits"}
    assert those("flips") == {"cod-unreverted", "cod-nearest", "cod-confident", "opposite"}
    assert rival_named("eda").name == "eda"


def test_of_the_shots_alone_version_0_1_took_the_same_rows() -> None:
    assert select_as_in_0_1("shots", SHOTS, CFES) == select("shots", SHOTS, CFES) == [[shot] for shot in SHOTS]
