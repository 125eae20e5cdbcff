"""What tables and pairs look like: on a terminal of 80 columns, without colours, and piped."""

from pathlib import Path
from typing import Any

import pytest

from cod_cli.cli import tables
from cod_cli.counterfactuals.quality import Work, report
from cod_cli.evaluation.arms import Reached
from cod_cli.metrics import Summary
from cod_cli.records import Attempt, Counterfactual, Student
from cod_cli.stages.demo import DemoResult, Line
from cod_cli.store.run import Run
from tests.records_of import counterfactual, made_student, score
from tests.terminal import cells, on_terminal, piped

RED_STRIKE, GREEN, END = "\x1b[9;31m", "\x1b[32m", "\x1b[0m"


def cfe(text: str, **changes: Any) -> Counterfactual:
    return counterfactual("films/train/1", text, **{"p_before": 0.031, "p_after": 0.974} | changes)


# Pairs


def test_without_colours_changed_words_stand_in_brackets() -> None:
    shown = piped(tables.Marked("a dull film , too long .", "a smart film , long ."))
    assert shown == "  a [-dull-]{+smart+} film , [-too-] long .\n\n"


def test_in_colour_removed_words_are_struck_in_red_and_added_ones_green() -> None:
    shown = on_terminal(tables.Marked("a dull film", "a smart film"))
    assert f"a {RED_STRIKE}dull{END} {GREEN}smart{END} film" in shown
    assert "[-" not in shown


def test_a_terminal_that_wants_no_colour_gets_the_brackets() -> None:
    shown = on_terminal(tables.Marked("a dull film", "a smart film"), no_color=True)
    assert "[-dull-]{+smart+}" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("source", "target", "shown"),
    [
        ("it works", "it never works", "it {+never+} works"),
        ("it never works", "it works", "it [-never-] works"),
        ("works", "never works", "{+never+} works"),
        ("never works", "works", "[-never-] works"),
        ("good", "good !", "good {+!+}"),
        ("the same", "the same", "the same"),
        ("很好", "很坏", "很[-好-]{+坏+}"),
        ("(dull)", "(smart)", "([-dull-]{+smart+})"),
    ],
)
def test_marks_touch_nothing_but_the_change(source: str, target: str, shown: str) -> None:
    assert tables.mark(source, target, coloured=False).plain == shown


def test_a_text_is_never_markup_nor_a_terminal_command() -> None:
    shown = on_terminal(tables.Marked("a [bold]dull[/bold] \x1b[2J film", "a [bold]smart[/bold] \x1b[2J film"))
    assert "[bold]" in shown
    assert "\x1b[2J" not in shown
    assert "\\x1b[2J" in shown


def test_a_pair_is_headed_by_id_classes_probabilities_and_edit_ratio() -> None:
    shown = piped(tables.pairs([(cfe("a smart film"), "a dull film")]))
    head, text = shown.splitlines()[:2]
    assert head == "films/train/1~positive  negative → positive  P 0.03 → 0.97  edit ratio 0.33"
    assert text == "  a [-dull-]{+smart+} film"


def test_a_pair_that_no_teacher_saw_has_no_probabilities() -> None:
    unseen = cfe("a smart film", p_before=None, p_after=None, flipped=None)
    assert " P " not in piped(tables.pairs([(unseen, "a dull film")]))


def test_a_pair_that_does_not_flip_the_teacher_says_so() -> None:
    assert "does not flip the teacher" in piped(tables.pairs([(cfe("a smart film", flipped=False), "a dull film")]))


def test_a_pair_says_whether_the_judge_agrees() -> None:
    shown = {
        name: piped(tables.pairs([(cfe("a smart film", judge=name), "a dull film")]))
        for name in ("negative", "positive")
    }
    assert "the judge says negative" in shown["negative"]
    assert "the judge agrees" in shown["positive"]


