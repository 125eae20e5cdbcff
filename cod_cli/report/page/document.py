"""One self-contained HTML page of a comparison: it loads nothing, reads on a phone, prints, and escapes every text."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from cod_cli import __version__
from cod_cli.metrics import METRICS
from cod_cli.report.comparison import Comparison
from cod_cli.report.page.commands import anchors, commands
from cod_cli.report.page.curves import calibration, over_k
from cod_cli.report.page.markup import Child, Markup, el, join
from cod_cli.report.page.pairs import exhibits, margins, pairs, quality
from cod_cli.report.page.published import published_figures
from cod_cli.report.page.tables import boundary, by_class, confusions, cost, numbers, reasons
from cod_cli.report.page.verdicts import differences, in_words
from cod_cli.report.page.words import words_used
from cod_cli.report.results import Evidence
from cod_cli.report.statistics import ALPHA
from cod_cli.report.verdicts import verdicts
from cod_cli.report.why.explain import Why

Content = list[Child]


def page(evidence: Evidence, comparison: Comparison, why: Why | None = None) -> str:
    """The whole document; a section with nothing to show is left out, ``why`` also where it was not measured."""
    found = exhibits(evidence)
    sections: dict[str, Content] = {
        "In words": in_words(comparison, verdicts(comparison, evidence.yardsticks)),
        "The pairs": pairs(found),
        "Accuracy and agreement": over_k(comparison, evidence.yardsticks),
        "Differences": differences(comparison),
        "Numbers": numbers(comparison, evidence.yardsticks, anchors(comparison)),
        "F1 by class": by_class(comparison, evidence.yardsticks),
        "Which class is taken for which": confusions(comparison),
        "Agreement at the boundary": boundary(comparison),
        "What a student took": cost(comparison),
        "Calibration": calibration(comparison, evidence.teachers),
        "How good the counterfactuals are": quality(found),
        "How close to the teacher's boundary": margins(found),
        "Why it works, or not": reasons(why, comparison),
        "What the paper published": published_figures(comparison),
        "Commands": commands(evidence, comparison),
    }
    shown = {title: content for title, content in sections.items() if any(content)}
    style, script = Markup(_asset("chart.css") + _asset("page.css")), Markup(_asset("page.js"))
    title = evidence.folder.resolve().name
    head = join(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">'),
        el("title", f"{title} · cod report"),
        el("style", style),
    )
    main = el("main", *(_section(index, each, shown[each]) for index, each in enumerate(shown, start=1)))
    body = join(_head(title, evidence, comparison), _contents(list(shown)), main, el("script", script))
    return f'<!doctype html>\n<html lang="en">\n{el("head", head)}\n{el("body", body)}\n</html>\n'


def _policy(style: str, script: str) -> str:
    """Nothing can be loaded, and nothing runs but the page's own style and script, whatever a text holds."""
    own = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{own[0]}'; script-src 'sha256-{own[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _head(title: str, evidence: Evidence, comparison: Comparison) -> Markup:
    cells = comparison.cells
    counted = {
        "task": len({(cell.task, cell.split) for cell in cells}),
        "arm": len({cell.arm for cell in cells}),
        "run": len(evidence.runs),
        "student": sum(len(cell.results) for cell in cells),
    }
    facts = " · ".join(f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in counted.items())
    ks = ", ".join(str(k) for k in sorted({cell.k for cell in cells}))
    return el(
        "header",
        el("p", f"cod report {__version__}", class_="kicker"),
        el("h1", title),
        el("p", f"{facts} · k = {ks}", class_="facts"),
        el("p", _how(comparison), class_="facts") if comparison.n_tested else None,
        words_used(comparison),
    )


def _how(comparison: Comparison) -> str:
    tested = f"{comparison.n_tested} contrast{'' if comparison.n_tested == 1 else 's'}"
    return (
        f"Decided by {METRICS[comparison.metric].title}, paired by seed: t test at {ALPHA:.0%} with Holm's correction "
        f"over {tested}."
    )


def _contents(titles: Sequence[str]) -> Markup:
    links = (el("a", title, href=f"#part-{index}") for index, title in enumerate(titles, start=1))
    return el("nav", *links, aria_label="Contents")


def _section(index: int, title: str, content: Content) -> Markup:
    return el("section", el("h2", title), *content, id=f"part-{index}")


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
