"""Reading a grid: which stage an entry belongs to, whether it is a value of its option, and what is missing.

YAML and command-line options come in, a `Grid` goes out; each stage's own settings class checks the values again.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cod_cli.errors import CodError, UsageError
from cod_cli.evaluation.scores import NO_STUDENTS
from cod_cli.settings.base import flag_of, options_of, require_folder_name
from cod_cli.settings.distill import default_name
from cod_cli.stages.sweep.grid import STAGES, Arm, Grid, Options
from cod_cli.store.yaml import read_yaml

# What a name means where several stages have it and mean different things; elsewhere it is meant for all of them.
OWNERS: dict[str, tuple[str, ...]] = {
    "data": ("sample",),
    "split": ("eval",),
    "temperature": ("distill",),
    "batch_size": ("distill",),
    "teacher": ("counterfact", "rival", "label"),
    "prompt": ("counterfact",),
}


_SET_BY_THE_SWEEP = {"shots": "k", "seed": "seeds", "force": None, "dry_run": None, "kind": None}
_RENAME = "give one of them another `name: …`"
_TOP = ("tasks", "arms", "k", "seeds", *STAGES)


def read_grid(path: Path, given: Mapping[str, Any]) -> Grid:
    """The grid of a YAML file, with what was ``given`` on the command line in place of its own entries.

    Raises:
        UsageError: no such file, an unknown name, a value that its stage refuses, or nothing to compare.
    """
    return parse_grid({**_read(path), **given}, str(path))


def parse_grid(values: Mapping[str, Any], where: str = "the grid") -> Grid:
    """A grid from its entries; ``where`` is named in errors."""
    ks = _whole_numbers(values.get("k", [8]), "k", where, least=1)
    seeds = _whole_numbers(values.get("seeds", [0]), "seeds", where, least=0)
    shared = _sorted_by_stage({k: v for k, v in values.items() if k not in _TOP[:4]}, where)
    tasks = _tasks(values.get("tasks"), shared, where)
    arms = _arms(values.get("arms") or [{"method": "kd", "mix": "shots"}, {"method": "kd", "mix": "cod"}], where)
    grid = Grid(dict(values), tasks, ks, seeds, arms)
    for _ in grid.runs():  # every stage's settings refuse what is wrong now, not hours later
        pass
    return grid


def _read(path: Path) -> dict[str, Any]:
    values = read_yaml(path, "give a YAML file, or the name of a grid that ships")
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no grid", "write `data: …`, `teacher: …`, `student: …`, `k: [8, 16]`")
    return {str(key).replace("-", "_"): value for key, value in values.items()}


def _tasks(entries: Any, shared: Options, where: str) -> dict[str, Options]:
    """The options of each task by its name; without a list of tasks, the shared ones are the only task's."""
    if entries is None:
        entries = [{}]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{where}: tasks is no list of entries", "write `tasks: [{data: …, teacher: …}]`")
    tasks: dict[str, Options] = {}
    for entry in entries:
        own = _sorted_by_stage({k: v for k, v in entry.items() if k != "name"}, where)
        options = {stage: {**shared.get(stage, {}), **own.get(stage, {})} for stage in STAGES}
        data = options["sample"].get("data")
        if not data:
            raise UsageError(f"{where}: a task has no data", "add `data: …`, or --data")
        name = str(entry.get("name") or _task_name(str(data)))
        require_folder_name(f"{where}: a task's name", name)
        if name in tasks:
            raise UsageError(f"{where}: two tasks are called {name}", _RENAME)
        tasks[name] = options
    return tasks


def _task_name(data: str) -> str:
    return Path(data).stem if Path(data).exists() else data.replace("/", "-").replace(":", "-")


