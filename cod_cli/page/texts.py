"""Sections of the page about texts: the pairs, their quality, margins; calibration; the paper's figures."""

from collections.abc import Sequence

from cod_cli import edits
from cod_cli.comparison import Comparison
from cod_cli.comparison_tables import ordered
from cod_cli.evidence import Result
from cod_cli.metrics import Bin
from cod_cli.page.exhibits import Exhibit, curve, curve_of
from cod_cli.page.markup import Child, Markup, el
from cod_cli.page.numbers import places, row, table, tones
from cod_cli.page.plots import histogram, reliability
from cod_cli.page.published import SOURCE, Published, published
from cod_cli.records import Counterfactual
from cod_cli.tables import QUALITY

# More of them make a page that a phone does not open.
MOST_PAIRS = 2000


def calibration(comparison: Comparison, teachers: Sequence[Result]) -> list[Child]:
    """Reliability curves at the largest k of each task: the teacher, then the arms that stand out."""
    chosen = tones(comparison)
    charts: list[Markup] = []
    for task, split in places(comparison):
        cells = [cell for cell in ordered(comparison) if (cell.task, cell.split) == (task, split)]
        k = max(cell.k for cell in cells)
        taught = curve(t.prediction for t in teachers[:1] if (t.score.task, t.score.split) == (task, split))
        charts += [_curve(taught, "t7", f"{task}: teacher")] if taught else []
        for cell in cells:
            found = curve_of(cell) if cell.k == k and cell.arm in chosen else None
            charts += [_curve(found, chosen[cell.arm], f"{task}, k = {k}: {cell.arm}")] if found else []
    if not charts:
        return []
    lead = "How often a decision is right (up) at the confidence it is made with (across), seeds pooled; 15 bins, %."
    return [el("p", lead), el("div", *charts, class_="charts small")]


def _curve(bins: Sequence[Bin], tone: str, title: str) -> Markup:
    return el("figure", el("figcaption", title), reliability(bins, tone=tone, title=f"Reliability, {title}"))


def quality(found: Sequence[Exhibit]) -> list[Child]:
    """A column for each task."""
    measured = {exhibit.task: exhibit.quality for exhibit in found if exhibit.quality is not None}
    rows = []
    for name, show in QUALITY.items():
        cells = [show(each) for each in measured.values()]
        if any(cell != "-" for cell in cells):
            rows.append(row([name, *cells]))
    return [table(["", *measured], rows)] if rows else []


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
    directions = sorted({_direction(cfe) for _, cfe, _ in rows})
    shown = rows[:MOST_PAIRS]
    left_out = (
        f"The first {len(shown):,} of {len(rows):,}; all of a run: cod show RUN." if len(rows) > len(shown) else None
    )
    controls = el(
        "form",
        el("input", type="search", placeholder="Search the pairs", aria_label="Search the pairs"),
        el(
            "select",
            el("option", "all directions", value=""),
            *(el("option", d) for d in directions),
            aria_label="Direction",
        ),
        el("output", f"{len(shown)} pairs"),
        class_="controls",
    )
    return [
        el("p", left_out, class_="note") if left_out else None,
        el("div", controls, el("ol", *(_pair(*each) for each in shown)), class_="pairs", data_search=""),
    ]


def _direction(cfe: Counterfactual) -> str:
    return f"{cfe.source_label} → {cfe.label}"


def _pair(task: str, cfe: Counterfactual, source: str) -> Markup:
    facts = [task, cfe.id, cfe.generator]
    if cfe.p_before is not None and cfe.p_after is not None:
        facts.append(f"P {cfe.p_before:.2f} → {cfe.p_after:.2f}")
    facts.append(f"edit ratio {edits.edit_ratio(source, cfe.text):.2f}")
    flag = el("b", " does not flip the teacher", class_="worse") if cfe.flipped is False else None
    return el(
        "li",
        el("p", *marked(source, cfe.text)),
        el("p", el("b", _direction(cfe)), " · ", " · ".join(facts), flag, class_="facts"),
        data_direction=_direction(cfe),
    )


def marked(source: str, target: str) -> list[Child]:
    """The target with what was taken out of the source struck out and what was put in marked."""
    before, after = edits.tokenize(source), edits.tokenize(target)
    parts: list[Child] = []
    position = 0
    for span in edits.spans(source, target):
        parts.append(_words(after[position : span.target_start]))
        removed, added = before[span.source_start : span.source_end], after[span.target_start : span.target_end]
        parts.append((added or removed)[0].space)
        parts.append(el("del", _words(removed).lstrip()) if removed else None)
        parts.append(" " if removed and added else None)
        parts.append(el("ins", _words(added).lstrip()) if added else None)
        position = span.target_end
    return [*parts, _words(after[position:])]


def _words(tokens: Sequence[edits.Token]) -> str:
    return "".join(token.space + token.text for token in tokens)


def published_figures(comparison: Comparison) -> list[Child]:
    """The paper's accuracies for the same task and k, whatever its teacher and student."""
    shown: list[Child] = []
    for task in dict.fromkeys(cell.task for cell in comparison.cells):
        ks = sorted({cell.k for cell in comparison.cells if cell.task == task})
        found = published(task, ks)
        if found:
            shown += [el("h3", task), _published_table(found, sorted({cell.k for cell in found}))]
    if not shown:
        return []
    lead = "Accuracy in %, mean ± std; other teachers, students and LLM than here, so a yardstick and no contrast."
    return [el("p", lead), *shown, el("p", f"Source: {SOURCE}.", class_="note")]


def _published_table(found: Sequence[Published], ks: Sequence[int]) -> Markup:
    cells = {(c.teacher, c.student, c.method, c.mix, c.k): f"{100 * c.accuracy:.1f} ± {100 * c.std:.1f}" for c in found}
    keys = dict.fromkeys(key[:4] for key in cells)
    rows = [row([f"{t} → {s}", f"{m}-{x}", *(cells.get((t, s, m, x, k), "-") for k in ks)]) for t, s, m, x in keys]
    return table(["teacher → student", "arm", *(f"k = {k}" for k in ks)], rows)
