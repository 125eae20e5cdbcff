"""Files that version 0.1 made: the same command lines go on with them, and the same tables are printed of them."""

import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from cod_cli.cli.app import app
from tests.compat.commands import CSV, PREDICT, STAGES, VIEWS

FIXTURE = Path(__file__).parent / "version_0_1"
STUDENT = "run/4-students/kd-cod"

# What each stage says where nothing is left to do.
DONE = {
    "teach": "teacher is already there",
    "sample": "run/1-shots.jsonl is already there with these settings",
    "counterfact": "run/2-counterfactuals.jsonl is complete already; nothing is left to ask",
    "rival": "run/2-eda.jsonl is complete already",
    "label": "(0 new)",
    "held-out": "run/5-held-out-editor.jsonl is complete already; nothing is left to ask",
    "distill": f"{STUDENT} is already there",
    "eval": "No student is left to score",
    "llm-sample": "llm-run/1-shots.jsonl is already there with these settings",
    "llm-counterfact": "llm-run/2-counterfactuals.jsonl is complete already; nothing is left to ask",
    "llm-label": "(0 new)",
    "llm-eval": "No student is left to score",
    "sweep": "sweep: every cell is done",
}
# Views that say more than they did: the majority's row and verdicts.
GROWN = ("eval", "llm-eval", "report.txt", "report.json", "report-run")
# What says when, by which version and in how many goes a file was made.
GOES = ("created", "cod_version", "reused", "new", "from_cache")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, which is the current folder; there is no key, so that nothing can be sent."""
    shutil.copytree(FIXTURE, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.rglob("*.json"):
        path.write_bytes(path.read_bytes().replace(b"@ROOT@", str(tmp_path).encode()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No name is looked up and no connection made."""
    tried: list[object] = []

    def refuse(*address: object, **_: object) -> None:
        tried.append(address)
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert tried == []


def cod(words: str) -> Result:
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, done.output
    return done


def content(folder: Path) -> dict[str, Any]:
    """All that the files say, but for locks, the cache's pages and the goes in which it was made."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    kept = {name: path for name, path in found.items() if path.name != ".lock" and not name.startswith("cache")}
    return {name: manifest(path) if name.endswith(".meta.json") else path.read_bytes() for name, path in kept.items()}


def manifest(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    counts = {name: count for name, count in values["counts"].items() if name not in GOES}
    return {name: value for name, value in values.items() if name not in GOES} | {"counts": counts}


def jsonl(folder: Path) -> dict[str, Any]:
    return {name: value for name, value in content(folder).items() if name.endswith(".jsonl")}


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def flat(row: dict[str, Any]) -> dict[str, Any]:
    inner = {
        f"{name}.{key}": value for name, held in row.items() if isinstance(held, dict) for key, value in held.items()
    }
    return inner | {name: value for name, value in row.items() if not isinstance(value, dict)}


def remembered(folder: Path) -> dict[str, list[Any]]:
    """What the cache holds, store by store."""
    found = {}
    for path in sorted((folder / "cache").glob("*.sqlite")):
        db = sqlite3.connect(path)
        found[path.stem] = db.execute("SELECT key, value FROM entries ORDER BY key").fetchall()
        db.close()
    return found


def touched(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def reopen(name: str) -> None:
    """Leave a stage's manifest as a kill does before the stage has ended."""
    meta = Path(f"{name}.meta.json")
    begun = json.loads(meta.read_text(encoding="utf-8")) | {"complete": False, "outputs": {}, "counts": {}}
    meta.write_text(json.dumps(begun), encoding="utf-8")


def without_last_row(name: str, torn: bytes = b"") -> None:
    lines = Path(name).read_bytes().splitlines(keepends=True)
    Path(name).write_bytes(b"".join(lines[:-1]) + torn)


def forget(pattern: str) -> None:
    for path in Path().glob(pattern):
        path.unlink()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_was_done_says_so_and_changes_nothing(stage: str, folder: Path) -> None:
    before, weights, cache = content(folder), touched(folder), remembered(folder)
    done = cod(STAGES[stage])
    assert DONE[stage] in done.output
    assert content(folder) == before
    assert (touched(folder), remembered(folder)) == (weights, cache)


