"""Grids: what they stand for, and what they refuse."""

import math
from pathlib import Path
from typing import Any

import pytest

from cod_cli.errors import CodError, UsageError
from cod_cli.settings.distill import DistillSettings
from cod_cli.stages.sweep.cells import GRIDS
from cod_cli.stages.sweep.grid import Grid
from cod_cli.stages.sweep.gridfile import parse_grid, read_grid, shipped

GRID: dict[str, Any] = {"data": "sst2", "teacher": "T", "student": "S"}


def grid(**more: Any) -> Grid:
    return parse_grid({**GRID, **more})


def test_a_grid_has_one_run_for_each_task_k_and_seed() -> None:
    runs = list(grid(k=[8, 16], seeds=[0, 1, 2]).runs())
    assert [run.folder for run in runs[:2]] == ["sst2/k8-s0", "sst2/k16-s0"]
    assert len(runs) == 6
    assert all(list(run.arms) == ["kd-shots", "kd-cod"] for run in runs)


def test_shots_and_training_have_the_seed_of_the_run() -> None:
    run = next(iter(grid(seeds=[7]).runs()))
    assert run.sample.seed == 7
    assert run.arms["kd-cod"].seeds == [7]


def test_a_flat_option_goes_to_every_stage_that_knows_it() -> None:
    run = next(iter(grid(max_length=64, epochs=3).runs()))
    assert run.counterfact is not None
    assert [run.counterfact.max_length, run.label.max_length, run.arms["kd-cod"].max_length] == [64, 64, 64]
    assert run.arms["kd-shots"].epochs == 3


def test_values_are_read_as_their_options_want_them() -> None:
    grid_of = grid(prompt="sentiment", price=[1, 2.5], temperature=4, model=4, counterfact={"from": "pairs.csv"})
    run = next(iter(grid_of.runs()))
    assert run.counterfact is not None
    assert (run.counterfact.prompt, run.counterfact.price) == (("sentiment",), (1.0, 2.5))
    assert (run.counterfact.model, run.counterfact.from_file) == ("4", Path("pairs.csv"))
    assert isinstance(run.arms["kd-cod"].temperature, float)


def test_a_name_with_several_meanings_is_that_of_its_owner() -> None:
    run = next(iter(grid(temperature=4, split="validation", counterfact={"temperature": 0.7}).runs()))
    assert run.counterfact is not None
    assert (run.arms["kd-cod"].temperature, run.counterfact.temperature) == (4.0, 0.7)
    assert (run.eval.split, run.sample.split) == ("validation", None)


def test_only_the_shots_that_the_equal_budget_needs_are_asked_for() -> None:
    run = next(iter(grid().runs()))
    assert run.counterfact is not None
    assert run.counterfact.for_mix == "cod"
    everything = next(iter(grid(arms=[{"mix": "cod"}, {"mix": "all"}]).runs()))
    assert everything.counterfact is not None
    assert everything.counterfact.for_mix == "all"


def test_no_counterfactuals_are_written_where_no_arm_trains_on_them() -> None:
    assert next(iter(grid(arms=[{"mix": "shots"}]).runs())).counterfact is None


def test_the_editor_writes_where_no_llm_is_named() -> None:
    run, with_llm = (next(iter(grid(**more).runs())) for more in ({}, {"model": "gpt-4o"}))
    assert run.counterfact is not None
    assert with_llm.counterfact is not None
    assert (run.counterfact.generator, with_llm.counterfact.generator) == ("editor", "openai")


def test_an_arm_with_counterfactuals_of_its_own_has_a_run_of_its_own() -> None:
    arms = [{"mix": "shots"}, {"mix": "cod"}, {"name": "near", "mix": "cod", "max_edit_ratio": 0.2}]
    base, near = list(grid(arms=arms).runs())
    assert (base.folder, list(base.arms)) == ("sst2/k8-s0", ["kd-shots", "kd-cod"])
    assert (near.folder, list(near.arms)) == ("sst2/k8-s0.near", ["near"])
    assert near.counterfact is not None
    assert near.counterfact.max_edit_ratio == 0.2


def test_rivals_are_made_for_the_arms_that_train_on_them() -> None:
    run = next(iter(grid(arms=[{"mix": "shots"}, {"mix": "eda"}, {"mix": "cod-nearest"}]).runs()))
    assert run.rival is not None
    assert run.rival.kinds == ["eda", "cod-nearest"]
    assert run.counterfact is not None
    assert next(iter(grid(arms=[{"mix": "shots"}, {"mix": "eda"}]).runs())).counterfact is None


def test_held_out_pairs_are_of_the_scored_split_and_beside_those_to_train_on() -> None:
    run = next(iter(grid(held_out=50, split="validation").runs()))
    assert run.counterfact is not None
    assert run.held_out is not None
    assert (run.counterfact.held_out, run.counterfact.for_mix) == (None, "cod")
    assert (run.held_out.held_out, run.held_out.split, run.held_out.generator) == (50, "validation", "editor")
    assert next(iter(grid().runs())).held_out is None


