"""What a comparison comes to, in sentences: the best student of each start, what does as well without a student.

Printed below the tables of `cod eval` and `cod report`, and on the page.
"""

from collections.abc import Mapping, Sequence

from cod_cli.evaluation.scores import IN_CONTEXT, KNN, LINEAR, MAJORITY, NO_STUDENTS, TEACHER, ZERO_SHOT, majority_class
from cod_cli.metrics import METRICS
from cod_cli.records import Score
from cod_cli.report.comparison import Cell, Comparison, Contrast, Key
from cod_cli.report.page.markup import capital
from cod_cli.report.rendering import plain
from cod_cli.report.tables import change, marked_name, p_value, yardstick
from cod_cli.ui import number

STARTS = {False: "from pretrained weights", True: "cut from the teacher"}
INSTEAD = {
    KNN: "the shots' nearest neighbours",
    LINEAR: "a linear head on a frozen encoder",
    ZERO_SHOT: "the LLM itself, zero-shot,",
    IN_CONTEXT: "the LLM itself, shots in its prompt,",
}


def verdicts(comparison: Comparison, yardsticks: Sequence[Score], pace: Mapping[str, float] | None = None) -> list[str]:
    """A sentence each, task by task and k by k; then what macro F1 or MCC calls worse and accuracy does not.

    Args:
        comparison: decides by its metric.
        yardsticks: the scores of teachers and majorities.
        pace: texts a second by student, of those where it was measured.
    """
    keys = dict.fromkeys(cell.key for cell in comparison.in_order() if _is_student(cell))
    found = []
    for key in keys:
        where = f"{_where(key, comparison)}: " if len(keys) > 1 else ""
        found += [where + line if where else capital(line) for line in _of(key, comparison, yardsticks, pace or {})]
    return found + [_worse(contrast, comparison) for contrast in comparison.worse]


def _where(key: Key, comparison: Comparison) -> str:
    task, split, k = key
    return f"{task}, {split}, k = {k}" if len(comparison.places) > 1 else f"k = {k}"


def _is_student(cell: Cell) -> bool:
    return cell.results[0].score.student not in NO_STUDENTS


def _of(key: Key, comparison: Comparison, yardsticks: Sequence[Score], pace: Mapping[str, float]) -> list[str]:
    metric = comparison.metric
    students = [cell for cell in comparison.at(key[:2]) if cell.key == key and _is_student(cell)]
    ranked = sorted((cell for cell in students if metric in cell.values), key=lambda cell: -_rank(cell, metric))
    lines, bests = [], []
    for cut in STARTS:
        of_start = [cell for cell in ranked if cell.cut == cut]
        if of_start:
            bests.append(of_start[0])
            lines.append(_best(of_start, metric, yardstick(yardsticks, TEACHER, key[:2], metric), pace))
    return lines + _no_student(bests, key, comparison, yardsticks) if ranked else []


def _rank(cell: Cell, metric: str) -> float:
    """The mean, larger where it is better."""
    mean = cell.metrics()[metric].mean
    return -mean if METRICS[metric].low_is_better else mean


def _shown(value: float, metric: str) -> str:
    percent = METRICS[metric].percent
    return number(value, percent) + ("%" if percent else "")


def _best(ranked: Sequence[Cell], metric: str, teacher: float | None, pace: Mapping[str, float]) -> str:
    """The best of one start; where its budget is another, that this is no win, and who is best at equal budget."""
    best = ranked[0]
    found = best.metrics()[metric]
    line = f"best student {STARTS[best.cut]}: {marked_name(best)}, {METRICS[metric].title} "
    line += f"{_shown(found.mean, metric)} (n = {found.n})" + _below(found.mean, teacher, metric) + _size(best, pace)
    if best.other_budget is None:
        return line
    equal = [cell for cell in ranked if cell.other_budget is None]
    line += f". Its budget is another ({best.other_budget}), so this is no win of the method; at equal budget "
    if not equal:
        return line + "there is no student"
    return line + f"{marked_name(equal[0])} is best, {_shown(equal[0].metrics()[metric].mean, metric)}"


def _below(mean: float, teacher: float | None, metric: str) -> str:
    if teacher is None:
        return ""
    far = plain(change(abs(teacher - mean), metric)).removeprefix("+")
    points = " points" if METRICS[metric].percent else ""
    return f", {far}{points} {'below' if mean <= teacher else 'above'} the teacher"


def _size(cell: Cell, pace: Mapping[str, float]) -> str:
    parameters = {result.student.parameters for result in cell.results if result.student is not None}
    speeds = [pace[result.score.student] for result in cell.results if result.score.student in pace]
    line = f"; {max(parameters) / 1e6:.1f}M parameters" if parameters else ""
    return line + (f", {sum(speeds) / len(speeds):,.0f} texts a second here" if speeds else "")


def _no_student(bests: Sequence[Cell], key: Key, comparison: Comparison, yardsticks: Sequence[Score]) -> list[str]:
    """What does at least as well without being a student: as all of them, or as the best of one start."""
    metric, lines = comparison.metric, []

    def beaten(least: float) -> list[Cell]:
        return [cell for cell in bests if least >= _rank(cell, metric)]

    for name, what in INSTEAD.items():
        known = [c for c in comparison.at(key[:2]) if c.results[0].score.student == name and c.k <= key[2]]
        other = max((c for c in known if metric in c.values), key=lambda c: c.k, default=None)
        behind = beaten(_rank(other, metric)) if other is not None else []
        if other is not None and behind:
            reached = _shown(other.metrics()[metric].mean, metric)
            does = f"{what} reach{'' if name == KNN else 'es'} {reached} ({name})"
            of_one = f"{does}, no less than the best student {STARTS[behind[0].cut]}"
            lines.append(f"you need no student: {does}" if len(behind) == len(bests) else of_one)
    always = yardstick(yardsticks, MAJORITY, key[:2], metric)
    behind = beaten(always) if always is not None and not METRICS[metric].low_is_better else []
    if always is not None and behind:
        said = next(s for s in yardsticks if (s.student, s.task, s.split) == (MAJORITY, *key[:2]))
        who = "no student" if len(behind) == len(bests) else f"no student {STARTS[behind[0].cut]}"
        lines.append(f"{who} beats always saying *{majority_class(said)}* ({_shown(always, metric)})")
    return lines


def _worse(contrast: Contrast, comparison: Comparison) -> str:
    decided = next(c for c in comparison.contrasts if (c.key, c.arm) == (contrast.key, contrast.arm))
    metric, found = METRICS[contrast.metric], contrast.difference
    amount = plain(change(found.mean if found else None, metric.name)) + (" points" if metric.percent else "")
    return (
        f"{_where(contrast.key, comparison)}: {metric.title} calls {contrast.arm} worse than {contrast.against} "
        f"({amount}, p {plain(p_value(contrast.adjusted))} after Holm's correction over that metric's contrasts), "
        f"where accuracy says: {decided.verdict}"
    )
