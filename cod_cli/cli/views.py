"""What each command prints: one function a command, named like it, from its result to something rich can show."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from cod_cli.cli import tables
from cod_cli.llm.prices import Estimate
from cod_cli.mixes import OTHER_BUDGET
from cod_cli.records import Record
from cod_cli.report import tables as report_tables
from cod_cli.report.why import tables as why_tables
from cod_cli.store.run import Run
from cod_cli.ui import printable

# The stages pull in torch, and a command needs only its own: a view may import that, it is loaded by then.
if TYPE_CHECKING:
    from cod_cli.counterfactuals.quality import ContrastSummary
    from cod_cli.pools.writer import Agreement
    from cod_cli.stages.advise import Advice, Step
    from cod_cli.stages.cache import CacheResult
    from cod_cli.stages.counterfact import CounterfactPlan, CounterfactResult
    from cod_cli.stages.demo import DemoResult
    from cod_cli.stages.distill import DistillResult
    from cod_cli.stages.eval import EvalPlan, EvalResult
    from cod_cli.stages.export import ExportResult
    from cod_cli.stages.label import LabelPlan, LabelResult
    from cod_cli.stages.pool import PoolPlan, PoolResult
    from cod_cli.stages.report import ReportResult
    from cod_cli.stages.rival import RivalPlan, RivalResult
    from cod_cli.stages.sample import SampleResult
    from cod_cli.stages.show import PromptText, QualitySummary, RejectedAttempts, ShownPairs, ShownPool
    from cod_cli.stages.sweep.cells import SweepResult
    from cod_cli.stages.sweep.estimate import SweepEstimate
    from cod_cli.stages.teach import TeachResult


# Pairs shown at the end of `counterfact` and `demo`.
EXAMPLES = 5


def document(result: Any) -> Any:
    """The result as `--json` prints it."""
    if hasattr(result, "as_json"):
        return result.as_json()
    if isinstance(result, Record):
        return result.model_dump(by_alias=True)
    if isinstance(result, Run | Path):
        return str(result.folder if isinstance(result, Run) else result)
    if is_dataclass(result):
        return {field.name: document(getattr(result, field.name)) for field in fields(result)}
    if isinstance(result, dict):
        return {key: document(value) for key, value in result.items()}
    return [document(item) for item in result] if isinstance(result, list | tuple) else result


def sample(result: SampleResult) -> RenderableType:
    """How many shots of each class."""
    per_class = ", ".join(f"{number} {name}" for name, number in result.per_label.items())
    done = f"{result.shots} shots ({per_class}) in {result.path}"
    return _next(done, f"cod counterfact {quoted(result.path.parent)} --generator editor --teacher TEACHER")


def counterfact(result: CounterfactResult | CounterfactPlan) -> RenderableType:
    """How the cases stand, the quality of what was accepted, and what comes next; or what it would cost."""
    from cod_cli.stages.counterfact import CounterfactPlan

    if isinstance(result, CounterfactPlan):
        return _plan(result)
    counts = result.counts
    line = f"{counts['accepted']} of {counts['cases']} counterfactuals in {result.files.rows.path}"
    parts = {
        "not flipped": counts["not_flipped"],
        "teacher wrong on the shot": counts["teacher_wrong"],
        "without an answer": counts["unanswered"],
        "not asked for": counts["not_asked"],
    }
    line += "".join(f", {number} {name}" for name, number in parts.items() if number)
    if not counts["accepted"]:
        line += "\nnothing was accepted: see why below; then a stronger --model, another --prompt, or --fallback editor"
    if result.contrast is None:
        return Group(tables.quality(result.quality), _next(line, _after_counterfact(result)))
    said = _contrast(result.contrast, result.counts["shots"])
    # Where the teacher cannot be turned, nothing else matters.
    first, last = (said[:1], said[1:]) if result.mostly_unturned else ([], said)
    done = _next("\n".join([line, *last]), _after_counterfact(result))
    return Group(*map(printable, first), tables.quality(result.quality), done)


def _contrast(found: ContrastSummary, shots: int) -> list[str]:
    """What stands beside the first CFEs, in words; what no edit turned comes first."""
    lines = []
    if found.semifactuals_only:
        lines.append(
            f"no edit turns the teacher on {found.semifactuals_only} of {shots} shots: they have semifactuals only, "
            "and balanced mixes take none of those"
        )
    further = _by_class("further counterfactuals", found.further, found.further_edit_ratio, found.judge_agrees_further)
    kept = _by_class("semifactuals", found.semifactuals, found.semifactuals_edit_ratio, found.judge_agrees_semifactuals)
    copies = f"; {found.near_copies} near-copies left out" if found.near_copies else ""
    return [*lines, f"beside them {further} and {kept}{copies}"]


def _by_class(name: str, counts: Mapping[str, int], ratio: float | None, judged: float | None) -> str:
    """How many there are, how many of each class, how large their edits are, and how often a judge agrees."""
    parts = [f"{number} {label}" for label, number in counts.items()]
    parts += [f"mean edit ratio {ratio:.2f}"] if ratio is not None else []
    parts += [f"the judge agrees with {judged:.0%}"] if judged is not None else []
    return f"{sum(counts.values())} {name}" + (f" ({', '.join(parts)})" if parts else "")


def _after_counterfact(result: CounterfactResult) -> str:
    run = quoted(result.run.folder)
    if result.held_out:
        return f"cod eval {run}"
    if not result.counts["accepted"]:
        return f"cod show {run} --rejected"
    return f"cod show {run}; cod label {run}" + ("" if result.teacher else " --teacher TEACHER")


def _plan(plan: CounterfactPlan) -> RenderableType:
    lines = [_estimate("all shots", plan.everything), _estimate("--for-mix cod", plan.for_mix_cod)]
    if plan.checks is not None:
        lines.append(_estimate(f"checks by {plan.teacher}, at least", plan.checks))
    if plan.one_more is not None:
        lines.append(_estimate(f"each further CFE (--per-shot, now {plan.per_shot}), at least", plan.one_more))
    if plan.one_semifactual is not None:
        now = "those written anyway" if plan.semifactuals is None else plan.semifactuals
        lines.append(_estimate(f"each semifactual (--semifactuals, now {now}), at most", plan.one_semifactual))
    retries = f"first attempts only; up to {plan.max_attempts} where a reply does not flip. Nothing was sent."
    return printable("\n".join([*lines, retries]))


def _estimate(name: str, what: Estimate) -> str:
    tokens = f"{name}: {what.calls} requests, about {what.prompt_tokens:,} + {what.completion_tokens:,} tokens"
    return tokens + ("" if what.cost is None else f", about {what.cost:.4f}")


def rival(result: RivalResult | RivalPlan) -> RenderableType:
    """The rows of each rival, and how to train on them; or what it would cost."""
    from cod_cli.stages.rival import RivalPlan

    if isinstance(result, RivalPlan):
        planned = [_estimate(kind, what) for kind, what in result.estimates.items()]
        return printable("\n".join([*planned, "first attempts only. Nothing was sent."]))
    lines = [
        f"{made.rows} rows in {made.path}"
        + (f", {made.counts['teacher_queries']} teacher queries" if made.counts.get("teacher_queries") else "")
        + (f", {sum(made.usage.values()):,} tokens" if any(made.usage.values()) else "")
        + (" (other budget)" if made.kind in OTHER_BUDGET else "")
        for made in result.made
    ]
    folder, kind = quoted(result.run.folder), result.made[-1].kind
    label = f"cod label {folder} --teacher {quoted(result.teacher)}"
    return _next("\n".join(lines), f"{label}; cod distill {folder} --student STUDENT --mix {kind}")


def pool(result: PoolResult | PoolPlan) -> RenderableType:
    """How many texts there are, why others are not, and what comes next; or what it would cost."""
    from cod_cli.stages.pool import PoolPlan

    if isinstance(result, PoolPlan):
        return printable(_estimate(f"{result.texts} texts, at least", result.estimate) + ". Nothing was sent.")
    line = f"{result.texts} texts in {result.path}, {result.added} of them new"
    said = {
        "empty": "without a text",
        "one_word": "of one word",
        "shots": "equal to a shot",
        "scored": "equal to a row that is scored",
        "near_copies": "nearly equal to another",
        "torn": "torn at the end of the file",
    }
    left_out = [f"{result.counts[name]:,} {why}" for name, why in said.items() if result.counts.get(name)]
    lines = [line, *(["left out: " + ", ".join(left_out)] if left_out else [])]
    if "teacher_queries" in result.counts:
        found = ", ".join(f"{result.counts.get(f'texts_{label}', 0)} {label}" for label in result.labels)
        lines.append(f"by the teacher's answers {found}; it was asked about {result.counts['teacher_queries']:,} texts")
    if result.counts.get("cut"):
        lines.append(f"{result.counts['cut']:,} are cut to {result.max_length} words, as many as a model reads tokens")
    if result.counts.get("replies"):
        lines.append(_written(result))
    made = [file.manifest() for file in (result.run.soft_labels, result.run.counterfactuals)]
    named = "" if any(manifest and manifest.teacher for manifest in made) else " --teacher TEACHER"
    return _next("\n".join(lines), f"cod label {quoted(result.run.folder)}{named}")


def _written(result: PoolResult) -> str:
    """What an LLM that wrote the texts replied, and what it took."""
    line = f"{result.counts['replies']} replies"
    poor = {name.removeprefix("replies_"): n for name, n in result.counts.items() if name.startswith("replies_")}
    line += f" ({', '.join(f'{n} {name}' for name, n in poor.items())})" if poor else ""
    line += f", {sum(result.usage.values()):,} tokens"
    return line + ("" if result.cost is None else f", cost {result.cost:.4f}")


def _asked(found: Agreement) -> str:
    """How far the teacher agrees with the classes that an LLM was asked for."""
    by_class = ", ".join(f"{found.agree[name]} of {n} {name}" for name, n in found.of.items())
    other = f"{1 - found.share:.1%} of the texts that an LLM wrote"
    return f"it disagrees with the class asked for on {other} (it agrees on {by_class})"


def label(result: LabelResult | LabelPlan) -> RenderableType:
    """How many rows are labelled and how often the teacher agrees with the shots' labels; or what it would cost."""
    from cod_cli.stages.label import LabelPlan

    if isinstance(result, LabelPlan):
        return printable(_estimate(f"{result.teacher}, {result.rows} rows", result.estimate) + ". Nothing was sent.")
    counts = result.counts
    also = f", {counts['semifactuals']} semifactuals" if counts.get("semifactuals") else ""
    also += f", {counts['rivals']} rows of rivals" if counts["rivals"] else ""
    also += f", {counts['pool']} texts of the pool" if counts.get("pool") else ""
    line = (
        f"{counts['shots']} shots{also} and {counts['counterfactuals']} counterfactuals labelled by {result.teacher} "
        f"({counts['new']} new) in {result.run.soft_labels.path}; "
        f"it decides {result.accuracy:.1%} of the shots as they are labelled"
    )
    asked = [_asked(result.asked)] if result.asked else []
    # What students train on by default needs edits, or texts without labels.
    mix = "" if counts["counterfactuals"] else " --mix pool" if counts.get("pool") else " --mix shots"
    following = f"cod distill {quoted(result.run.folder)} --student STUDENT{mix}"
    done = _next("\n".join([line, *asked, *_llm_lines(result)]), following)
    return done if result.calibration is None else Group(tables.calibration(result.calibration), done)


