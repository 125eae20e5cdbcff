"""What views are made of: tables of scores, sweeps, quality and calibration, and pairs with their changed words marked.

All of it reads well at 80 columns and when it is piped; numbers are never cut short.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.console import Group as Stack
from rich.padding import Padding
from rich.text import Text

from cod_cli.counterfactuals import edits
from cod_cli.counterfactuals.quality import QualityReport
from cod_cli.evaluation.arms import Arm, Reached, arms, base_name
from cod_cli.evaluation.scores import MAJORITY, TEACHER
from cod_cli.metrics import METRICS, Metric
from cod_cli.records import Attempt, Calibration, Counterfactual, Score, Student
from cod_cli.report.rendering import Column, Group, Row, Table, exact, measure, plain, text, to_rich
from cod_cli.report.tables import OTHER_CAPTION, Line, by_class, parts_of, spread
from cod_cli.report.tables import quality as quality_table
from cod_cli.ui import CUT_CAPTION, CUT_MARK, OTHER_MARK, printable

if TYPE_CHECKING:
    from cod_cli.stages.demo import DemoResult

# Rows by true class, then by the class that is decided for.
Counts = Sequence[Sequence[int]]


def scores(
    rows: Sequence[Score],
    students: Mapping[str, Student] | None = None,
    lacking: str | None = None,
    other_budget: Collection[str] = (),
) -> RenderableType:
    """A table for each task and split: teacher and majority, then the students; seeds of one arm with mean and std.

    Students that were cut from a fine-tuned teacher are marked and come last. Below stands what the tables are
    ``lacking``, and what LLMs took that are scored themselves.

    Args:
        rows: the scores.
        students: how each was made, by name.
        lacking: what to say of what is not there.
        other_budget: the students that are not of their baseline's budget.
    """
    marks = Marks(students or {}, frozenset(other_budget))
    places = dict.fromkeys((row.task, row.split) for row in rows)
    tables = [_score_table([row for row in rows if (row.task, row.split) == place], marks) for place in places]
    below = [*([lacking] if lacking else []), *(_llm_cost(row) for row in rows if row.usage)]
    return Stack(*map(to_rich, tables), *map(printable, below))


@dataclass(frozen=True)
class Marks:
    """What tells students apart that are not compared: how they were made, and who has another budget."""

    students: Mapping[str, Student]
    other_budget: frozenset[str] = frozenset()

    def cut(self, score: Score) -> bool:
        """Whether it began as layers of its teacher."""
        student = self.students.get(score.student)
        return student is not None and student.cut_from_teacher

    def of(self, score: Score) -> str:
        """The marks behind its name."""
        other = score.student in self.other_budget
        return (f" {OTHER_MARK}" if other else "") + (f" {CUT_MARK}" if self.cut(score) else "")

    def caption(self, rows: Sequence[Score]) -> str:
        """What the marks of these scores mean."""
        other = any(row.student in self.other_budget for row in rows)
        return "\n".join([OTHER_CAPTION] * other + [CUT_CAPTION] * any(map(self.cut, rows)))


def _llm_cost(score: Score) -> str:
    usage = score.usage or {}
    cost = "" if score.cost is None else f", cost {score.cost:.4f}"
    return (
        f"{score.student}: {score.n:,} questions took {usage['prompt_tokens']:,} + {usage['completion_tokens']:,} "
        f"tokens{cost}"
    )


def _score_table(rows: Sequence[Score], marks: Marks) -> Table:
    shown = [metric for name, metric in METRICS.items() if any(getattr(row, name) is not None for row in rows)]
    headings = ("k", "rows\n(real)", "steps", *(metric.heading for metric in shown), "train\ns")
    return Table(
        f"{rows[0].task}, {rows[0].split}: {rows[0].n:,} rows",
        [Column("student", words=True), *map(Column, headings)],
        [_seeds(arm, shown, marks) for arm in _uncut_first(rows, marks)],
        marks.caption(rows),
    )


def _uncut_first(rows: Sequence[Score], marks: Marks) -> list[Arm]:
    def place(arm: Arm) -> tuple[bool, bool, bool]:
        return arm.name != TEACHER, arm.name != MAJORITY, marks.cut(arm.scores[0])

    return sorted(arms(rows, marks.students), key=place)


def _seeds(arm: Arm, shown: Sequence[Metric], marks: Marks) -> Group:
    rows = [_score_row(score, shown, marks.of(score)) for score in arm.scores]
    if len(arm.scores) > 1:
        found, blank = arm.metrics(), text("")
        for name, style, of in ((f"mean (n = {len(arm.scores)})", "bold", "mean"), ("± std", "dim", "std")):
            values = [measure(getattr(found.get(m.name), of, None), m.percent) for m in shown]
            rows.append(Row([text(name), blank, blank, blank, *values, blank], style))
    return Group(rows, apart=True)


def _score_row(score: Score, shown: Sequence[Metric], mark: str) -> Row:
    name = score.student + mark
    if score.mix and base_name(score) != f"{score.method}-{score.mix}":
        name += f" ({score.method}-{score.mix})"
    rows = () if score.rows is None else exact(score.rows, f"{score.rows} ({score.shots})")
    values = [measure(getattr(score, metric.name), metric.percent) for metric in shown]
    counted = [measure(value, digits=0) for value in (score.k, score.steps)]
    return Row([text(name), counted[0], rows, counted[1], *values, measure(score.seconds, digits=1)])


def f1_by_class(rows: Sequence[Score], students: Mapping[str, Student] | None = None) -> RenderableType:
    """A table for each task and split, a line for each arm; nothing where nobody's F1 by class is known."""
    parts: list[RenderableType] = []
    marked, rows = Marks(students or {}), [row for row in rows if row.student != MAJORITY]
    for task, split in dict.fromkeys((row.task, row.split) for row in rows):
        of = _uncut_first([row for row in rows if (row.task, row.split) == (task, split)], marked)
        marks = [marked.of(arm.scores[0]) for arm in of]
        ks = [plain(measure(arm.scores[0].k, digits=0)) for arm in of]
        lines = [Line(arm.name + mark, k, arm.metrics()) for arm, mark, k in zip(of, marks, ks, strict=True)]
        table = by_class(f"{task}, {split}", lines, CUT_CAPTION if any(marks) else "")
        parts += [Text(), to_rich(table)] if table else []
    return Stack(*parts)


