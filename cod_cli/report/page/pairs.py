"""Sections of the page about texts: how good the pairs are, how close to the boundary, the pairs themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cod_cli.counterfactuals import edits
from cod_cli.counterfactuals.quality import Quality, QualityReport, Work, report, with_sources
from cod_cli.llm.prices import Price
from cod_cli.metrics import softmax
from cod_cli.records import Counterfactual, Shot
from cod_cli.report import tables
from cod_cli.report.page.charts import histogram
from cod_cli.report.page.markup import Child, Markup, el
from cod_cli.report.rendering import to_html
from cod_cli.report.results import Evidence
from cod_cli.store.run import Run
from cod_cli.teachers.softlabels import with_flips_by_file3


@dataclass(frozen=True)
class Exhibit:
    """The texts of one task, each once, whatever runs they stand in.

    ``pairs`` are CFEs with the text that each was made from; ``quality`` is null where none was asked for; ``margins``
    holds, for ``shots`` and ``counterfactuals``, the teacher's P(its choice) - P(its second choice) on each.
    ``contrast``: whether semifactuals stand beside the CFEs.
    """

    task: str
    pairs: tuple[tuple[Counterfactual, str], ...]
    quality: QualityReport | None
    margins: Mapping[str, Sequence[float]]
    contrast: bool = False


def exhibits(evidence: Evidence) -> list[Exhibit]:
    """The texts of each task that still has some."""
    tasks: dict[Run, str] = {}
    for result in evidence.results:
        # Students may be scored on other tasks too: the texts are of the first.
        tasks.setdefault(result.run, result.score.task)
    runs: dict[str, list[Run]] = {}
    for run, task in tasks.items():
        runs.setdefault(task, []).append(run)
    found = [_exhibit(task, of) for task, of in runs.items()]
    return [exhibit for exhibit in found if exhibit.pairs or exhibit.margins]


def _exhibit(task: str, runs: Sequence[Run]) -> Exhibit:
    shots = {shot.id: shot for run in runs for shot in run.shots.peek()}
    cfes: dict[tuple[str, str], Counterfactual] = {}
    for cfe in (cfe for run in runs for cfe in _cfes(run)):
        # Where one run's teacher was asked and another's was not, its answer stays.
        if cfe.flipped is not None or (cfe.id, cfe.text) not in cfes:
            cfes[cfe.id, cfe.text] = cfe
    attempts = {(a.shot_id, a.target, a.n, a.text): a for run in runs for a in run.cfe_files.read_attempts()}
    replies = {(reply.key, reply.sample, reply.text): reply for run in runs for reply in run.cfe_files.read_replies()}
    work = Work([*shots.values()], [*cfes.values()], [*attempts.values()], [*replies.values()], _price(runs))
    return Exhibit(
        task=task,
        pairs=tuple(with_sources(work.shots, work.cfes)),
        quality=report(work) if work.cfes or work.attempts else None,
        margins=_margins(runs, shots, work.cfes),
        contrast=any(run.semifactuals.peek() for run in runs),
    )


def _cfes(run: Run) -> list[Counterfactual]:
    """The first CFEs of a run, with the flips that follow from file 3, as `cod show` has them."""
    cfes, labelled = [row for row in run.counterfactuals.peek() if not row.is_further], run.soft_labels.manifest()
    if labelled is None:
        return cfes
    return with_flips_by_file3(cfes, run.shots.peek(), run.soft_labels.peek(), labelled.labels)


def _price(runs: Sequence[Run]) -> Price | None:
    """What the tokens of all replies cost each; None where some were paid at another price, or at an unknown one."""
    made = (run.counterfactuals.manifest() for run in runs if run.cfe_files.read_replies())
    prices = {manifest.price if manifest else None for manifest in made}
    only = prices.pop() if len(prices) == 1 else None
    return Price(*only) if only else None


def _margins(runs: Sequence[Run], shots: Mapping[str, Shot], cfes: Iterable[Counterfactual]) -> dict[str, list[float]]:
    logits = {soft.id: soft.logits for run in runs for soft in run.soft_labels.peek()}
    ids = {"shots": set(shots), "counterfactuals": {cfe.id for cfe in cfes}}
    found = {name: [margin(logits[i]) for i in sorted(of & logits.keys())] for name, of in ids.items()}
    return {name: values for name, values in found.items() if values}


def margin(logits: Sequence[float]) -> float:
    """P(first choice) - P(second choice), in [0, 1]: 0 on the boundary."""
    second, first = np.sort(softmax(logits))[-2:]
    return float(first - second)


SEMIFACTUALS = (
    "Beside these stand semifactuals, edits of a shot that are as small and do not turn the teacher. From flips alone "
    "a student would learn that the shot's own words stand for the other class; with as many edits of either kind only "
    "the words that decide tell the classes of a family apart."
)
# More of them make a page that a phone does not open.
MOST_PAIRS = 2000


def quality(found: Sequence[Exhibit]) -> list[Child]:
    """A column for each task, each class written for, each of several prompts; and what semifactuals are for."""
    columns: dict[str, Quality] = {}
    for exhibit in found:
        if exhibit.quality is not None:
            columns[exhibit.task] = exhibit.quality.overall
            parts = tables.parts_of(exhibit.quality)
            columns |= {f"{exhibit.task}, {name}" if len(found) > 1 else name: part for name, part in parts.items()}
    beside = [el("p", SEMIFACTUALS, class_="note")] if any(exhibit.contrast for exhibit in found) else []
    return [to_html(tables.quality(columns)), *beside] if columns else []


def margins(found: Sequence[Exhibit]) -> list[Child]:
    """Histograms of the teacher's margin on real shots and on counterfactuals."""
    tone = {"shots": "t0", "counterfactuals": "t1"}
    charts = [
        el(
            "figure",
            el("figcaption", f"{exhibit.task}: {len(values)} {name}"),
            histogram(values, tone=tone[name], title=f"Margins of {name}, {exhibit.task}", unit="margin"),
        )
        for exhibit in found
        for name, values in exhibit.margins.items()
    ]
    lead = "The teacher's margin, P(its choice) − P(its second choice), on what students train on: 0 is its boundary."
    return [el("p", lead), el("div", *charts, class_="charts")] if charts else []


