"""The rounds of asking and judging that fill a ledger."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any, TypeVar

from cod_cli.counterfactuals.contrast import Ask, ContrastSets, Writer
from cod_cli.counterfactuals.generators.base import Generator, Proposal
from cod_cli.counterfactuals.generators.openai import OpenAIGenerator
from cod_cli.counterfactuals.ledger import Case, Ledger
from cod_cli.counterfactuals.quality import NEAR_COPIES
from cod_cli.counterfactuals.verify import Candidate, Judge, Verifier
from cod_cli.errors import PartialError
from cod_cli.llm.prices import Price, find_price, total_usage
from cod_cli.records import Counterfactual, Manifest
from cod_cli.settings.shared import LLMOptions
from cod_cli.store.artifact import Artifact
from cod_cli.store.run import CounterfactualFiles
from cod_cli.teachers.base import Teacher
from cod_cli.ui import Ui

T = TypeVar("T")
# Proposals that are judged in one go, while further requests are under way.
CHUNK = 32
# A slow LLM's replies are judged, counted and saved after so many seconds, though they are fewer.
WAIT_S = 2.0
# The name under which a manifest counts what the teacher was asked.
QUERIES = "teacher_queries"


def forget_empty_start(files: CounterfactualFiles) -> None:
    """A start that got no answer (no key, a wrong address) binds nobody to its options."""
    manifest = files.rows.manifest()
    if manifest is None or manifest.complete or files.read_replies():
        return
    if all(attempt.status in ("error", "teacher-wrong") for attempt in files.read_attempts()):
        files.rows.meta.unlink()
        if files.semifactuals:
            files.semifactuals.meta.unlink(missing_ok=True)


def _nothing_paid() -> tuple[dict[str, int], float | None]:
    return {}, None


@dataclass(frozen=True)
class Terms:
    """What a file is made by, as its manifest says, and what making it may leave open or cost.

    Args:
        settings: the options that change results.
        seed: the one among them that manifests name apart.
        model: the LLM that may write, None without one; ``price`` is its, None where nobody knows it.
        accept_partial: finish the file although cases are without an answer.
        before: the values that options had before there were such options.
        teacher_usage: tells the tokens of what an LLM that is the teacher was paid for, and their cost; nothing where
            the teacher is none.
        random_edits: asks the teacher, once all else is done, what manifests have under that name.
    """

    settings: dict[str, Any]
    seed: int
    model: str | None = None
    price: Price | None = None
    accept_partial: bool = False
    before: Mapping[str, Any] | None = None
    teacher_usage: Callable[[], tuple[dict[str, int], float | None]] = _nothing_paid
    random_edits: Callable[[], dict[str, dict[str, int]]] = dict

    @classmethod
    def of(
        cls, options: LLMOptions, teacher_usage: Callable[[], tuple[dict[str, int], float | None]] = _nothing_paid
    ) -> "Terms":
        """As the options of a command say."""
        price = find_price(options.model, options.price) if options.model else None
        return cls(
            options.results(), options.seed, options.model, price, options.accept_partial, teacher_usage=teacher_usage
        )


def fill(
    ledger: Ledger,
    verifier: Verifier,
    terms: Terms,
    teacher: Teacher | None,
    budget: int | None,
    ui: Ui,
    judge: Judge | None = None,
) -> None:
    """Begin the ledger's file, ask until no case is open, show the CFEs to the judge, and finish it.

    What ``teacher`` is asked is counted.

    Raises:
        PartialError: cases are still without an answer.
    """
    files = ledger.files
    earlier = files.rows.manifest()
    manifest = _begin(files.rows, files, terms, teacher)
    beside = _begin(files.semifactuals, files, terms, teacher) if files.semifactuals and ledger.contrast else None
    judged_by = judge.name if judge else earlier.judge if earlier else None
    meter = _Meter(ledger, manifest, teacher)
    _work(ledger, verifier, budget, meter, ui)
    manifests = (manifest.replace(judge=judged_by), beside.replace(judge=judged_by) if beside else None)
    _close(ledger, *manifests, judge, terms, meter.queries)


def _begin(
    file: Artifact[Counterfactual], files: CounterfactualFiles, terms: Terms, teacher: Teacher | None
) -> Manifest:
    return file.begin(
        terms.settings,
        labels=files.shots.require().labels,
        seed=terms.seed,
        teacher=teacher.fingerprint if teacher else None,
        inputs=[files.shots.path],
        before=terms.before,
    )


@dataclass(frozen=True)
class _Meter:
    """Counts what the teacher is asked, on disk as it goes: a kill does not make the pairs look cheaper."""

    ledger: Ledger
    manifest: Manifest
    teacher: Teacher | None

    @property
    def queries(self) -> int:
        """The queries of all goes at this file."""
        return self.manifest.counts.get(QUERIES, 0) + (self.teacher.queries if self.teacher else 0)

    def save(self) -> None:
        """Bring the manifest up to date."""
        contrast = self.ledger.contrast
        counts = {QUERIES: self.queries} | ({NEAR_COPIES: contrast.near_copies} if contrast else {})
        self.ledger.files.rows.note(self.manifest.replace(counts=counts))


def _work(ledger: Ledger, verifier: Verifier, budget: int | None, meter: _Meter, ui: Ui) -> None:
    """Ask, judge and record until no case is open; what is settled is saved also when interrupted."""
    try:
        ledger.gather()  # of shots that the teacher is wrong about nothing is asked
        while cases := ledger.asked(budget):
            _round(ledger, cases, verifier, meter, ui)
        while ledger.contrast and (asks := ledger.contrast.open_asks()):
            _further_round(ledger, ledger.contrast, asks, meter, ui)
    finally:
        ledger.save()


def _round(ledger: Ledger, cases: Sequence[Case], verifier: Verifier, meter: _Meter, ui: Ui) -> None:
    """One more attempt at each of these cases, all of which are one generator's turn."""
    generator = ledger.generators[cases[0].turn]
    _name_writer(ledger, generator)
    requests = [writer.request() for case in cases for writer in case.waiting()]
    started, done = perf_counter(), 0
    with ui.progress(f"Writing counterfactuals ({generator.name})", total=len(requests)) as advance:
        for proposals in _chunks(generator.propose(requests)):
            _settle(ledger, proposals, verifier)
            ledger.gather()
            done += len(proposals)
            rate = done / (perf_counter() - started)
            advance(len(proposals), detail=f"{_standing(ledger, generator)}, {rate:.2g} a second")
            ledger.save()
            meter.save()


