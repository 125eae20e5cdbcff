"""The command line as a shell sees it: quick help, clear errors, exit codes, options from a file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from cod_cli.cli.app import app
from cod_cli.settings.base import PANELS
from cod_cli.settings.label import LabelSettings
from tests.models.tiny import sentences

COMMANDS: list[str] = list(get_command(app).commands)  # type: ignore[attr-defined]


def cod(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    rows = dict(sentences(40)).items()
    path.write_text("".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in rows), encoding="utf-8")
    return path


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom cod_cli.cli.app import main\n"
        "try:\n    sys.argv = ['cod', '--help']\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'openai', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [["cache"], ["show", "--prompt", "sentiment"]])
def test_what_computes_nothing_imports_neither_scipy_nor_torch(words: list[str]) -> None:
    code = (
        f"import sys\nsys.argv = ['cod', *{words}]\nfrom cod_cli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'transformers', 'scipy', 'sklearn', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_nothing_phones_home() -> None:
    code = (
        "import sys; sys.argv = ['cod', '--version']\n"
        "from cod_cli.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "from huggingface_hub import constants\n"
        "assert constants.HF_HUB_DISABLE_TELEMETRY"
    )
    clean = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], check=True, env=clean)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_ends_with_examples(command: str) -> None:
    shown = cod(command, "--help")
    assert shown.exit_code == 0
    assert re.search(rf"^ Examples:\s+.*\bcod {command}\b", shown.output, re.MULTILINE | re.DOTALL)


def groups_shown(command: str) -> dict[str, list[str]]:
    """The long flags in each group of a command's help, in their order."""
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).output
    groups: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if heading := re.match(r"╭─ (.+?) ─+╮", line):
            groups[heading[1]] = []
        elif flag := re.match(r"│ (\*? *)(--[\w-]+)", line):
            groups[list(groups)[-1]].append(flag[2] + "*" * ("*" in flag[1]))
    return groups


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_stands_in_one_group_that_has_its_place(command: str) -> None:
    groups = groups_shown(command)
    groups.pop("Arguments", None)
    assert set(groups) <= set(PANELS)
    shown = [flag.rstrip("*") for flags in groups.values() for flag in flags]
    params = get_command(app).commands[command].params  # type: ignore[attr-defined]
    options = [next(o for o in p.opts if o.startswith("--")) for p in params if p.param_type_name == "option"]
    assert sorted(shown) == sorted([*options, "--help"])


@pytest.mark.parametrize(("command", "needed"), [("sample", "--data"), ("rival", "--kind"), ("sweep", "--out")])
def test_what_must_be_given_stands_first_and_is_starred(command: str, needed: str) -> None:
    groups = [flags for name, flags in groups_shown(command).items() if name != "Arguments"]
    assert groups[0][0] == f"{needed}*"


@pytest.mark.parametrize(
    ("command", "without"),
    [("sample", {"--device"}), ("predict", {"--force"}), ("report", {"--force"})]
    + [(name, {"--device", "--force"}) for name in ("show", "cache", "demo", "sweep")],
)
def test_no_command_has_an_option_that_means_nothing_there(command: str, without: set[str]) -> None:
    assert not without & {flag for flags in groups_shown(command).values() for flag in flags}


def test_the_commands_are_listed_in_the_order_of_the_pipeline_with_whole_sentences() -> None:
    shown = cod("--help").output
    listed = re.findall(r"^  (\w+)  +\S", shown, re.MULTILINE)
    assert listed[:5] == ["sample", "counterfact", "label", "distill", "eval"]
    assert set(listed) == set(COMMANDS)
    assert not re.search(r"\w\.\.\.", shown)


def test_the_version_has_a_short_flag() -> None:
    assert cod("-V").output == cod("--version").output != ""


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("distill runs/a --mix c", {"contrast", "cod"}),
        ("rival runs/a --kind eda,ae", {"eda,aeda"}),
        ("report runs --metric m", {"macro_f1", "mcc"}),
        ("show --prompt topic-s", {"topic-short"}),
    ],
)
def test_a_shell_completes_the_names_of_values(words: str, completed: set[str]) -> None:
    line = f"cod {words}"
    asked = {"_COD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    done = CliRunner().invoke(app, [], env=asked, prog_name="cod")
    assert completed <= set(done.output.split())


def test_help_explains_what_is_too_long_for_an_option() -> None:
    shown = " ".join(cod("distill", "--help").output.split())
    assert "In a contrast set each shot's family is balanced" in shown


def test_an_option_in_the_file_that_is_nearly_right_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "options.yaml").write_text("tect_column: body\n", encoding="utf-8")
    failed = cod("sample", tmp_path / "run", "--config", tmp_path / "options.yaml")
    assert "hint: did you mean text_column (for tect_column)?" in failed.stderr