def test_each_task_has_its_own_teacher() -> None:
    tasks = [{"data": "sst2", "teacher": "A"}, {"data": "org/topics", "teacher": "B", "name": "topics"}]
    runs = list(parse_grid({"student": "S", "tasks": tasks}).runs())
    assert [(run.task, run.label.teacher) for run in runs] == [("sst2", "A"), ("topics", "B")]


def test_the_baseline_is_the_first_arm_on_shots_alone() -> None:
    assert grid(arms=[{"mix": "cod"}, {"name": "plain", "mix": "shots"}]).baseline == "plain"


def test_other_rows_and_other_steps_are_another_budget() -> None:
    arms = [
        {"mix": "shots"},
        {"mix": "cod", "epochs": 40},
        {"mix": "all"},
        {"name": "4x", "mix": "shots", "epochs": 160},
    ]
    found = grid(arms=arms, epochs=40)
    assert [found.other_budget(name) for name in ("kd-shots", "kd-cod", "kd-all", "4x")] == [False, False, True, True]


def test_an_arm_that_trains_longer_on_any_of_the_tasks_has_another_budget() -> None:
    tasks = [{"data": "sst2", "epochs": 40}, {"data": "agnews", "epochs": 20}]
    found = grid(tasks=tasks, arms=[{"mix": "shots"}, {"mix": "cod", "epochs": 40}])
    assert found.other_budget("kd-cod")


def test_epochs_that_all_share_are_for_the_papers_mixes_and_steps_for_contrast_sets() -> None:
    arms = [
        {"mix": "shots"},
        {"mix": "contrast"},
        {"mix": "all", "epochs": 2},
        {"name": "long", "mix": "shots", "steps": 9},
    ]
    made = next(iter(grid(arms=arms, epochs=5, steps=70).runs())).arms
    lengths = {name: (arm.fixed_steps, arm.passes) for name, arm in made.items()}
    assert lengths == {"kd-shots": (None, 5), "kd-contrast": (70, 40), "kd-all": (None, 2), "long": (9, 40)}


def test_an_arm_may_start_from_the_teacher_and_name_its_layers() -> None:
    arms = [{"mix": "shots", "init": "teacher", "student_layers": [0, 2, 5]}, {"mix": "shots"}]
    found = grid(arms=arms, student_layers=3)
    cut, plain = next(iter(found.runs())).arms.values()
    assert (cut.name, cut.student, cut.init, cut.kept_layers) == ("kd-shots-cut", None, "teacher", [0, 2, 5])
    assert (plain.name, plain.init, plain.kept_layers) == ("kd-shots", "pretrained", 3)
    assert found.baseline == "kd-shots"


def test_shots_for_other_steps_are_another_budget() -> None:
    found = grid(arms=[{"name": "long", "mix": "shots", "steps": 320}, {"mix": "shots"}, {"mix": "contrast"}])
    assert found.baseline == "kd-shots"
    assert [found.other_budget(name) for name in ("kd-shots", "long", "kd-contrast")] == [False, True, True]


def test_contrast_sets_need_edits_of_all_shots() -> None:
    made = next(iter(grid(arms=[{"mix": "shots"}, {"mix": "contrast"}]).runs())).counterfact
    assert made is not None
    assert made.for_mix == "all"


def test_a_budget_that_all_arms_share_is_no_other_one() -> None:
    found = grid(epochs=3, arms=[{"mix": "shots"}, {"mix": "cod", "epochs": 3}])
    assert not found.other_budget("kd-cod")


