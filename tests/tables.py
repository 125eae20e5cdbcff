"""A sweep's table as it stands in the README: ``python -m tests.tables FOLDER [BASELINE]``."""

import sys
from pathlib import Path

from cod_cli.report.comparison import Cell, Contrast, compare
from cod_cli.report.rendering import plain
from cod_cli.report.results import read_evidence
from cod_cli.report.tables import change, interval, marked_name, p_value, spread


def table(folder: Path, baseline: str | None = None) -> list[str]:
    """The lines of a Markdown table: accuracy in % by arm and k, and the contrasts with the baseline."""
    comparison = compare(read_evidence(folder), metric="accuracy", baseline=baseline)
    tasks = {cell.task for cell in comparison.cells}
    contrasts = {(c.task, c.split, c.k, c.arm): c for c in comparison.contrasts}
    headings = ["k", "arm", "accuracy %", "compared with", "difference", "95% interval", "p, Holm", "in words"]
    rows = [headings, ["---"] * len(headings)]
    rows += [_row(cell, contrasts.get((*cell.key, cell.arm))) for cell in comparison.in_order()]
    if len(tasks) > 1:
        first = ["task", "---", *(cell.task for cell in comparison.in_order())]
        rows = [[task, *row] for task, row in zip(first, rows, strict=True)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _row(cell: Cell, contrast: Contrast | None) -> list[str]:
    reached = [str(cell.k), marked_name(cell), plain(spread(cell.metrics().get("accuracy"), "accuracy"))]
    if contrast is None:
        return [*reached, "", "", "", "", ""]
    found = contrast.difference
    if found is None:
        return [*reached, contrast.against, "", "", "", contrast.verdict]
    p = "" if contrast.adjusted is None else plain(p_value(contrast.adjusted))
    between = plain(interval(contrast)) if found.interval else ""
    return [*reached, contrast.against, plain(change(found.mean, "accuracy")), between, p, contrast.verdict]


if __name__ == "__main__":
    print("\n".join(table(Path(sys.argv[1]), *sys.argv[2:3])))
