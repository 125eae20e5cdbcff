"""Sections of the page that hold the report's tables: every metric, F1 by class, the boundary, what it took, why."""

from collections.abc import Mapping, Sequence

from cod_cli.records import Score
from cod_cli.report import tables
from cod_cli.report.comparison import Comparison, Place
from cod_cli.report.page.markup import Child, el, join
from cod_cli.report.rendering import Table, to_html
from cod_cli.report.why.explain import Why
from cod_cli.report.why.tables import correlations, meanings, meanings_of_families, of_families, quantities


def numbers(comparison: Comparison, yardsticks: Sequence[Score], links: tables.Links) -> list[Child]:
    """Every metric of every arm at every k; an arm's name leads to its commands, by ``links``."""
    found = tables.side_by_side(comparison, yardsticks, links)
    return [el("p", "Mean ± sample std over seeds."), *_by_place(found)]


def by_class(comparison: Comparison, yardsticks: Sequence[Score]) -> list[Child]:
    """F1 of each class of a task, where it is known."""
    found = _by_place(tables.f1_by_class(comparison, yardsticks))
    return [el("p", "F1 in %, mean ± sample std over seeds."), *found] if found else []


def confusions(comparison: Comparison) -> list[Child]:
    """For each arm at the largest k of a task, the rows of a class by the class that is decided for, seeds together."""
    shown: list[Child] = []
    for place in comparison.places:
        cells = comparison.at(place)
        k = max((cell.k for cell in cells), default=0)
        made = [table for cell in cells if cell.k == k and (table := tables.confusion(cell)) is not None]
        shown += [el("h3", f"{place[0]}, {place[1]}, k = {k}"), *map(to_html, made)] if made else []
    lead = "Rows of the scored split: in each line those of one class, by the class that the students took them for."
    return [el("p", lead), *shown] if shown else []


def _by_place(found: Mapping[Place, Table]) -> list[Child]:
    return [piece for place, table in found.items() for piece in (el("h3", ", ".join(place)), to_html(table))]


def boundary(comparison: Comparison) -> list[Child]:
    """Agreement on both members of held-out pairs, by who wrote them."""
    table = tables.by_generator(comparison)
    lead = "How often a student decides both a text and its counterfactual as the teacher does, on pairs made from "
    lead += "the scored rows and trained on by nobody, by who wrote them."
    return [el("p", lead), to_html(table)] if table.groups else []


def cost(comparison: Comparison) -> list[Child]:
    """What a student of each arm took."""
    lead = "Means over seeds. Teacher queries: the texts trained on and those tried on the way to them."
    return [el("p", lead), to_html(tables.cost(comparison))]


def reasons(found: Why | None, comparison: Comparison) -> list[Child]:
    """A table for each task, what its columns mean, and how they go with the metric over arms and seeds."""
    if found is None:
        return []
    measured, of_rows = quantities(found, comparison), of_families(found, comparison)
    shown: list[Child] = [el("p", "Mean ± sample std over seeds.")] if measured or of_rows else []
    if measured:
        together = correlations(found, comparison)
        shown += [*_by_place(measured), _legend(meanings(found))]
        shown += [el("h3", together.title), to_html(together)] if together else []
    if of_rows:
        shown += [*_by_place(of_rows), _legend(meanings_of_families(found))]
    return shown


def _legend(said: Mapping[str, str]) -> Child:
    return el("dl", *(join(el("dt", name), el("dd", what)) for name, what in said.items()), class_="legend-list")
