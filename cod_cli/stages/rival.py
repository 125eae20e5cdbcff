"""`cod rival`: what else the same budget could be spent on, in files of the same shape as the counterfactuals'."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from cod_cli.counterfactuals.generators.base import Generator
from cod_cli.counterfactuals.generators.openai import OpenAIGenerator, open_generator
from cod_cli.counterfactuals.rivals import (
    Material,
    contrast_sizes,
    open_ledger,
    pool_rows,
    random_edits,
    verifier_of,
    writers_of,
)
from cod_cli.counterfactuals.rounds import QUERIES, Terms, fill, forget_empty_start
from cod_cli.data.heldout import draw_pool
from cod_cli.errors import CodError, UsageError
from cod_cli.llm.client import Session
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Estimate
from cod_cli.mixes import RIVALS, select
from cod_cli.records import Counterfactual
from cod_cli.settings.rival import RivalSettings
from cod_cli.store.artifact import Artifact
from cod_cli.store.run import CounterfactualFiles, Run
from cod_cli.teachers.open import load_teacher, with_recorded_teacher
from cod_cli.ui import Ui


@dataclass(frozen=True)
class Made:
    """One rival: its rows, and what they cost: ``counts`` as in its manifest, ``usage`` in tokens."""

    kind: str
    path: Path
    rows: int
    counts: dict[str, int]
    usage: dict[str, int]
    cost: float | None


@dataclass(frozen=True)
class RivalResult:
    """The rivals that were asked for, in that order; ``teacher`` as it was named."""

    run: Run
    made: tuple[Made, ...]
    seconds: float
    teacher: str


@dataclass(frozen=True)
class RivalPlan:
    """What the first attempts of the kinds that an LLM writes would take, by kind."""

    estimates: dict[str, Estimate]


def rival(run: Run, settings: RivalSettings, ui: Ui) -> RivalResult | RivalPlan:
    """Write ``2-KIND.jsonl`` for each kind: as many rows as the equal budget can take.

    Raises:
        UsageError: no such kind, no LLM or no teacher where one is needed.
        CodError: a rival of the CFEs before there are any, or one begun with other settings.
        PartialError: an LLM has not answered everything; all else is saved.
    """
    with nullcontext() if settings.dry_run else run.hold("cod rival"):
        return _rival(run, settings, ui)


def _rival(run: Run, settings: RivalSettings, ui: Ui) -> RivalResult | RivalPlan:
    started = perf_counter()
    settings = with_recorded_teacher(run, settings)
    if not settings.teacher:
        raise UsageError("no teacher is named", "add --teacher with a model folder or Hub id")
    labels, cfes = run.shots.require().labels, run.counterfactuals.manifest()
    teacher = load_teacher(settings.teacher_spec, labels, device=settings.device, cache=settings.cache)
    material = Material(run, run.shots.read(), labels, teacher, cfes.settings if cfes else {})
    target = settings.target or material.recorded.get("target") or "nearest"
    if target not in ("balanced", "nearest", "all", *labels):
        raise UsageError(
            f"the target is {target!r}, no label", f"--target: balanced, nearest, all or one of {', '.join(labels)}"
        )
    settings = dataclasses.replace(settings, target=target)
    if settings.dry_run:
        return _plan(material, settings, ui)
    made = tuple(_make(material, settings.of(kind), ui) for kind in settings.kinds)
    return RivalResult(run, made, round(perf_counter() - started, 2), settings.teacher_spec.name)


def _plan(material: Material, settings: RivalSettings, ui: Ui) -> RivalPlan:
    """What would be asked; nothing is written.

    Raises:
        UsageError: none of the kinds is written by an LLM.
    """
    found: dict[str, Estimate] = {}
    for kind in [kind for kind in settings.kinds if RIVALS[kind].llm]:
        files, own = material.run.rival(kind), settings.of(kind)
        with _writers(files, material, own, ui) as [llm]:
            ledger = open_ledger(kind, files, material, str(settings.target), [llm])
            ledger.resume(files.rows.check(own.results(), teacher=material.teacher.fingerprint))
            asked = ledger.asked(len(material.shots))
            if isinstance(llm, OpenAIGenerator):
                found[kind] = llm.estimate([one.request() for case in asked for one in case.waiting()])
    if not found:
        raise UsageError(f"--dry-run is about an LLM's cost, and {settings.kind} has none", "leave it out")
    return RivalPlan(found)


def _make(material: Material, settings: RivalSettings, ui: Ui) -> Made:
    # What a rival costs does not hang on what others asked before it.
    material = dataclasses.replace(material, teacher=material.teacher.fresh())
    files = material.run.rival(settings.kind)
    if settings.force:
        material.run.archive(*files.paths)
    forget_empty_start(files)
    if RIVALS[settings.kind].real or RIVALS[settings.kind].many:
        _draw(files.rows, material, settings, ui)
    else:
        _write(files, material, settings, ui)
    manifest = files.rows.require()
    rows = len(files.rows.read())
    return Made(settings.kind, files.rows.path, rows, manifest.counts, manifest.usage, manifest.cost)


def _draw(out: Artifact[Counterfactual], material: Material, settings: RivalSettings, ui: Ui) -> None:
    """Draw real texts or random edits, as many as the budget buys, and let the teacher label them."""
    kind, run, teacher = settings.kind, material.run, material.teacher.fingerprint
    wanted = _wanted(material, kind)
    inputs = [run.shots.path, *([run.counterfactuals.path] if RIVALS[kind].other_budget else [])]
    # A file of version 0.1 goes on under the name that the kind had then.
    named = out.path.stem.removeprefix("2-")
    results = {**settings.results(), "kind": named}
    old = out.check(results, teacher=teacher)
    if old is not None and old.complete and old.counts.get("wanted") == wanted:
        ui.note(f"{out.path} is complete already")
        return
    manifest = out.begin(results, labels=material.labels, seed=settings.seed, teacher=teacher, inputs=inputs)
    rows = (
        _edits(material, settings, wanted, ui)
        if RIVALS[kind].many
        else _reals(material, settings.of(named), wanted, ui)
    )
    out.finish(manifest, rows, counts={"wanted": wanted, "accepted": len(rows), QUERIES: len(rows)})


def _wanted(material: Material, kind: str) -> int:
    if RIVALS[kind].many:
        return sum(contrast_sizes(material))
    return _bought(material) if RIVALS[kind].other_budget else len(material.shots) // 2


def _reals(material: Material, settings: RivalSettings, wanted: int, ui: Ui) -> list[Counterfactual]:
    kind = settings.kind
    drawn = draw_pool(material.run, wanted, f"{material.seed} {settings.seed}")
    if len(drawn) < wanted:
        ui.warn(f"{kind}: the source has only {len(drawn)} of {wanted} texts that are neither shots nor held out")
    return pool_rows(drawn, material.labels, material.teacher, kind)


def _edits(material: Material, settings: RivalSettings, wanted: int, ui: Ui) -> list[Counterfactual]:
    rows = random_edits(material, settings.seed, settings.kind)
    if len(rows) < wanted:
        ui.warn(f"{settings.kind}: only {len(rows)} of {wanted} edits differ from one another")
    return rows


def _bought(material: Material) -> int:
    """How many teacher queries the CFEs cost that the equal budget trains on, at the mean price of all."""
    cfes = material.run.counterfactuals
    counts, rows = cfes.require().counts, [row for row in cfes.read() if not row.is_further]
    if QUERIES not in counts:
        raise CodError(f"{cfes.meta} does not say what its rows cost", f"make them anew: `{cfes.command} --force`")
    used = sum(len(group) - 1 for group in select("cod", material.shots, rows))
    return round(counts[QUERIES] * used / len(rows)) if rows else counts[QUERIES]


def _write(files: CounterfactualFiles, material: Material, settings: RivalSettings, ui: Ui) -> None:
    """Have the rows written and judged, as far as the equal-budget walk needs them."""
    kind, teacher, budget = settings.kind, material.teacher, len(material.shots)
    manifest = files.rows.check(settings.results(), teacher=teacher.fingerprint)
    with _writers(files, material, settings, ui) as writers:
        ledger = open_ledger(kind, files, material, str(settings.target), writers)
        ledger.resume(manifest)
        if manifest is None or not manifest.complete or ledger.asked(budget):
            fill(ledger, verifier_of(kind, material), Terms.of(settings), teacher, budget, ui)
        else:
            ui.note(f"{files.rows.path} is complete already")


@contextmanager
def _writers(
    files: CounterfactualFiles, material: Material, settings: RivalSettings, ui: Ui
) -> Iterator[list[Generator]]:
    if not RIVALS[settings.kind].llm:
        yield writers_of(settings.kind, material, settings.seed)
        return
    prompted = dataclasses.replace(settings, prompt=settings.prompt or (settings.kind,))
    with (
        Session(Limits.of(settings)) as session,
        open_generator(files.replies, prompted, material.labels, session) as llm,
    ):
        yield [llm]
