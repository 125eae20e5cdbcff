"""Which of more texts than are wanted are taken."""

from collections.abc import Sequence

import numpy as np
import pytest

from cod_cli.evaluation.baselines import Vectors
from cod_cli.pools.pick import balance, spread


def unit(rows: np.ndarray) -> Vectors:
    vectors: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def a_crowd_and_two_few() -> Vectors:
    """A hundred vectors side by side, and twice three elsewhere."""
    rng = np.random.RandomState(0)
    middles = np.concatenate([np.eye(8)[[0] * 99], np.eye(8)[[1] * 3], np.eye(8)[[2] * 3]])
    return unit(middles + 0.01 * rng.randn(105, 8))


@pytest.mark.parametrize("seed", range(5))
def test_the_few_are_taken_as_the_many_are(seed: int) -> None:
    first, *rest = spread(a_crowd_and_two_few(), 3, seed)
    assert first < 99
    assert [(row - 99) // 3 for row in rest] == [0, 1]


def test_one_seed_takes_the_same_rows() -> None:
    assert spread(a_crowd_and_two_few(), 20, seed=3) == spread(a_crowd_and_two_few(), 20, seed=3)


@pytest.mark.parametrize("n", [1, 7, 104, 105, 200])
def test_as_many_as_are_wanted_are_taken_each_once(n: int) -> None:
    taken = spread(a_crowd_and_two_few(), n, seed=0)
    assert len(set(taken)) == len(taken) == min(n, 105)


def test_equal_vectors_leave_no_place_empty() -> None:
    same = unit(np.ones((30, 4)))
    assert len(set(spread(same, 10, seed=0))) == 10


def of_class(texts: Sequence[str]) -> list[int]:
    return [int(text.startswith("rare")) for text in texts]


def test_a_rare_class_has_its_share() -> None:
    texts = [f"rare {n}" if n % 50 == 0 else f"common {n}" for n in range(2000)]
    found = balance(texts, 20, ["common", "rare"], of_class)
    assert found.of == {"common": 10, "rare": 10}
    assert [texts[row] for row in found.rows] == [texts[row] for row in sorted(found.rows)]
    assert 450 < found.asked < 800  # the tenth rare text is the 451st


def test_nobody_is_asked_more_than_it_takes() -> None:
    asked: list[str] = []
    texts = [f"{'rare' if n % 2 else 'common'} {n}" for n in range(5000)]

    def ask(some: Sequence[str]) -> list[int]:
        asked.extend(some)
        return of_class(some)

    assert balance(texts, 10, ["common", "rare"], ask).asked == len(asked) < 500


def test_what_a_rare_class_leaves_free_the_others_take() -> None:
    texts = ["rare 1", *(f"common {n}" for n in range(50)), "rare 2"]
    found = balance(texts, 20, ["common", "rare"], of_class)
    assert found.of == {"common": 18, "rare": 2}
