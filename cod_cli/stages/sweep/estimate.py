"""What is left to do of a sweep: optimiser steps, seconds where known, and what LLMs would be asked."""

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cod_cli.data.heldout import rows_to_score
from cod_cli.evaluation.scores import ZERO_SHOT
from cod_cli.llm.client import Session
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Estimate
from cod_cli.mixes import OTHER_BUDGET, RIVALS
from cod_cli.records import SweepPlan
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.shared import LLMOptions
from cod_cli.stages.counterfact import CounterfactPlan, counterfact
from cod_cli.stages.eval import EvalPlan, evaluate
from cod_cli.stages.label import LabelPlan, label
from cod_cli.stages.sample import sample
from cod_cli.stages.sweep.grid import RunPlan
from cod_cli.stages.sweep.status import scores_of
from cod_cli.store.run import Run, SweepFolder
from cod_cli.teachers.open import open_llm
from cod_cli.training.trainset import read_trainset
from cod_cli.ui import Ui


@dataclass(frozen=True)
class SweepEstimate:
    """What is still to do: runs, cells, optimiser steps, an LLM's requests, tokens and cost, seconds where known.

    ``open_mixes`` train on more rows than are counted, how many more is not known before they are made: ``steps`` and
    ``seconds`` are then what it takes at least.
    """

    folder: Path
    runs: int
    cells: int
    done: int
    steps: int
    open_mixes: tuple[str, ...]
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    seconds: float | None


def estimate(
    folder: SweepFolder, plan: SweepPlan, runs: Sequence[RunPlan], missing: Sequence[RunPlan], jobs: int
) -> SweepEstimate:
    """What the missing cells take; the time from how long a step took in those that are there."""
    by_folder = {run.folder: run for run in missing}
    cells = [(by_folder[cell.run], cell.arm) for cell in plan.cells if cell.status != "done"]
    training = [(run.k, run.arms[arm], _beside_shots(folder.run(run.folder), run.arms[arm])) for run, arm in cells]
    steps = sum(_steps(k + (more or 0), settings) for k, settings, more in training)
    with Ui.silent().listening():
        asked = sum(_asked(missing), Estimate(0, 0, 0, 0.0))
    known = [s for run in runs for s in scores_of(folder, run) if s.steps and s.seconds]
    pace = sum(s.seconds or 0 for s in known) / sum(s.steps or 0 for s in known) if known else None
    return SweepEstimate(
        folder=folder.folder,
        runs=len(missing),
        cells=len(cells),
        done=len(plan.cells) - len(cells),
        steps=steps,
        open_mixes=tuple(sorted({settings.mix for _, settings, more in training if more is None})),
        calls=asked.calls,
        prompt_tokens=asked.prompt_tokens,
        completion_tokens=asked.completion_tokens,
        cost=asked.cost if asked.calls else None,
        seconds=None if pace is None else round(pace * steps / jobs, 1),
    )


def _beside_shots(run: Run, settings: DistillSettings) -> int | None:
    """How many rows an arm trains on beyond the equal budget; None where its steps hang on them and nobody can know."""
    if settings.mix not in OTHER_BUDGET or settings.fixed_steps is not None:
        return 0
    manifest = run.soft_labels.manifest()
    if manifest is None or not manifest.complete:
        return None
    rows = read_trainset(
        run,
        settings.mix,
        keep_unflipped=settings.keep_unflipped,
        judged=settings.judged,
        families=settings.families,
    )
    return len(rows.rows) - rows.k


def _steps(rows: int, settings: DistillSettings) -> int:
    by_epochs = settings.passes * -(-rows // settings.batch_size)
    return by_epochs if settings.fixed_steps is None else settings.fixed_steps


def _asked(missing: Sequence[RunPlan]) -> Iterator[Estimate]:
    """What LLMs are asked at the first attempt; replies are kept, so nothing is counted twice."""
    with tempfile.TemporaryDirectory() as scratch:
        zero_shot: set[str] = set()
        for number, plan in enumerate(_largest(missing)):
            run = Run(Path(scratch) / str(number))
            sample(run, plan.sample, Ui.silent())
            yield from _texts(run, plan)
            yield from _split(run, plan, asked_before=plan.task in zero_shot)
            zero_shot.add(plan.task)


def _split(run: Run, plan: RunPlan, *, asked_before: bool) -> Iterator[Estimate]:
    """What scoring asks of LLMs; one without shots in its prompt is asked the same in every run of a task."""
    if plan.eval.in_context:
        found = evaluate(run, dataclasses.replace(plan.eval, dry_run=True), Ui.silent())
        estimates = found.estimates if isinstance(found, EvalPlan) else {}
        yield from (asked for name, asked in estimates.items() if not (asked_before and name == ZERO_SHOT))
    if plan.eval.teacher_on_split and plan.label.teacher_spec.llm:
        labels = run.shots.require().labels
        _, rows = rows_to_score(
            run,
            labels,
            data=plan.eval.data,
            split=plan.eval.split,
            text_columns=plan.eval.text_column,
            label_column=plan.eval.label_column,
            label_names=plan.eval.label_names,
        )
        spec, shots = plan.label.teacher_spec, run.shots.read()
        with (
            Session(Limits.of(plan.label)) as session,
            open_llm(spec, labels, run.eval_replies, session, shots, cache=plan.label.cache) as teacher,
        ):
            yield teacher.estimate(rows.texts)


def _largest(missing: Iterable[RunPlan]) -> list[RunPlan]:
    """The last run of each series of nested shots, which come from small k to large: its shots hold all others'."""
    return list({run.folder.replace(f"/k{run.k}-", "/"): run for run in missing}.values())


def _texts(run: Run, plan: RunPlan) -> Iterator[Estimate]:
    """What writing, checking and labelling texts asks of LLMs."""
    writing = plan.counterfact if plan.counterfact and plan.counterfact.generator == "openai" else None
    checked = False
    for settings in [*([writing] if writing else []), *_rivals(plan)]:
        found = counterfact(run, dataclasses.replace(settings, dry_run=True), Ui.silent())
        if isinstance(found, CounterfactPlan):
            yield found.for_mix_cod if settings.for_mix == "cod" else found.everything
            if found.checks and not checked:
                checked = True
                yield found.checks
    if plan.label.teacher_spec.llm and not checked:
        labelled = label(run, dataclasses.replace(plan.label, dry_run=True), Ui.silent())
        if isinstance(labelled, LabelPlan):
            yield labelled.estimate


def _rivals(plan: RunPlan) -> Iterator[CounterfactSettings]:
    """The rivals that an LLM writes, as what they are to it: a prompt for half of the shots."""
    if plan.rival is None:
        return
    same = {field.name: getattr(plan.rival, field.name) for field in dataclasses.fields(LLMOptions)}
    for kind in plan.rival.kinds:
        if RIVALS[kind].llm:
            yield CounterfactSettings(**same | {"prompt": plan.rival.prompt or (kind,), "for_mix": "cod"})
