"""`cod rival`: what else the same budget could be spent on, in files of the same shape as the counterfactuals'."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from cod_cli.counterfactuals.generators.augment import open_augmenter
from cod_cli.counterfactuals.generators.base import Generator
from cod_cli.counterfactuals.generators.editor import Choice, open_editor
from cod_cli.counterfactuals.generators.file import open_pairs
from cod_cli.counterfactuals.generators.openai import open_generator
from cod_cli.counterfactuals.generators.replay import Replay
from cod_cli.counterfactuals.ledger import Ledger
from cod_cli.counterfactuals.rivals import pool_rows
from cod_cli.counterfactuals.rounds import QUERIES, fill, forget_empty_start
from cod_cli.counterfactuals.verify import SameClass, Unchecked, Verifier, read_by, targets
from cod_cli.data.heldout import draw_pool, training_texts
from cod_cli.errors import CodError, UsageError
from cod_cli.llm.client import Session
from cod_cli.llm.pacing import Limits
from cod_cli.mixes import RIVALS, select
from cod_cli.records import Counterfactual, Shot
from cod_cli.settings.rival import RivalSettings
from cod_cli.store.run import Run
from cod_cli.teachers.local import WhiteBoxTeacher
from cod_cli.teachers.open import load_teacher, with_recorded_teacher
from cod_cli.ui import Ui

# A variant of CoD keeps the CFEs' gate on edits; a text of its own may differ as it likes.
CFE_EDIT_RATIO = 0.5
_KEEP_THE_CLASS = ("eda", "aeda", "paraphrase")
_CHOICES: dict[str, Choice] = {"cod-nearest": "nearest", "cod-confident": "confident"}


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
    """The rivals that were asked for, in that order."""

    run: Run
    made: tuple[Made, ...]
    seconds: float


@dataclass(frozen=True)
class _Shared:
    """What the rivals of one command have in common; ``recorded`` are the options that made the CFEs."""

    run: Run
    shots: list[Shot]
    labels: list[str]
    teacher: WhiteBoxTeacher
    recorded: dict[str, Any]
    ui: Ui

    @property
    def seed(self) -> str:
        """What the draw of the shots hangs on: other shots, other rivals."""
        return f"{self.run.shots.require().seed}"


def rival(run: Run, settings: RivalSettings, ui: Ui) -> RivalResult:
    """Write ``2-KIND.jsonl`` for each kind: as many rows as the equal budget can take.

    Raises:
        UsageError: no such kind, no LLM or no teacher where one is needed.
        CodError: a rival of the CFEs before there are any, or one begun with other settings.
        PartialError: an LLM has not answered everything; all else is saved.
    """
    started = perf_counter()
    settings = with_recorded_teacher(run, settings)
    if not settings.teacher:
        raise UsageError("no teacher is named", "add --teacher with a model folder or Hub id")
    labels, cfes = run.shots.require().labels, run.counterfactuals.manifest()
    teacher = load_teacher(settings, labels)
    shared = _Shared(run, run.shots.read(), labels, teacher, cfes.settings if cfes else {}, ui)
    target = settings.target or shared.recorded.get("target") or "nearest"
    if target not in ("nearest", "all", *labels):
        raise UsageError(f"the target is {target!r}, no label", f"--target: nearest, all or one of {', '.join(labels)}")
    settings = dataclasses.replace(settings, target=target)
    made = tuple(_make(shared, settings.of(kind)) for kind in settings.kinds)
    return RivalResult(run, made, round(perf_counter() - started, 2))


def _make(shared: _Shared, settings: RivalSettings) -> Made:
    # What a rival costs does not hang on what others asked before it.
    shared = dataclasses.replace(shared, teacher=shared.teacher.fresh())
    run = shared.run.for_rival(settings.kind)
    if settings.force:
        run.archive(run.counterfactuals.path, run.counterfactuals.meta, run.attempts, run.replies)
    forget_empty_start(run)
    (_pool if RIVALS[settings.kind].real else _write)(run, shared, settings)
    manifest = run.counterfactuals.require()
    rows = len(run.counterfactuals.read())
    return Made(settings.kind, run.counterfactuals.path, rows, manifest.counts, manifest.usage, manifest.cost)


def _pool(run: Run, shared: _Shared, settings: RivalSettings) -> None:
    kind, out = settings.kind, run.counterfactuals
    teacher = shared.teacher.fingerprint
    wanted = _bought(shared) if RIVALS[kind].other_budget else len(shared.shots) // 2
    inputs = [run.shots.path, *([shared.run.counterfactuals.path] if RIVALS[kind].other_budget else [])]
    old = out.check(settings.results(), teacher=teacher)
    if old is not None and old.complete and old.counts.get("wanted") == wanted:
        shared.ui.note(f"{out.path} is complete already")
        return
    manifest = out.begin(settings.results(), labels=shared.labels, seed=settings.seed, teacher=teacher, inputs=inputs)
    drawn = draw_pool(shared.run, wanted, f"{shared.seed} {settings.seed}")
    if len(drawn) < wanted:
        shared.ui.warn(
            f"{kind}: the source has only {len(drawn)} of {wanted} texts that are neither shots nor held out"
        )
    rows = pool_rows(drawn, shared.labels, shared.teacher, kind)
    out.finish(manifest, rows, counts={"wanted": wanted, "accepted": len(rows), QUERIES: len(rows)})


def _bought(shared: _Shared) -> int:
    """How many teacher queries the CFEs cost that the equal budget trains on, at the mean price of all."""
    cfes = shared.run.counterfactuals
    counts, rows = cfes.require().counts, cfes.read()
    if QUERIES not in counts:
        raise CodError(f"{cfes.meta} does not say what its rows cost", f"make them anew: `{cfes.command} --force`")
    used = sum(len(group) - 1 for group in select("cod", shared.shots, rows))
    return round(counts[QUERIES] * used / len(rows)) if rows else counts[QUERIES]


def _write(run: Run, shared: _Shared, settings: RivalSettings) -> None:
    """Have the rows written and judged, as far as the equal-budget walk needs them."""
    keeps = settings.kind in _KEEP_THE_CLASS
    read = read_by(shared.teacher, [] if settings.kind in ("eda", "aeda") else shared.shots, shared.labels)
    wanted = [
        (shot, [shot.label] if keeps else targets(shot, shared.labels, read.logits.get(shot.id), str(settings.target)))
        for shot in shared.shots
    ]
    # Whoever does not ask the teacher does not know that it is wrong about a shot.
    chosen = read.chosen if RIVALS[settings.kind].flips else {}
    manifest = run.counterfactuals.check(settings.results(), teacher=shared.teacher.fingerprint)
    with _generators(run, shared, settings) as generators:
        ledger = _RivalLedger(run, wanted, chosen, generators)
        ledger.call(settings.kind)
        ledger.resume(manifest)
        if manifest is None or not manifest.complete or ledger.asked(len(shared.shots)):
            fill(ledger, _verifier(shared, settings.kind), settings, shared.teacher, len(shared.shots), shared.ui)
        else:
            shared.ui.note(f"{run.counterfactuals.path} is complete already")


class _RivalLedger(Ledger):
    """A ledger whose rows are called after their rival."""

    kind = "cfe"

    def call(self, kind: str) -> None:
        """Name the rival; one that nobody checks may hold copies of its shots."""
        self.kind = kind
        if kind == "cod-unverified":
            self._texts.clear()

    def counterfactuals(self) -> list[Counterfactual]:
        """The accepted rows in shot order."""
        rows = super().counterfactuals()
        return [row.replace(id=f"{row.shot_id}~{row.label}@{self.kind}", kind=self.kind) for row in rows]


def _verifier(shared: _Shared, kind: str) -> Verifier:
    if kind == "cod-unverified":
        return Unchecked(None, shared.labels, max_edit_ratio=1.0)
    if kind == "paraphrase":
        return SameClass(shared.teacher, shared.labels, max_edit_ratio=1.0)
    ratio = shared.recorded.get("max_edit_ratio", CFE_EDIT_RATIO) if kind.startswith("cod-") else 1.0
    teacher = shared.teacher if RIVALS[kind].flips else None
    return Verifier(teacher, shared.labels, max_edit_ratio=ratio, revert=False)


@contextmanager
def _generators(run: Run, shared: _Shared, settings: RivalSettings) -> Iterator[list[Generator]]:
    kind, ui = settings.kind, shared.ui
    if RIVALS[kind].llm:
        prompted = dataclasses.replace(settings, prompt=settings.prompt or (kind,))
        with (
            Session(Limits.of(settings)) as session,
            open_generator(run.replies, prompted, shared.labels, session, ui.note) as llm,
        ):
            yield [llm]
    elif kind in ("eda", "aeda"):
        texts = training_texts(shared.run, ui.note) if kind == "eda" else []
        yield [open_augmenter(kind, shared.teacher, texts, f"{shared.seed} {settings.seed}")]
    elif kind in _CHOICES:
        yield [_editor(shared, _CHOICES[kind])]
    else:
        yield _again(shared, first=kind == "cod-unverified")


def _again(shared: _Shared, *, first: bool) -> list[Generator]:
    """Whoever wrote the CFEs, once more: with all tries, or with the first alone."""
    run, source = shared.run, shared.recorded
    run.counterfactuals.require()
    if source.get("generator") == "editor":
        return [_editor(shared, "first" if first else "smallest")]
    if source.get("generator") == "file" and source.get("from_file"):
        return [open_pairs(Path(source["from_file"]), shared.shots, shared.labels)]
    replies = Replay(run.read_replies(), max_attempts=1 if first else None)
    return [replies, _editor(shared, "smallest")] if source.get("fallback") and not first else [replies]


def _editor(shared: _Shared, choice: Choice) -> Generator:
    return open_editor(shared.teacher, training_texts(shared.run, shared.ui.note), choice)
