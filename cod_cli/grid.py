"""A grid of tasks × k × seeds × arms, and the settings of every stage that it stands for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from cod_cli.errors import CodError, UsageError
from cod_cli.kinds import OTHER_BUDGET, RIVALS
from cod_cli.settings import (
    CounterfactSettings,
    DistillSettings,
    EvalSettings,
    LabelSettings,
    RivalSettings,
    SampleSettings,
    Settings,
    flag_of,
    options_of,
)

STAGES: dict[str, type[Settings]] = {
    "sample": SampleSettings,
    "counterfact": CounterfactSettings,
    "rival": RivalSettings,
    "label": LabelSettings,
    "distill": DistillSettings,
    "eval": EvalSettings,
}
# What a name means where several stages have it and mean different things; elsewhere it is meant for all of them.
OWNERS: dict[str, tuple[str, ...]] = {
    "data": ("sample",),
    "split": ("eval",),
    "temperature": ("distill",),
    "batch_size": ("distill",),
    "teacher": ("counterfact", "rival", "label"),
    "prompt": ("counterfact",),
}
# What makes the number of optimiser steps, beside the rows.
DEFAULT_STEPS = {"epochs": DistillSettings.epochs, "batch_size": DistillSettings.batch_size}
# What all arms of a run share.
PER_RUN = ("counterfact", "rival", "label")
_SET_BY_THE_SWEEP = {"shots": "k", "seed": "seeds", "force": None, "dry_run": None, "kind": None}
_TOP = ("tasks", "arms", "k", "seeds", *STAGES)

Options = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Arm:
    """One way to train a student: what is compared in a table.

    ``options`` are those of each stage that the arm sets itself.
    """

    name: str
    options: Options

    @property
    def variant(self) -> bool:
        """Whether it needs CFEs or labels of its own, and so a run of its own."""
        return any(self.options.get(stage) for stage in PER_RUN)


@dataclass(frozen=True)
class RunPlan:
    """One run folder: shots of one task, k and seed, and the arms that are trained on them.

    ``folder`` is relative to the sweep's; ``counterfact`` is None where no arm needs CFEs, ``rival`` where none is one,
    ``held_out`` where boundary agreement was not asked for.
    """

    task: str
    k: int
    seed: int
    folder: str
    sample: SampleSettings
    counterfact: CounterfactSettings | None
    held_out: CounterfactSettings | None
    rival: RivalSettings | None
    label: LabelSettings
    arms: dict[str, DistillSettings]
    eval: EvalSettings


@dataclass(frozen=True)
class Grid:
    """What a sweep compares: ``tasks`` by name with the options of each stage; ``entries`` as they were given."""

    entries: dict[str, Any]
    tasks: dict[str, Options]
    ks: tuple[int, ...]
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with: the first that trains on the shots alone, else the first."""
        alone = [arm.name for arm in self.arms if arm.options.get("distill", {}).get("mix") == "shots"]
        return (alone or [self.arms[0].name])[0]

    def other_budget(self, name: str) -> bool:
        """Whether an arm trains on other rows or for other steps than the baseline."""
        arms = {arm.name: {**DEFAULT_STEPS, **self._shared_steps(), **arm.options["distill"]} for arm in self.arms}
        own, base = arms[name], arms[self.baseline]
        return own["mix"] in OTHER_BUDGET or any(own[key] != base[key] for key in DEFAULT_STEPS)

    def _shared_steps(self) -> dict[str, Any]:
        shared = next(iter(self.tasks.values())).get("distill", {})
        return {key: shared[key] for key in DEFAULT_STEPS if key in shared}

    def runs(self) -> Iterator[RunPlan]:
        """All runs: task by task, seed by seed, from small k to large, so that shots are shared as they grow."""
        for task, shared in self.tasks.items():
            for seed in self.seeds:
                for k in sorted(self.ks):
                    for variant, arms in self._by_run().items():
                        yield _plan(task, shared, k, seed, variant, arms)

    def _by_run(self) -> dict[str, list[Arm]]:
        """Arms by the suffix of their run folder: one run for all that share CFEs and labels."""
        groups: dict[str, list[Arm]] = {}
        owners: dict[str, str] = {}
        for arm in self.arms:
            own = (
                repr({stage: arm.options.get(stage) for stage in ("counterfact", "rival", "label")})
                if arm.variant
                else ""
            )
            suffix = owners.setdefault(own, f".{arm.name}" if arm.variant else "")
            groups.setdefault(suffix, []).append(arm)
        return groups


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
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist", "give a YAML file, or the name of a grid that ships") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no grid", "write `data: …`, `teacher: …`, `student: …`, `k: [8, 16]`")
    return {str(key).replace("-", "_"): value for key, value in values.items()}