def pairs(found: Sequence[Exhibit]) -> list[Child]:
    """Every pair with its changed words marked, to be searched."""
    rows = [(exhibit.task, cfe, source) for exhibit in found for cfe, source in exhibit.pairs]
    if not rows:
        return []
    shown = rows[:MOST_PAIRS]
    left_out = f"The first {len(shown):,} of {len(rows):,}; all of a run: cod show RUN."
    choices = [
        _choice("task", "all tasks", [task for task, _, _ in shown]),
        _choice("direction", "all directions", [_direction(cfe) for _, cfe, _ in shown]),
        _choice("generator", "all generators", [cfe.generator for _, cfe, _ in shown]),
    ]
    controls = el(
        "form",
        el("input", type="search", placeholder="Search the pairs", aria_label="Search the pairs"),
        *choices,
        el("output", f"{len(shown)} pairs"),
        class_="controls",
    )
    return [
        el("p", left_out, class_="note") if len(rows) > len(shown) else None,
        el("div", controls, el("ol", *(_pair(*each) for each in shown)), class_="pairs", data_search=""),
    ]


def _choice(name: str, everything: str, values: Sequence[str]) -> Markup | None:
    options = sorted(set(values))
    if len(options) < 2:
        return None
    return el(
        "select",
        el("option", everything, value=""),
        *(el("option", value) for value in options),
        name=name,
        aria_label=name.capitalize(),
    )


def _direction(cfe: Counterfactual) -> str:
    return f"{cfe.source_label} → {cfe.label}"


def _pair(task: str, cfe: Counterfactual, source: str) -> Markup:
    facts = [task, cfe.id, cfe.generator]
    if cfe.p_before is not None and cfe.p_after is not None:
        facts.append(f"P({cfe.label}) {cfe.p_before:.2f} → {cfe.p_after:.2f}")
    facts.append(f"edit ratio {edits.edit_ratio(source, cfe.text):.2f}")
    flag = el("b", " does not flip the teacher", class_="worse") if cfe.flipped is False else None
    return el(
        "li",
        el("p", *mark(source, cfe.text), dir="auto"),
        el("p", el("b", _direction(cfe)), " · ", " · ".join(facts), flag, class_="facts"),
        data_task=task,
        data_direction=_direction(cfe),
        data_generator=cfe.generator,
    )


def mark(source: str, target: str) -> list[Child]:
    """The target with what was taken out of the source struck out and what was put in marked."""
    tags = {"removed": "del", "added": "ins"}
    return [el(tags[how], piece) if how in tags else piece for piece, how in edits.pieces(source, target)]
