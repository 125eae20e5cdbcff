"""`cod show`: the pairs of a run, what was rejected and why, how good the CFEs are, what a prompt sends."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cod_cli.counterfactuals.quality import (
    NEAR_COPIES,
    ContrastSummary,
    QualityReport,
    Work,
    contrast_summary,
    report,
    with_sources,
)
from cod_cli.errors import CodError, UsageError
from cod_cli.llm.prices import Price
from cod_cli.llm.prompts import Message, class_messages, find_prompt, messages, render_messages, writing_messages
from cod_cli.metrics import softmax
from cod_cli.pools.plan import Plan
from cod_cli.records import Attempt, Counterfactual, PoolText, Shot, text_sha
from cod_cli.settings.pool import PoolSettings
from cod_cli.settings.show import ShowSettings
from cod_cli.store.run import Run
from cod_cli.teachers.answers import class_codes
from cod_cli.teachers.softlabels import with_flips_by_file3
from cod_cli.ui import Ui


@dataclass(frozen=True)
class ShownPairs:
    """CFEs or semifactuals, each with the text that it was made from; ``total`` counts those not shown, too.

    ``none`` says what to look at where there are none.
    """

    total: int
    pairs: tuple[tuple[Counterfactual, str], ...]
    none: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints: the records with their source's text."""
        rows = [{**cfe.model_dump(), "source_text": source} for cfe, source in self.pairs]
        return {"total": self.total, "pairs": rows}


@dataclass(frozen=True)
class RejectedAttempts:
    """Attempts that led to no CFE; ``counts`` are over all attempts by status, ``sources`` the shots' texts by id."""

    counts: dict[str, int]
    total: int
    attempts: tuple[Attempt, ...]
    sources: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"counts": self.counts, "total": self.total, "attempts": [row.model_dump() for row in self.attempts]}


@dataclass(frozen=True)
class QualitySummary:
    """How good the CFEs are and what they took; what stands beside them, None for nothing, of how many shots."""

    quality: QualityReport
    contrast: ContrastSummary | None = None
    shots: int = 0

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self.quality) | ({"contrast": asdict(self.contrast)} if self.contrast else {})


@dataclass(frozen=True)
class PromptText:
    """A prompt as it stands in its file or, for a run, the messages that are sent first: for a shot, mostly."""

    prompt: str
    text: str
    shot_id: str | None = None
    target: str | None = None
    messages: tuple[Message, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)


@dataclass(frozen=True)
class ShownPool:
    """Texts of the pool, each with the class that the teacher chooses and its probability, None while nobody asked.

    ``total`` counts those not shown, too; ``chosen`` how many of all are of which class.
    """

    total: int
    chosen: dict[str, int]
    texts: tuple[tuple[PoolText, str | None, float | None], ...]

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        rows = [{**row.model_dump(), "label": label, "p": p} for row, label, p in self.texts]
        return {"total": self.total, "chosen": self.chosen, "texts": rows}


def show(
    run: Run | None, settings: ShowSettings, ui: Ui
) -> ShownPairs | ShownPool | RejectedAttempts | QualitySummary | PromptText:
    """Show one thing about a run; without a run, a prompt.

    Raises:
        UsageError: neither a run nor a prompt.
        CodError: the run has no CFEs yet, or none with the id that is asked for.
    """
    if settings.prompt:
        return _prompt(run, settings.prompt, ui)
    if run is None:
        raise UsageError(
            "there is nothing to show", "name a run: `cod show RUN`, or a prompt: `cod show --prompt NAME`"
        )
    if settings.pool:
        return _pool(run, settings, ui)
    if not run.counterfactuals.path.exists():
        # Shots come first, where there is no run at all.
        run.shots.require()
        run.counterfactuals.require()
    _remark(run, ui)
    shots = run.shots.read()
    cfes = run.counterfactuals.peek()
    labelled = run.soft_labels.manifest()
    if labelled is not None and labelled.complete:
        cfes = with_flips_by_file3(cfes, shots, run.soft_labels.read(), labelled.labels)
    if settings.summary:
        return QualitySummary(_quality(run, shots, cfes), _contrast(run, cfes), len(shots))
    if settings.rejected:
        return _rejected(run, shots, settings, ui)
    if settings.semifactuals:
        return _pairs(shots, _semifactuals(run), settings, ui)
    pairs = _pairs(shots, cfes, settings, ui)
    return pairs if pairs.total else replace(pairs, none=_why_none(run))


def _why_none(run: Run) -> str:
    counts = Counter(row.status for row in run.cfe_files.read_attempts())
    tried = ", ".join(f"{n} {status}" for status, n in counts.most_common()) or "nothing was tried"
    rejected = shlex.join(["cod", "show", str(run.folder), "--rejected"])
    return f"no counterfactual was accepted: {tried}. Each attempt: {rejected}"


