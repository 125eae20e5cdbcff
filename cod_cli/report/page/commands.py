"""The commands that made each number, as the runs' manifests recorded them: to paste, and get it again."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cod_cli.mixes import ENOUGH_STEPS, MANY, POOL, RIVALS
from cod_cli.records import Manifest
from cod_cli.report.comparison import Cell, Comparison
from cod_cli.report.page.markup import Child, el
from cod_cli.report.results import Evidence, Result
from cod_cli.settings.base import Settings, options_of
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.distill import EPOCHS, DistillSettings, default_name
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.pool import PoolSettings
from cod_cli.settings.rival import RivalSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.store.run import Run

# Rivals whose rows are made from counterfactuals, or count their cost.
_USE_PAIRS = tuple(name for name in RIVALS if name.startswith("cod-") or name in ("pool-queries", "random-edits"))


def commands(evidence: Evidence, comparison: Comparison) -> list[Child]:
    """For each arm at each k what made its students."""
    ids = anchors(comparison)
    swept = [el("pre", " ".join(map(quote, shlex.split(plan.command)))) for plan in evidence.plans]
    blocks = [
        el(
            "details",
            el("summary", f"{cell.task}, k = {cell.k}, {cell.arm}"),
            el("pre", text),
            id=ids[*cell.key, cell.arm],
        )
        for cell in comparison.in_order()
        if (*cell.key, cell.arm) in ids and (text := _script(cell))
    ]
    intro = "What made each number, as it was recorded: shots and texts first, then each student and its scores."
    return [*([el("p", "Swept by"), *swept] if swept else []), *([el("p", intro), *blocks] if blocks else [])]


def anchors(comparison: Comparison) -> dict[tuple[object, ...], str]:
    """The id of each cell's commands on the page, by its key and arm; none where no student left its settings."""
    recorded = (cell for cell in comparison.in_order() if any(result.student for result in cell.results))
    return {(*cell.key, cell.arm): f"made-{index}" for index, cell in enumerate(recorded, start=1)}


def _script(cell: Cell) -> str:
    parts = []
    for result in cell.results:
        training = training_of(result)
        parts += [*texts_of(result.run, cell.mix), *training, ""] if training else []
    return "\n".join(parts).strip()


def command_line(words: str, folder: Path, options: type[Settings], recorded: Mapping[str, Any]) -> str:
    """``cod X FOLDER`` with the recorded options that differ from their defaults; what is no option is left out."""
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    parts = [words, quote(str(folder))]
    for name, (_, info) in options_of(options).items():
        value = recorded.get(name)
        if value is None or value == defaults[name] or (value == [] and defaults[name] == ()):
            continue
        flags = [flag for flag in info.param_decls or () if flag.startswith("-")] or ["--" + name.replace("_", "-")]
        if isinstance(value, bool):
            parts.append(flags[-1].split("/")[0 if value else -1])
        else:
            values = value if isinstance(value, list | tuple) else [value]
            parts += [f"{flags[-1]} {quote(str(item))}" for item in values]
    return " ".join(parts)


def texts_of(run: Run, mix: str | None) -> list[str]:
    """What made the shots and the texts that a mix trains on, and labelled them; empty where nobody recorded it."""
    made: list[tuple[str, Manifest | None, type[Settings]]]
    made = [("cod sample", run.shots.manifest(), SampleSettings)]
    if mix in _USE_PAIRS or mix not in (*RIVALS, "shots", "pool"):
        made.append(("cod counterfact", run.counterfactuals.manifest(), CounterfactSettings))
    if mix in RIVALS:
        made.append(("cod rival", run.rival(str(mix)).rows.manifest(), RivalSettings))
    made.append(("cod label", run.soft_labels.manifest(), LabelSettings))
    lines = [command_line(words, run.folder, options, kept.settings) for words, kept, options in made if kept]
    return [*lines[:-1], *(_pools(run) if mix in POOL else []), *lines[-1:]]


def _pools(run: Run) -> list[str]:
    """What gathered the texts without labels, one command a source."""
    manifest = run.pool.manifest()
    sources = manifest.settings.get("sources", []) if manifest else []
    lines = [command_line("cod pool", run.folder, PoolSettings, source) for source in sources]
    return [*lines[:1], *(f"{line} --append" for line in lines[1:])]


def training_of(result: Result) -> list[str]:
    """What trained one student and scored it; empty where nobody recorded it."""
    if result.student is None:
        return []
    student = result.student
    recorded = {**student.settings, "seed": str(student.seed)}
    if student.name != default_name(student.method, student.mix, student.settings.get("init", "pretrained")):
        recorded["name"] = student.name
    by_default = {"steps": ENOUGH_STEPS} if student.mix in MANY else {"epochs": EPOCHS}
    recorded = {name: value for name, value in recorded.items() if by_default.get(name) != value}
    return [command_line("cod distill", result.run.folder, DistillSettings, recorded), *_scoring(result)]


def _scoring(result: Result) -> list[str]:
    """What scored one student; where the rows of other data are is written down nowhere."""
    command = f"cod eval {quote(str(result.run.folder))} --split {quote(result.score.split)}"
    sources = {shot.id.rsplit("/", 2)[0] for shot in result.run.shots.peek()}
    if not sources or result.score.task in sources:
        return [command]
    return [f"# DATA: {' '.join(result.score.task.split())}, which the shots are not from", f"{command} --data DATA"]


def quote(text: str) -> str:
    """A word for the shell; the folder of work and the user's home, which need not travel, as nothing and ``~``."""
    text = text.removeprefix(f"{Path.cwd()}/")
    home = f"{Path.home()}/"
    return f"~/{shlex.quote(text.removeprefix(home))}" if text.startswith(home) else shlex.quote(text)
