import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cod_cli.data.draw import draw
from cod_cli.data.source import Row
from cod_cli.errors import CodError, UsageError
from cod_cli.settings.sample import SampleSettings
from cod_cli.stages.sample import SampleResult, sample
from cod_cli.store.run import Run
from cod_cli.ui import Ui

NAMES = ("a", "b", "c", "d", "e")


class Notes(Ui):
    """A Ui that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    def warn(self, text: str) -> None:
        self.told.append(f"warning: {text}")


def rows(**sizes: int) -> list[Row]:
    """So many rows of each class, the classes mixed."""
    texts = [(label, i) for label, n in sizes.items() for i in range(n)]
    return [Row(f"s/all/{label}{i}", f"{label} {i}", label) for label, i in sorted(texts, key=lambda pair: pair[1])]


def source(folder: Path, name: str = "films.jsonl", **sizes: int) -> Path:
    sizes = sizes or {"bad": 20, "good": 30}
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": row.text, "label": row.label}) + "\n" for row in rows(**sizes)))
    return path


def run_sample(run: Run, data: Path | str, ui: Ui | None = None, **options: Any) -> SampleResult:
    return sample(run, SampleSettings(data=str(data), **options), ui or Ui.silent())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


# The draw


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_are_balanced_and_fewer_shots_are_a_prefix_of_more(classes: int, seed: int):
    labels = NAMES[:classes]
    pool = rows(**dict.fromkeys(labels, 10))
    most = draw(pool, labels, 10 * classes, seed)
    assert sorted(row.id for row in most) == sorted(row.id for row in pool)
    for k in range(classes, 10 * classes):
        shots = draw(pool, labels, k, seed)
        counts = Counter(row.label for row in shots)
        assert shots == most[:k]
        assert max(counts.values()) - min(counts[label] for label in labels) <= 1


def test_a_draw_is_the_same_for_ever():
    # Frozen: shots drawn once must be drawn again by every later version.
    drawn = [row.text for row in draw(rows(a=9, b=9, c=9), "abc", 7, seed=0)]
    assert drawn == ["a 2", "c 2", "b 7", "a 3", "c 0", "b 3", "a 5"]


def test_seeds_draw_differently_and_every_row_as_often():
    pool = rows(a=10, b=10)
    drawn = Counter(row.id for seed in range(2000) for row in draw(pool, "ab", 4, seed))
    # 2 of 10 a draw: 400 times, standard deviation 17.9.
    assert all(abs(drawn[row.id] - 400) < 5 * 17.9 for row in pool)


def test_which_class_comes_first_is_drawn_too():
    first = Counter(draw(rows(a=2, b=2), "ab", 3, seed)[0].label for seed in range(400))
    assert abs(first["a"] - 200) < 5 * 10


def test_more_rows_of_one_class_do_not_change_the_shots_of_another():
    few, many = (draw(rows(a=8, b=n), "ab", 8, seed=3) for n in (8, 500))
    assert [row for row in few if row.label == "a"] == [row for row in many if row.label == "a"]


def test_the_draw_does_not_hang_on_the_hash_seed(tmp_path: Path):
    code = (
        "import sys; from cod_cli.store.run import Run; from cod_cli.ui import Ui\n"
        "from cod_cli.settings.sample import SampleSettings; from cod_cli.stages.sample import sample\n"
        "sample(Run(sys.argv[1]), SampleSettings(data=sys.argv[2]), Ui.silent())\n"
    )
    data, files = source(tmp_path), []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        command = [sys.executable, "-c", code, str(folder), str(data)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)})
        files.append(Run(folder).shots.path.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [{"a": 3, "b": 9}, {"a": 4, "b": 4, "c": 1}])
def test_too_few_rows_of_a_class_say_how_many_there_are_and_what_is_possible(sizes: dict[str, int], seed: int):
    pool = rows(**sizes)
    with pytest.raises(CodError) as caught:
        draw(pool, list(sizes), 9, seed)
    assert all(f"{label} {n}" in caught.value.message for label, n in sizes.items())
    possible = int(str(caught.value.hint).split()[1])
    assert len(draw(pool, list(sizes), possible, seed)) == possible
    with pytest.raises(CodError):
        draw(pool, list(sizes), possible + 1, seed)
    assert "-k all" in str(caught.value.hint)


def test_one_shot_more_is_possible_where_the_scarce_class_comes_second():
    pool = rows(a=3, b=9)
    for seed in range(8):
        a_comes_first = draw(pool, "ab", 2, seed)[0].label == "a"
        with pytest.raises(CodError, match="too few") as caught:
            draw(pool, "ab", 9, seed)
        assert str(caught.value.hint).startswith("-k 6 " if a_comes_first else "-k 7 ")


def test_a_class_without_any_row_leaves_only_all():
    with pytest.raises(CodError) as caught:
        draw(rows(a=5), ["a", "b"], 2, seed=0)
    assert caught.value.hint == "-k all takes every row as it is"


def test_fewer_shots_than_classes_are_a_usage_error():
    with pytest.raises(UsageError) as caught:
        draw(rows(a=5, b=5, c=5), "abc", 2, seed=0)
    assert (caught.value.exit_code, caught.value.hint) == (2, "use -k 3")
    assert "3: a, b, c" in caught.value.message


# The stage


def test_shots_and_their_manifest_are_written(run: Run, tmp_path: Path):
    data = source(tmp_path)
    result = run_sample(run, data, shots="9", seed=4)
    shots, manifest = run.shots.read(), run.shots.require()
    assert [shot.id for shot in shots] == [row.id for row in draw_of(data, 9, 4)]
    assert (manifest.complete, manifest.labels, manifest.seed) == (True, ["bad", "good"], 4)
    assert list(manifest.inputs) == ["films.jsonl"]
    assert (result.shots, result.source, result.fresh, result.path) == (9, "films/all", True, run.shots.path)
    assert dict(result.per_label) == {name: manifest.counts[f"shots_{name}"] for name in ("bad", "good")}


def draw_of(data: Path, k: int, seed: int) -> list[Row]:
    """What the stage ought to have drawn, from the file itself."""
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    pool = [Row(f"{data.stem}/all/{n}", row["text"], row["label"]) for n, row in enumerate(lines, start=1)]
    return draw(pool, ("bad", "good"), k, seed)


def test_all_takes_every_row_in_file_order_however_unbalanced(run: Run, tmp_path: Path):
    data = source(tmp_path, bad=1, good=5)
    result = run_sample(run, data, shots="all")
    assert [shot.id for shot in run.shots.read()] == [f"films/all/{n}" for n in range(1, 7)]
    assert dict(result.per_label) == {"bad": 1, "good": 5}


def test_what_was_dropped_is_said_and_the_counts_add_up(run: Run, tmp_path: Path):
    data, ui = source(tmp_path), Notes()
    with data.open("a") as file:
        file.write('{"text": " ", "label": "bad"}\n{"text": "good 1", "label": "bad"}\n{"text": "new"}\n')
    counts = run_sample(run, data, ui).counts
    assert ui.told == [
        "Dropped 3 of 53 rows of films/all: 1 without a text, 1 with a text that stands there before, 1 without a label"
    ]
    assert (
        counts["rows"]
        == 53
        == counts["usable"] + sum(counts[k] for k in ("empty", "duplicate", "unlabelled", "filtered"))
    )
    assert counts["shots"] == 8 == counts["shots_bad"] + counts["shots_good"]


def test_the_source_is_recorded_so_that_it_can_be_read_from_elsewhere(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source(tmp_path, "films/train.jsonl")
    monkeypatch.chdir(tmp_path)
    run_sample(run, "films", label_names="bad=negative,good=positive", text_column=("text",))
    settings = run.shots.require().settings
    assert settings["data"] == str(tmp_path / "films")
    assert (settings["label_names"], settings["text_column"]) == ("bad=negative,good=positive", ["text"])
    monkeypatch.chdir("/")
    assert not run_sample(
        run, tmp_path / "films", label_names="bad=negative,good=positive", text_column=("text",)
    ).fresh


def test_a_rerun_changes_nothing_and_needs_no_source(run: Run, tmp_path: Path):
    data, ui = source(tmp_path), Notes()
    first = run_sample(run, data)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.folder.iterdir()}
    second = run_sample(run, data, ui)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.folder.iterdir()} == before
    assert (second.fresh, second.shots, second.counts) == (False, first.shots, first.counts)
    assert ["already there" in told for told in ui.told] == [True]


def test_a_rerun_counts_the_shots_that_a_hand_has_left(run: Run, tmp_path: Path):
    data = source(tmp_path)
    run_sample(run, data)
    lines = run.shots.path.read_text().splitlines(keepends=True)
    run.shots.path.write_text("".join(lines[2:]))
    assert run_sample(run, data).shots == 6


def test_a_source_that_changed_since_is_mentioned(run: Run, tmp_path: Path):
    data, ui = source(tmp_path), Notes()
    run_sample(run, data)
    source(tmp_path, bad=40, good=40)
    run_sample(run, data, ui)
    assert f"warning: {data} has changed since the shots were drawn from it" in ui.told


@pytest.mark.parametrize("change", [{"shots": "10"}, {"seed": 1}, {"text_column": ("text",)}])
def test_other_settings_are_refused(change: dict[str, Any], run: Run, tmp_path: Path):
    data = source(tmp_path)
    run_sample(run, data)
    before = run.shots.path.read_bytes()
    with pytest.raises(CodError, match=next(iter(change))):
        run_sample(run, data, **change)
    assert run.shots.path.read_bytes() == before


def test_force_archives_the_old_shots_and_draws_anew(run: Run, tmp_path: Path):
    data = source(tmp_path)
    run_sample(run, data)
    old = run.shots.path.read_bytes()
    assert run_sample(run, data, shots="12", force=True).shots == 12
    assert [path.read_bytes() for path in run.folder.glob("archive/*/1-shots.jsonl")] == [old]


def test_a_forced_draw_that_fails_leaves_the_old_shots_in_place(run: Run, tmp_path: Path):
    data = source(tmp_path)
    run_sample(run, data)
    old = run.shots.path.read_bytes()
    with pytest.raises(CodError):
        run_sample(run, data, shots="400", force=True)
    assert run.shots.path.read_bytes() == old
    assert not (run.folder / "archive").exists()


def test_a_run_that_failed_leaves_nothing_behind(run: Run, tmp_path: Path):
    with pytest.raises(CodError):
        run_sample(run, tmp_path / "missing.csv")
    assert not run.folder.exists()


@pytest.mark.parametrize("rows_are_there", [False, True])
def test_a_draw_that_was_killed_half_way_is_taken_up(rows_are_there: bool, run: Run, tmp_path: Path):
    data = source(tmp_path)
    settings = SampleSettings(data=str(data))
    run.shots.begin(settings.results() | {"data": str(data)}, labels=["bad", "good"], seed=0)
    if rows_are_there:
        run.shots.path.write_text("")
    assert sample(run, settings, Ui.silent()).fresh
    assert (run.shots.require().complete, len(run.shots.read())) == (True, 8)


def test_a_folder_named_like_a_task_is_pointed_out(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source(tmp_path, "sst2/train.jsonl")
    monkeypatch.chdir(tmp_path)
    ui = Notes()
    with pytest.raises(CodError, match="cannot be reached"):
        run_sample(run, "sst2", ui)
    assert "./sst2" in ui.told[0]


# What looks wrong


def test_classes_of_one_row_each_are_doubted(run: Run, tmp_path: Path) -> None:
    data, notes = source(tmp_path, **{f"id{number}": 1 for number in range(30)}, twice=2), Notes()
    run_sample(run, data, notes, shots="all")
    assert "warning: 31 classes, 30 of them of one row: is --label-column the right one?" in notes.told


def test_labels_that_name_several_classes_are_noted(run: Run, tmp_path: Path) -> None:
    notes = Notes()
    run_sample(run, source(tmp_path, **{"bug": 4, "billing": 4, "bug|billing": 4, "up, down": 4}), notes)
    assert next(told for told in notes.told if "such as 'bug|billing'" in told).startswith("warning: 1 labels")


def test_many_classes_do_not_flood_the_screen(run: Run, tmp_path: Path) -> None:
    data = source(tmp_path, **{f"class-{number}": 2 for number in range(300)})
    for k in ("4", "900"):
        with pytest.raises(CodError, match=r"and 28\d more") as caught:
            run_sample(run, data, shots=k)
        assert len(caught.value.message) < 500
