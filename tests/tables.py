"""Tables of a sweep as they stand in the evidence: ``python -m tests.tables FOLDER [BASELINE | ARM:REFERENCE …]``.

With pairs of arms: what one is ahead of the other, whatever their budgets, corrected for as many tests as the table
has rows.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from cod_cli.report.comparison import Cell, Contrast, compare
from cod_cli.report.rendering import plain
from cod_cli.report.results import read_evidence
from cod_cli.report.statistics import difference, holm, paired_differences
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
    reached = [str(cell.k), marked_name(cell), _accuracy(cell)]
    if contrast is None:
        return [*reached, "", "", "", "", ""]
    found = contrast.difference
    if found is None:
        return [*reached, contrast.against, "", "", "", contrast.verdict]
    p = "" if contrast.adjusted is None else plain(p_value(contrast.adjusted))
    between = plain(interval(contrast)) if found.interval else ""
    return [*reached, contrast.against, plain(change(found.mean, "accuracy")), between, p, contrast.verdict]


def differences(folder: Path, pairs: Sequence[str]) -> list[str]:
    """The lines of a Markdown table: for each ``arm:reference`` and k both accuracies and the paired difference."""
    cells = compare(read_evidence(folder), metric="accuracy").in_order()
    keys = dict.fromkeys(cell.key for cell in cells)
    named = {(cell.key, cell.arm): cell for cell in cells}
    wanted = [(key, *pair.split(":")) for key in keys for pair in pairs]
    met = [(named[key, arm], named[key, other]) for key, arm, other in wanted]
    found = [difference(paired_differences(own.values["accuracy"], ref.values["accuracy"])) for own, ref in met]
    adjusted = holm([one.p for one in found])
    lines = [["task", "k", "arm", "accuracy %", "against", "accuracy %", "difference", "95% interval", "p, Holm", "n"]]
    lines.append(["---"] * len(lines[0]))
    for (own, ref), one, p in zip(met, found, adjusted, strict=True):
        both = [text for side in (own, ref) for text in (marked_name(side), _accuracy(side))]
        ends = [plain(change(end, "accuracy")) for end in (one.interval.low, one.interval.high)] if one.interval else []
        test = [plain(change(one.mean, "accuracy")), " to ".join(ends), plain(p_value(p)), str(one.n)]
        lines.append([own.task, str(own.k), *both, *test])
    return [f"| {' | '.join(line)} |" for line in lines]


def _accuracy(cell: Cell) -> str:
    return plain(spread(cell.metrics().get("accuracy"), "accuracy"))


def tabulate(folder: Path, wanted: Sequence[str]) -> list[str]:
    """The table that these words ask for: a baseline or nothing, or pairs of arms."""
    pairs = [word for word in wanted if ":" in word]
    return differences(folder, pairs) if pairs else table(folder, *wanted[:1])


if __name__ == "__main__":
    print("\n".join(tabulate(Path(sys.argv[1]), sys.argv[2:])))