def sweep(rows: Sequence[Reached]) -> RenderableType:
    """What each arm reached by task and k, in %, mean ± sample std over seeds, students cut from their teacher last."""
    rows = sorted(rows, key=lambda row: row.cut)
    ks = sorted({row.k for row in rows})
    marks = {(row.task, row.arm): _marks_of(row) for row in rows}
    cells = {(r.task, r.arm, r.k): (*spread(r.summary, "accuracy"), *text(f" ({r.summary.n})")) for r in rows}
    lines = [
        Row(
            [
                text(task),
                text(arm + marks[task, arm]),
                *(cells.get((task, arm, k), ()) for k in ks),
            ]
        )
        for task, arm in sorted(marks, key=lambda of: list(dict.fromkeys(task for task, _ in marks)).index(of[0]))
    ]
    caption = "\n".join([OTHER_CAPTION] * any(r.other_budget for r in rows) + [CUT_CAPTION] * any(r.cut for r in rows))
    columns = [*(Column(name, words=True) for name in ("task", "arm")), *(Column(f"k = {k}") for k in ks)]
    return to_rich(Table("Accuracy in %, mean ± sample std (number of seeds)", columns, [Group(lines)], caption))


def _marks_of(row: Reached) -> str:
    return (f" {OTHER_MARK}" if row.other_budget else "") + (f" {CUT_MARK}" if row.cut else "")


def confusion(
    rows: Sequence[Score], students: Mapping[str, Student], counts: Mapping[str, Counts], labels: Sequence[str]
) -> RenderableType:
    """For each arm how many rows of a class are taken for which, over all of its seeds.

    Args:
        rows: the scores that are shown.
        students: how each was made, by name.
        counts: by student, rows by true class, then by the class that is decided for.
        labels: the classes in order.
    """
    parts: list[RenderableType] = []
    for arm in _uncut_first(rows, Marks(students)):
        known = [counts[score.student] for score in arm.scores if score.student in counts]
        if known:
            lines = [
                Row([text(label), *(exact(sum(each[i][j] for each in known)) for j in range(len(labels)))])
                for i, label in enumerate(labels)
            ]
            seeds = f", {len(known)} seeds together" if len(known) > 1 else ""
            columns = [Column("is ↓  taken for →", words=True), *(Column(label, width=1) for label in labels)]
            parts += [Text(), to_rich(Table(f"Confusion of {arm.name}{seeds}, rows", columns, [Group(lines)]))]
    return Stack(*parts)


def sentences(lines: Sequence[str]) -> RenderableType:
    """A list of sentences, each on a line of its own."""
    return printable("\n".join(f"{line}." for line in lines))