def _tasks(entries: Any, shared: Options, where: str) -> dict[str, Options]:
    """The options of each task by its name; without a list of tasks, the shared ones are the only task's."""
    if entries is None:
        entries = [{}]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{where}: tasks is no list of entries", "write `tasks: [{data: …, teacher: …}]`")
    tasks: dict[str, Options] = {}
    for entry in entries:
        own = _sorted_by_stage({k: v for k, v in entry.items() if k != "name"}, where)
        options = {stage: {**shared.get(stage, {}), **own.get(stage, {})} for stage in STAGES}
        data = options["sample"].get("data")
        if not data:
            raise UsageError(f"{where}: a task has no data", "add `data: …`, or --data")
        name = str(entry.get("name") or _task_name(str(data)))
        if name in tasks:
            raise UsageError(f"{where}: two tasks are called {name}", "give one of them another `name: …`")
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
        name = str(entry.get("name") or f"{method}-{mix}")
        if name in arms:
            raise UsageError(f"{where}: two arms are called {name}", "give one of them another `name: …`")
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
    return {field: _typed(value, kind, f"{where}: {name}")}


def _typed(value: Any, kind: Any, what: str) -> Any:
    """A value as YAML gives it, as its option wants it: lists become tuples, whole numbers decimals, text paths."""
    allowed = [kind] if get_origin(kind) in (tuple, Literal) or isinstance(kind, type) else list(get_args(kind))
    if value is None and type(None) in allowed:
        return None
    for one in allowed:
        if get_origin(one) is Literal:
            return value
        if get_origin(one) is tuple:
            return tuple(value) if isinstance(value, list) else (value,)
        if one is Path and isinstance(value, str):
            return Path(value)
        if one is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if one is str and isinstance(value, int | float | str) and not isinstance(value, bool):
            return str(value)
        if one in (int, bool) and type(value) is one:
            return value
    raise UsageError(f"{what} is {value!r}", "that is no value of this option")


def _whole_numbers(value: Any, name: str, where: str, *, least: int) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    good = all(isinstance(n, int) and not isinstance(n, bool) and n >= least for n in numbers)
    if not numbers or not good or len(set(numbers)) < len(numbers):
        raise UsageError(f"{where}: {name} is {value!r}", f"write whole numbers, each once: `{name}: [{least}, …]`")
    return tuple(numbers)


def _plan(task: str, shared: Options, k: int, seed: int, variant: str, arms: Sequence[Arm]) -> RunPlan:
    """The settings of one run, each checked by its stage's own class."""
    own = arms[0].options
    merged = {stage: {**shared[stage], **own.get(stage, {})} for stage in STAGES if stage != "distill"}
    training = {
        arm.name: {**shared["distill"], **arm.options["distill"], "name": arm.name, "seed": str(seed)} for arm in arms
    }
    mixes = {options["mix"] for options in training.values()}
    rivals = [kind for kind in RIVALS if kind in mixes]
    writing = {"for_mix": "all" if "all" in mixes else "cod", **merged["counterfact"]}
    writing.setdefault("generator", "openai" if writing.get("model") else "editor")
    scored = {"held_out": writing.pop("held_out", None), "split": merged["eval"].get("split"), "for_mix": "all"}
    if not merged["label"].get("teacher"):
        raise UsageError(f"the task {task} has no teacher", "add `teacher: …`, or --teacher")
    return RunPlan(
        task=task,
        k=k,
        seed=seed,
        folder=f"{task}/k{k}-s{seed}{variant}",
        sample=SampleSettings(**{**merged["sample"], "shots": str(k), "seed": seed}),
        counterfact=CounterfactSettings(**writing) if needs_counterfactuals(mixes) else None,
        held_out=CounterfactSettings(**{**writing, **scored}) if scored["held_out"] else None,
        rival=RivalSettings(**{**merged["rival"], "kind": ",".join(rivals)}) if rivals else None,
        label=LabelSettings(**merged["label"]),
        arms={name: DistillSettings(**options) for name, options in training.items()},
        eval=EvalSettings(**merged["eval"]),
    )


def needs_counterfactuals(mixes: set[str]) -> bool:
    """Whether any of these mixes is made from CFEs, or measured by them."""
    return any(mix in ("all", "cod", "pool-queries") or mix.startswith("cod-") for mix in mixes)


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
