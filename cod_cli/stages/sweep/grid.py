"""A grid of tasks × k × seeds × arms, and the settings of every stage that it stands for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cod_cli.errors import UsageError
from cod_cli.mixes import EDITS, MANY, OTHER_BUDGET, RIVALS
from cod_cli.settings.base import Settings
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.distill import EPOCHS, DistillSettings
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.rival import RivalSettings
from cod_cli.settings.sample import SampleSettings

STAGES: dict[str, type[Settings]] = {
    "sample": SampleSettings,
    "counterfact": CounterfactSettings,
    "rival": RivalSettings,
    "label": LabelSettings,
    "distill": DistillSettings,
    "eval": EvalSettings,
}


# What all arms of a run share.
PER_RUN = ("counterfact", "rival", "label")
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
        alone = [arm for arm in self.arms if arm.options["distill"]["mix"] == "shots"]
        # The shots for other steps, or from the teacher's layers, are arms of their own.
        plain = [arm for arm in alone if not arm.options["distill"].keys() & {"steps", "epochs", "init"}]
        return (plain or alone or self.arms)[0].name

    def other_budget(self, name: str) -> bool:
        """Whether an arm trains on other rows than the baseline or, on any of the tasks, for other steps."""
        arms = {arm.name: arm.options["distill"] for arm in self.arms}
        own, base = arms[name], arms[self.baseline]
        return own["mix"] in OTHER_BUDGET or any(
            _steps_of(task, own) != _steps_of(task, base) for task in self.tasks.values()
        )

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
            own = repr([arm.options.get(stage) for stage in PER_RUN]) if arm.variant else ""
            suffix = owners.setdefault(own, f".{arm.name}" if arm.variant else "")
            groups.setdefault(suffix, []).append(arm)
        return groups


def _steps_of(task: Options, arm: Mapping[str, Any]) -> list[Any]:
    """What makes the number of optimiser steps, beside the rows."""
    options = _training(task.get("distill", {}), arm)
    length = [options["steps"]] if "steps" in options else [options.get("epochs", EPOCHS), "epochs"]
    return [*length, options.get("batch_size", DistillSettings.batch_size)]


def _training(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """An arm's options and, of those that all share, the ones that it does not go by otherwise.

    What all share says how long the mixes train to which it applies: epochs those of the paper, steps contrast sets.
    """
    lengths, starts = {"epochs", "steps"}, {"student", "init"}
    without = lengths if own.keys() & lengths else {"epochs"} if own["mix"] in MANY else {"steps"}
    without |= starts if own.keys() & starts else set()
    return {name: value for name, value in shared.items() if name not in without} | dict(own)


def _plan(task: str, shared: Options, k: int, seed: int, variant: str, arms: Sequence[Arm]) -> RunPlan:
    """The settings of one run, each checked by its stage's own class."""
    own = arms[0].options
    merged = {stage: {**shared[stage], **own.get(stage, {})} for stage in STAGES if stage != "distill"}
    training = {
        arm.name: {**_training(shared["distill"], arm.options["distill"]), "name": arm.name, "seed": str(seed)}
        for arm in arms
    }
    mixes = {options["mix"] for options in training.values()}
    rivals = [kind for kind in RIVALS if kind in mixes]
    writing = {"for_mix": "all" if mixes & EDITS else "cod", **merged["counterfact"]}
    writing.setdefault("generator", "openai" if writing.get("model") else "editor")
    scored = {"held_out": writing.pop("held_out", None), "split": merged["eval"].get("split"), "for_mix": "all"}
    target = writing.get("target", CounterfactSettings.target)  # as rivals read it from the CFEs
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
        rival=RivalSettings(**{"target": target, **merged["rival"], "kind": ",".join(rivals)}) if rivals else None,
        label=LabelSettings(**merged["label"]),
        arms={name: DistillSettings(**options) for name, options in training.items()},
        eval=EvalSettings(**merged["eval"]),
    )


def needs_counterfactuals(mixes: set[str]) -> bool:
    """Whether any of these mixes is made from CFEs, or measured by them."""
    return any(mix in (*EDITS, "cod", "pool-queries") or mix.startswith("cod-") for mix in mixes)
