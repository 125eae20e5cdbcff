"""`cod pool`: texts without labels, for the teacher to label."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from cod_cli.data.source import TextSource, local_path, open_texts
from cod_cli.errors import CodError, PartialError, UsageError
from cod_cli.evaluation.baselines import sentence_vectors
from cod_cli.llm.client import Session
from cod_cli.llm.endpoint import endpoint_url
from cod_cli.llm.pacing import Limits
from cod_cli.llm.prices import Estimate
from cod_cli.models.load import load_encoder
from cod_cli.pools.draw import draw_texts
from cod_cli.pools.gather import estimate_texts, write_texts
from cod_cli.pools.pick import CHOICE, balance, spread
from cod_cli.pools.screen import Gathered, Screen
from cod_cli.records import PoolText
from cod_cli.settings.pool import PoolSettings
from cod_cli.store.jsonl import file_sha
from cod_cli.store.run import Run
from cod_cli.teachers.open import open_teacher, with_endpoint, with_recorded_teacher
from cod_cli.ui import Ui


@dataclass(frozen=True)
class PoolResult:
    """The pool of a run: ``texts`` in all, ``added`` now; ``counts`` are the manifest's, over all sources.

    ``max_length`` is how many words are kept of a text. ``usage`` and ``cost`` are those of an LLM that wrote some.
    """

    run: Run
    path: Path
    labels: list[str]
    texts: int
    added: int
    max_length: int
    counts: dict[str, int]
    usage: dict[str, int]
    cost: float | None
    seconds: float


@dataclass(frozen=True)
class PoolPlan:
    """What having an LLM write ``texts`` texts would take, at least: where it repeats itself it takes more."""

    texts: int
    estimate: Estimate


@dataclass(frozen=True)
class _Plan:
    """What is to be gathered for whom: ``sources`` are the settings of each source, the new one last.

    ``before`` are the texts of the sources that are closed.
    """

    run: Run
    settings: PoolSettings
    labels: list[str]
    sources: list[dict[str, Any]]
    before: list[PoolText]


def pool(run: Run, settings: PoolSettings, ui: Ui) -> PoolResult | PoolPlan:
    """Write ``2-pool.jsonl``, or with ``--append`` add to it.

    Raises:
        CodError: a pool of other settings, a source that cannot be read, or nothing in it may be taken.
        PartialError: the source broke off, or an LLM has not answered everything; what is there is saved.
    """
    with nullcontext() if settings.dry_run else run.hold("cod pool"):
        return _pool(run, settings, ui)


def _pool(run: Run, settings: PoolSettings, ui: Ui) -> PoolResult | PoolPlan:
    started = perf_counter()
    run.pool.refuse_old_rival("draw the shots into another run folder, for a pool of its own")
    labels = run.shots.require().labels
    _forget_empty_start(run, settings)
    plan = _plan(run, settings, labels)
    if plan is None:
        ui.note(f"{run.pool.path} holds these texts already; --force gathers them anew")
        return _result(run, settings, 0, started)
    if settings.dry_run:
        return PoolPlan(settings.number, estimate_texts(run, settings, plan.before))
    if settings.from_data:
        gathered = _draw(plan, ui)
    else:
        gathered = write_texts(run, settings, plan.before, lambda: _begin(plan), ui)
    if not gathered.rows and not gathered.broken:
        raise _nothing(gathered, str(settings.from_data))
    closed = gathered.broken is None or settings.accept_partial
    _finish(plan, gathered, complete=closed)
    if gathered.broken:
        said = f"{gathered.broken.message}; {len(gathered.rows)} of {settings.number} texts are in {run.pool.path}"
        if not closed:
            again = "begins again" if settings.from_data else "asks for the rest alone"
            again = f"the same command {again}, --accept-partial keeps what is there"
            raise PartialError(said, f"{gathered.broken.hint}; {again}" if gathered.broken.hint else again)
        ui.warn(said)
    elif len(gathered.rows) < settings.number:
        ui.warn(gathered.short or f"only {len(gathered.rows)} of {settings.number} texts are there that may be taken")
    return _result(run, settings, len(gathered.rows), started)


def _forget_empty_start(run: Run, settings: PoolSettings) -> None:
    """A first start that got nothing (no key, a wrong address) binds nobody to its options."""
    manifest = run.pool.manifest()
    if manifest is None or manifest.complete or settings.dry_run:
        return
    if not run.pool.peek() and not run.read_pool_replies() and len(manifest.settings.get("sources", [])) < 2:
        run.pool.meta.unlink()


def _plan(run: Run, settings: PoolSettings, labels: list[str]) -> _Plan | None:
    """What is to be done, None where it was done before."""
    if settings.force and not settings.dry_run:
        run.archive(run.pool.path, run.pool.meta, run.pool_replies, run.pool_labels.path, run.pool_labels.meta)
    wanted, old = _recorded(settings), run.pool.manifest()
    if old is None:
        return _Plan(run, settings, labels, [wanted], [])
    sources = list(old.settings.get("sources", []))
    if old.complete:
        if wanted in sources:
            return None
        if settings.append:
            return _Plan(run, settings, labels, [*sources, wanted], run.pool.read())
    elif sources and sources[-1] == wanted:
        return _Plan(run, settings, labels, sources, run.pool.peek()[: old.counts.get("texts", 0)])
    raise CodError(
        f"{run.pool.path} was begun with other settings ({_difference(sources, wanted)})",
        "add these texts with --append, use the same options, or --force to archive it and start over"
        if old.complete
        else "finish it first with the same options, or --force to archive it and start over",
    )


def _recorded(settings: PoolSettings) -> dict[str, Any]:
    """The settings for the manifest, a local source by its whole path."""
    if settings.from_data is None:
        return settings.results() | {"base_url": endpoint_url(settings.base_url)}
    path = local_path(settings.from_data)
    return settings.results() | ({"from_data": str(path)} if path else {})


def _difference(sources: Sequence[dict[str, Any]], wanted: dict[str, Any]) -> str:
    last = sources[-1] if sources else {}
    names = [name for name in {**last, **wanted} if last.get(name) != wanted.get(name)]
    return "; ".join(f"{name}: {last.get(name)} → {wanted.get(name)}" for name in names)


def _draw(plan: _Plan, ui: Ui) -> Gathered:
    """Texts of a data source."""
    run, settings = plan.run, plan.settings
    source = open_texts(
        str(settings.from_data), split=settings.split, text_columns=settings.text_column or _columns(run, settings)
    )
    if source.labelled:
        ui.note(f"The labels in {source.where} are not read")
    screen = Screen.of(run, plan.before, max_words=settings.max_length)
    _begin(plan, source)
    choice = CHOICE if settings.balance or settings.pick == "diverse" else 1
    with ui.progress(f"Reading {source.where}") as advance:
        drawn = draw_texts(source, settings.number * choice, settings.seed, screen, advance)
    taken = {row.id for row in plan.before}
    picked, counted = _pick(plan, drawn.texts, ui)
    rows = [PoolText(id=_free(row_id, taken), text=text, source="file") for row_id, text in picked]
    counts = {"rows": drawn.rows, **drawn.screen.counts(), "torn": int(drawn.torn), **counted}
    return Gathered(rows, counts, drawn.broken)


def _pick(plan: _Plan, texts: list[tuple[str, str]], ui: Ui) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Which of the texts are taken, and what choosing them took."""
    settings = plan.settings
    if settings.balance:
        return _balanced(plan, texts, ui)
    if settings.pick == "random" or not texts:
        return texts, {}
    encoder = load_encoder(_encoder_of(plan), device=settings.device)
    with ui.progress("Reading the candidates", total=len(texts)) as advance:
        read = [text for _, text in texts]
        vectors = sentence_vectors(encoder, read, max_length=settings.max_length, progress=advance)
    rows = spread(vectors, settings.number, settings.seed)
    return [texts[row] for row in rows], {"candidates": len(texts)}