def test_all_stages_after_one_another_change_nothing(folder: Path) -> None:
    before, weights, cache = content(folder), touched(folder), remembered(folder)
    for words in STAGES.values():
        cod(words)
    assert content(folder) == before
    assert (touched(folder), remembered(folder)) == (weights, cache)


@pytest.mark.parametrize("name", [name for name in VIEWS if not name.startswith(GROWN)])
def test_a_view_prints_what_it_printed_then(name: str, folder: Path) -> None:
    said = (FIXTURE / "said" / name).read_text(encoding="utf-8").replace("@ROOT@", str(folder))
    assert cod(VIEWS[name]).stdout == said


@pytest.mark.parametrize("name", [name for name in VIEWS if name.startswith(GROWN)])
def test_a_view_that_has_grown_prints_all_that_it_printed_then(name: str, folder: Path) -> None:
    said = (FIXTURE / "said" / name).read_text(encoding="utf-8").replace("@ROOT@", str(folder))
    now = cod(VIEWS[name]).stdout
    if name.endswith(".json"):
        assert_holds(json.loads(now), json.loads(said))
        return
    lines = iter([line.split() for line in now.splitlines()])
    rules = "─"
    assert all(words in lines for words in (line.split() for line in said.splitlines() if rules not in line))


def assert_holds(now: Any, then: Any) -> None:
    """What was there is there still, in its order; rows of `majority` and whole new fields may have come."""
    if isinstance(then, dict):
        assert then.keys() <= now.keys()
        for name, value in then.items():
            assert_holds(now[name], value)
    elif isinstance(then, list):
        kept = [item for item in now if not (isinstance(item, dict) and item.get("student") == "majority")]
        assert len(kept) == len(then)
        for new, old in zip(kept, then, strict=True):
            assert_holds(new, old)
    else:
        assert now == then


def test_a_report_writes_the_csv_that_it_wrote_then() -> None:
    Path("said/report.csv").unlink()
    cod(CSV)
    assert Path("said/report.csv").read_bytes() == (FIXTURE / "said" / "report.csv").read_bytes()


def test_a_student_predicts_what_it_predicted_then() -> None:
    now, then = [json.loads(line) for line in cod(PREDICT).stdout.splitlines()], rows("said/predict.jsonl")
    assert [row["label"] for row in now] == [row["label"] for row in then]
    for new, old in zip(now, then, strict=True):
        assert new["probabilities"] == pytest.approx(old["probabilities"], abs=1e-3)


def test_the_cache_counts_what_it_holds(folder: Path) -> None:
    stores = {store["name"]: store["entries"] for store in json.loads(cod("cache --json").stdout)["stores"]}
    assert stores == {name: len(entries) for name, entries in remembered(folder).items()}
    assert set(stores) == {"replies", "soft-labels", "teacher-logits"}


@pytest.mark.parametrize(("stage", "name"), [("label", "run/3-soft-labels"), ("llm-label", "llm-run/3-soft-labels")])
def test_labels_that_were_cut_are_finished_from_the_cache(stage: str, name: str, folder: Path) -> None:
    before = content(folder)
    reopen(name)
    without_last_row(f"{name}.jsonl", torn=b'{"id": "data/tr')
    assert "(1 new)" in cod(STAGES[stage]).output
    assert content(folder) == before


def test_counterfactuals_that_were_cut_are_finished_from_the_replies_that_are_there(folder: Path) -> None:
    before = jsonl(folder)
    reopen("run/2-counterfactuals")
    without_last_row("run/2-counterfactuals.jsonl")
    without_last_row("run/2-attempts.jsonl")
    assert "4 of 6 counterfactuals" in cod(STAGES["counterfact"]).output
    assert jsonl(folder) == before


def test_a_run_whose_replies_are_gone_finds_them_in_the_cache() -> None:
    names = ("llm-run/2-counterfactuals.jsonl", "llm-run/2-attempts.jsonl", "llm-run/3-soft-labels.jsonl")
    before = [Path(name).read_bytes() for name in names]
    forget("llm-run/[23]-*")
    cod(STAGES["llm-counterfact"])
    cod(STAGES["llm-label"])
    assert [Path(name).read_bytes() for name in names] == before


