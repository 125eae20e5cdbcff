"""Numbers that are no numbers, or too large, are refused when settings are built."""

import pytest

from cod_cli.errors import UsageError
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.settings.sweep import SweepSettings


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_cap_is_switched_off_by_what_is_no_number(number: float) -> None:
    for options in ({"max_cost": number}, {"price": (number, 1.0)}, {"price": (1.0, number)}, {"rpm": number}):
        with pytest.raises(UsageError, match=r"is (nan|inf)"):
            CounterfactSettings(model="m", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("digits", [str(2**64), "9" * 5000])
def test_numbers_of_more_than_64_bits_are_refused(digits: str) -> None:
    with pytest.raises(UsageError, match="--seed is"):
        DistillSettings(student="s", seed=digits)
    with pytest.raises(UsageError, match="--layers is"):
        DistillSettings(student="s", method="lwd", layers=digits)
    with pytest.raises(UsageError, match="-k is"):
        SampleSettings(data="d", shots=digits)
    with pytest.raises(UsageError, match="-k is"):
        SweepSettings(out="o", shots=digits)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="too large"):
        SampleSettings(data="d", seed=2**64)


def test_what_the_editor_makes_is_recorded_and_goes_on_as_it_was_begun() -> None:
    options = {"teacher": "t", "generator": "editor"}
    fluent = CounterfactSettings(**options, edits="fluent")  # type: ignore[arg-type]
    assert fluent.resolved().results()["edits"] == "fluent"
    assert CounterfactSettings(**options).resolved({"edits": "fluent"}).edits == "fluent"  # type: ignore[arg-type]
    assert CounterfactSettings(**options).resolved({}).edits == "any"  # type: ignore[arg-type]
    held_out = CounterfactSettings(**options, held_out=3, edits="fluent", lexicon="shots")  # type: ignore[arg-type]
    assert (held_out.resolved().edits, held_out.resolved().lexicon) == ("fluent", "shots")
    shots = CounterfactSettings(**options, lexicon="shots").resolved({"lexicon": "source"})  # type: ignore[arg-type]
    assert shots.lexicon == "shots", "what is said otherwise is refused, not forgotten"


def test_an_llms_edits_are_not_the_editors_but_where_it_stands_in() -> None:
    with pytest.raises(UsageError, match="--edits is for the editor"):
        CounterfactSettings(model="m", edits="fluent")
    with pytest.raises(UsageError, match="--lexicon is for the editor"):
        CounterfactSettings(model="m", lexicon="shots")
    assert CounterfactSettings(model="m", teacher="t", fallback="editor", edits="fluent").resolved().edits == "fluent"
    assert CounterfactSettings(model="m").resolved().edits == "any"


def test_with_a_masked_language_model_edits_are_fluent_unless_told_otherwise() -> None:
    options = {"teacher": "t", "generator": "editor", "editor_model": "lm"}
    assert CounterfactSettings(**options).resolved().edits == "fluent"  # type: ignore[arg-type]
    assert CounterfactSettings(**options, edits="any").resolved().edits == "any"  # type: ignore[arg-type]
    assert CounterfactSettings(**options).resolved({"edits": "any"}).editor_model == "lm"  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--editor-model is for the editor"):
        CounterfactSettings(model="m", editor_model="lm")