def _further_round(ledger: Ledger, contrast: ContrastSets, asks: Sequence[Ask], meter: _Meter, ui: Ui) -> None:
    """Ask an LLM once more for what each of these families lacks."""
    generator = ledger.generators[0]
    _name_writer(ledger, generator, asked=True)
    requests = [contrast.request(ask, generator.prompts[0]) for ask in asks]
    with ui.progress(f"Writing further edits ({generator.name})", total=len(requests)) as advance:
        for proposals in _chunks(generator.propose(requests)):
            try:
                contrast.answer(proposals)
            except PartialError as error:  # an LLM that is the teacher has not answered
                contrast.answer([Proposal(p.request, (), "error", error.message) for p in proposals])
            advance(len(proposals), detail=_standing(ledger, generator))
            ledger.save()
            meter.save()


def _name_writer(ledger: Ledger, generator: Generator, *, asked: bool = False) -> None:
    """Say whose texts the teacher is shown from now on."""
    if ledger.contrast:
        only = generator.prompts[0] if len(generator.prompts) == 1 else None
        ledger.contrast.witness.writer = Writer(generator.name, only, asked)


def _standing(ledger: Ledger, generator: Generator) -> str:
    """What the progress line says: accepted, failed, spent."""
    counts = ledger.counts()
    line = f"{counts['accepted']} accepted, {counts['not_flipped']} failed"
    if ledger.contrast:
        line += f", {counts['further']} further, {counts['semifactuals']} semifactuals"
    if isinstance(generator, OpenAIGenerator):
        spent = generator.spent
        line += f", {spent.calls} requests, {spent.prompt_tokens + spent.completion_tokens:,} tokens"
        line += f", cost {spent.cost:.4f}" if generator.price else ""
    return line


