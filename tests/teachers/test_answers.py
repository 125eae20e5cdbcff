"""From replies to class probabilities: numbers that were computed by hand."""

import math
import string

import numpy as np
import pytest

from cod_cli.errors import UsageError
from cod_cli.llm.messages import MALFORMED, REFUSED, Choice, TopLogprobs
from cod_cli.teachers.answers import FLOOR, by_logprobs, by_votes, class_codes, is_rejected, read_code, uniform_output
from cod_cli.teachers.base import Output

LABELS = ["negative", "positive"]


def listed(**masses: float) -> TopLogprobs:
    return alternatives(*masses.items())


def alternatives(*pairs: tuple[str, float]) -> TopLogprobs:
    return tuple((token, math.log(mass)) for token, mass in pairs)


def probs(output: Output) -> list[float]:
    return np.exp(output.logits).tolist()


def test_codes_are_letters_in_label_order() -> None:
    assert class_codes(["a", "b", "c"]) == ["A", "B", "C"]
    assert class_codes(list(map(str, range(26)))) == list(string.ascii_uppercase)


def test_more_classes_than_letters_are_refused() -> None:
    with pytest.raises(UsageError, match="there are 27"):
        class_codes(list(map(str, range(27))))


def test_the_codes_probabilities_are_renormalised() -> None:
    output = by_logprobs(listed(A=0.6, B=0.2, The=0.15), ["A", "B"])
    assert probs(output) == pytest.approx([0.75, 0.25])
    assert output.covered_mass == pytest.approx(0.8)
    assert output.source == "logprobs"


@pytest.mark.parametrize("variant", ["a", " A", " a", "\nA", "A ", "▁A", "ĠA", "ĊA", "\tA"])
def test_case_and_space_variants_are_summed(variant: str) -> None:
    output = by_logprobs(alternatives(("A", 0.3), (variant, 0.3), ("B", 0.4)), ["A", "B"])
    assert probs(output) == pytest.approx([0.6, 0.4])
    assert output.covered_mass == pytest.approx(1.0)


@pytest.mark.parametrize("other", ["AB", "A.", "Á", "", "B1", "(A", "aa"])
def test_other_tokens_are_no_variants(other: str) -> None:
    output = by_logprobs(alternatives(("A", 0.3), (other, 0.3), ("B", 0.4)), ["A", "B"])
    assert probs(output) == pytest.approx([3 / 7, 4 / 7])
    assert output.covered_mass == pytest.approx(0.7)


def test_a_code_that_is_not_listed_gets_the_least_that_is_listed() -> None:
    output = by_logprobs(listed(A=0.9, The=0.04, It=0.01), ["A", "B"])
    assert probs(output) == pytest.approx([0.9 / 0.91, 0.01 / 0.91])
    assert output.covered_mass == pytest.approx(0.9)


def test_a_code_that_is_not_listed_gets_no_more_than_what_the_list_leaves() -> None:
    output = by_logprobs(listed(A=0.7, The=0.299), ["A", "B"])
    assert probs(output) == pytest.approx([0.7 / 0.701, 0.001 / 0.701])


def test_a_list_that_leaves_nothing_gives_finite_numbers() -> None:
    output = by_logprobs((("A", 0.0), ("the", -9999.0)), ["A", "B", "C"])
    assert output.logits == pytest.approx((0.0, FLOOR, FLOOR), abs=1e-8)


def test_what_servers_write_for_minus_infinity_is_the_floor() -> None:
    assert by_logprobs((("A", -1e-7), ("B", -9999.0)), ["A", "B"]).logits == pytest.approx((0.0, FLOOR), abs=1e-6)


def test_no_code_at_all_is_no_opinion() -> None:
    assert by_logprobs(listed(The=0.9, It=0.1), ["A", "B"]) == uniform_output(2, "logprobs")
    assert probs(uniform_output(4, "votes")) == pytest.approx([0.25] * 4)


def test_rounding_above_one_counts_as_one() -> None:
    assert by_logprobs((("A", 1e-4), (" A", 1e-4)), ["A", "B"]).covered_mass == 1.0


def test_votes_are_smoothed_by_half_a_vote_each() -> None:
    output = by_votes(["A", "A", "A", "B"], ["A", "B"], LABELS)
    assert probs(output) == pytest.approx([3.5 / 5, 1.5 / 5])
    assert (output.covered_mass, output.source) == (1.0, "votes")


def test_votes_for_nothing_cover_less() -> None:
    output = by_votes(["A", "perhaps", "", "C"], ["A", "B"], LABELS)
    assert probs(output) == pytest.approx([1.5 / 2, 0.5 / 2])
    assert output.covered_mass == 0.25


def test_no_valid_vote_is_no_opinion() -> None:
    assert by_votes(["", "hm"], ["A", "B"], LABELS) == uniform_output(2, "votes")


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("A", "A"),
        (" b\n", "B"),
        ("A.", "A"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B = positive", "B"),
        ("B: the writer", "B"),
        ("A\n\nThe text", "A"),
        ("The answer is B.", "B"),
        ("Answer: B", "B"),
        ("Class **A**", "A"),
        ("Positive", "B"),
        ("negative.", "A"),
        ("A good film", None),
        ("C", None),
        ("", None),
        ("Both", None),
        ("I think", None),
    ],
)
def test_a_vote_is_read_by_code_or_name(reply: str, code: str | None) -> None:
    assert read_code(reply, ["A", "B"], LABELS) == code


@pytest.mark.parametrize(
    ("choice", "rejected"),
    [
        (Choice("A", "length"), False),
        (Choice("", "stop"), False),
        (Choice("", "length"), True),
        (Choice("", "length", ((("A", -0.1),),)), False),
        (Choice("", "content_filter"), True),
        (Choice("no", REFUSED), True),
        (Choice("", MALFORMED), True),
    ],
)
def test_a_rejection_is_told_from_a_reply_without_probabilities(choice: Choice, rejected: bool) -> None:
    assert is_rejected(choice) is rejected