def _encoder_of(plan: _Plan) -> str:
    if plan.settings.encoder:
        return plan.settings.encoder
    spec = with_recorded_teacher(plan.run, plan.settings).teacher_spec
    if not spec.name or spec.llm is not None:
        raise UsageError("--pick diverse has no model to read the texts", "add --encoder MODEL, a folder or Hub id")
    return spec.name


def _balanced(plan: _Plan, texts: list[tuple[str, str]], ui: Ui) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """As many texts of each class as the teacher finds, what it says being kept for `cod label`."""
    run, settings = plan.run, with_endpoint(with_recorded_teacher(plan.run, plan.settings))
    with (
        Session(Limits.of(settings)) as session,
        open_teacher(
            settings.teacher_spec,
            plan.labels,
            run.teacher_replies,
            session,
            shots=run.shots.read(),
            device=settings.device,
            cache=settings.cache,
        ) as teacher,
        ui.progress("Asking the teacher", total=len(texts)) as advance,
    ):

        def ask(some: Sequence[str]) -> list[int]:
            told = teacher.outputs(some, progress=advance)
            missing = sum(said is None for said in told.rows)
            if missing:
                raise PartialError(f"{missing} texts are without an answer: {told.reason}", "the same command goes on")
            return [max(range(len(plan.labels)), key=said.logits.__getitem__) for said in told.rows if said]

        found = balance([text for _, text in texts], settings.number, plan.labels, ask)
    counts = {"candidates": len(texts), "teacher_queries": found.asked}
    return [texts[row] for row in found.rows], counts | {f"texts_{label}": n for label, n in found.of.items()}


