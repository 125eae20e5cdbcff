"""`cod counterfact`: writes counterfactuals, checks them against the teacher, minimises them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import TypeVar

from cod_cli.artifacts import Run
from cod_cli.data import load_table
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.generators import Generator, Need, Proposal
from cod_cli.generators.editor import open_editor
from cod_cli.generators.file import WrittenPairs, open_pairs
from cod_cli.generators.openai import OpenAIGenerator, open_generator
from cod_cli.ledger import Case, Ledger
from cod_cli.prices import Estimate, find_price
from cod_cli.quality import QualityReport, Work, report
from cod_cli.records import Manifest, Shot
from cod_cli.report import Ui
from cod_cli.settings import CounterfactSettings
from cod_cli.teachers import Teacher, load_teacher
from cod_cli.verify import Candidate, Verifier

T = TypeVar("T")

# Proposals that are judged in one go, while further requests are under way.
CHUNK = 32


@dataclass(frozen=True)
class CounterfactResult:
    """What `cod counterfact` did; ``counts`` as in the manifest, ``usage`` in tokens, ``cost`` in the price's unit."""

    run: Run
    counts: dict[str, int]
    quality: QualityReport
    usage: dict[str, int]
    cost: float | None
    seconds: float


@dataclass(frozen=True)
class CounterfactPlan:
    """What the first round of requests would take: for all shots, and for those that ``--for-mix cod`` needs."""

    everything: Estimate
    for_mix_cod: Estimate
    max_attempts: int


def counterfact(run: Run, settings: CounterfactSettings, ui: Ui) -> CounterfactResult | CounterfactPlan:
    """Write ``2-counterfactuals.jsonl``: for each shot and target the smallest edit that flips the teacher.

    Raises:
        PartialError: some cases are without an answer; all else is saved.
    """
    started = perf_counter()
    labels = run.shots.require().labels
    shots = run.shots.read()
    _check(settings, labels)
    teacher = load_teacher(settings, labels) if settings.teacher else None
    if run.shots.edited():
        ui.note(f"{run.shots.path} was edited by hand since it was made")
    if settings.force and not settings.dry_run:
        run.archive(run.counterfactuals.path, run.counterfactuals.meta, run.attempts, run.replies)
    _forget_empty_start(run)
    manifest = run.counterfactuals.check(settings.results(), teacher=teacher.fingerprint if teacher else None)
    with _generators(run, settings, labels, shots, teacher, ui) as generators:
        ledger = Ledger(run, *_wanted(shots, labels, teacher, settings, generators[0]), generators)
        ledger.resume(manifest)
        if settings.dry_run:
            return _plan(ledger, generators[0], len(shots))
        budget = len(shots) if settings.for_mix == "cod" else None
        if manifest is None or not manifest.complete or ledger.asked(budget):
            _write(ledger, settings, teacher, budget, ui)
        else:
            ui.note(f"{run.counterfactuals.path} is complete already; nothing is left to ask")
    return _result(run, shots, perf_counter() - started)


def _forget_empty_start(run: Run) -> None:
    """A start that got no answer (no key, a wrong address) binds nobody to its options."""
    manifest = run.counterfactuals.manifest()
    if manifest is None or manifest.complete or run.read_replies():
        return
    if all(attempt.status in ("error", "teacher-wrong") for attempt in run.read_attempts()):
        run.counterfactuals.meta.unlink()


def _write(ledger: Ledger, settings: CounterfactSettings, teacher: Teacher | None, budget: int | None, ui: Ui) -> None:
    run = ledger.run
    labels = run.shots.require().labels
    manifest = run.counterfactuals.begin(
        settings.results(),
        labels=labels,
        seed=settings.seed,
        teacher=teacher.fingerprint if teacher else None,
        inputs=[run.shots.path],
    )
    _work(ledger, Verifier(teacher, labels, max_edit_ratio=settings.max_edit_ratio), budget, ui)
    _close(ledger, manifest, settings)


