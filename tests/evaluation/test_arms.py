import math

import pytest

from cod_cli.evaluation.scores import arms
from cod_cli.records import Score
from tests.records_of import score


def names(scores: list[Score]) -> list[tuple[str, list[str]]]:
    return [(arm.name, [score.student for score in arm.scores]) for arm in arms(scores)]


def test_seeds_of_one_name_are_an_arm() -> None:
    found = names([score("kd-cod-s0", 0), score("kd-cod-s1", 1), score("kd-shots", 0, mix="shots")])
    assert found == [("kd-cod", ["kd-cod-s0", "kd-cod-s1"]), ("kd-shots", ["kd-shots"])]


def test_a_name_that_only_looks_like_a_seed_is_kept_whole() -> None:
    assert names([score("trial-s3", 0), score("trial-s1", 1)]) == [("trial-s3", ["trial-s3"]), ("trial", ["trial-s1"])]


@pytest.mark.parametrize("field", ["k", "rows", "shots", "steps"])
def test_students_of_another_budget_are_another_arm(field: str) -> None:
    assert len(arms([score("a-s0", 0), score("a-s1", 1, **{field: 7})])) == 2


def test_an_arm_has_mean_and_sample_deviation_of_each_metric() -> None:
    (arm,) = arms([score(f"a-s{seed}", seed, accuracy=value) for seed, value in enumerate((0.5, 0.6, 0.8))])
    found = arm.metrics()["accuracy"]
    assert found.mean == pytest.approx(1.9 / 3)
    assert found.std == pytest.approx(math.sqrt((0.5**2 + 0.6**2 + 0.8**2 - 1.9**2 / 3) / 2))
    assert found.n == 3


def test_a_metric_that_one_student_lacks_is_not_summarised() -> None:
    (arm,) = arms([score("a-s0", 0), score("a-s1", 1, agreement=None)])
    assert "agreement" not in arm.metrics()
    assert "boundary_agreement" not in arm.metrics()
    assert "kl" in arm.metrics()