def test_a_long_text_is_wrapped_on_a_terminal_and_whole_when_piped() -> None:
    source, target = "word " * 100 + "dull", "word " * 100 + "smart"
    assert max(map(len, on_terminal(tables.Marked(source, target), color_system=None).splitlines())) <= 80
    assert "word " * 100 + "[-dull-]{+smart+}" in piped(tables.Marked(source, target))


def test_rejected_attempts_show_status_reason_and_what_was_changed() -> None:
    row = Attempt(
        shot_id="f/1", target="positive", n=2, text="a nice film", status="no-flip", reason="still [negative]"
    )
    none = Attempt(shot_id="f/2", target="positive", n=0, text=None, status="teacher-wrong", reason=None)
    shown = piped(tables.attempts([row, none], {"f/1": "a dull film"}))
    assert "f/1~positive  attempt 2  no-flip: still [negative]\n  a [-dull-]{+nice+} film\n" in shown
    assert "f/2~positive  teacher-wrong\n" in shown


# Scores

TEACHER = score(
    "teacher", None, method=None, mix=None, k=None, rows=None, shots=None, steps=None, agreement=None, kl=None
)
SEEDS = [score(f"kd-cod-s{seed}", seed, accuracy=0.6 + seed / 10) for seed in (0, 1)]


def cut(name: str) -> dict[str, Student]:
    return {name: made_student(name, cut_from_teacher=True)}


def test_the_teacher_comes_first_with_dashes_for_what_it_lacks() -> None:
    shown = piped(tables.scores([*SEEDS, TEACHER]))
    assert shown.index("teacher") < shown.index("kd-cod-s0")
    assert cells(shown, "teacher")[:4] == ["-", "-", "-", "60.0"]


def test_shares_are_per_cent_and_the_rest_has_three_digits() -> None:
    shown = piped(tables.scores(SEEDS))
    assert " ".join(cells(shown, "kd-cod-s1")) == "16 16 (8) 80 70.0 60.0 0.200 70.0 0.400 0.100 0.500 1.0"


def test_seeds_of_one_arm_have_a_mean_and_a_deviation() -> None:
    shown = piped(tables.scores([TEACHER, *SEEDS, score("kd-shots", mix="shots")]))
    assert cells(shown, "mean (n = 2)")[0] == "65.0"
    assert cells(shown, "± std")[0] == "7.1"
    assert shown.count("mean") == 1


def test_each_task_and_split_has_its_own_table() -> None:
    shown = piped(tables.scores([SEEDS[0], score("kd-cod-s0", split="test", n=1821)]))
    assert "sst2, validation: 872 rows" in shown
    assert "sst2, test: 1,821 rows" in shown


def test_a_metric_that_nobody_has_gets_no_column() -> None:
    unlabelled = {"accuracy": None, "macro_f1": None, "mcc": None, "ece": None, "brier": None}
    shown = piped(tables.scores([score("a", **unlabelled)]))
    assert "agree" in shown
    assert not any(heading in shown for heading in ("acc", "F1", "MCC", "ECE", "Brier"))


def test_students_cut_from_their_teacher_are_marked_and_come_last() -> None:
    shown = piped(tables.scores([score("a-cut"), score("kd-cod"), TEACHER], students=cut("a-cut")))
    assert shown.index("kd-cod") < shown.index("a-cut †")
    assert "† cut from a fine-tuned teacher: compared only with one another" in shown
    assert "†" not in piped(tables.scores([score("kd-cod")]))


def test_a_name_that_does_not_tell_method_and_mix_has_them_beside_it() -> None:
    shown = piped(tables.scores([score("mine"), score("kd-cod")]))
    assert "mine (kd-cod)" in shown
    assert "kd-cod (kd-cod)" not in shown


def test_no_number_is_cut_at_80_columns() -> None:
    large = {"k": 512, "rows": 1024, "shots": 512, "steps": 12800, "seconds": 12345.6}
    rows = [TEACHER, *SEEDS, score("a-student-with-a-rather-long-name", **large)]
    narrow = on_terminal(tables.scores(rows, students=cut("kd-cod-s1")), color_system=None)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "…" not in narrow
    for number in ("512", "1024 (512)", "12800", "12345.6", "0.400", "70.0"):
        assert number in narrow