_NO_NAMES = ("../../x", "/abs", "..", ".x", "a/b", "a\\b", "a\0b", "\ud800", "n" * 300, " ")
_DECIMALS = ("lr", "temperature", "alpha", "max_edit_ratio", "max_cost", "rpm", "timeout")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"epoch": 3}, "'epoch'"),
        ({"distill": {"epoch": 3}}, "distill has no option 'epoch'"),
        ({"distill": 3}, "no section"),
        ({"epochs": "many"}, "epochs is 'many'"),
        ({"epochs": True}, "epochs is True"),
        ({"epochs": "8"}, "epochs is '8'"),
        ({"teacher": True}, "teacher is True"),
        ({"price": [1, "much"]}, "price is [1, 'much']"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"seed": 3}, "seed is set by the sweep"),
        ({"shots": 8}, "shots is set by the sweep"),
        ({"k": [8, 8]}, "k is"),
        ({"k": ["8"]}, "k is"),
        ({"seeds": []}, "seeds is"),
        ({"arms": {"mix": "cod"}}, "arms is no list"),
        ({"arms": [{"mix": "cod"}, {"mix": "cod"}]}, "two arms are called kd-cod"),
        ({"arms": [{"mix": "cod", "split": "test"}]}, "arms share shots and split"),
        ({"arms": [{"method": "magic", "mix": "cod"}]}, "--method is 'magic'"),
        ({"tasks": [{"data": "a"}, {"data": "a"}]}, "two tasks are called a"),
        ({"arms": [{"mix": "codd"}]}, "--mix is 'codd'"),
        ({"arms": [{"mix": "cod", "name": "teacher"}]}, "what is no student"),
        *(({"arms": [{"mix": "cod", "name": name}]}, "an arm's name is") for name in _NO_NAMES),
        *(({"tasks": [{"data": "a", "name": name}]}, "a task's name is") for name in _NO_NAMES),
        ({"tasks": [{"data": ".."}]}, "a task's name is"),
        ({"tasks": []}, "tasks is no list"),
        *(({key: number}, "finite number") for key in _DECIMALS for number in (math.nan, math.inf, -math.inf)),
        ({"price": [1, math.nan]}, "--price is nan"),
        *(({"price": price}, "price is") for price in ("x", [1], [1, 2, 3], ["a", "b"])),
        ({"seeds": [2**64]}, "seeds is"),
        ({"counterfact": {"seed": 2**64}}, "seed is set by the sweep"),
        ({"epochs": 2**64}, "--epochs is too large"),
        ({"data": None}, "no data"),
        ({"teacher": None}, "no teacher"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_runs(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as failure:
        grid(**more)
    assert message in f"{failure.value.message} {failure.value.hint}"


def test_what_is_given_on_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("data: sst2\nteacher: T\nstudent: S\nk: [8, 16]\nstudent-layers: 3\n")
    found = list(read_grid(path, {"k": [4], "student": "other"}).runs())
    assert [run.k for run in found] == [4]
    assert found[0].arms["kd-cod"].student == "other"
    assert found[0].arms["kd-cod"].student_layers == "3"


@pytest.mark.parametrize("text", ["- a", "a: [", "\x00", "[" * 2000, "seeds: " + "9" * 5000, "k: 2020-13-45"])
def test_a_file_that_is_no_grid_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"grid\.yaml"):
        read_grid(path, {})


def test_an_unknown_grid_is_refused_with_the_names_of_those_that_ship(tmp_path: Path) -> None:
    (tmp_path / "ready.yaml").write_text("{}")
    assert shipped(tmp_path, "ready") == tmp_path / "ready.yaml"
    with pytest.raises(CodError) as failure:
        shipped(tmp_path, "redy")
    assert "ready" in str(failure.value.hint)


# As score files name these arms: they stand for the same options wherever they are trained.
CONTRAST = {
    "kd-shots": {"method": "kd", "mix": "shots"},
    "kd-cod": {"method": "kd", "mix": "cod"},
    "kd-contrast": {"method": "kd", "mix": "contrast"},
    "lwd-contrast": {"method": "lwd", "mix": "contrast"},
    "kd-shots-320": {"method": "kd", "mix": "shots", "steps": 320},
    "kd-one-cfe": {"method": "kd", "mix": "contrast", "families": "one-cfe"},
    "kd-cfes": {"method": "kd", "mix": "contrast", "families": "cfes"},
    "kd-semifactuals": {"method": "kd", "mix": "contrast", "families": "semifactuals"},
    "kd-together": {"method": "kd", "mix": "contrast", "families": "together"},
    "kd-random-edits": {"method": "kd", "mix": "random-edits"},
}


def test_the_grid_contrast_has_every_arm_from_both_starts() -> None:
    run = next(iter(read_grid(GRIDS / "contrast.yaml", {}).runs()))
    start = {"student": "sentence-transformers/all-MiniLM-L6-v2", "student_layers": "3"}
    wanted = {name: DistillSettings(**start, **options, name=name) for name, options in CONTRAST.items()}
    for name, options in [*CONTRAST.items(), ("kd-untrained", {"method": "kd", "mix": "shots", "steps": 0})]:
        cut = "cut-" + (name if name.endswith("-contrast") else name.removeprefix("kd-"))
        wanted[cut] = DistillSettings(init="teacher", student_layers="3", **options, name=cut)
    assert run.arms == wanted
    assert run.counterfact is not None
    assert (run.counterfact.for_mix, run.rival and run.rival.kinds) == ("all", ["random-edits"])


def test_the_grid_layers_has_every_number_of_layers_from_both_starts() -> None:
    run = next(iter(read_grid(GRIDS / "layers.yaml", {}).runs()))
    assert {(arm.method, arm.mix) for arm in run.arms.values()} == {("lwd", "contrast")}
    assert [(arm.init, arm.student_layers) for arm in run.arms.values()] == [
        (init, str(layers)) for init in ("pretrained", "teacher") for layers in range(1, 7)
    ]


def test_every_grid_that_ships_can_be_run() -> None:
    paths = sorted(GRIDS.glob("*.yaml"))
    assert paths
    for path in paths:
        read_grid(path, {"data": "d", "teacher": "T", "student": "S"} if path.stem == "default" else {})
