import math
from typing import Any

import pytest

from cod_cli.evaluation.arms import Arm, arms
from cod_cli.records import Score, Student
from tests.records_of import made_student, score


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


def how(**settings: Any) -> Student:
    made = {key: settings.pop(key) for key in ("student", "cut_from_teacher") if key in settings}
    return made_student("x", settings={"lr": 6e-5, "max_length": 64} | settings, **made)


def test_an_arm_is_averaged_only_over_equal_settings() -> None:
    scores = [score(f"a-s{seed}", seed) for seed in range(4)]
    students = {"a-s0": how(), "a-s1": how(lr=1e-3), "a-s2": how(), "a-s3": how(lr=1e-3)}
    found = [(arm.name, [score.student for score in arm.scores]) for arm in arms(scores, students)]
    assert found == [("a (lr 6e-05)", ["a-s0", "a-s2"]), ("a (lr 0.001)", ["a-s1", "a-s3"])]


def test_students_of_different_starts_are_different_arms() -> None:
    scores = [score("kd-all"), score("kd-all-s1", 1), score("kd-all-s2", 2)]
    starts = {"kd-all": how(init="teacher", cut_from_teacher=True), "kd-all-s1": how(init="pretrained")}
    students = starts | {"kd-all-s2": how(init="pretrained", student="other weights")}
    assert [len(arm.scores) for arm in arms(scores, students)] == [1, 1, 1]
    assert len({arm.name for arm in arms(scores, students)}) == 3


def test_where_a_model_lies_and_options_that_came_later_are_no_difference() -> None:
    scores = [score("a-s0", 0), score("a-s1", 1)]
    students = {"a-s0": how(teacher="/here"), "a-s1": how(teacher="/there", steps=None)}
    assert names_of(arms(scores, students)) == [("a", ["a-s0", "a-s1"])]


def test_the_same_seed_twice_is_not_averaged() -> None:
    scores = [score("a", 0), score("a-s0", 0), score("a-s1", 1)]
    assert names_of(arms(scores)) == [("a", ["a", "a-s1"]), ("a-s0", ["a-s0"])]


def test_of_whom_no_settings_are_known_the_name_decides() -> None:
    scores = [score("a-s0", 0), score("a-s1", 1)]
    assert names_of(arms(scores, {"a-s1": how()})) == [("a", ["a-s0", "a-s1"])]


def names_of(found: list[Arm]) -> list[tuple[str, list[str]]]:
    return [(arm.name, [score.student for score in arm.scores]) for arm in found]
