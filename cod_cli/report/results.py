"""What the runs below a folder have reached: every score with its arm, the seed of its shots and what it took."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cod_cli.errors import CodError
from cod_cli.evaluation.arms import base_name
from cod_cli.evaluation.scores import MAJORITY, TEACHER, majority
from cod_cli.llm.prices import Usage
from cod_cli.metrics import with_f1
from cod_cli.mixes import POOL, RIVALS
from cod_cli.records import Prediction, Score, Student, SweepPlan
from cod_cli.store.run import Run, SweepFolder


@dataclass(frozen=True)
class Cost:
    """What one student took; null where nobody recorded it.

    ``shots`` are the labelled real rows that it trained on, ``queries`` the texts that the teacher was asked about:
    those trained on and those tried on the way to them; ``tokens`` and ``money`` are those of an LLM.
    """

    shots: float | None
    queries: float | None
    tokens: float | None
    money: float | None
    seconds: float | None


@dataclass(frozen=True)
class Result:
    """One student's score on one split. ``draw`` is the seed of its run's shots, ``cut`` marks a piece of its teacher.

    ``student`` says how it was made; null where its ``settings.yaml`` is gone.
    """

    run: Run
    score: Score
    arm: str
    draw: int | None
    cut: bool
    cost: Cost
    student: Student | None
    prediction: Prediction | None


@dataclass(frozen=True)
class Evidence:
    """All that was measured in the runs below ``folder``; ``plans`` are the sweeps' among them.

    ``majorities`` holds for each task and split what always saying its most frequent class reaches, where it is known.
    """

    folder: Path
    runs: tuple[Run, ...]
    plans: tuple[SweepPlan, ...]
    results: tuple[Result, ...]
    teachers: tuple[Result, ...]
    majorities: tuple[Score, ...] = ()

    @property
    def yardsticks(self) -> tuple[Score, ...]:
        """What stands above the arms of a table: the teachers' scores, then what always saying one class reaches."""
        return (*(result.score for result in self.teachers), *self.majorities)

    @cached_property
    def baselines(self) -> set[str]:
        """The arms that the sweeps name as their baselines."""
        return {plan.baseline for plan in self.plans if plan.baseline}

    @cached_property
    def other_budget(self) -> set[str]:
        """The arms that the sweeps mark as of another budget."""
        return {arm for plan in self.plans for arm, marks in plan.arms.items() if marks.get("other_budget")}


def read_evidence(folder: Path) -> Evidence:
    """Read every run that has scores in ``folder`` or below it; weights and texts need not be there.

    Raises:
        CodError: there is none, or a file is damaged.
    """
    if not folder.is_dir():
        raise CodError(f"{folder} is no folder", "name a sweep's folder, or a run's")
    files = [path for path in folder.rglob("5-scores.jsonl") if "archive" not in path.relative_to(folder).parts]
    if not files:
        raise CodError(
            f"{folder} holds no scores (5-scores.jsonl), nor does a folder below it",
            f"score the students of a run first: `cod eval {folder}`",
        )
    return _evidence(folder, [Run(path.parent) for path in sorted(files, key=_natural)], _plans(folder))


def read_run(run: Run) -> Evidence:
    """Read the scores of one run, and of none below it."""
    return _evidence(run.folder, [run], ())


def _evidence(folder: Path, runs: Sequence[Run], plans: tuple[SweepPlan, ...]) -> Evidence:
    found = [result for run in runs for result in _results(run)]
    return Evidence(
        folder=folder,
        runs=tuple(runs),
        plans=plans,
        results=tuple(result for result in found if result.score.student not in (TEACHER, MAJORITY)),
        teachers=tuple(result for result in found if result.score.student == TEACHER),
        majorities=tuple(_majorities(found)),
    )


def _majorities(found: Sequence[Result]) -> Iterator[Score]:
    """One for each task and split: as it was scored, else by the labels beside what somebody decided there."""
    places: dict[tuple[str, str], Score | None] = {}
    for result in sorted(found, key=lambda r: r.score.student != MAJORITY):
        place = result.score.task, result.score.split
        if places.get(place) is None:
            stored = result.score.student == MAJORITY and result.score.f1
            places[place] = result.score if stored else _majority_beside(result)
    yield from filter(None, places.values())


