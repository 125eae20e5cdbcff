"""Ablations: what they spoil is spoilt, and all else stays as it was."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import kstest

from cod_cli.training.trainset import Example, Group, ablate

GROUPS: list[Group] = [
    [Example(f"{n}", f"text {n}", n % 2, (float(n), -1.0)), Example(f"{n}~", f"text {n}~", 1 - n % 2, (-float(n), 1.0))]
    for n in range(30)
]
ROWS = [row for group in GROUPS for row in group]


def spoil(soft_labels: str = "teacher", pairs: str = "kept", temperature: float = 1.0, seed: int = 0) -> list[Group]:
    return ablate(GROUPS, soft_labels=soft_labels, pairs=pairs, temperature=temperature, seed=seed)


def rows(groups: list[Group]) -> list[Example]:
    return [row for group in groups for row in group]


def test_without_an_ablation_all_stays_as_it_was() -> None:
    assert spoil() == GROUPS


def test_shuffled_pairs_leave_each_row_a_group_of_its_own() -> None:
    assert spoil(pairs="shuffled") == [[row] for row in ROWS]


def test_shuffled_soft_labels_are_the_teachers_on_other_rows() -> None:
    dealt = [row.logits for row in rows(spoil("shuffled"))]
    assert Counter(dealt) == Counter(row.logits for row in ROWS)
    assert sum(new == row.logits for new, row in zip(dealt, ROWS, strict=True)) < len(ROWS) / 4


@pytest.mark.parametrize("soft_labels", ["shuffled", "random"])
def test_spoilt_soft_labels_leave_texts_labels_and_groups(soft_labels: str) -> None:
    groups = spoil(soft_labels)
    assert [len(group) for group in groups] == [len(group) for group in GROUPS]
    assert [(row.id, row.text, row.label) for row in rows(groups)] == [(row.id, row.text, row.label) for row in ROWS]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_random_soft_labels_are_uniform_on_the_simplex_at_the_temperature(temperature: float) -> None:
    drawn = [row.logits for seed in range(20) for row in rows(spoil("random", temperature=temperature, seed=seed))]
    first = [1 / (1 + math.exp((b - a) / temperature)) for a, b in drawn]
    assert kstest(first, "uniform").pvalue > 0.001
    assert np.mean(first) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("soft_labels", ["shuffled", "random"])
def test_another_seed_spoils_otherwise_and_the_same_one_alike(soft_labels: str) -> None:
    assert spoil(soft_labels, seed=1) == spoil(soft_labels, seed=1) != spoil(soft_labels, seed=2)


def test_both_ablations_go_together() -> None:
    groups = spoil("shuffled", "shuffled")
    assert [len(group) for group in groups] == [1] * len(ROWS)
    assert rows(groups) == rows(spoil("shuffled"))


def test_long_groups_are_cut_into_parts_of_a_batch_in_another_order_for_each_seed() -> None:
    def parts(seed: int) -> list[Group]:
        return ablate([ROWS], soft_labels="teacher", pairs="together", temperature=1.0, seed=seed, longest=8)

    assert [len(part) for part in parts(0)] == [8] * 7 + [4]
    assert sorted(row.id for row in rows(parts(0))) == sorted(row.id for row in ROWS)
    assert parts(0) == parts(0) != parts(1)
    assert all(len({row.label for row in part}) == 2 for part in parts(0))
