"""Draws that a seed decides."""

import random
import sys

import pytest

from cod_cli.data.draw import Draws, shuffled


def test_an_order_is_the_same_on_every_version_of_python() -> None:
    assert shuffled("abcdefgh", "held out 0") == list("fdeabhcg")


def test_another_seed_is_another_order_of_the_same_items() -> None:
    one, other = (shuffled(range(50), seed) for seed in ("0", "1"))
    assert one != other
    assert sorted(one) == sorted(other) == list(range(50))


def test_equal_items_need_no_order_of_their_own() -> None:
    assert shuffled([{"a": 1}, {"a": 1}], "0") == [{"a": 1}, {"a": 1}]


# Draws

in_3_11 = pytest.mark.skipif(sys.version_info >= (3, 12), reason="a later Python may draw otherwise")


@in_3_11
@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 2), (21, 2), (22, 2), (40, 13), (85, 6), (86, 6), (300, 300), (9, 0)])
def test_a_sample_is_that_of_python_3_11_be_it_few_of_many_or_all(n: int, k: int) -> None:
    ours, theirs = Draws(f"{n} {k}"), random.Random(f"{n} {k}")
    for _ in range(20):
        assert ours.sample(range(n), k) == theirs.sample(range(n), k)


@in_3_11
def test_the_other_draws_are_those_of_python_3_11() -> None:
    ours, theirs = Draws(7), random.Random(7)
    for n in range(1, 200):
        assert ours.below(n) == theirs.randrange(n)
        assert ours.choice(range(n)) == theirs.choice(range(n))
        assert ours.uniform(0.7, 1.3) == theirs.uniform(0.7, 1.3)
        mine, own = list(range(n)), list(range(n))
        ours.shuffle(mine)
        theirs.shuffle(own)
        assert mine == own
    assert ours.random() == theirs.random()


def test_draws_are_those_of_python_3_11_on_later_ones_too() -> None:
    draws, order = Draws(0), list("abcdefgh")
    draws.shuffle(order)
    assert "".join(order) == "ebfcadhg"
    assert draws.sample(range(100), 4) == [51, 38, 61, 45]
    assert "".join(draws.sample("abcdefgh", 8)) == "debcfahg"
    assert (draws.choice("abcdefgh"), draws.below(1000), draws.uniform(1, 2)) == ("e", 101, 1.7298317482601286)
