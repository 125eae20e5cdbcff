"""`cod counterfact`: writes counterfactuals, checks them against the teacher, minimises them."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

from cod_cli.counterfactuals import harm
from cod_cli.counterfactuals.contrast import ContrastSets, Gatherer, Sizes, Witness
from cod_cli.counterfactuals.generators.base import EditRequest, Generator
from cod_cli.counterfactuals.generators.editor import Editor, Wording, open_editor
from cod_cli.counterfactuals.generators.file import WrittenPairs, open_pairs
from cod_cli.counterfactuals.generators.openai import OpenAIGenerator, open_generator
from cod_cli.counterfactuals.ledger import Ledger
from cod_cli.counterfactuals.quality import NEAR_COPIES, ContrastSummary, QualityReport, Work, contrast_summary, report
from cod_cli.counterfactuals.rounds import Terms, fill, forget_empty_start
from cod_cli.counterfactuals.verify import Judge, Readings, Verifier, assign_targets, load_judge, read_by
from cod_cli.data.files import open_table
from cod_cli.data.heldout import columns_in_texts, editor_texts, hold_out
from cod_cli.errors import CodError, UsageError
from cod_cli.llm.client import Session
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Estimate, Price
from cod_cli.records import Shot
from cod_cli.settings.counterfact import EDITED, CounterfactSettings
from cod_cli.settings.shared import TeacherSpec
from cod_cli.store.run import CounterfactualFiles, Run
from cod_cli.teachers.base import Teacher
from cod_cli.teachers.open import open_teacher, teacher_usage, with_endpoint, with_known_length
from cod_cli.ui import Ui

# The targets that hang on how near the teacher sees each class.
BY_TEACHER = ("balanced", "nearest")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CounterfactResult:
    """What `cod counterfact` did, and to which files, those of the run or held-out ones.

    ``counts`` as in the manifest, ``usage`` in tokens, ``cost`` in the price's unit. ``contrast`` is None where nothing
    stands beside the first CFEs. ``teacher`` says whether one checked.
    """

    run: Run
    files: CounterfactualFiles
    held_out: bool
    counts: dict[str, int]
    quality: QualityReport
    usage: dict[str, int]
    cost: float | None
    seconds: float
    contrast: ContrastSummary | None = None
    teacher: bool = False

    @property
    def mostly_unturned(self) -> bool:
        """Whether no edit turns the teacher on most shots."""
        return self.contrast is not None and 2 * self.contrast.semifactuals_only > self.counts["shots"]

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        said = {"counts": self.counts, "quality": asdict(self.quality), "usage": self.usage}
        if self.contrast is not None:
            said["contrast"] = asdict(self.contrast)
        return {"run": str(self.run.folder), **said, "cost": self.cost, "seconds": self.seconds}


@dataclass(frozen=True)
class CounterfactPlan:
    """What the first round of requests would take: for all shots, and for those that ``--for-mix cod`` needs.

    ``checks`` is what an LLM that is the ``teacher`` would be asked on all shots and on one edit of each, at least.
    ``one_more`` is one further CFE for each shot and target, ``one_semifactual`` one of each shot; ``per_shot`` CFEs
    and ``semifactuals`` are wanted, None for those that were written anyway.
    """

    everything: Estimate
    for_mix_cod: Estimate
    max_attempts: int
    teacher: str | None = None
    checks: Estimate | None = None
    one_more: Estimate | None = None
    one_semifactual: Estimate | None = None
    per_shot: int = 1
    semifactuals: int | None = None


def counterfact(run: Run, settings: CounterfactSettings, ui: Ui) -> CounterfactResult | CounterfactPlan:
    """Write ``2-counterfactuals.jsonl``: for each shot and target the smallest edit that flips the teacher.

    With ``--held-out`` the same for rows that are scored, in ``5-held-out-GENERATOR.jsonl``, which nobody trains on.

    Raises:
        PartialError: some cases are without an answer; all else is saved.
    """
    with nullcontext() if settings.dry_run else run.hold("cod counterfact"):
        return _make(run, settings, ui)


def _make(run: Run, settings: CounterfactSettings, ui: Ui) -> CounterfactResult | CounterfactPlan:
    labels = run.shots.require().labels
    settings = with_endpoint(with_known_length(run, settings))
    _check(settings, labels)
    files = _held_out(run, settings, settings.held_out, labels) if settings.held_out else run.cfe_files
    with Session(Limits.of(settings)) as session, _teacher(run, settings, labels, session, ui) as teacher:
        return _counterfact(run, files, settings, files.shots.read(), labels, teacher, session, ui)


def _held_out(run: Run, settings: CounterfactSettings, n: int, labels: Sequence[str]) -> CounterfactualFiles:
    """The files of pairs that nobody trains on; with ``--force`` their rows are drawn anew."""
    drawn = run.held_out(settings.generator).shots
    if settings.force and not settings.dry_run:
        run.archive(drawn.path, drawn.meta)
    return hold_out(run, labels, generator=settings.generator, n=n, split=settings.split, seed=settings.seed)


@contextmanager
def _teacher(
    run: Run, settings: CounterfactSettings, labels: Sequence[str], session: Session, ui: Ui
) -> Iterator[Teacher | None]:
    """The teacher that checks, None where none is named."""
    if not settings.teacher:
        yield None
        return
    with open_teacher(
        settings.teacher_spec,
        labels,
        run.teacher_replies,
        session,
        shots=run.shots.read(),
        device=settings.device,
        cache=settings.cache,
    ) as teacher:
        yield teacher


def _counterfact(
    run: Run,
    files: CounterfactualFiles,
    settings: CounterfactSettings,
    shots: Sequence[Shot],
    labels: list[str],
    teacher: Teacher | None,
    session: Session,
    ui: Ui,
) -> CounterfactResult | CounterfactPlan:
    started = perf_counter()
    judge = _judge(settings, labels, teacher)
    if files.shots.edited():
        ui.note(f"{files.shots.path} was edited by hand since it was made")
    if settings.force and not settings.dry_run:
        run.archive(*files.paths)
    forget_empty_start(files)
    old = files.rows.manifest()
    settings = settings.resolved(old.settings if old else None)
    manifest = files.rows.check(
        settings.results(), teacher=teacher.fingerprint if teacher else None, before=settings.BEFORE
    )
    witness = Witness(teacher) if teacher and _wants_contrast(settings) else None
    with _generators(run, files, settings, labels, shots, teacher, witness, session) as generators:
        unasked = settings.dry_run and settings.teacher_spec.llm is not None
        read = read_by(None if unasked else teacher, shots, labels)
        wanted = _wanted(shots, labels, read, settings, generators[0])
        contrast = (
            _contrast(witness, shots, labels, read, settings, columns_in_texts(run))
            if witness and read.logits
            else None
        )
        ledger = Ledger(files, wanted, read.chosen, generators, contrast)
        ledger.resume(manifest)
        if settings.dry_run:
            return _plan(ledger, generators[0], shots, teacher, settings)
        budget = len(shots) if settings.for_mix == "cod" else None
        if manifest is None or not manifest.complete or ledger.asked(budget):
            _say_targets(wanted, labels, settings, ui)
            verifier = Verifier(
                witness or teacher, labels, max_edit_ratio=settings.max_edit_ratio, columns=columns_in_texts(run)
            )
            terms = Terms.of(settings, lambda: teacher_usage(settings.teacher_spec, run.read_teacher_replies()))
            terms = dataclasses.replace(terms, before=settings.BEFORE)
            if teacher is not None and teacher.cheap and settings.held_out is None:
                asked = partial(harm.turn_at_random, teacher, shots, labels, columns_in_texts(run))
                terms = dataclasses.replace(terms, random_edits=asked)
            fill(ledger, verifier, terms, teacher, budget, ui, judge)
        elif judge and judge.name != manifest.judge:
            for file in (files.rows, files.semifactuals):
                if file and (made := file.manifest()):
                    file.rewrite(made.replace(judge=judge.name), judge.judge(file.read()))
        else:
            ui.note(f"{files.rows.path} is complete already; nothing is left to ask")
    if said := harm.warning(files.rows.require().random_edits):
        ui.warn(said)
    return _result(run, files, shots, perf_counter() - started)


def _judge(settings: CounterfactSettings, labels: Sequence[str], teacher: Teacher | None) -> Judge | None:
    """The judge of ``--judge``, None without one."""
    if settings.judge is None:
        return None
    return load_judge(
        TeacherSpec(settings.judge, labels=settings.judge_labels, max_length=settings.max_length),
        labels,
        writer=settings.model if settings.generator == "openai" else None,
        teacher=teacher,
        device=settings.device,
        cache=settings.cache,
    )


def _check(settings: CounterfactSettings, labels: Sequence[str]) -> None:
    if settings.target not in (None, *BY_TEACHER, "all", *labels):
        raise UsageError(
            f"--target is {settings.target!r}, no label of these shots",
            f"choose balanced, nearest, all or: {', '.join(labels)}",
        )
    if (settings.per_shot or 1) > 1 and not settings.teacher:
        raise UsageError("--per-shot needs a teacher to tell what the further texts are", "add --teacher")
    if settings.held_out is not None and ((settings.per_shot or 1) > 1 or settings.semifactuals):
        log.info("held-out pairs are one for each row: --per-shot and --semifactuals are for what is trained on")
    if settings.generator == "editor" and not settings.teacher:
        raise UsageError("--generator editor needs a teacher to guide it", "add --teacher")
    if "editor" in (settings.generator, settings.fallback) and settings.teacher_spec.llm is not None:
        raise UsageError(
            f"the editor follows the teacher's gradients, and {settings.teacher} has none",
            "let an LLM alone write: --generator openai --model MODEL; or take a model folder or Hub id as --teacher",
        )
    if settings.generator == "file" and not settings.from_file:
        raise UsageError("--generator file needs the pairs", "add --from FILE")
    if settings.generator == "file" and settings.from_file:
        open_table(settings.from_file)  # a typo is found before --force puts anything away
    if settings.generator == "openai" and not settings.model:
        raise UsageError("no LLM is named", "add --model NAME, or --generator editor --teacher T to do without an LLM")
    by_teacher = settings.target in (None, *BY_TEACHER) and len(labels) > 2 and settings.generator != "file"
    if by_teacher and not settings.teacher:
        raise UsageError(
            f"--target {settings.target or 'balanced'} needs a teacher to tell which class is nearest",
            "add --teacher, or use --target all",
        )


def _wanted(
    shots: Sequence[Shot], labels: Sequence[str], read: Readings, settings: CounterfactSettings, generator: Generator
) -> list[tuple[Shot, list[str]]]:
    """For each shot its targets."""
    if isinstance(generator, WrittenPairs):
        return [(shot, generator.targets(shot)) for shot in shots]
    if settings.dry_run and not read.logits and settings.target in BY_TEACHER:  # one class, whichever it is
        return [(shot, [label for label in labels if label != shot.label][:1]) for shot in shots]
    return list(zip(shots, assign_targets(shots, labels, read.logits, str(settings.target)), strict=True))


def _say_targets(
    wanted: Sequence[tuple[Shot, Sequence[str]]], labels: Sequence[str], settings: CounterfactSettings, ui: Ui
) -> None:
    """How often each class is a target, where that is not plain."""
    if len(labels) > 2 and settings.target in BY_TEACHER and settings.generator != "file":
        counted = Counter(target for _, found in wanted for target in found)
        ui.note("targets: " + ", ".join(f"{counted[label]} {label}" for label in labels))


def _wants_contrast(settings: CounterfactSettings) -> bool:
    """Whether anything is to stand beside the first CFEs, which are all that `--mix cod` needs."""
    more = settings.per_shot != 1 or settings.semifactuals != 0
    return more and settings.for_mix != "cod" and settings.held_out is None


def _contrast(
    witness: Witness,
    shots: Sequence[Shot],
    labels: Sequence[str],
    read: Readings,
    settings: CounterfactSettings,
    columns: Sequence[str],
) -> ContrastSets:
    """What is kept beside the first CFEs, and what an LLM is asked for where it is missing."""
    kept = EDITED if settings.semifactuals is None else settings.semifactuals
    sizes = Sizes(
        per_shot=settings.per_shot or 1,
        semifactuals=kept,
        wanted=settings.semifactuals or 0,
        only=settings.target if settings.target in labels else None,
    )
    gatherer = Gatherer(
        sizes=sizes,
        labels=labels,
        before=read.logits,
        taken={shot.text for shot in shots},
        max_edit_ratio=settings.max_edit_ratio,
        columns=columns,
    )
    return ContrastSets(gatherer, witness, settings.max_attempts if settings.generator == "openai" else 0)


@contextmanager
def _generators(
    run: Run,
    files: CounterfactualFiles,
    settings: CounterfactSettings,
    labels: Sequence[str],
    shots: Sequence[Shot],
    teacher: Teacher | None,
    witness: Witness | None,
    session: Session,
) -> Iterator[list[Generator]]:
    """Who writes, in order: the second closes what the first has left open."""

    def editor() -> Editor:
        wording, columns = Wording.of(settings.results()), columns_in_texts(run)
        return open_editor(teacher, editor_texts(run, wording.words), wording=wording, oracle=witness, columns=columns)

    if settings.generator == "openai":
        with open_generator(files.replies, settings, labels, session) as llm:
            yield [llm, editor()] if settings.fallback else [llm]
    elif settings.generator == "file" and settings.from_file:
        yield [open_pairs(settings.from_file, shots, labels)]
    else:
        yield [editor()]


def _plan(
    ledger: Ledger,
    generator: Generator,
    shots: Sequence[Shot],
    teacher: Teacher | None,
    settings: CounterfactSettings,
) -> CounterfactPlan:
    if not isinstance(generator, OpenAIGenerator):
        raise UsageError(f"--dry-run is about an LLM's cost, and --generator {generator.name} has none")
    everything, for_mix_cod = (
        generator.estimate([writer.request() for case in ledger.asked(budget) for writer in case.waiting()])
        for budget in (None, len(shots))
    )
    cases = [case for case in ledger.cases.values() if case.open]
    more = [EditRequest(case.shot, case.target, generator.max_attempts + 1) for case in cases]
    keep = [EditRequest(group[0].shot, group[0].shot.label, 1, keep=True) for group in ledger.groups if group]
    plan = CounterfactPlan(
        everything,
        for_mix_cod,
        generator.max_attempts,
        one_more=generator.estimate(more),
        one_semifactual=generator.estimate(keep) if teacher else None,
        per_shot=settings.per_shot or 1,
        semifactuals=settings.semifactuals,
    )
    texts, families = [shot.text for shot in shots], [shot.id for shot in shots]
    if teacher is None or (of_shots := teacher.estimate(texts, families)) is None:
        return plan
    of_edits = teacher.estimate(texts, families, anew=True) or of_shots
    return dataclasses.replace(plan, teacher=teacher.name, checks=of_shots + of_edits)


def _result(run: Run, files: CounterfactualFiles, shots: Sequence[Shot], seconds: float) -> CounterfactResult:
    manifest = files.rows.require()
    if "accepted" not in manifest.counts:
        raise CodError(f"{files.rows.meta} is damaged: it counts nothing", f"run `{files.rows.command} --force`")
    price = Price(*manifest.price) if manifest.price else None
    cfes = files.rows.read()
    made = Work(shots, cfes, files.read_attempts(), files.read_replies(), price)
    beside = files.semifactuals.peek() if files.semifactuals else []
    near_copies = manifest.counts.get(NEAR_COPIES)
    return CounterfactResult(
        run=run,
        files=files,
        held_out=files.shots.path != run.shots.path,
        counts=manifest.counts,
        quality=report(made),
        usage=manifest.usage,
        cost=manifest.cost,
        seconds=round(seconds, 2),
        contrast=None if near_copies is None else contrast_summary(cfes, beside, near_copies=near_copies),
        teacher=manifest.teacher is not None,
    )
