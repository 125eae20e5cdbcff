"""Draws that a seed decides."""

from cod_cli.data.draw import shuffled


def test_an_order_is_the_same_on_every_version_of_python() -> None:
    assert shuffled("abcdefgh", "held out 0") == list("fdeabhcg")


def test_another_seed_is_another_order_of_the_same_items() -> None:
    one, other = (shuffled(range(50), seed) for seed in ("0", "1"))
    assert one != other
    assert sorted(one) == sorted(other) == list(range(50))


def test_equal_items_need_no_order_of_their_own() -> None:
    assert shuffled([{"a": 1}, {"a": 1}], "0") == [{"a": 1}, {"a": 1}]