def _settle(ledger: Ledger, proposals: Sequence[Proposal], verifier: Verifier) -> None:
    """Judge what came back, in one go, and write it into the ledger."""
    candidates = [
        Candidate(proposal.request.shot, proposal.request.target, text, proposal.request.prompt)
        for proposal in proposals
        for text in proposal.texts
    ]
    try:
        verdicts = iter(verifier.judge(candidates, ledger.texts()))
    except PartialError as error:  # an LLM that is the teacher has not answered: what it did say is on disk
        candidates, verdicts = [], iter(())
        proposals = [Proposal(p.request, (), "error", error.message) if p.texts else p for p in proposals]
    for proposal in proposals:
        mine = list(islice(verdicts, len(proposal.texts)))
        writer = ledger.settle(proposal, mine)
        if not writer.done and not writer.unanswered:
            writer.feedback = verifier.feedback(mine[-1]) if mine else proposal.reason


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """What has come, as soon as it is enough or has waited long enough."""
    chunk: list[T] = []
    since = perf_counter()
    for item in items:
        chunk.append(item)
        if len(chunk) >= CHUNK or perf_counter() - since >= WAIT_S:
            yield chunk
            chunk, since = [], perf_counter()
    if chunk:
        yield chunk


def _close(
    ledger: Ledger, manifest: Manifest, beside: Manifest | None, judge: Judge | None, terms: Terms, queries: int
) -> None:
    """Finish the files; raise where cases are still without an answer."""
    if terms.accept_partial:
        ledger.accept_partial()
        ledger.save()
    counts = {**ledger.counts(), QUERIES: queries}
    complete = terms.accept_partial or not (counts["unanswered"] or counts.get("further_unanswered"))
    usage, cost = _paid(ledger.files, terms)
    rows, kept = ledger.counterfactuals(), ledger.semifactuals()
    if beside and ledger.files.semifactuals:
        own = {name: counts[name] for name in ("semifactuals", NEAR_COPIES, "semifactuals_only")}
        ledger.files.semifactuals.finish(beside, judge.judge(kept) if judge else kept, complete=complete, counts=own)
    ledger.files.rows.finish(
        manifest.replace(
            price=(terms.price.prompt, terms.price.completion) if terms.price else None,
            random_edits=(terms.random_edits() if complete else None) or None,
        ),
        judge.judge(rows) if judge else rows,
        complete=complete,
        counts=counts,
        usage=usage,
        cost=cost,
    )
    if not complete:
        reasons = Counter(attempt.reason for attempt in ledger.attempts() if attempt.status == "error")
        lacking = f"{counts['unanswered']} of {counts['cases']} counterfactuals"
        if not counts["unanswered"]:
            lacking = f"{counts['further_unanswered']} of the requests for further edits"
        raise PartialError(
            f"{lacking} are without an answer: {reasons.most_common(1)[0][0]}",
            "the same command asks again for just those; --accept-partial closes the stage without them",
        )


def _paid(files: CounterfactualFiles, terms: Terms) -> tuple[dict[str, int], float | None]:
    """Tokens of all replies that were paid for, those of an LLM that is the teacher apart, and their cost."""
    usage = total_usage(files.read_replies())
    cost = usage.cost(terms.price)
    checks, checks_cost = terms.teacher_usage()
    if checks and (terms.model is None or cost is not None):
        cost = None if checks_cost is None else checks_cost + (cost or 0.0)
    return usage.record() | {f"teacher_{name}": number for name, number in checks.items()}, cost