def _llm_lines(result: LabelResult) -> list[str]:
    """What the cache saved, and what an LLM took."""
    lines = []
    if result.hit_rate is not None:
        counts = result.counts
        lines.append(
            f"cache: {counts['from_cache']} of {counts['new']} new labels were there ({result.hit_rate:.0%}); "
            f"it holds {result.memory_size:,}"
        )
    if result.usage:
        usage, cost = result.usage, "" if result.cost is None else f", cost {result.cost:.4f}"
        lines.append(
            f"{result.covered_mass:.1%} of its probability falls on the classes; this run took "
            f"{usage['prompt_tokens']:,} + {usage['completion_tokens']:,} tokens of it{cost}"
        )
    return lines


def distill(result: DistillResult) -> RenderableType:
    """The students, and what each was trained on."""
    lines = [
        f"{result.folder / student.name}: {student.rows} rows ({student.shots} real), {student.steps} steps, "
        f"{student.parameters / 1e6:.1f}M parameters, {student.seconds:.1f} s on {student.device}"
        for student in result.students
    ]
    return _next("\n".join(lines), f"cod eval {quoted(result.folder.parent)}")


def eval_(result: EvalResult | EvalPlan) -> RenderableType:
    """The teacher and every student; or what asking LLMs would cost."""
    from cod_cli.stages.eval import EvalPlan

    if isinstance(result, EvalPlan):
        lines = [_estimate(f"{name}, {result.rows} rows", what) for name, what in result.estimates.items()]
        return printable("\n".join([*lines, "Nothing was sent."]))
    made = result.students
    parts = [
        tables.scores(result.scores, made, result.lacking, result.other_budget),
        tables.f1_by_class(result.scores, made),
    ]
    parts += [tables.confusion(result.scores, made, result.confusion, result.labels)] if result.confusion else []
    return Group(*parts, *([Text(), tables.sentences(result.verdicts)] if result.verdicts else []))