def _check(settings: CounterfactSettings, labels: Sequence[str]) -> None:
    if settings.target not in ("nearest", "all", *labels):
        raise UsageError(
            f"--target is {settings.target!r}, no label of these shots", f"choose nearest, all or: {', '.join(labels)}"
        )
    if settings.generator == "editor" and not settings.teacher:
        raise UsageError("--generator editor needs a teacher to guide it", "add --teacher")
    if settings.generator == "file" and not settings.from_file:
        raise UsageError("--generator file needs the pairs", "add --from FILE")
    if settings.generator == "openai" and not settings.model:
        raise UsageError("no LLM is named", "add --model NAME, or --generator editor --teacher T to do without an LLM")
    if settings.target == "nearest" and len(labels) > 2 and not settings.teacher and settings.generator != "file":
        raise UsageError(
            "--target nearest needs a teacher to tell which class is nearest", "add --teacher, or use --target all"
        )


def _wanted(
    shots: Sequence[Shot],
    labels: Sequence[str],
    teacher: Teacher | None,
    settings: CounterfactSettings,
    generator: Generator,
) -> tuple[list[tuple[Shot, list[str]]], dict[str, str]]:
    """For each shot its targets, and the class the teacher chooses on it, by shot id."""
    logits = [row.tolist() for row in teacher.logits([shot.text for shot in shots])] if teacher else [None] * len(shots)
    chosen = {shot.id: labels[row.index(max(row))] for shot, row in zip(shots, logits, strict=True) if row}
    if isinstance(generator, WrittenPairs):
        return [(shot, generator.targets(shot)) for shot in shots], chosen
    targets = [_targets(shot, labels, row, settings.target) for shot, row in zip(shots, logits, strict=True)]
    return list(zip(shots, targets, strict=True)), chosen


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


@contextmanager
def _generators(
    run: Run,
    settings: CounterfactSettings,
    labels: Sequence[str],
    shots: Sequence[Shot],
    teacher: Teacher | None,
    ui: Ui,
) -> Iterator[list[Generator]]:
    """Who writes, in order: the second closes what the first has left open."""
    if settings.generator == "openai":
        with open_generator(run.replies, settings, labels, ui.note) as llm:
            yield [llm]
    elif settings.generator == "file" and settings.from_file:
        yield [open_pairs(settings.from_file, shots, labels, ui.note)]
    else:
        yield [open_editor(teacher, _training_texts(run, ui))]


def _training_texts(run: Run, ui: Ui) -> list[str]:
    """The texts that the shots were drawn from; empty, with a note, where they are not at hand any more."""
    source = run.shots.require().settings
    try:
        table = load_table(
            source["data"],
            split=source["split"],
            text_columns=source["text_column"],
            label_column=source["label_column"],
            label_names=source["label_names"],
            require_labels=False,
        )
    except CodError as error:
        ui.note(f"the editor takes its words from the teacher's vocabulary: {error.message}")
        return []
    return [row.text for row in table.rows]


def _close(ledger: Ledger, manifest: Manifest, settings: CounterfactSettings) -> None:
    """Finish the files; raise where cases are still without an answer."""
    run, counts = ledger.run, ledger.counts()
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


def _plan(ledger: Ledger, generator: Generator, k: int) -> CounterfactPlan:
    if not isinstance(generator, OpenAIGenerator):
        raise UsageError(f"--dry-run is about an LLM's cost, and --generator {generator.name} has none")
    everything, for_mix_cod = (
        generator.estimate([Need(case.shot, case.target, case.tries + 1) for case in ledger.asked(budget)])
        for budget in (None, k)
    )
    return CounterfactPlan(everything, for_mix_cod, generator.max_attempts)


def _result(run: Run, shots: Sequence[Shot], seconds: float) -> CounterfactResult:
    manifest = run.counterfactuals.require()
    work = Work(shots, run.counterfactuals.read(), run.read_attempts(), run.read_replies(), manifest.cost)
    return CounterfactResult(run, manifest.counts, report(work), manifest.usage, manifest.cost, round(seconds, 2))
