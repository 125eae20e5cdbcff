"""Tables of F1 by class: a column for each class where they fit, else the classes that an arm does worst on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cod_cli.arms import TEACHER, arms
from cod_cli.byclass import classes_in, f1_of
from cod_cli.metrics import Summary
from cod_cli.records import Score
from cod_cli.report import printable
from cod_cli.tables import CUT_CAPTION, CUT_MARK, MISSING, bare_table, number, spread

# Columns of mean ± std that fit beside an arm's name into 80 characters.
MOST_COLUMNS = 4
LOWEST = 3


@dataclass(frozen=True)
class Line:
    """What an arm, or the teacher, reaches: ``found`` holds F1 by class under `f1_of`, beside other metrics."""

    name: str
    k: str
    found: Mapping[str, Summary]


def scores(rows: Sequence[Score], cut: Collection[str] = ()) -> RenderableType:
    """A table for each task and split, a line for each arm; nothing where nobody's F1 by class is known."""
    parts: list[RenderableType] = []
    for task, split in dict.fromkeys((row.task, row.split) for row in rows):
        here = [row for row in rows if (row.task, row.split) == (task, split)]
        of = sorted(arms(here), key=lambda arm: (arm.name != TEACHER, arm.scores[0].student in cut))
        marks = [f" {CUT_MARK}" if arm.scores[0].student in cut else "" for arm in of]
        lines = [
            Line(arm.name + mark, MISSING if arm.scores[0].k is None else str(arm.scores[0].k), arm.metrics())
            for arm, mark in zip(of, marks, strict=True)
        ]
        table = by_class(f"{task}, {split}", lines, caption=Text(CUT_CAPTION) if any(marks) else None)
        parts += [Text(), table] if table else []
    return Group(*parts)


def by_class(where: str, lines: Sequence[Line], *, caption: Text | None = None) -> Table | None:
    """F1 by class in %, line by line; None where it is known of nobody."""
    known = [line for line in lines if classes_in(line.found)]
    classes = list(dict.fromkeys(name for line in known for name in classes_in(line.found)))
    if not classes:
        return None
    table = bare_table(f"F1 by class in %: {where}, mean ± sample std over seeds", caption=caption)
    table.add_column("k", justify="right")
    table.add_column("arm", overflow="fold")
    if len(classes) > MOST_COLUMNS:
        table.add_column(f"lowest {LOWEST} of {len(classes)} classes", overflow="fold")
    else:
        for name in classes:
            table.add_column(printable(name), justify="right", overflow="fold", min_width=len("100.0 ± 50.0"))
    for line in known:
        found = {name: line.found[f1_of(name)] for name in classes if f1_of(name) in line.found}
        cells = [_lowest(found)] if len(classes) > MOST_COLUMNS else [spread(found.get(c), "macro_f1") for c in classes]
        table.add_row(line.k, printable(line.name), *cells)
    return table


def _lowest(found: Mapping[str, Summary]) -> Text:
    worst = sorted(found.items(), key=lambda item: item[1].mean)[:LOWEST]
    return printable(", ".join(f"{name} {number(summary.mean, percent=True)}" for name, summary in worst))