def report(result: ReportResult) -> RenderableType:
    """Means by task, arm and k; fidelity and calibration beside them; differences in words; what each arm took; why."""
    parts = [report_tables.report(result.comparison, result.evidence.yardsticks)]
    parts += [tables.sentences(result.verdicts), Text()] if result.verdicts else []
    parts += [why_tables.report(result.why, result.comparison)] if result.why else []
    return Group(*parts, *(printable(f"{path} is written") for path in result.written))


def teach(result: TeachResult) -> RenderableType:
    """Where the teacher is and how good."""
    teacher = result.teacher
    chosen = f", the best of {len(teacher.validation)} epochs" if teacher.best_epoch else ""
    scored = "" if teacher.accuracy is None else f", {teacher.accuracy:.1%} right on validation{chosen}"
    data = quoted(teacher.settings["data"])
    return _next(
        f"{result.folder}: {teacher.rows} rows, {teacher.steps} steps, {teacher.seconds:.0f} s{scored}",
        f"cod sample RUN --data {data}{_columns(teacher.settings)}; "
        f"cod counterfact RUN --generator editor --teacher {quoted(result.folder)}",
    )


def _columns(settings: Mapping[str, Any]) -> str:
    """How a data source was read, as options."""
    texts = "".join(f" --text-column {quoted(name)}" for name in settings.get("text_column") or ())
    rest = {"--label-column": settings.get("label_column"), "--label-names": settings.get("label_names")}
    return texts + "".join(f" {flag} {quoted(value)}" for flag, value in rest.items() if value)


