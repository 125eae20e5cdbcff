"""Which rows of a data source students are scored on, and which stay free: to hold out, or for a pool.

One rule for all: nobody trains on a row that is scored, and nobody is scored on a row that was trained on.
"""

import hashlib
import json
import logging
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cod_cli.data.draw import shuffled
from cod_cli.data.source import (
    ONE_FILE,
    Row,
    Table,
    changed_files,
    eval_splits,
    load_table,
    local_path,
    splits_of,
)
from cod_cli.errors import CodError
from cod_cli.records import Counterfactual, Manifest, PoolText, Shot
from cod_cli.store.run import CounterfactualFiles, Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """Rows that no student was trained on. ``truth`` holds class indices; None where the rows have no labels.

    ``task`` is the task's name, else the source's; ``dropped`` counts the rows left out, by reason.
    """

    task: str
    split: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    truth: tuple[int, ...] | None
    dropped: dict[str, int]

    @property
    def digest(self) -> str:
        """16 hex digits over rows and labels: scores with equal digests are about the same rows."""
        content = json.dumps([self.ids, self.texts, self.truth])
        return hashlib.sha256(content.encode("utf-8")).hexdigest()[:16]


def rows_to_score(
    run: Run,
    labels: Sequence[str],
    *,
    data: str | None = None,
    split: str | None = None,
    text_columns: Sequence[str] = (),
    label_column: str | None = None,
    label_names: str | None = None,
) -> tuple[str, HeldOut]:
    """What students are scored on: the data source, and its rows that none of them was trained on.

    Args:
        run: whose students.
        labels: the run's classes in order.
        data: another source than the shots'.
        split: else a task's own, ``test`` or ``validation``, whichever there is first.
        text_columns, label_column, label_names: as for `load_table`; else as `cod sample` read the same source, and of
            another source its text columns where all are there.

    Raises:
        CodError: no such source, split or column, a label that is not among ``labels``, or no row is left.
    """
    sampled = _origin(run).settings
    data = data or str(sampled["data"])
    same = (local_path(data) or data) == (local_path(str(sampled["data"])) or sampled["data"])
    table = _scored_table(
        data,
        # What `cod sample` was told about the columns holds for its own source only.
        sampled if same else {},
        split=split,
        text_columns=text_columns,
        known_columns=sampled.get("text_column") or (),
        label_column=label_column,
        label_names=label_names,
    )
    ids = _sampled_rows(run) if same else ()
    return data, held_out(table, labels, trained=trained_texts(run), sampled=ids)


def _origin(run: Run) -> Manifest:
    """The manifest of the shots, which says what they were drawn from."""
    manifest = run.shots.require()
    if manifest.settings.get("data") is None:
        raise CodError(
            f"{run.shots.meta} does not say what the shots were drawn from",
            f"draw them anew: `{run.shots.command} --data DATA --force`",
        )
    return manifest


def _sampled_rows(run: Run) -> set[str]:
    """The ids of the rows that are shots; none where the source has changed: its numbers are other rows' by now."""
    made = _origin(run)
    changed = changed_files(str(made.settings["data"]), made.inputs)
    if changed:
        log.warning(
            "%s has changed since the shots were drawn from it: only rows with the text of a shot are left out as such",
            changed[0],
        )
    return set() if changed else {shot.id for shot in run.shots.read()}


def _scored_table(
    data: str,
    sampled: Mapping[str, Any],
    *,
    split: str | None = None,
    text_columns: Sequence[str] = (),
    known_columns: Sequence[str] = (),
    label_column: str | None = None,
    label_names: str | None = None,
) -> Table:
    """The split that is scored, read as the settings of `cod sample` say where nothing else is said."""
    return load_table(
        data,
        split=split,
        default_splits=eval_splits(data),
        text_columns=text_columns or sampled.get("text_column") or (),
        known_columns=known_columns,
        label_column=label_column or sampled.get("label_column"),
        label_names=label_names or sampled.get("label_names"),
        require_labels=False,
    )


def trained_texts(run: Run) -> set[str]:
    """All texts that some student of the run may have seen: shots, counterfactuals, semifactuals, rivals and pool."""
    made = [*run.counterfactuals.peek(), *run.semifactuals.peek(), *run.rival_rows()]
    texts = [] if run.pool.is_old_rival() else run.pool.peek()
    rows: list[Shot | Counterfactual | PoolText] = [*run.shots.read(), *made, *texts]
    return {row.text.strip() for row in rows}


def hold_out(
    run: Run, labels: Sequence[str], *, generator: str, n: int, split: str | None = None, seed: int = 0
) -> CounterfactualFiles:
    """Draw labelled rows of the scored split by the seed, for ``generator`` to make pairs of; they are drawn only once.

    Those for fewer rows are the first of those for more. Rows equal to a trained text are left out.

    Args:
        run: which nobody trains on them in.
        labels: the run's classes in order.
        generator: whose pairs they are for; each has rows of its own.
        n: how many, at most.
        split: else the one that `rows_to_score` takes.
        seed: of the draw.

    Returns:
        the files of these pairs, whose ``shots`` are the rows.

    Raises:
        CodError: the split has no labels, or other rows were held out before.
    """
    held = run.held_out(generator)
    wanted = {"held_out": n, "split": split, "seed": seed}
    old = held.shots.check(wanted)
    if old is not None and old.complete and held.shots.path.exists():
        return held
    data, rows = rows_to_score(run, labels, split=split)
    if rows.truth is None:
        raise CodError(f"{data}, split {rows.split}, has no labels to edit away from", "name a labelled split: --split")
    everything = [
        Shot(id=row_id, text=text, label=labels[place])
        for row_id, text, place in zip(rows.ids, rows.texts, rows.truth, strict=True)
    ]
    drawn = shuffled(everything, f"held out {seed}")[:n]
    manifest = held.shots.begin(wanted, labels=list(labels), seed=seed)
    held.shots.finish(manifest, drawn, counts={"rows": len(everything), "held_out": len(drawn)})
    return held


