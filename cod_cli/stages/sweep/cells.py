"""`cod sweep`: tasks × k × seeds × arms, each (task, k, seed) one run, shared and resumed as far as possible."""

import os
import re
import shlex
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import Literal

import torch

from cod_cli.errors import CodError, PartialError
from cod_cli.evaluation.arms import Reached
from cod_cli.records import SweepCell, SweepPlan
from cod_cli.settings.base import flag_of, options_of
from cod_cli.settings.sweep import SweepSettings
from cod_cli.stages.counterfact import counterfact
from cod_cli.stages.distill import distill
from cod_cli.stages.eval import evaluate
from cod_cli.stages.label import label
from cod_cli.stages.rival import rival
from cod_cli.stages.sample import sample
from cod_cli.stages.sweep.estimate import SweepEstimate, estimate
from cod_cli.stages.sweep.grid import Grid, RunPlan
from cod_cli.stages.sweep.gridfile import parse_grid, read_grid, shipped
from cod_cli.stages.sweep.status import reached, scores_of, status
from cod_cli.store.jsonl import write_text
from cod_cli.store.locks import alone
from cod_cli.store.run import Run, SweepFolder
from cod_cli.ui import Ui

GRIDS = Path(__file__).parent / "grids"


@dataclass(frozen=True)
class SweepResult:
    """How the cells stand, and what those that are done have reached; ``trained`` counts the cells of this go."""

    folder: Path
    plan: SweepPlan
    reached: tuple[Reached, ...]
    trained: int
    seconds: float

    def problem(self) -> CodError | None:
        """What keeps the sweep from being whole: failed cells, else cells that wait for an LLM."""
        for stand, what, kind in (("failed", "failed", CodError), ("open", "are still open", PartialError)):
            cells = [cell for cell in self.plan.cells if cell.status == stand]
            if cells:
                first = cells[0]
                return kind(
                    f"{len(cells)} of {len(self.plan.cells)} cells {what}; the first, {first.run} {first.arm}: "
                    f"{first.error}",
                    "mend it and run the same command: what is done is kept",
                )
        return None


@dataclass(frozen=True)
class _Finished:
    """What became of the arms of one run: None, or why an arm has no score."""

    errors: dict[str, CodError | None]
    seconds: float

    def status(self, arm: str) -> Literal["open", "done", "failed"]:
        """How that cell stands now; one that waits for an LLM's answers is open."""
        error = self.errors[arm]
        if error is None:
            return "done"
        return "open" if isinstance(error, PartialError) else "failed"


def sweep(grid: str | None, settings: SweepSettings, ui: Ui) -> SweepResult | SweepEstimate:
    """Run what is missing of a grid; a cell that fails is reported and does not stop the others.

    Raises:
        UsageError: the grid is wrong.
        CodError: there is no such grid, or a process was killed.
    """
    started = perf_counter()
    folder = SweepFolder(settings.out)
    wanted = _grid(grid, settings)
    runs = list(wanted.runs())
    plan = _planned(folder, wanted, runs)
    unfinished = {cell.run for cell in plan.cells if cell.status != "done"}
    missing = [run for run in runs if run.folder in unfinished]
    if settings.dry_run:
        return estimate(folder, plan, runs, missing, settings.jobs)
    with alone(folder.lock, "cod sweep"):
        folder.write(plan, wanted.entries)
        trained = _work(folder, plan, missing, settings, ui)
    book = folder.read() or plan
    return SweepResult(
        folder.folder, book, tuple(reached(folder, book, runs)), trained, round(perf_counter() - started, 1)
    )


def _grid(grid: str | None, settings: SweepSettings) -> Grid:
    if grid is None and settings.data is None:
        return parse_grid(settings.given(), "cod sweep")
    return read_grid(shipped(GRIDS, grid or "default"), settings.given())


def _planned(folder: SweepFolder, grid: Grid, runs: Sequence[RunPlan]) -> SweepPlan:
    cells = [
        SweepCell(task=run.task, k=run.k, seed=run.seed, arm=arm, run=run.folder, status=status(folder, run, arm))
        for run in runs
        for arm in run.arms
    ]
    arms = {arm.name: {"other_budget": grid.other_budget(arm.name)} for arm in grid.arms}
    command = shlex.join(["cod", "sweep", str(folder.grid), "--out", str(folder.folder)])
    return SweepPlan(command=command, baseline=grid.baseline, arms=arms, cells=cells)


def _work(folder: SweepFolder, plan: SweepPlan, missing: list[RunPlan], settings: SweepSettings, ui: Ui) -> int:
    """Do the missing runs, writing after each how its cells stand; the number of cells that were done."""
    cells = {(cell.run, cell.arm): cell for cell in plan.cells}
    done = 0
    if not missing:
        ui.note(f"{folder.folder}: every cell is done")
        return done
    with ui.progress("Sweeping", total=sum(len(run.arms) for run in missing)) as advance:
        for run, finished in _results(folder, missing, settings):
            for arm, error in finished.errors.items():
                changes = {"status": finished.status(arm), "error": _one_line(error) if error else None}
                cells[run.folder, arm] = cells[run.folder, arm].replace(**changes)
                done += error is None
            folder.write(plan.replace(cells=list(cells.values())))
            advance(len(run.arms), detail=run.folder)
            ui.note(_line(folder, run, finished))
    return done


