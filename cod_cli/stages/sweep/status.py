"""How the cells of a sweep stand, by the files of its runs: what is open, and what the done ones have reached.

Read before a sweep works, after it, and by its estimate; nothing is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from cod_cli.evaluation.arms import Reached
from cod_cli.evaluation.scores import MAJORITY
from cod_cli.metrics import summary
from cod_cli.records import Score, SweepPlan
from cod_cli.report.results import read_run
from cod_cli.settings.base import Settings
from cod_cli.stages.sweep.grid import RunPlan
from cod_cli.store.artifact import Artifact, changed_settings
from cod_cli.store.run import SweepFolder
from cod_cli.teachers.open import with_known_length


def status(folder: SweepFolder, plan: RunPlan, arm: str) -> Literal["open", "done"]:
    """Whether an arm is trained and scored as planned; where it is there otherwise, its stage will say so."""
    run = folder.run(plan.folder)
    splits = {score.split for score in run.scores.peek() if score.student == arm}
    if not splits or plan.eval.split not in (None, *splits) or arm not in run.student_names():
        return "open"
    training = plan.arms[arm]
    made = [
        (run.read_student(arm).settings, training),
        (_settings(run.soft_labels), with_known_length(run, plan.label)),
    ]
    if plan.counterfact is not None:
        was = _settings(run.counterfactuals)
        made.append((was, with_known_length(run, plan.counterfact).resolved(was or None)))
    if plan.rival is not None and training.mix in plan.rival.kinds:
        rival = with_known_length(run, plan.rival.of(training.mix))
        made.append((_settings(run.rival(training.mix).rows), rival))
    return "done" if all(_same(was, wanted) for was, wanted in made) else "open"


def _settings(artifact: Artifact[Any]) -> dict[str, Any]:
    manifest = artifact.manifest()
    return manifest.settings if manifest else {}


def _same(was: Mapping[str, Any], wanted: Settings) -> bool:
    return not changed_settings(was, {k: v for k, v in wanted.results().items() if k not in ("name", "seed")})


def reached(folder: SweepFolder, book: SweepPlan, runs: Sequence[RunPlan]) -> Iterator[Reached]:
    """Task by task and arm by arm, from small k to large."""
    values: dict[tuple[str, str, int], list[float]] = {}
    for run in runs:
        for score in [*scores_of(folder, run), *_majority(folder, run)]:
            if score.accuracy is not None:
                values.setdefault((run.task, score.student, run.k), []).append(score.accuracy)
    cut = {arm for run in runs for arm, training in run.arms.items() if training.init == "teacher"}
    for task in dict.fromkeys(run.task for run in runs):
        for arm, marks in {MAJORITY: {"other_budget": False}, **book.arms}.items():
            for k in sorted({run.k for run in runs}):
                if found := values.get((task, arm, k)):
                    yield Reached(task, arm, k, marks["other_budget"], summary(found), arm in cut)


def _majority(folder: SweepFolder, plan: RunPlan) -> list[Score]:
    """What always saying one class reaches on the rows that this run's arms are scored on."""
    splits = {score.split for score in scores_of(folder, plan)}
    return [score for score in read_run(folder.run(plan.folder)).majorities if score.split in splits]


def scores_of(folder: SweepFolder, plan: RunPlan) -> list[Score]:
    """The scores of this run's arms, each on one split."""
    scores = folder.run(plan.folder).scores.peek()
    found = {s.student: s for s in scores if s.student in plan.arms and plan.eval.split in (None, s.split)}
    return list(found.values())