def held_out(
    table: Table, labels: Sequence[str], *, trained: Collection[str] = (), sampled: Collection[str] = ()
) -> HeldOut:
    """The rows of a table to score on; as soon as one has a label, those without are left out.

    Args:
        table: read with ``require_labels=False``.
        labels: the run's classes in order.
        trained: texts that a student may have seen.
        sampled: ids of rows that are shots.

    Raises:
        CodError: a label that is not among ``labels``, or no row is left.
    """
    labelled = any(row.label is not None for row in table.rows)
    reasons = [_reason(row, labelled, trained, sampled) for row in table.rows]
    rows = [row for row, reason in zip(table.rows, reasons, strict=True) if reason is None]
    dropped = Counter(vars(table.dropped)) + Counter(reason for reason in reasons if reason)
    where = str(table.file or f"{table.source}, split {table.split}")
    if not rows:
        counted = ", ".join(f"{n} {reason}" for reason, n in dropped.items())
        raise CodError(f"{where} has no row left to score on: {counted}", "name other rows: --data or --split")
    if labelled:
        _require_known(table, rows, labels, where)
    return HeldOut(
        task=table.task.name if table.task else table.source,
        split=table.split,
        ids=tuple(row.id for row in rows),
        texts=tuple(row.text for row in rows),
        truth=tuple(labels.index(str(row.label)) for row in rows) if labelled else None,
        dropped={reason: n for reason, n in dropped.items() if n},
    )


def _reason(row: Row, labelled: bool, trained: Collection[str], sampled: Collection[str]) -> str | None:
    if row.id in sampled:
        return "sampled"
    if row.text in trained:
        return "trained"
    return "unlabelled" if labelled and row.label is None else None


def _require_known(table: Table, rows: Sequence[Row], labels: Sequence[str], where: str) -> None:
    unknown = sorted({str(row.label) for row in rows} - set(labels))
    if not unknown:
        return
    if len(table.labels) == len(labels):
        pairs = ",".join(f"{raw}={name}" for raw, name in zip(table.labels, labels, strict=True))
        hint = f"say what they are called, after checking this guess: --label-names {shlex.quote(pairs)}"
    else:
        pairs = ",".join(f"{raw}=NAME" for raw in unknown)
        hint = (
            f"name data of this run's classes: --data; or say what they are called: --label-names {shlex.quote(pairs)}"
        )
    raise CodError(f"{where} has the labels {', '.join(unknown)}; this run's are {', '.join(labels)}", hint)


def shots_source(run: Run) -> Table:
    """The split that the shots were drawn from, as `cod sample` read it; rows without a label are left in.

    Raises:
        CodError: it is not at hand any more.
    """
    source = _origin(run).settings
    return load_table(
        source["data"],
        split=source.get("split"),
        text_columns=source.get("text_column") or (),
        label_column=source.get("label_column"),
        label_names=source.get("label_names"),
        require_labels=False,
    )


def training_texts(run: Run) -> list[str]:
    """The texts that the shots were drawn from; empty, and logged, where they are not at hand any more."""
    try:
        return [row.text for row in shots_source(run).rows]
    except CodError as error:
        log.info("the editor takes its words from the teacher's vocabulary: %s", error.message)
        return []


def columns_in_texts(run: Run) -> Sequence[str]:
    """The columns whose names stand in the texts, where each was put together from several."""
    names = run.shots.require().settings.get("text_column") or ()
    return names if len(names) > 1 else ()


def editor_texts(run: Run, words: str) -> list[str]:
    """The texts that the editor may learn words from: of the ``source``, else the shots alone."""
    return training_texts(run) if words == "source" else [shot.text for shot in run.shots.read()]


def draw_pool(run: Run, n: int, seed: str) -> list[Row]:
    """At most n texts of the split that the shots were drawn from, in an order that the seed alone decides.

    Never a shot, nor a text that stands in the split that `cod eval` scores, nor one of a pair made by
    `cod counterfact --held-out`. Labels are not looked at. Those for a smaller n are a prefix of those for a larger.
    """
    table = shots_source(run)
    taken = {shot.text.strip() for shot in run.shots.read()} | scored_texts(run)
    ids = _sampled_rows(run)
    free = [row for row in table.rows if row.id not in ids and row.text not in taken]
    return shuffled(free, f"pool {seed}")[:n]


def scored_texts(run: Run) -> set[str]:
    """The texts that students are scored on by default or in pairs that are held out, but for the shots' own split.

    Where that is the only split, students are scored on what was not drawn: `rows_to_score` sees to that.

    Raises:
        CodError: the data source of the shots cannot be read any more.
    """
    held = {row.text.strip() for files in run.held_out_files() for row in files.shots.peek()}
    sampled = _origin(run).settings
    data = str(sampled["data"])
    try:
        split, splits = splits_of(data, sampled.get("split"))
        if split == ONE_FILE or not set(eval_splits(data)) & set(splits):
            return held
        scored = _scored_table(data, sampled)
    except CodError as error:
        # Without them nobody knows what must not be trained on.
        raise CodError(f"the rows that are scored cannot be read: {error.message}", error.hint) from None
    return held if scored.split == split else held | {row.text for row in scored.rows}
