"""The accuracies that the paper published, to stand beside one's own."""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = (
    "F. Hamman, P. Dissanayake, Y. Fu, S. Dutta: Few-Shot Knowledge Distillation of LLMs With Counterfactual "
    "Explanations, NeurIPS 2025, arXiv 2510.21631, Tables 1, 2, 5 and 6 (five seeds)"
)


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


def published(task: str, ks: Collection[int]) -> list[Published]:
    """The figures for a task, by its built-in name, at some of the k; empty where the paper has none."""
    return [cell for cell in _cells() if cell.task == task and cell.k in ks]


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
