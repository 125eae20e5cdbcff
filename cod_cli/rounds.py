"""The rounds of asking and judging that fill a ledger."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from cod_cli.artifacts import Run
from cod_cli.errors import PartialError
from cod_cli.generators import Need, Proposal
from cod_cli.ledger import Case, Ledger
from cod_cli.prices import find_price
from cod_cli.records import Manifest
from cod_cli.report import Ui
from cod_cli.settings import LLMOptions
from cod_cli.teachers import Teacher
from cod_cli.verify import Candidate, Verifier

T = TypeVar("T")

# Proposals that are judged in one go, while further requests are under way.
CHUNK = 32
# The name under which a manifest counts what the teacher was asked.
QUERIES = "teacher_queries"


def forget_empty_start(run: Run) -> None:
    """A start that got no answer (no key, a wrong address) binds nobody to its options."""
    manifest = run.counterfactuals.manifest()
    if manifest is None or manifest.complete or run.read_replies():
        return
    if all(attempt.status in ("error", "teacher-wrong") for attempt in run.read_attempts()):
        run.counterfactuals.meta.unlink()


def fill(
    ledger: Ledger, verifier: Verifier, settings: LLMOptions, teacher: Teacher | None, budget: int | None, ui: Ui
) -> None:
    """Begin the ledger's file, ask until no case is open, and finish it; what ``teacher`` is asked is counted.

    Raises:
        PartialError: cases are still without an answer.
    """
    run = ledger.run
    manifest = run.counterfactuals.begin(
        settings.results(),
        labels=run.shots.require().labels,
        seed=settings.seed,
        teacher=teacher.fingerprint if teacher else None,
        inputs=[run.shots.path],
    )
    meter = _Meter(run, manifest, teacher)
    _work(ledger, verifier, budget, meter, ui)
    _close(ledger, manifest, settings, meter.queries)


@dataclass(frozen=True)
class _Meter:
    """Counts what the teacher is asked, on disk as it goes: a kill does not make the pairs look cheaper."""

    run: Run
    manifest: Manifest
    teacher: Teacher | None

    @property
    def queries(self) -> int:
        """The queries of all goes at this file."""
        return self.manifest.counts.get(QUERIES, 0) + (self.teacher.queries if self.teacher else 0)

    def save(self) -> None:
        """Bring the manifest up to date."""
        self.run.counterfactuals.note(self.manifest.replace(counts={QUERIES: self.queries}))


def _work(ledger: Ledger, verifier: Verifier, budget: int | None, meter: _Meter, ui: Ui) -> None:
    """Ask, judge and record until no case is open; what is settled is saved also when interrupted."""
    try:
        while cases := ledger.asked(budget):
            _round(ledger, cases, verifier, meter, ui)
    finally:
        ledger.save()


def _round(ledger: Ledger, cases: Sequence[Case], verifier: Verifier, meter: _Meter, ui: Ui) -> None:
    """One more try for each of these cases, all of which are one generator's turn."""
    generator = ledger.generators[cases[0].turn]
    needs = [Need(case.shot, case.target, case.tries + 1, case.feedback) for case in cases]
    with ui.progress(f"Writing counterfactuals ({generator.name})", total=len(needs)) as advance:
        for proposals in _chunks(generator.propose(needs), CHUNK):
            _settle(ledger, proposals, verifier)
            advance(len(proposals), detail=f"{len(ledger.counterfactuals())} accepted")
            ledger.save()
            meter.save()


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


def _close(ledger: Ledger, manifest: Manifest, settings: LLMOptions, queries: int) -> None:
    """Finish the files; raise where cases are still without an answer."""
    run, counts = ledger.run, {**ledger.counts(), QUERIES: queries}
    complete = not counts["unanswered"] or settings.accept_partial
    usage = _usage(run)
    price = find_price(settings.model, settings.price) if settings.model else None
    cost = price.of(usage["prompt_tokens"], usage["completion_tokens"]) if price else None
    run.counterfactuals.finish(
        manifest, ledger.counterfactuals(), complete=complete, counts=counts, usage=usage, cost=cost
    )
    if not complete:
        reasons = Counter(attempt.reason for attempt in ledger.attempts() if attempt.status == "error")
        raise PartialError(
            f"{counts['unanswered']} of {counts['cases']} counterfactuals are without an answer:"
            f" {reasons.most_common(1)[0][0]}",
            "the same command asks again for just those; --accept-partial closes the stage without them",
        )


def _usage(run: Run) -> dict[str, int]:
    """Tokens of all replies that this run has paid for."""
    paid = [reply.usage for reply in run.read_replies() if reply.usage]
    return {name: sum(usage.get(name, 0) for usage in paid) for name in ("prompt_tokens", "completion_tokens")}