def demo(result: "DemoResult") -> RenderableType:
    """Accuracy of teacher, majority and students, mean and deviation over the seeds."""
    rows = [Row([text(line.what), spread(line.accuracy, "accuracy"), exact(line.accuracy.n)]) for line in result.lines]
    rows.insert(1, Row([text("always the same class"), measure(result.majority, percent=True), text("")]))
    columns = [Column("", words=True), Column("accuracy %"), Column("seeds")]
    title = f"{result.teacher.task}, {result.teacher.split}: {result.teacher.n:,} rows, k = {result.k}"
    return to_rich(Table(title, columns, [Group(rows)], f"{OTHER_CAPTION}\n{CUT_CAPTION}"))


STYLES = {"removed": "red strike", "added": "green"}
BRACKETS = {"removed": "[-{}-]", "added": "{{+{}+}}"}


@dataclass(frozen=True)
class Marked:
    """An indented paragraph: ``target``, with the words removed from ``source`` struck in red, the added ones in green.

    Where there are no colours: ``[-removed-]{+added+}``.
    """

    source: str
    target: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The marked text and an empty line."""
        coloured = console.color_system is not None and not console.no_color
        text = mark(self.source, self.target, coloured=coloured)
        yield Padding(text, (0, 0, 0, 2)) if console.is_terminal else Text("  ").append_text(text)
        yield Text()


def mark(source: str, target: str, *, coloured: bool) -> Text:
    """See `Marked`."""
    text, found = Text(), edits.pieces(source, target)
    changes = [change for _, change in found]
    for place, (piece, change) in enumerate(found):
        if coloured:
            text.append(printable(piece).plain, STYLES.get(change))
        # Two brackets need no space between them.
        elif changes[place - 1 : place + 2] != ["removed", "kept", "added"] or not piece.isspace():
            text.append(BRACKETS.get(change, "{}").format(printable(piece).plain))
    return text


def pairs(rows: Sequence[tuple[Counterfactual, str]]) -> RenderableType:
    """Each CFE with the text that it was made from: ids, classes, the teacher's P(target), then the marked text."""
    blocks: list[RenderableType] = []
    for cfe, source in rows:
        blocks += [_pair_head(cfe, edits.edit_ratio(source, cfe.text)), Marked(source, cfe.text)]
    return Stack(*blocks)


def _pair_head(cfe: Counterfactual, ratio: float) -> Text:
    head = printable(cfe.id)
    head.stylize("bold")
    head.append_text(printable(f"  {cfe.source_label} → {cfe.label}"))
    if cfe.p_before is not None and cfe.p_after is not None:
        head.append(f"  P {cfe.p_before:.2f} → {cfe.p_after:.2f}")
    head.append(f"  edit ratio {ratio:.2f}")
    if cfe.flipped is False:
        head.append("  does not flip the teacher", "red")
    if cfe.judge == cfe.label:
        head.append("  the judge agrees", "green")
    elif cfe.judge is not None:
        head.append(printable(f"  the judge says {cfe.judge}").plain, "red")
    return head


def attempts(rows: Sequence[Attempt], sources: Mapping[str, str]) -> RenderableType:
    """What was not accepted: shot, target, status and reason, then the text with its changed words marked."""
    blocks: list[RenderableType] = []
    for row in rows:
        head = printable(f"{row.shot_id}~{row.target}")
        head.stylize("bold")
        head.append(f"  attempt {row.n}" if row.n else "").append(f"  {row.status}", "red")
        head.append_text(printable(f": {row.reason}" if row.reason else ""))
        blocks.append(head)
        if row.text:
            blocks.append(Marked(sources.get(row.shot_id, row.text), row.text))
    return Stack(*blocks)


def counts(title: str, numbers: Mapping[str, int | str]) -> RenderableType:
    """Names and their numbers, a line each."""
    rows = [Row([text(name), text(str(amount))]) for name, amount in numbers.items()]
    return to_rich(Table(title, [Column("", words=True), Column("")], [Group(rows)]))


def calibration(fitted: Calibration) -> RenderableType:
    """What was fitted, and how honest the probabilities are without and with it."""
    values = {"T": fitted.temperature} if fitted.method == "temperature" else fitted.bias
    shown = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    split = f", {fitted.split}" if fitted.split not in (None, "all") else ""
    title = f"Calibration, {fitted.method}: {shown} ({fitted.rows} rows of {fitted.data}{split})"
    names = {"accuracy": "accuracy %", "ece": "ECE", "brier": "Brier", "log_likelihood": "mean log-likelihood, nats"}
    rows = [
        Row([text(name), *(measure(found.get(key), key == "accuracy") for found in (fitted.before, fitted.after))])
        for key, name in names.items()
    ]
    return to_rich(Table(title, [Column("", words=True), Column("raw"), Column("calibrated")], [Group(rows)]))


def quality(report: QualityReport) -> RenderableType:
    """One column for all requests, one for each target class and, where there are several, for each prompt."""
    return to_rich(quality_table({"all": report.overall, **parts_of(report)}))
