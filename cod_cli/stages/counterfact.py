"""`cod counterfact`: writes counterfactuals, checks them against the teacher, minimises them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import TypeVar

import numpy as np

from cod_cli.artifacts import Run
from cod_cli.data import load_table
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.generators import Generator, Need, Proposal
from cod_cli.ledger import Case, Ledger
from cod_cli.records import Attempt, Counterfactual, Shot
from cod_cli.report import Ui
from cod_cli.settings import CounterfactSettings
from cod_cli.teachers import Teacher, WhiteBoxTeacher, load_teacher
from cod_cli.verify import Candidate, Verdict, Verifier

T = TypeVar("T")

# Proposals that are judged in one go, while further requests are under way.
CHUNK = 32


@dataclass(frozen=True)
class CounterfactResult:
    """What `cod counterfact` did; ``counts`` as in the manifest, ``usage`` in tokens, ``cost`` in the price's unit."""

    run: Run
    counterfactuals: list[Counterfactual]
    counts: dict[str, int]
    usage: dict[str, int]
    cost: float | None
    seconds: float


def counterfact(run: Run, settings: CounterfactSettings, ui: Ui) -> CounterfactResult:
    """Write ``2-counterfactuals.jsonl``: for each shot and target the smallest edit that flips the teacher.

    Raises:
        PartialError: some cases are without an answer; all else is saved.
    """
    started = perf_counter()
    shots_manifest = run.shots.require()
    labels = shots_manifest.labels
    shots = run.shots.read()
    _check(settings, labels)
    if settings.force:
        run.archive(run.counterfactuals.path, run.counterfactuals.meta, run.attempts, run.replies)
    teacher = load_teacher(settings, labels) if settings.teacher else None
    fingerprint = teacher.fingerprint if teacher else None
    manifest = run.counterfactuals.check(settings.results(), teacher=fingerprint)
    generators = _generators(run, settings, labels, teacher)
    ledger = Ledger(run, *_wanted(shots, labels, teacher, settings), generators)
    ledger.resume(manifest)
    budget = len(shots) if settings.for_mix == "cod" else None
    if manifest is None or not manifest.complete or ledger.asked(budget):
        manifest = run.counterfactuals.begin(
            settings.results(), labels=labels, seed=settings.seed, teacher=fingerprint, inputs=[run.shots.path]
        )
        verifier = Verifier(teacher, labels, max_edit_ratio=settings.max_edit_ratio)
        _work(ledger, verifier, budget, ui)
        _close(run, ledger, manifest, settings)
    else:
        ui.note(f"{run.counterfactuals.path} is complete already; nothing is left to ask")
    return _result(run, ledger, perf_counter() - started)


def _check(settings: CounterfactSettings, labels: Sequence[str]) -> None:
    if settings.target not in ("nearest", "all", *labels):
        raise UsageError(
            f"--target is {settings.target!r}, no label of these shots", f"choose nearest, all or: {', '.join(labels)}"
        )
    if settings.target == "nearest" and len(labels) > 2 and not settings.teacher:
        raise UsageError(
            "--target nearest needs a teacher to tell which class is nearest", "add --teacher, or use --target all"
        )


def _wanted(
    shots: Sequence[Shot], labels: Sequence[str], teacher: Teacher | None, settings: CounterfactSettings
) -> tuple[list[tuple[Shot, list[str]]], dict[str, str]]:
    """For each shot its targets, and the class the teacher chooses on it, by shot id."""
    if teacher is None:
        return [(shot, _targets(shot, labels, None, settings.target)) for shot in shots], {}
    logits = teacher.logits([shot.text for shot in shots])
    chosen = {shot.id: labels[int(row.argmax())] for shot, row in zip(shots, logits, strict=True)}
    wanted = [
        (shot, _targets(shot, labels, row.tolist(), settings.target)) for shot, row in zip(shots, logits, strict=True)
    ]
    return wanted, chosen


def _targets(shot: Shot, labels: Sequence[str], logits: Sequence[float] | None, target: str) -> list[str]:
    """The classes that a CFE of this shot is written for (DESIGN: nearest, all, or one label)."""
    others = [label for label in labels if label != shot.label]
    if target == "all" or (target == "nearest" and len(others) == 1):
        return others
    if target != "nearest":
        return [target] if target in others else []
    if logits is None:
        raise UsageError("--target nearest needs a teacher", "add --teacher, or use --target all")
    ranked = sorted(labels, key=lambda label: -logits[labels.index(label)])
    return [label for label in ranked if label not in (shot.label, ranked[0])][:1]


def _work(ledger: Ledger, verifier: Verifier, budget: int | None, ui: Ui) -> None:
    """Ask, judge and record until no case is open; what is settled is saved also when interrupted."""
    try:
        while cases := ledger.asked(budget):
            _round(ledger, cases, verifier, ui)
    finally:
        ledger.save()


def _round(ledger: Ledger, cases: Sequence[Case], verifier: Verifier, ui: Ui) -> None:
    """One more try for each of these cases, all of which are one generator's turn."""
    generator = ledger.generators[cases[0].turn]
    needs = [Need(case.shot, case.target, case.tries + 1, case.feedback) for case in cases]
    with ui.progress(f"Writing counterfactuals ({generator.name})", total=len(needs)) as advance:
        for proposals in _chunks(generator.propose(needs), CHUNK):
            _settle(ledger, proposals, verifier)
            advance(len(proposals), detail=f"{len(ledger.counterfactuals())} accepted")
            ledger.save()


def _settle(ledger: Ledger, proposals: Sequence[Proposal], verifier: Verifier) -> None:
    """Judge what came back, in one go, and write it into the ledger."""
    candidates = [
        Candidate(proposal.need.shot, proposal.need.target, text) for proposal in proposals for text in proposal.texts
    ]
    verdicts = iter(verifier.judge(candidates, ledger.texts()))
    for proposal in proposals:
        mine = list(islice(verdicts, len(proposal.texts)))
        case = ledger.settle(proposal, mine)
        if case.open and case.tries:
            case.feedback = verifier.feedback(mine[-1]) if mine else proposal.reason


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _generators(
    run: Run, settings: CounterfactSettings, labels: Sequence[str], teacher: Teacher | None
) -> list[Generator]:
    """Who writes, in order: the second closes what the first has left open."""
    raise NotImplementedError


def _close(run: Run, ledger: Ledger, manifest: Manifest, settings: CounterfactSettings) -> None:
    unanswered = sum(case.unanswered for case in ledger.cases.values())
    complete = not unanswered or settings.accept_partial
    run.counterfactuals.finish(manifest, ledger.counterfactuals(), complete=complete, counts=ledger.counts())
    if not complete:
        reasons = Counter(a.reason for a in ledger.attempts() if a.status == "error")
        raise PartialError(
            f"{unanswered} of {len(ledger.cases)} counterfactuals are still without an answer"
            f" ({reasons.most_common(1)[0][0]})",
            "the same command asks again for just those; --accept-partial closes the stage without them",
        )


def _result(run: Run, ledger: Ledger, seconds: float) -> CounterfactResult:
    return CounterfactResult(run, ledger.counterfactuals(), ledger.counts(), {}, None, round(seconds, 2))