def _columns(run: Run, settings: PoolSettings) -> Sequence[str]:
    """The columns that `cod sample` was told, where the texts are of the same source."""
    sampled = run.shots.require().settings
    same = _recorded(settings)["from_data"] == sampled.get("data")
    return sampled.get("text_column") or () if same else ()


def _free(row_id: str, taken: set[str]) -> str:
    """The id, with a number behind it where a row of another source of that name has it."""
    name, number = row_id, 1
    while name in taken:
        number += 1
        name = f"{row_id}~{number}"
    taken.add(name)
    return name


def _begin(plan: _Plan, source: TextSource | None = None) -> None:
    """The manifest with ``complete: false``; what it counts is of the sources that are closed."""
    run, old = plan.run, plan.run.pool.manifest()
    settings, inputs = {"sources": plan.sources}, [source.file] if source and source.file else []
    if old is None:
        run.pool.begin(settings, labels=plan.labels, inputs=inputs)
        return
    hashes = {path.name: file_sha(path) for path in inputs}
    run.pool.note(old.replace(complete=False, settings=settings, inputs=old.inputs | hashes))


def _finish(plan: _Plan, gathered: Gathered, *, complete: bool) -> None:
    """Write all rows; a source that is not closed is counted when it is."""
    manifest = plan.run.pool.manifest()
    assert manifest is not None
    counts, usage, cost = manifest.counts, manifest.usage, manifest.cost
    if complete:
        counts, usage = _sum(counts, gathered.counts), _sum(usage, gathered.usage)
        cost = None if cost is None and gathered.cost is None else (cost or 0.0) + (gathered.cost or 0.0)
    counts = {**counts, "texts": len(plan.before) + (len(gathered.rows) if complete else 0)}
    rows = [*plan.before, *gathered.rows]
    plan.run.pool.finish(manifest, rows, complete=complete, counts=counts, usage=usage, cost=cost)


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _nothing(gathered: Gathered, where: str) -> CodError:
    if gathered.short:
        return CodError(gathered.short, "name another --model, --prompt or --temperature, with --force to start over")
    reasons = ", ".join(f"{n} {name}" for name, n in gathered.counts.items() if n) or "it is empty"
    return CodError(f"{where} has no text that may be taken: {reasons}", "name another source, column or split")


def _result(run: Run, settings: PoolSettings, added: int, started: float) -> PoolResult:
    manifest = run.pool.require()
    return PoolResult(
        run=run,
        path=run.pool.path,
        labels=manifest.labels,
        texts=manifest.counts["texts"],
        added=added,
        max_length=settings.max_length,
        counts=manifest.counts,
        usage=manifest.usage,
        cost=manifest.cost,
        seconds=round(perf_counter() - started, 2),
    )
