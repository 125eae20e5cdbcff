"""One self-contained HTML page of a comparison: it loads nothing, reads on a phone, prints, and escapes every text."""

from collections.abc import Sequence
from pathlib import Path

from cod_cli import __version__
from cod_cli.comparison import Comparison
from cod_cli.comparison_tables import NAMES
from cod_cli.evidence import Evidence
from cod_cli.page.exhibits import exhibits
from cod_cli.page.markup import Child, Markup, el, join
from cod_cli.page.numbers import commands, cost, differences, in_words, numbers, over_k
from cod_cli.page.texts import calibration, margins, pairs, published_figures, quality
from cod_cli.statistics import ALPHA

# Nothing can be loaded from elsewhere, whatever a text holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(evidence: Evidence, comparison: Comparison) -> str:
    """The whole document."""
    found = exhibits(evidence)
    sections = [
        _section("In words", in_words(comparison)),
        _section("Accuracy and agreement against k", over_k(comparison, evidence.teachers)),
        _section("Differences", differences(comparison)),
        _section("Numbers", numbers(comparison, evidence.teachers)),
        _section("What a student took", cost(comparison)),
        _section("Calibration", calibration(comparison, evidence.teachers)),
        _section("How good the counterfactuals are", quality(found)),
        _section("How close to the teacher's boundary", margins(found)),
        _section("The pairs", pairs(found)),
        _section("What the paper published", published_figures(comparison)),
        _section("Commands", commands(evidence, comparison)),
    ]
    title = evidence.folder.resolve().name
    head = join(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        el("title", f"{title} · cod report"),
        el("style", Markup(_asset("page.css"))),
    )
    body = join(_head(title, evidence, comparison), el("main", *sections), el("script", Markup(_asset("page.js"))))
    return f'<!doctype html>\n<html lang="en">\n{el("head", head)}\n{el("body", body)}\n</html>\n'


def _head(title: str, evidence: Evidence, comparison: Comparison) -> Markup:
    cells = comparison.cells
    counted = {
        "task": len({(cell.task, cell.split) for cell in cells}),
        "arm": len({cell.arm for cell in cells}),
        "run": len(evidence.runs),
        "student": sum(len(cell.results) for cell in cells),
    }
    facts = " · ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counted.items())
    ks = ", ".join(str(k) for k in sorted({cell.k for cell in cells}))
    how = (
        f"Decided by {NAMES[comparison.metric]}, paired by seed: t test at {ALPHA:.0%} with Holm's correction over "
        f"{comparison.tested} contrasts."
    )
    return el(
        "header",
        el("p", "cod report", class_="kicker"),
        el("h1", title),
        el("p", f"{facts} · k = {ks}", class_="facts"),
        el("p", how, class_="facts"),
        el("p", f"cod {__version__}", class_="version"),
    )


def _section(title: str, content: Child | Sequence[Child]) -> Markup | None:
    """A section, or nothing where there is nothing to show."""
    children = [content] if isinstance(content, str) or not isinstance(content, Sequence) else content
    return el("section", el("h2", title), *children) if any(children) else None


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
