"""The commands on the page: pasted, they are accepted, and mean what was recorded."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from cod_cli.cli.app import app
from cod_cli.records import SweepPlan
from cod_cli.report.comparison import compare
from cod_cli.report.page.commands import command_line, texts_of, training_of
from cod_cli.report.page.document import page
from cod_cli.report.results import read_evidence
from cod_cli.settings.base import Settings, options_of
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.rival import RivalSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.store.run import Run, SweepFolder
from tests.report.evidence_of import LABELS, scored_run, trained, with_pairs

RECORDED: list[tuple[str, Settings]] = [
    ("cod sample", SampleSettings(data="my data/it's.csv", shots="16", seed=3, text_column=("title", "body"))),
    ("cod sample", SampleSettings(data="sst2", shots="all")),
    ("cod counterfact", CounterfactSettings(generator="editor", teacher="../t", target="all")),
    ("cod counterfact", CounterfactSettings(model="gpt-4o", teacher="org/t", temperature=0.7, prompt=("a", "b.yaml"))),
    ("cod label", LabelSettings(teacher="-odd name", teacher_labels="LABEL_0=negative,LABEL_1=positive")),
    ("cod rival", RivalSettings(kind="eda", teacher="t", seed=2)),
    ("cod distill", DistillSettings(student="m", mix="cod", epochs=3, lr=1e-5, student_layers=3, seed="4")),
    ("cod distill", DistillSettings(student="m", method="ted", mix="shots", name="a b; rm -rf $HOME `x`")),
]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """A command line as the CLI's own parser takes it: its folder and its options."""
    words = shlex.split(line.replace("~/", f"{Path.home()}/"))
    command = typer.main.get_command(app).commands[words[1]]  # type: ignore[attr-defined]
    values = command.make_context(words[1], words[2:]).params
    return str(values.pop("run", values.pop("folder", None))), values


@pytest.mark.parametrize(("words", "settings"), RECORDED)
def test_a_recorded_command_parses_back_to_its_settings(words: str, settings: Settings) -> None:
    line = command_line(words, Path("runs/a b/k8"), type(settings), settings.results())
    folder, values = parsed(line)
    assert folder == "runs/a b/k8"
    kept = {
        name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in options_of(type(settings))
    }
    assert type(settings)(**kept).results() == settings.results()


def test_options_at_their_defaults_are_left_out() -> None:
    line = command_line("cod label", Path("run"), LabelSettings, LabelSettings(teacher="t").results())
    assert line == "cod label run --teacher t"


def test_what_is_no_option_is_left_out() -> None:
    assert (
        command_line("cod label", Path("run"), LabelSettings, {"teacher": "t", "gone": 3})
        == "cod label run --teacher t"
    )


def test_the_home_directory_need_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/somebody"))
    line = command_line("cod label", Path("/home/somebody/my run"), LabelSettings, {"teacher": "/home/somebody/t"})
    assert line == "cod label ~/'my run' --teacher ~/t"


def test_the_folder_of_work_need_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = command_line("cod label", tmp_path / "my run", LabelSettings, {"teacher": f"{tmp_path}/t"})
    assert line == "cod label 'my run' --teacher t"


def test_the_page_tells_nobody_s_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    run = scored_run(tmp_path / "sweep" / "mine" / "k4-s0", {"kd-shots": 0.6})
    trained(run, "kd-shots")
    finish(run, soft_labels={"teacher": f"{tmp_path}/teachers/t"})
    grid = shlex.quote(str(tmp_path / "sweep" / "grid.yaml"))
    SweepFolder(tmp_path / "sweep").write(
        SweepPlan(command=f"cod sweep {grid} --out {tmp_path}/sweep", baseline="kd-shots", arms={}, cells=[])
    )
    evidence = read_evidence(tmp_path / "sweep")
    shown = page(evidence, compare(evidence))
    assert "cod sweep ~/sweep/grid.yaml --out ~/sweep" in shown
    assert str(tmp_path) not in shown


def finish(run: Run, **files: dict[str, Any]) -> Run:
    for name, settings in files.items():
        file = getattr(run, name, None) or run.rival(name).rows
        file.finish(file.begin(settings, labels=LABELS), [])
    return run


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ("shots", ["sample", "label"]),
        ("cod", ["sample", "counterfact", "label"]),
        ("all", ["sample", "counterfact", "label"]),
        ("eda", ["sample", "rival", "label"]),
        ("pool-queries", ["sample", "counterfact", "rival", "label"]),
        ("cod-nearest", ["sample", "counterfact", "rival", "label"]),
    ],
)
def test_a_mix_names_what_made_its_texts_and_nothing_else(tmp_path: Path, mix: str, words: list[str]) -> None:
    run = finish(
        scored_run(tmp_path, {}),
        counterfactuals={"generator": "editor"},
        eda={"kind": "eda"},
        **{"pool-queries": {"kind": "pool-queries"}, "cod-nearest": {"kind": "cod-nearest"}},
        soft_labels={"teacher": "t"},
    )
    assert [line.split()[1] for line in texts_of(run, mix)] == words


def test_a_student_is_trained_under_its_own_name_and_scored_on_its_split(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "r", {"kd-shots-s1": 0.6}, seed=1, method="kd", mix="shots")
    trained(run, "kd-shots-s1", seed=1)
    (result,) = read_evidence(tmp_path).results
    distill, evaluate = training_of(result)
    _, values = parsed(distill)
    assert (values["name"], values["seed"], values["student"], values["mix"]) == (
        "kd-shots-s1",
        "1",
        "org/small",
        "shots",
    )
    assert parsed(evaluate)[1]["split"] == "validation"


@pytest.mark.parametrize(("drawn_from", "more"), [("mine", ""), ("reviews", " --data DATA")])
def test_rows_of_other_data_than_the_shots_are_named(tmp_path: Path, drawn_from: str, more: str) -> None:
    run = scored_run(tmp_path / "r", {"kd-shots": 0.6}, task="mine", split="all")
    with_pairs(run, [("bad", "good")], task=drawn_from)
    trained(run, "kd-shots")
    (result,) = read_evidence(tmp_path).results
    _, *scoring = training_of(result)
    assert scoring[-1] == f"cod eval {run.folder} --split all{more}"
    assert scoring[:-1] == (["# DATA: mine, which the shots are not from"] if more else [])


def test_a_student_named_by_default_is_given_no_name(tmp_path: Path) -> None:
    trained(scored_run(tmp_path / "r", {"kd-shots": 0.6}), "kd-shots")
    (result,) = read_evidence(tmp_path).results
    assert "--name" not in training_of(result)[0]


def test_a_student_that_left_no_settings_has_no_command(tmp_path: Path) -> None:
    scored_run(tmp_path / "r", {"kd-shots": 0.6})
    assert training_of(read_evidence(tmp_path).results[0]) == []
