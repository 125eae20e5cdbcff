"""The accuracies that the paper published, to stand beside one's own."""

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cod_cli.metrics import Summary
from cod_cli.report.comparison import Cell, Comparison
from cod_cli.report.page.markup import Child, el
from cod_cli.report.rendering import Column, Group, Parts, Row, Table, text, to_html
from cod_cli.report.tables import spread

SOURCE = (
    "F. Hamman, P. Dissanayake, Y. Fu, S. Dutta: Few-Shot Knowledge Distillation of LLMs With Counterfactual "
    "Explanations, NeurIPS 2025, arXiv 2510.21631, Tables 1, 2, 5 and 6 (five seeds)"
)
N_SEEDS = 5


@dataclass(frozen=True)
class Published:
    """One cell of the paper's tables: mean accuracy and std in [0, 1], the ``mix`` trained on ``k`` rows."""

    table: int
    teacher: str
    student: str
    task: str
    method: str
    mix: str
    k: int
    accuracy: float
    std: float


def paper_figures(task: str, ks: Collection[int]) -> list[Published]:
    """The figures for a task at some of the k; empty where the paper has none.

    ``task`` is a built-in task's name, or a local or Hub data set of that name, however it is spelt (``SST-2``).
    """
    name = re.sub(r"[\W_]", "", re.split(r"[/:]", task)[-1]).lower()
    return [cell for cell in _cells() if cell.task == name and cell.k in ks]


@cache
def _cells() -> tuple[Published, ...]:
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Published(
                **{name: row[name] for name in ("teacher", "student", "task", "method", "mix")},
                table=int(row["table"]),
                k=int(row["k"]),
                accuracy=float(row["accuracy"]),
                std=float(row["std"]),
            )
            for row in csv.DictReader(file)
        )


def published_figures(comparison: Comparison) -> list[Child]:
    """The paper's accuracies for the same task and k under one's own of the same method and mix."""
    shown: list[Child] = []
    for place in comparison.places:
        cells = comparison.at(place)
        found = paper_figures(place[0], {cell.k for cell in cells})
        if found:
            shown += [el("h3", ", ".join(place)), to_html(_table(found, cells))]
    if not shown:
        return []
    lead = (
        "Accuracy in %, mean ± std, found by the task's name. Other teachers, students and LLM than here: a yardstick, "
        "not a contrast."
    )
    return [el("p", lead), *shown, el("p", f"Source: {SOURCE}.", class_="note")]


def _table(found: Sequence[Published], own: Sequence[Cell]) -> Table:
    ks = sorted({cell.k for cell in found})
    here = {(c.arm, c.k): spread(c.metrics().get("accuracy"), "accuracy") for c in own if _is_plain(c)}
    groups = [_group("Here", here, ks)] if here else []
    for models in dict.fromkeys((cell.teacher, cell.student) for cell in found):
        of = {(f"{c.method}-{c.mix}", c.k): _cell(c) for c in found if (c.teacher, c.student) == models}
        groups.append(_group(" → ".join(models), of, ks))
    return Table("Published", [Column("arm", words=True), *(Column(f"k = {k}") for k in ks)], groups)


def _is_plain(cell: Cell) -> bool:
    """An arm that the paper has too: its method and mix, and nothing else about it."""
    return cell.arm == f"{cell.method}-{cell.mix}" and cell.mix in ("shots", "cod") and "accuracy" in cell.values


def _group(title: str, cells: Mapping[tuple[str, int], Parts], ks: Sequence[int]) -> Group:
    arms = dict.fromkeys(arm for arm, _ in cells)
    return Group([Row([text(arm), *(cells.get((arm, k), ()) for k in ks)]) for arm in arms], title)


def _cell(cell: Published) -> Parts:
    return spread(Summary(cell.accuracy, cell.std, N_SEEDS), "accuracy")
