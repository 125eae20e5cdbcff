"""F1 by class on a terminal of 80 columns and piped."""

from cod_cli.cli import tables
from tests.records_of import made_student, score
from tests.terminal import cells, on_terminal, piped

TEACHER = score("teacher", None, method=None, mix=None, k=None, f1={"bad": 0.9, "mixed": 0.4, "good": 0.8})
SEEDS = [score(f"kd-cod-s{i}", i, f1={"bad": 0.6 + i / 10, "mixed": 0.0, "good": 0.5}) for i in (0, 1)]


def many(classes: int) -> dict[str, float]:
    return {f"class {i}": (i * 7 % classes) / classes for i in range(classes)}


def test_an_arm_is_a_line_with_mean_and_deviation_over_its_seeds() -> None:
    shown = piped(tables.f1_by_class([*SEEDS, TEACHER]))
    assert "F1 by class in %: sst2, validation" in shown
    assert shown.index("teacher") < shown.index("kd-cod")
    assert cells(shown, " - teacher") == ["90.0", "40.0", "80.0"]
    assert cells(shown, "16 kd-cod") == ["65.0", "±", "7.1", "0.0", "±", "0.0", "50.0", "±", "0.0"]


def test_who_was_scored_before_it_was_counted_is_left_out() -> None:
    assert "kd-shots" not in piped(tables.f1_by_class([TEACHER, score("kd-shots", mix="shots")]))
    assert piped(tables.f1_by_class([score("kd-shots", mix="shots")])) == ""


def test_students_cut_from_their_teacher_are_marked_and_come_last() -> None:
    rows = [score("a-cut", f1=many(2)), score("kd-cod", f1=many(2)), TEACHER.replace(f1=many(2))]
    shown = piped(tables.f1_by_class(rows, students={"a-cut": made_student("a-cut", cut_from_teacher=True)}))
    assert shown.index("kd-cod") < shown.index("a-cut †")
    assert "† cut from a fine-tuned teacher" in shown


def test_each_task_and_split_has_its_own_classes() -> None:
    rows = [score("a", f1={"yes": 0.5, "no": 0.6}), score("a", task="mine", f1={"red": 0.5, "blue": 0.6})]
    first, second = piped(tables.f1_by_class(rows)).strip().split("\n\n")
    assert "yes" in first
    assert "yes" not in second
    assert "red" in second


def test_more_classes_than_fit_are_told_by_the_lowest_three() -> None:
    shown = piped(tables.f1_by_class([score("kd-cod", f1=many(5))]))
    assert "lowest 3 of 5 classes" in shown
    assert "kd-cod class 0 0.0, class 3 20.0, class 1 40.0" in shown


def test_no_number_is_cut_at_80_columns_and_a_class_is_never_markup() -> None:
    long = {f"[bold]a class with a long name {i}[/bold]": 1.0 - 0.5 * i for i in range(4)}
    seeds = [
        score(f"an-arm-of-a-name-s{i}", i, k=512, f1={name: abs(v - i) for name, v in long.items()}) for i in (0, 1)
    ]
    narrow = on_terminal(tables.f1_by_class(seeds), color_system=None)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "…" not in narrow
    assert narrow.count("50.0 ± 70.7") == 2
    assert "[bold]a" in narrow