def _majority_beside(result: Result) -> Score | None:
    rows, scored = result.prediction, result.run.scores.manifest()
    if rows is None or not rows.truth or scored is None or max(rows.truth) >= len(scored.labels):
        return None
    return majority(
        rows.truth, scored.labels, rows.task, rows.split, rows.decided if result.score.student == TEACHER else None
    )


def _natural(path: Path) -> list[tuple[int, str]]:
    """k8 before k16."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _results(run: Run) -> list[Result]:
    made = run.shots.manifest()
    students = {name: run.read_student(name) for name in run.student_names()}
    predictions = {(row.student, row.task, row.split): row for row in run.read_predictions()}
    scored = run.scores.manifest()
    labels = scored.labels if scored else []
    takes: dict[str | None, _Take] = {}
    results = []
    for score in run.scores.peek():
        prediction = predictions.get((score.student, score.task, score.split))
        if score.mix not in takes:
            takes[score.mix] = _take(run, score.mix)
        take = _take_of_answers(score) if score.usage else takes[score.mix]
        student = students.get(score.student)
        results.append(
            Result(
                run=run,
                score=with_f1(score, prediction, labels),
                arm=base_name(score),
                draw=made.seed if made else score.seed,
                cut=bool(student and student.cut_from_teacher),
                cost=take.cost(score),
                student=student,
                prediction=prediction,
            )
        )
    return results


@dataclass(frozen=True)
class _Take:
    """What the rows of a mix beside the shots took: ``accepted`` of them; null where nobody wrote it down."""

    accepted: int | None
    queries: int | None
    tokens: int
    money: float | None

    def cost(self, score: Score) -> Cost:
        """What a student of this mix took in all; where it trains on a part of the rows, their share of it."""
        rows, shots = score.rows or 0, score.shots or 0
        share = min(1.0, (rows - shots) / self.accepted) if self.accepted else 1.0
        return Cost(
            shots=score.shots,
            # The answers for rows that are trained on were among those asked for when they were made.
            queries=None if self.queries is None or score.rows is None else max(rows, share * self.queries),
            tokens=share * self.tokens,
            money=None if self.money is None else share * self.money,
            seconds=score.seconds,
        )


def _take(run: Run, mix: str | None) -> _Take:
    """By the manifests of the files that a mix reads beside the shots."""
    if mix in (None, "shots"):
        return _Take(None, 0, 0, 0.0)
    pool = run.pool.manifest() if mix in POOL else None
    if pool is None:
        return _take_of_edits(run, mix)
    # Each text is a question to the teacher, and balancing asks about more.
    queries = max(pool.counts.get("texts", 0), pool.counts.get("teacher_queries", 0))
    own = _Take(None, queries, Usage.from_record(pool.usage).tokens, 0.0 if pool.cost is None else pool.cost)
    if mix == "pool" or run.counterfactuals.manifest() is None:
        return own
    edits = _take_of_edits(run, mix)
    return _Take(
        accepted=None,
        queries=None if edits.queries is None else edits.queries + queries,
        tokens=edits.tokens + own.tokens,
        money=None if edits.money is None else edits.money + (own.money or 0.0),
    )


def _take_of_edits(run: Run, mix: str | None) -> _Take:
    """What CFEs, or a rival's rows, took."""
    manifest = (run.rival(str(mix)).rows if mix in RIVALS else run.counterfactuals).manifest()
    if manifest is None:
        return _Take(None, None, 0, None)
    accepted, queries = (manifest.counts.get(name) for name in ("accepted", "teacher_queries"))
    return _Take(accepted, queries, Usage.from_record(manifest.usage).tokens, manifest.cost)


def _take_of_answers(score: Score) -> _Take:
    """An LLM that is scored itself was paid for its answers."""
    return _Take(None, 0, Usage.from_record(score.usage or {}).tokens, score.cost)


def _plans(folder: Path) -> tuple[SweepPlan, ...]:
    read = (SweepFolder(path.parent).read() for path in sorted(folder.rglob("sweep.json")))
    return tuple(plan for plan in read if plan is not None)