def test_a_known_failure_is_an_error_and_a_hint_and_exit_code_1(tmp_path: Path) -> None:
    failed = cod("label", tmp_path / "nowhere", "--teacher", "t")
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: ")
    assert "\nhint: " in failed.stderr


def test_wrong_usage_is_exit_code_2(tmp_path: Path, data: Path) -> None:
    assert cod("sample", tmp_path / "run", "--data", data, "-k", "none").exit_code == 2
    assert cod("sample", tmp_path / "run").exit_code == 2


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path, data: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    failed = cod("sample", tmp_path / "file" / "run", "--data", data)
    assert failed.exit_code == 1
    assert str(tmp_path / "file") in failed.stderr


def test_options_come_from_a_file_and_flags_win(tmp_path: Path, data: Path) -> None:
    config = tmp_path / "options.yaml"
    config.write_text(f"data: {data}\nshots: 6\nseed: 3\n", encoding="utf-8")
    done = cod("sample", tmp_path / "run", "--config", config, "-k", "4", "--json")
    assert done.exit_code == 0
    manifest = json.loads((tmp_path / "run" / "1-shots.meta.json").read_text(encoding="utf-8"))
    assert (manifest["settings"]["shots"], manifest["seed"]) == ("4", 3)


def test_an_unknown_option_in_the_file_is_named(tmp_path: Path) -> None:
    config = tmp_path / "options.yaml"
    config.write_text("shotz: 6\n", encoding="utf-8")
    failed = cod("sample", tmp_path / "run", "--config", config)
    assert failed.exit_code == 2
    assert "shotz" in failed.stderr


@pytest.mark.parametrize("key", ["config", "run", "help"])
def test_what_is_no_option_is_unknown_in_the_file(key: str, tmp_path: Path, data: Path) -> None:
    (tmp_path / "options.yaml").write_text(f"data: {data}\n{key}: x\n", encoding="utf-8")
    failed = cod("sample", tmp_path / "run", "--config", tmp_path / "options.yaml")
    assert (failed.exit_code, "unknown options: " + key in failed.stderr) == (2, True)


def test_a_yes_is_no_seed(tmp_path: Path, data: Path) -> None:
    (tmp_path / "options.yaml").write_text(f"data: {data}\nforce: yes\nseed: yes\n", encoding="utf-8")
    failed = cod("sample", tmp_path / "run", "--config", tmp_path / "options.yaml")
    assert (failed.exit_code, "seed is true, as YAML reads yes" in failed.stderr) == (2, True)


def test_a_folder_is_no_file_of_options(tmp_path: Path, data: Path) -> None:
    assert cod("sample", tmp_path / "run", "--data", data, "--config", tmp_path).exit_code == 2


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path, data: Path) -> None:
    failed = cod("sample", os.fsdecode(bytes(tmp_path) + b"/\xff"), "--data", data, "-k", 4)
    assert (failed.exit_code, "is not UTF-8" in failed.stderr) == (2, True)


def test_json_is_one_document_on_stdout(tmp_path: Path, data: Path) -> None:
    done = cod("sample", tmp_path / "run", "--data", data, "-k", "4", "--json")
    assert json.loads(done.stdout)["counts"]["shots"] == 4


def test_quiet_says_nothing_on_stderr(tmp_path: Path, data: Path) -> None:
    assert cod("sample", tmp_path / "run", "--data", data, "-k", "4", "-q").stderr == ""


def test_a_local_teacher_is_recorded_so_that_it_is_found_from_any_folder(
    teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(teacher_folder.parent)
    assert LabelSettings(teacher=teacher_folder.name).results()["teacher"] == str(teacher_folder)
    assert LabelSettings(teacher="org/name").results()["teacher"] == "org/name"


def test_an_interrupt_while_modules_are_imported_ends_without_a_traceback() -> None:
    code = (
        "import sys\nfrom cod_cli.__main__ import main\n"
        "class Interrupted:\n    def find_spec(self, name, *_):\n        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted; nothing was begun\n")
