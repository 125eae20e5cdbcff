"""What families of rows give away of a class, and the contrasts that batches hold: by hand, and by real batches."""

import itertools

import pytest

from cod_cli.data.draw import Draws
from cod_cli.report.why.families import (
    Row,
    contrasts_a_batch,
    contrasts_side_by_side,
    shot_information,
    told_by_shot,
)
from cod_cli.training.batches import random_batches


def family(name: str, *counts: int) -> list[Row]:
    """So many rows of each class, class after class."""
    return [(name, label) for label, n in enumerate(counts) for _ in range(n)]


def alone(rows: list[Row]) -> list[list[Row]]:
    return [[row] for row in rows]


def test_a_shot_alone_tells_its_own_class() -> None:
    rows = [*family("a", 1), *family("b", 0, 1)]
    assert (told_by_shot(rows), shot_information(rows)) == (1, 1)


def test_a_balanced_family_tells_nothing() -> None:
    rows = [*family("a", 3, 3), *family("b", 2, 2)]
    assert (told_by_shot(rows), shot_information(rows)) == (0.5, 0)
    three = family("a", 2, 2, 2)
    assert (told_by_shot(three), shot_information(three)) == (pytest.approx(1 / 3), 0)


def test_flips_alone_tell_the_other_class_from_the_shot() -> None:
    rows = [*family("a", 1, 3), *family("b", 3, 1)]
    assert told_by_shot(rows) == 0.75
    # 1 - H(1/4), and H(1/4) = 2 - 3/4 log2(3) = 0.8113 bits.
    assert shot_information(rows) == pytest.approx(0.1887, abs=1e-4)


def test_what_all_rows_share_is_no_information_about_the_shot() -> None:
    rows = [*family("a", 1, 3), *family("b", 1, 3)]
    assert (told_by_shot(rows), shot_information(rows)) == (0.75, 0)


def test_pairs_that_stay_together_are_contrasts_of_their_batch() -> None:
    pairs = [family(name, 1, 1) for name in "abcd"]
    assert contrasts_a_batch(pairs, 4) == 2
    assert contrasts_a_batch(pairs, 8) == 4
    assert contrasts_a_batch(alone([row for pair in pairs for row in pair][::2]), 2) == 0


def test_rows_that_are_shuffled_one_by_one_seldom_meet_their_family() -> None:
    rows = [row for name in "abcd" for row in family(name, 2, 2)]
    # 16 contrasts; two rows of 16 share one of four batches of four with chance 3/15.
    assert contrasts_a_batch(alone(rows), 4) == pytest.approx(16 * (3 / 15) / 4)
    # Side by side every batch is one family: all four of its contrasts.
    assert contrasts_side_by_side(rows, 4) == 4


def test_a_family_side_by_side_may_lie_in_two_batches() -> None:
    rows = [*family("a", 2, 1), *family("b", 1, 2)]
    # Batches aa and ab, bb: a's two contrasts meet where two of its three rows do, in one of three ways; b's likewise.
    assert contrasts_side_by_side(rows, 2) == pytest.approx((2 / 3 + 2 / 3) / 3)


def test_the_mean_is_that_of_the_batches_that_training_draws() -> None:
    rows = [*family("a", 3, 3), *family("b", 2, 2), *family("c", 1)]
    groups, rng = alone(rows), Draws(0)
    drawn = [batch for _ in range(3000) for batch in random_batches(groups, 3, rng, len, None)]
    met = sum(a[0] == b[0] and a[1] != b[1] for batch in drawn for (a,), (b,) in itertools.combinations(batch, 2))
    assert contrasts_a_batch(groups, 4) == pytest.approx(met / len(drawn), rel=0.03)