def export(result: ExportResult) -> RenderableType:
    """How the export compares with its model."""
    check = result.check
    size, pace = ({name: value / 1e6 for name, value in check.bytes.items()}, check.rows_per_second)
    lines = [
        f"{result.folder}: {result.notes.precision}, {size['export']:.1f} MB (the model {size['model']:.1f} MB)",
        f"on {check.texts:,} {check.of}: {check.equal_labels:.1%} equal labels, logits differ by at most "
        f"{check.largest_difference:.2g}; {pace['export']:,.0f} rows a second (the model {pace['model']:,.0f}) with "
        f"{check.threads} threads of this machine's CPU",
    ]
    if check.accuracy:
        lines.append(f"accuracy there: {check.accuracy['export']:.1%} (the model {check.accuracy['model']:.1%})")
    return _next("\n".join(lines), f"cod predict {result.folder} FILE")


def show(result: ShownPairs | ShownPool | RejectedAttempts | QualitySummary | PromptText) -> RenderableType:
    """Whichever of them was asked for."""
    from cod_cli.stages.show import PromptText, RejectedAttempts, ShownPairs, ShownPool

    if isinstance(result, ShownPool):
        return _texts(result)
    if isinstance(result, ShownPairs):
        return tables.pairs(result.pairs) if result.pairs else printable(result.none or "")
    if isinstance(result, RejectedAttempts):
        attempts = tables.attempts(result.attempts, result.sources)
        return Group(tables.counts("Attempts", result.counts), attempts)
    if isinstance(result, PromptText):
        return printable(result.text)
    quality = tables.quality(result.quality)
    if result.contrast is None:
        return quality
    return Group(quality, printable("\n".join(_contrast(result.contrast, result.shots))))


def _texts(result: ShownPool) -> RenderableType:
    """Each text below its id and the teacher's choice."""
    lines = []
    for row, label, p in result.texts:
        lines += [row.id + ("" if label is None else f"  {label} {p:.2f}"), f"  {row.text}", ""]
    chosen = ", ".join(f"{n} {label}" for label, n in result.chosen.items()) or "not labelled yet: cod label RUN"
    return printable("\n".join([*lines, f"the teacher's choices: {chosen}"]))