def _results(
    folder: SweepFolder, missing: Sequence[RunPlan], settings: SweepSettings
) -> Iterator[tuple[RunPlan, _Finished]]:
    """Each run with what became of it, as they end; several at once in processes of their own."""
    if settings.jobs == 1:
        for run in missing:
            yield run, _finish(folder, run, settings.drop_weights)
        return
    threads = max(1, torch.get_num_threads() // settings.jobs)
    # Forked processes would inherit torch's thread pools in an unknown state.
    with ProcessPoolExecutor(settings.jobs, get_context("spawn"), _worker, (threads,)) as pool:
        waiting = {pool.submit(_finish, folder, run, settings.drop_weights): run for run in missing}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BrokenProcessPool:
            raise CodError(
                "a process of the sweep was killed, for lack of memory perhaps",
                "the same command goes on; with fewer --jobs it takes less memory",
            ) from None
        except KeyboardInterrupt:
            # Not everybody who interrupts does it by a terminal, which tells the workers, too.
            for worker in active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _worker(threads: int) -> None:
    """Set a worker up: its share of the cores, and an end when the sweep itself is killed."""
    torch.set_num_threads(threads)
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=follow, daemon=True).start()


def _finish(folder: SweepFolder, plan: RunPlan, drop_weights: bool) -> _Finished:
    """Do what is missing of one run; an error stays with the arms that it concerns, whatever it is."""
    started = perf_counter()
    run, ui = folder.run(plan.folder), Ui.silent()
    missing = [arm for arm in plan.arms if status(folder, plan, arm) != "done"]
    errors: dict[str, CodError | None] = dict.fromkeys(missing)

    def attempt(name: str, work: Callable[[], object]) -> CodError | None:
        return _problem(work, folder.traceback(plan.folder, name))

    without: dict[str, CodError] = {}
    with ui.listening():
        common = attempt("preparation", lambda: _prepare(run, plan, ui, attempt, without))
        for arm in missing:
            train = partial(distill, run, plan.arms[arm], ui)
            errors[arm] = common or without.get(plan.arms[arm].mix) or attempt(arm, train)
        if not all(errors.values()):
            common = attempt("scoring", lambda: evaluate(run, plan.eval, ui))
    errors = {arm: known or common for arm, known in errors.items()}
    if drop_weights:
        _drop_weights(run)
    return _Finished(errors, round(perf_counter() - started, 2))


def _problem(work: Callable[[], object], path: Path) -> CodError | None:
    """What kept the work from its end, None where nothing did; the traceback of what nobody foresaw is in ``path``."""
    try:
        work()
    except CodError as error:
        return error
    # Lack of memory, a full disk, a defect in any library: hours of other cells wait behind this one.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        try:
            write_text(path, traceback.format_exc())
        except OSError:
            return CodError(reason, f"its traceback could not be written to {path}")
        return CodError(reason, f"its traceback stands in {path}")
    return None


def _prepare(
    run: Run,
    plan: RunPlan,
    ui: Ui,
    attempt: Callable[[str, Callable[[], object]], CodError | None],
    without: dict[str, CodError],
) -> None:
    """Everything up to the labels; ``without`` gets why a rival could not be made, by its kind."""
    sample(run, plan.sample, ui)
    if plan.counterfact is not None:
        counterfact(run, plan.counterfact, ui)
    for settings in [plan.rival.of(kind) for kind in plan.rival.kinds] if plan.rival else []:
        if (error := attempt(settings.kind, partial(rival, run, settings, ui))) is not None:
            without[settings.kind] = error
    label(run, plan.label, ui)
    if plan.held_out is not None:
        counterfact(run, plan.held_out, ui)


def _one_line(error: CodError) -> str:
    return f"{error.message} ({_of_grids(error.hint)})" if error.hint else error.message


def _of_grids(hint: str) -> str:
    """A stage's hint with its options as entries of a grid, where `cod sweep` has no such option."""
    own = {flag_of(name, info) for name, (_, info) in options_of(SweepSettings).items()}
    pattern = r"(--[a-z][a-z-]+)(?: ('[^']*'|[^\s'`;,]+))?(?=[^`]*(?:`[^`]*`[^`]*)*$)"  # not within a command

    def entry(found: re.Match[str]) -> str:
        if found[1] in own:
            return found[0]
        name = found[1].removeprefix("--").replace("-", "_")
        return f"in the grid, {name}: {found[2] or '…'}"

    return re.sub(pattern, entry, hint)


def _drop_weights(run: Run) -> None:
    scored = {score.student for score in run.scores.peek()}
    for name in scored.intersection(run.student_names()):
        run.drop_weights(name)


def _line(folder: SweepFolder, plan: RunPlan, finished: _Finished) -> str:
    """One run, for a person who watches: what each arm reached, or why it did not."""
    scores = {score.student: score for score in scores_of(folder, plan)}
    parts = [
        f"{arm} failed" if error else f"{arm} {_percent(scores[arm].accuracy or scores[arm].agreement)}"
        for arm, error in finished.errors.items()
    ]
    return f"{plan.folder} ({finished.seconds:.0f} s): {', '.join(parts)}"


def _percent(value: float | None) -> str:
    return "scored" if value is None else f"{value:.1%}"
