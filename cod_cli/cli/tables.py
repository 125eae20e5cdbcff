"""Tables of scores and of counterfactuals' quality, pairs with their changed words marked.

All of it reads well at 80 columns and when it is piped; numbers are never cut short.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cod_cli.counterfactuals import edits
from cod_cli.counterfactuals.quality import QUALITY, QualityReport
from cod_cli.evaluation.scores import TEACHER, Arm, Reached, arms, base_name
from cod_cli.metrics import METRICS, Summary
from cod_cli.records import Attempt, Calibration, Counterfactual, Score
from cod_cli.report.tables import spread
from cod_cli.ui import CUT_CAPTION, CUT_MARK, MISSING, OTHER_MARK, bare_table, number, printable


def scores(rows: Sequence[Score], cut: Collection[str] = (), lacking: str | None = None) -> RenderableType:
    """A table for each task and split: the teacher, then the students; seeds of one arm with mean and deviation.

    Students that were ``cut`` from a fine-tuned teacher are marked and come last. Below stands what the tables are
    ``lacking``, and what LLMs took that are scored themselves.
    """
    places = dict.fromkeys((row.task, row.split) for row in rows)
    tables = [_score_table([row for row in rows if (row.task, row.split) == place], cut) for place in places]
    below = [*([lacking] if lacking else []), *(_taken(row) for row in rows if row.usage)]
    return Group(*tables, *map(printable, below))


def _taken(score: Score) -> str:
    usage = score.usage or {}
    cost = "" if score.cost is None else f", cost {score.cost:.4f}"
    return (
        f"{score.student}: {score.n:,} questions took {usage['prompt_tokens']:,} + {usage['completion_tokens']:,} "
        f"tokens{cost}"
    )


def _score_table(rows: Sequence[Score], cut: Collection[str]) -> Table:
    shown = [name for name in METRICS if any(getattr(row, name) is not None for row in rows)]
    title = f"{rows[0].task}, {rows[0].split}: {rows[0].n:,} rows"
    table = bare_table(title, caption=CUT_CAPTION if any(row.student in cut for row in rows) else None)
    table.add_column("student", overflow="fold")
    for heading in ("k", "rows\n(real)", "steps", *(METRICS[name].heading for name in shown), "train\ns"):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in sorted(arms(rows), key=lambda arm: (arm.name != TEACHER, arm.scores[0].student in cut)):
        for score in arm.scores:
            table.add_row(*_score_row(score, shown, marked=score.student in cut))
        if len(arm.scores) > 1:
            _add_summary(table, arm, shown)
        table.add_section()
    return table


def _score_row(score: Score, shown: Sequence[str], *, marked: bool) -> list[Text]:
    name = score.student + (f" {CUT_MARK}" if marked else "")
    if score.mix and base_name(score) != f"{score.method}-{score.mix}":
        name += f" ({score.method}-{score.mix})"
    rows = MISSING if score.rows is None else f"{score.rows} ({score.shots})"
    counted = [MISSING if value is None else str(value) for value in (score.k, score.steps)]
    values = [number(getattr(score, metric), METRICS[metric].percent) for metric in shown]
    return [printable(cell) for cell in (name, counted[0], rows, counted[1], *values, number(score.seconds, digits=1))]


def _add_summary(table: Table, arm: Arm, shown: Sequence[str]) -> None:
    found = arm.metrics()
    means = [number(found[name].mean, METRICS[name].percent) if name in found else MISSING for name in shown]
    stds = [number(found[name].std, METRICS[name].percent) if name in found else MISSING for name in shown]
    table.add_row(f"mean (n = {len(arm.scores)})", "", "", "", *means, "", style="bold")
    table.add_row("± std", "", "", "", *stds, "", style="dim")


def sweep(rows: Sequence[Reached]) -> Table:
    """What each arm reached by task and k, in %, mean ± sample std over seeds; arms of another budget are marked."""
    ks = sorted({row.k for row in rows})
    table = bare_table("Accuracy in %, mean ± sample std (number of seeds)")
    table.add_column("task", overflow="fold")
    table.add_column("arm", overflow="fold")
    for k in ks:
        table.add_column(f"k = {k}", justify="right", no_wrap=True)
    cells = {(row.task, row.arm, row.k): f"{spread(row.summary, 'accuracy')} ({row.summary.n})" for row in rows}
    for task, arm in dict.fromkeys((row.task, row.arm) for row in rows):
        other = any(row.other_budget for row in rows if (row.task, row.arm) == (task, arm))
        name = f"{arm} {OTHER_MARK}" if other else arm
        table.add_row(printable(task), printable(name), *(cells.get((task, arm, k), MISSING) for k in ks))
    if any(row.other_budget for row in rows):
        table.caption = f"{OTHER_MARK} other rows or steps than the baseline: not to be compared"
    return table


def demo(teacher: Score, reached: Mapping[str, Summary], k: int) -> Table:
    """Accuracy of the teacher, of plain KD and of KD+CoD, mean and deviation over the seeds."""
    table = bare_table(f"{teacher.task}, {teacher.split}: {teacher.n:,} rows, k = {k}")
    table.add_column("")
    table.add_column("accuracy %", justify="right", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    table.add_row("teacher", number(teacher.accuracy, percent=True), "")
    names = {"shots": f"KD: {k} real rows", "cod": f"KD+CoD: {k} rows, half of them counterfactuals"}
    for mix, found in reached.items():
        table.add_row(names[mix], spread(found, "accuracy"), str(found.n))
    return table


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
        text = marked(self.source, self.target, coloured=coloured)
        yield Padding(text, (0, 0, 0, 2)) if console.is_terminal else Text("  ").append_text(text)
        yield Text()


def marked(source: str, target: str, *, coloured: bool) -> Text:
    """See `Marked`."""
    before, after = edits.tokenize(source), edits.tokenize(target)
    text, position = Text(), 0
    for span in edits.spans(source, target):
        text.append_text(_joined(after[position : span.target_start]))
        removed, added = before[span.source_start : span.source_end], after[span.target_start : span.target_end]
        text.append((added or removed)[0].space)
        if removed:
            old = _joined(removed).plain.lstrip()
            text.append(old, "red strike") if coloured else text.append(f"[-{old}-]")
        if removed and added and coloured:
            text.append(" ")
        if added:
            new = _joined(added).plain.lstrip()
            text.append(new, "green") if coloured else text.append(f"{{+{new}+}}")
        position = span.target_end
    return text.append_text(_joined(after[position:]))


def _joined(tokens: Iterable[edits.Token]) -> Text:
    return printable("".join(token.space + token.text for token in tokens))


def pairs(rows: Sequence[tuple[Counterfactual, str]]) -> RenderableType:
    """Each CFE with the text that it was made from: ids, classes, the teacher's P(target), then the marked text."""
    blocks: list[RenderableType] = []
    for cfe, source in rows:
        blocks += [_pair_head(cfe, edits.edit_ratio(source, cfe.text)), Marked(source, cfe.text)]
    return Group(*blocks)


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
    return Group(*blocks)


