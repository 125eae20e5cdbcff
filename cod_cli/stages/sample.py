"""``cod sample``: draws k class-balanced shots from a data source."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cod_cli.data.draw import draw
from cod_cli.data.source import Table, changed_files, load_table, local_path
from cod_cli.data.tasks import TASKS
from cod_cli.records import Shot
from cod_cli.settings.sample import SampleSettings
from cod_cli.store.run import Run
from cod_cli.ui import Ui

# More are seldom told apart from few shots.
MANY_CLASSES = 20


@dataclass(frozen=True)
class SampleResult:
    """The shots of a run: by class in class order, and the manifest's counts. ``fresh``: drawn just now."""

    path: Path
    source: str
    labels: tuple[str, ...]
    per_label: Mapping[str, int]
    counts: Mapping[str, int]
    fresh: bool

    @property
    def shots(self) -> int:
        """How many there are."""
        return sum(self.per_label.values())


def sample(run: Run, settings: SampleSettings, ui: Ui) -> SampleResult:
    """Write ``1-shots.jsonl``; where it is already there with the same settings, change nothing.

    Raises:
        UsageError: fewer shots than classes, or a data source that cannot be one.
        CodError: too few rows of a class, other settings than the run was begun with, or broken data.
    """
    if settings.data in TASKS and Path(settings.data).exists():
        ui.note(f"{settings.data} is the built-in task; the path of that name is written ./{settings.data}")
    wanted = _recorded(settings)
    old = None if settings.force else run.shots.check(wanted)
    if old is not None and old.complete and run.shots.path.exists():
        _say_that_it_is_there(run, wanted["data"], old.inputs, ui)
        return _result(run, old.labels, old.counts, fresh=False)
    table = load_table(
        settings.data,
        split=settings.split,
        text_columns=settings.text_column,
        label_column=settings.label_column,
        label_names=settings.label_names,
    )
    rows = table.rows if settings.k is None else draw(table.rows, table.labels, settings.k, settings.seed)
    shots = [Shot(id=row.id, text=row.text, label=str(row.label)) for row in rows]
    if table.dropped.total:
        ui.note(_what_was_dropped(table))
    for doubt in _doubts(table):
        ui.warn(doubt)
    inputs = [table.file] if table.file else []
    counts = _counts(table, shots)
    run.folder.mkdir(parents=True, exist_ok=True)
    with run.hold("cod sample"):
        if settings.force:
            run.archive(run.shots.path, run.shots.meta)
        manifest = run.shots.begin(wanted, labels=list(table.labels), seed=settings.seed, inputs=inputs)
        run.shots.finish(manifest, shots, counts=counts)
    return _result(run, table.labels, counts, fresh=True)


def _doubts(table: Table) -> Iterator[str]:
    """What the classes look like that were perhaps not meant as such."""
    sizes = Counter(row.label for row in table.rows)
    single = sum(size == 1 for size in sizes.values())
    if len(sizes) > MANY_CLASSES and 2 * single > len(sizes):
        yield f"{len(sizes)} classes, {single} of them of one row: is --label-column the right one?"
    several = [label for label in table.labels if _parts(label) & set(table.labels)]
    if several:
        yield (
            f"{len(several)} labels name several classes, such as {several[0]!r}: each counts as a class of its own, "
            "since a text has one label here"
        )


def _parts(label: str) -> set[str]:
    """What a label names where it names several."""
    parts = {part.strip() for part in re.split(r"[|,;/+]", label)}
    return parts if len(parts) > 1 else set()


def _recorded(settings: SampleSettings) -> dict[str, Any]:
    """The settings for the manifest; from them `cod eval` reads the source again, wherever it is started."""
    path = local_path(settings.data)
    return settings.results() | ({"data": str(path)} if path else {})


def _counts(table: Table, shots: Sequence[Shot]) -> dict[str, int]:
    per_label = Counter(shot.label for shot in shots)
    return {
        "rows": len(table.rows) + table.dropped.total,
        **asdict(table.dropped),
        "usable": len(table.rows),
        "shots": len(shots),
        **{f"shots_{label}": per_label[label] for label in table.labels},
    }


def _what_was_dropped(table: Table) -> str:
    kinds = {
        "empty": "without a text",
        "duplicate": "with a text that stands there before",
        "unlabelled": "without a label",
        "filtered": "not part of the task",
    }
    parts = [f"{n:,} {kinds[kind]}" for kind, n in asdict(table.dropped).items() if n]
    rows = len(table.rows) + table.dropped.total
    return f"Dropped {table.dropped.total:,} of {rows:,} rows of {table.source}/{table.split}: {', '.join(parts)}"


def _say_that_it_is_there(run: Run, data: str, inputs: Mapping[str, str], ui: Ui) -> None:
    ui.note(f"{run.shots.path} is already there with these settings; --force draws it anew")
    for file in changed_files(data, inputs):
        ui.warn(f"{file} has changed since the shots were drawn from it")


def _result(run: Run, labels: Sequence[str], counts: Mapping[str, int], *, fresh: bool) -> SampleResult:
    shots = run.shots.read()
    found = Counter(shot.label for shot in shots)
    return SampleResult(
        path=run.shots.path,
        source=shots[0].id.rpartition("/")[0] if shots else "",
        labels=tuple(labels),
        per_label={label: found[label] for label in labels},
        counts=dict(counts),
        fresh=fresh,
    )