def test_shots_and_rivals_are_drawn_as_they_were(folder: Path) -> None:
    before = content(folder)
    forget("run/1-*")
    forget("run/2-eda*")
    cod(STAGES["sample"])
    cod(STAGES["rival"])
    assert content(folder) == before


def test_the_rival_that_was_called_pool_is_drawn_as_it_was_under_its_new_name() -> None:
    before = rows("run/2-pool.jsonl")
    forget("run/2-pool*")
    cod(STAGES["rival"])
    assert rows("run/2-pool-rows.jsonl") == [row | {"kind": "pool-rows"} for row in before]


def test_the_rival_that_was_called_pool_is_trained_on_under_its_new_name() -> None:
    cod("distill run --student base --method kd --mix pool-rows --epochs 1 --device cpu")
    made = yaml.safe_load(Path("run/4-students/kd-pool-rows/settings.yaml").read_text(encoding="utf-8"))
    assert (made["rows"], made["mix"]) == (6, "pool-rows")
    for command in ("distill run --student base --mix pool", "pool run --from data/test.jsonl"):
        refused = CliRunner().invoke(app, command.split())
        assert refused.exit_code == 1
        assert "2-pool.jsonl holds the rival that is called pool-rows now" in refused.output


def test_a_teacher_gives_the_labels_that_it_gave_without_the_cache() -> None:
    before = rows("run/3-soft-labels.jsonl")
    forget("cache/*")
    forget("run/3-*")
    cod(STAGES["label"])
    after = rows("run/3-soft-labels.jsonl")
    for new, old in zip(after, before, strict=True):
        assert new.pop("logits") == pytest.approx(old.pop("logits"), abs=1e-3)
        assert new == old


def test_a_student_that_is_gone_is_trained_as_it_was() -> None:
    shutil.move(STUDENT, "before")
    cod(STAGES["distill"])
    old, new = (yaml.safe_load(Path(at, "settings.yaml").read_text(encoding="utf-8")) for at in ("before", STUDENT))
    assert old.keys() == new.keys()
    assert {name for name in old if old[name] != new[name]} <= {"seconds", "threads", "versions", "created"}
    then, now = ([step["total"] for step in rows(f"{at}/history.jsonl")] for at in ("before", STUDENT))
    assert now == pytest.approx(then, rel=1e-2)


def test_scores_that_are_gone_come_out_the_same() -> None:
    before, then = rows("run/5-scores.jsonl"), rows("run/5-predictions.jsonl")
    forget("run/5-scores*")
    forget("run/5-predictions*")
    cod(STAGES["eval"])
    after, now = rows("run/5-scores.jsonl"), rows("run/5-predictions.jsonl")
    assert after.pop(1)["student"] == "majority"
    assert {row.pop("rows_per_second", 0) > 0 for row in after if row["student"] != "teacher"} == {True}  # it is new
    assert [flat(row) for row in after] == [pytest.approx(flat(row), abs=1e-3) for row in before]
    for new, old in zip(now, then, strict=True):
        assert new.pop("confidence") == pytest.approx(old.pop("confidence"), abs=1e-3)
        assert new == old


def test_a_sweep_that_grows_trains_only_the_new_arm(folder: Path) -> None:
    before = {score["student"]: score for score in rows("sweep/data/k4-s0/5-scores.jsonl")}
    with Path("grid.yaml").open("a", encoding="utf-8") as grid:
        grid.write("- mix: eda\n")
    assert "3 of 3 cells done, 1 in this go" in cod(STAGES["sweep"]).output
    after = {score["student"]: score for score in rows("sweep/data/k4-s0/5-scores.jsonl")}
    assert after.keys() - before.keys() == {"kd-eda", "majority"}
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (STAGES["sample"].replace("-k 6", "-k 4"), "shots: 6 → 4"),
        (STAGES["label"] + " --max-length 16", "max_length: 256 → 16"),
        (STAGES["distill"].replace("--epochs 30", "--epochs 3"), "epochs: 30 → 3"),
    ],
)
def test_other_settings_are_refused_by_name(words: str, difference: str, folder: Path) -> None:
    before = content(folder)
    refused = CliRunner().invoke(app, words.split())
    assert (refused.exit_code, content(folder)) == (1, before)
    assert difference in refused.stderr