def counts(title: str, numbers: Mapping[str, int | str]) -> Table:
    """Names and their numbers, a line each."""
    table = bare_table(title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, amount in numbers.items():
        table.add_row(printable(name), printable(str(amount)))
    return table


def calibration(fitted: Calibration) -> Table:
    """What was fitted, and how honest the probabilities are without and with it."""
    values = {"T": fitted.temperature} if fitted.method == "temperature" else fitted.bias
    shown = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    split = f", {fitted.split}" if fitted.split not in (None, "all") else ""
    table = bare_table(f"Calibration, {fitted.method}: {shown} ({fitted.rows} rows of {fitted.data}{split})")
    for heading in ("", "raw", "calibrated"):
        table.add_column(heading, justify="right" if heading else "left")
    names = {"accuracy": "accuracy %", "ece": "ECE", "brier": "Brier", "log_likelihood": "mean log-likelihood, nats"}
    for key, name in names.items():
        before, after = (number(found.get(key), key == "accuracy") for found in (fitted.before, fitted.after))
        table.add_row(name, before, after)
    return table


def quality(report: QualityReport) -> Table:
    """One column for all requests, one for each target class and, where there are several, for each prompt."""
    columns = {"all": report.overall, **{f"to {name}": part for name, part in report.by_class.items()}}
    if len(report.by_prompt) > 1:
        columns |= report.by_prompt
    table = bare_table("Counterfactuals")
    table.add_column("")
    for name in columns:
        table.add_column(printable(name), justify="right", overflow="fold")
    for name, cell in QUALITY.items():
        cells = [cell(part) for part in columns.values()]
        if any(shown != MISSING for shown in cells):
            table.add_row(name, *cells)
    return table