def _arms(entries: Any, where: str) -> tuple[Arm, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{where}: arms is no list of entries", "write `arms: [{method: kd, mix: shots}]`")
    arms: dict[str, Arm] = {}
    for entry in entries:
        options = _sorted_by_stage({k: v for k, v in entry.items() if k != "name"}, where)
        if options.get("sample") or options.get("eval"):
            raise UsageError(
                f"{where}: an arm sets options of `sample` or `eval`", "arms share shots and split; set those for all"
            )
        training = options.get("distill", {})
        method, mix = training.setdefault("method", "kd"), training.setdefault("mix", "all")
        name = str(entry.get("name") or default_name(method, mix, training.get("init", "")))
        require_folder_name(f"{where}: an arm's name", name)
        if name in NO_STUDENTS:
            raise UsageError(f"{where}: an arm is called {name}, as the scores call what is no student", _RENAME)
        if name in arms:
            raise UsageError(f"{where}: two arms are called {name}", _RENAME)
        arms[name] = Arm(name, {**options, "distill": training})
    return tuple(arms.values())


def _sorted_by_stage(entries: Mapping[str, Any], where: str) -> Options:
    """Options by the stage that they belong to; those in a stage's own section belong to it alone."""
    sections: Options = {}
    for key, value in entries.items():
        name = str(key).replace("-", "_")
        if name in STAGES:
            if not isinstance(value, dict):
                raise UsageError(f"{where}: {name} is no section of options", f"write `{name}: {{option: value}}`")
            for option, inner in value.items():
                sections.setdefault(name, {}).update(_option(name, str(option).replace("-", "_"), inner, where))
            continue
        owners = [stage for stage in OWNERS.get(name, STAGES) if name in _known(stage)]
        if not owners:
            raise UsageError(f"{where}: no stage has an option {key!r}", "`cod STAGE --help` lists what there is")
        for stage in owners:
            sections.setdefault(stage, {}).update(_option(stage, name, value, where))
    return sections


def _known(stage: str) -> dict[str, tuple[str, Any]]:
    """Field and type of a stage's options, by every name that a user may write: `from` as well as `from_file`."""
    options = options_of(STAGES[stage])
    named = {flag_of(name, info).lstrip("-").replace("-", "_"): (name, kind) for name, (kind, info) in options.items()}
    return {name: (name, kind) for name, (kind, _) in options.items()} | named


def _option(stage: str, name: str, value: Any, where: str) -> dict[str, Any]:
    known = _known(stage)
    if name not in known:
        raise UsageError(f"{where}: {stage} has no option {name!r}", f"`cod {stage} --help` lists what there is")
    field, kind = known[name]
    if field in _SET_BY_THE_SWEEP:
        instead = _SET_BY_THE_SWEEP[field]
        raise UsageError(
            f"{where}: {name} is set by the sweep", f"write `{instead}: […]`" if instead else "leave it out"
        )
    if value is None and type(None) not in get_args(kind):
        return {}  # an entry left empty
    if field == "student_layers" and isinstance(value, list):
        value = ",".join(map(str, value))
    return {field: _typed(value, kind, f"{where}: {name}")}


def _typed(value: Any, kind: Any, what: str) -> Any:
    """A value as YAML gives it, as its option wants it: lists become tuples, whole numbers decimals, text paths."""
    if any(get_origin(one) is Literal for one in (kind, *get_args(kind))):
        return value  # refused by its stage, which lists the choices
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Strict, so that `yes` is not 1 and "8" not 8; read as JSON, where strictness lets a list be a tuple, text a path.
    adapter = TypeAdapter(kind, config=ConfigDict(strict=True))
    for candidate in (value, [value], *([str(value)] if number else [])):
        with contextlib.suppress(ValidationError, TypeError, ValueError):
            return adapter.validate_json(json.dumps(candidate))
    raise UsageError(f"{what} is {value!r}", "that is no value of this option")


def _whole_numbers(value: Any, name: str, where: str, *, least: int) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    good = all(isinstance(n, int) and not isinstance(n, bool) and least <= n < 2**64 for n in numbers)
    if not numbers or not good or len(set(numbers)) < len(numbers):
        raise UsageError(f"{where}: {name} is {value!r}", f"write whole numbers, each once: `{name}: [{least}, …]`")
    return tuple(numbers)


def shipped(folder: Path, name: str) -> Path:
    """A grid by its file, or by the name of one that ships in ``folder``."""
    path = Path(name)
    if path.exists() or path.suffix in (".yaml", ".yml"):
        return path
    ready = folder / f"{name}.yaml"
    if not ready.exists():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise CodError(f"there is no grid {name!r}", f"give a YAML file, or one of: {names}")
    return ready