def _pool(run: Run, settings: ShowSettings, ui: Ui) -> ShownPool:
    run.pool.refuse_old_rival("`cod distill --mix pool-rows` trains on it")
    if not run.pool.path.exists():
        run.pool.require()
    manifest = run.pool_labels.manifest()
    labels = manifest.labels if manifest else []
    told = {(soft.id, soft.text_sha): softmax(soft.logits) for soft in run.pool_labels.peek()} if manifest else {}
    read: list[tuple[PoolText, str | None, float | None]] = []
    for row in run.pool.peek():
        p = told.get((row.id, text_sha(row.text)))
        read.append((row, None, None) if p is None else (row, labels[int(p.argmax())], round(float(p.max()), 6)))
    chosen = Counter(label for _, label, _ in read)
    shown = [entry for entry in read if settings.only in (None, entry[0].id)]
    if not shown:
        raise CodError(f"there is no text with the id {settings.only!r} in {run.pool.path}", "give the id of one")
    _say_what_is_left(len(shown), settings.limit, ui)
    return ShownPool(len(shown), {label: chosen[label] for label in labels}, tuple(shown[: settings.limit]))


def _semifactuals(run: Run) -> list[Counterfactual]:
    rows = run.semifactuals.peek()
    if not rows:
        raise CodError(f"{run.folder} has no semifactuals", "they are made by `cod counterfact --semifactuals N`")
    return rows


def _contrast(run: Run, cfes: Sequence[Counterfactual]) -> ContrastSummary | None:
    manifest = run.counterfactuals.manifest()
    near_copies = manifest.counts.get(NEAR_COPIES) if manifest else None
    return None if near_copies is None else contrast_summary(cfes, run.semifactuals.peek(), near_copies=near_copies)


def _remark(run: Run, ui: Ui) -> None:
    manifest = run.counterfactuals.manifest()
    if manifest is not None and not manifest.complete:
        ui.note(f"{run.counterfactuals.path} is not complete yet")
    if run.counterfactuals.edited():
        ui.note(f"{run.counterfactuals.path} was changed by hand since it was written")


def _quality(run: Run, shots: Sequence[Shot], cfes: Sequence[Counterfactual]) -> QualityReport:
    manifest = run.counterfactuals.manifest()
    price = Price(*manifest.price) if manifest and manifest.price else None
    return report(Work(shots, cfes, run.cfe_files.read_attempts(), run.cfe_files.read_replies(), price))


def _rejected(run: Run, shots: Sequence[Shot], settings: ShowSettings, ui: Ui) -> RejectedAttempts:
    attempts = run.cfe_files.read_attempts()
    rejected = [row for row in attempts if row.status != "accepted"]
    if settings.only:
        rejected = [row for row in rejected if settings.only in (row.shot_id, f"{row.shot_id}~{row.target}")]
    _say_what_is_left(len(rejected), settings.limit, ui)
    return RejectedAttempts(
        counts=dict(Counter(row.status for row in attempts).most_common()),
        total=len(rejected),
        attempts=tuple(rejected[: settings.limit]),
        sources={shot.id: shot.text for shot in shots},
    )


def _pairs(shots: Sequence[Shot], cfes: Sequence[Counterfactual], settings: ShowSettings, ui: Ui) -> ShownPairs:
    pairs = with_sources(shots, cfes)
    if len(pairs) < len(cfes):
        ui.note(f"{len(cfes) - len(pairs)} CFEs are not shown: their shots are gone")
    if settings.only:
        pairs = [(cfe, source) for cfe, source in pairs if settings.only in (cfe.shot_id, cfe.id)]
        if not pairs:
            hint = f"give the id of a shot or of one of its rows, such as {shots[0].id}" if shots else None
            what = "semifactual" if settings.semifactuals else "CFE"
            raise CodError(f"there is no {what} with the id {settings.only!r}", hint)
    _say_what_is_left(len(pairs), settings.limit, ui)
    return ShownPairs(len(pairs), tuple(pairs[: settings.limit]))


def _say_what_is_left(total: int, limit: int, ui: Ui) -> None:
    if total > limit:
        ui.note(f"Showing {limit} of {total}; all: --limit {total}")


def _prompt(run: Run | None, name: str, ui: Ui) -> PromptText:
    prompt = find_prompt(name)
    if run is None:
        return PromptText(str(prompt), prompt.source.rstrip())
    labels, shots = run.shots.require().labels, run.shots.read()
    if not shots:
        raise CodError(f"{run.shots.path} holds no shot", f"draw some: `{run.shots.command} --force`")
    shot = shots[0]
    if prompt.asks_for_class:
        chat = class_messages(prompt, shot.text, labels, class_codes(labels))
        return PromptText(str(prompt), render_messages(chat), shot.id, None, tuple(chat))
    if prompt.asks_for_texts:
        wish = Plan(shots, labels, PoolSettings.seed, PoolSettings.max_tokens).wish(1)
        chat = writing_messages(prompt, wish, labels)
        return PromptText(str(prompt), render_messages(chat), None, wish.label, tuple(chat))
    target = _first_target(run, shot, labels)
    if len(labels) > 2:
        ui.note(f"For the target {target}; with `--target nearest` the teacher chooses it")
    chat = messages(prompt, shot, target, labels)
    return PromptText(str(prompt), render_messages(chat), shot.id, target, tuple(chat))


def _first_target(run: Run, shot: Shot, labels: Sequence[str]) -> str:
    """The class that the shot was edited into, else the first other one."""
    attempts = (row for row in run.cfe_files.read_attempts() if row.shot_id == shot.id)
    tried = (row.target for row in attempts if row.status != "teacher-wrong")
    return next(tried, next(label for label in labels if label != shot.label))