def sweep(result: SweepResult | SweepEstimate) -> RenderableType:
    """What each arm reached at each k; or what is still to do."""
    from cod_cli.stages.sweep.estimate import SweepEstimate

    if isinstance(result, SweepEstimate):
        return _to_do(result)
    done = sum(cell.status == "done" for cell in result.plan.cells)
    line = f"{done} of {len(result.plan.cells)} cells done, {result.trained} in this go, in {result.seconds:.0f} s"
    return Group(tables.sweep(result.reached), _next(line, f"cod report {quoted(result.folder)}"))


def _to_do(plan: SweepEstimate) -> RenderableType:
    least = "at least " if plan.open_mixes else ""
    cells = f"{plan.cells} cells to train in {plan.runs} runs ({plan.done} are done)"
    lines = [f"{cells}: {least}{plan.steps:,} optimiser steps"]
    if plan.open_mixes:
        mixes = " and ".join(f"--mix {mix}" for mix in plan.open_mixes)
        lines.append(f"{mixes}: only the shots are counted; how many rows come beside them is known once they are made")
    if plan.seconds is not None:
        lines.append(f"{least}about {plan.seconds / 60:.0f} min of training, at the pace of the cells that are done")
    if plan.calls:
        cost = "" if plan.cost is None else f", about {plan.cost:.4f}"
        tokens = f"about {plan.prompt_tokens:,} + {plan.completion_tokens:,} tokens"
        lines.append(f"{plan.calls} requests to the LLM at the first attempt, {tokens}{cost}")
    return printable("\n".join([*lines, "Nothing was trained or sent."]))


def advise(result: Advice) -> RenderableType:
    """In five lines what a run has, what it lacks, and the first steps that make sense next."""
    lines = [f"has: {', '.join(result.has)}", f"lacks: {', '.join(result.lacks) or 'nothing'}"]
    return printable("\n".join([*lines, *map(_step, result.steps[:3])]))


def _step(step: Step) -> str:
    takes = [f"{step.queries:,} teacher queries"] if step.queries else []
    takes += [f"about {step.tokens:,} LLM tokens{'' if step.measured else ' by its prompts'}"] if step.tokens else []
    takes += [f"cost {step.cost:.4f}"] if step.cost is not None else []
    takes += [f"{step.minutes:g} minutes"] if step.minutes is not None else []
    return f"next: {step.command}: {', '.join(takes) or 'no query'}; brings {step.brings}"


def cache(result: CacheResult) -> RenderableType:
    """Where the stores are, how large, and what they hold."""
    if not result.stores:
        return printable(f"nothing is kept in {result.folder}")
    rows = {store.name: f"{store.entries:,} entries, {store.bytes / 1e6:.1f} MB" for store in result.stores}
    said = (
        "It holds LLM replies, which are texts made from yours, and teachers' logits by the hash of a text."
        " Forget it: cod cache --clear"
    )
    if result.cleared is not None:
        said = f"{result.cleared:,} entries forgotten; run folders keep their own replies."
    return Group(tables.counts(str(result.folder), rows), Text(), printable(said))


def demo(result: DemoResult) -> RenderableType:
    """Some pairs, the five lines and a sentence each, the page, and where to look next."""
    said = (
        f"A judge, a linear head on the encoder as it was, agrees with {result.agreed} of {result.made} counterfactuals"
    )
    return Group(
        Text(said + (", some of which are:" if result.pairs else ""), style="bold"),
        tables.pairs([(row, shot.text) for shot, row in result.pairs[:EXAMPLES]]),
        tables.demo(result),
        tables.sentences([line.sentence for line in result.lines]),
        Text(),
        _next(
            f"{result.page} shows it all; {result.seconds:.0f} s, {result.size / 1e6:,.0f} MB in {result.folder}",
            f"cod show {quoted(result.run.folder)}; cod eval {quoted(result.run.folder)}",
        ),
    )


def quoted(word: object) -> str:
    """A word of a command that can be pasted."""
    return shlex.quote(str(word))


def _next(line: str, command: str) -> Text:
    """What was done and the command that one would type next."""
    return printable(line).append("\nnext: ", style="dim").append(printable(command))