# Quality and the demo


def test_quality_has_a_column_for_all_and_for_each_class() -> None:
    work = Work([], [cfe("x"), cfe("y", id="2", label="negative")])
    shown = piped(tables.quality(report(work)))
    assert shown.splitlines()[1].split() == ["all", "to", "negative", "to", "positive"]
    assert cells(shown, "accepted") == ["2", "1", "1"]
    assert cells(shown, "flips in the end %") == ["100.0"] * 3
    assert "tokens" not in shown


def test_quality_compares_several_prompts() -> None:
    row = cfe("x", prompt="sentiment@1")
    of: dict[str, Any] = {"shot_id": row.shot_id, "target": "positive", "text": "x", "reason": None}
    tries = [
        Attempt(**of, n=1, status="accepted", writer="sentiment@1"),
        Attempt(**of, n=2, status="no-flip", writer="generic@2"),
    ]
    shown = piped(tables.quality(report(Work([], [row], tries))))
    assert "sentiment@1" in shown
    assert "generic@2" in shown
    assert "sentiment@1" not in piped(tables.quality(report(Work([], [row]))))


def test_the_demo_compares_its_lines_with_the_teacher_and_with_always_the_same_class() -> None:
    lines = [
        Line("teacher", "teacher", Summary(0.946, None, 1), ""),
        Line("kd-shots", "KD: 16 tweets", Summary(0.593, 0.03, 3), ""),
        Line("lwd-all-cut", "default, cut ‡ †", Summary(0.672, None, 1), ""),
    ]
    result = DemoResult(Path("d"), Run("d/s"), 16, TEACHER, 0.5, tuple(lines), (), 0, 0, Path("p"), 1, 1.0)
    shown = piped(tables.demo(result))
    assert cells(shown, "always the same class") == ["50.0"]
    assert cells(shown, "KD: 16 tweets") == ["59.3", "±", "3.0", "3"]
    assert cells(shown, "default, cut ‡ †") == ["67.2", "1"]
    assert max(map(len, on_terminal(tables.demo(result), color_system=None).splitlines())) <= 80


# Sweeps, confusion


def test_a_sweeps_table_has_the_majority_and_students_of_the_teacher_last() -> None:
    rows = [
        Reached("sst2", "majority", 16, False, Summary(0.5, 0.0, 2)),
        Reached("sst2", "cut", 16, False, Summary(0.8, 0.01, 2), cut=True),
        Reached("sst2", "all", 16, True, Summary(0.7, 0.01, 2)),
    ]
    shown = piped(tables.sweep(rows))
    assert shown.index("majority") < shown.index("all ‡") < shown.index("cut †")
    assert "† cut from a fine-tuned teacher" in shown
    assert "never counted as a win" in shown


def test_the_majority_stands_below_the_teacher_and_is_no_student() -> None:
    always = score("majority", None, method=None, mix=None, k=None, rows=None, kl=None, f1={"bad": 0.6, "good": 0.0})
    shown = piped(tables.scores([SEEDS[0], always, TEACHER]))
    assert shown.index("teacher") < shown.index("majority") < shown.index("kd-cod")
    assert piped(tables.f1_by_class([always])) == ""


def test_another_budget_is_marked_among_scores() -> None:
    shown = piped(tables.scores(SEEDS, other_budget=["kd-cod-s1"]))
    assert "kd-cod-s1 ‡" in shown
    assert "kd-cod-s0 ‡" not in shown
    assert "never counted as a win" in shown


def test_a_confusion_is_counted_over_the_seeds_of_an_arm() -> None:
    counts = {"kd-cod-s0": [[3, 1], [0, 4]], "kd-cod-s1": [[2, 2], [1, 3]]}
    shown = piped(tables.confusion(SEEDS, {}, counts, ["bad", "good"]))
    assert "Confusion of kd-cod, 2 seeds together" in shown
    assert (cells(shown, "bad"), cells(shown, "good")) == (["5", "3"], ["1", "7"])
