"""The words of the page, for somebody who was sent it: what an arm is, and each that stands on it."""

from cod_cli.mixes import RIVALS
from cod_cli.report.comparison import Comparison
from cod_cli.report.page.markup import Markup, el
from cod_cli.ui import CUT_MARK, OTHER_MARK

_ALWAYS = {
    "k": "the labelled rows that a run draws, its shots",
    "CFE": "counterfactual explanation: a shot with the fewest words changed that turn the teacher's decision",
}
_METHODS = {
    "kd": "the student learns the teacher's probabilities",
    "lwd": "it follows the teacher's hidden layers, too",
    "ted": "it follows them through filters that are trained first",
}
_MIXES = {
    "shots": "the k shots alone: plain distillation",
    "cod": "k rows, shots with a CFE each: equal budget",
    "contrast": "the k shots, their CFEs, and edits that do not turn the teacher",
    "all": "everything that the run has",
    **{kind.name: kind.rows for kind in RIVALS.values()},
}


def words_used(comparison: Comparison) -> Markup:
    """A sentence, and a list of the words that this page uses."""
    cells = comparison.in_order()
    methods = {cell.method for cell in cells if cell.method in _METHODS}
    mixes = dict.fromkeys(cell.mix for cell in cells if cell.mix in _MIXES)
    said = _ALWAYS | {name: _METHODS[name] for name in _METHODS if name in methods}
    said |= {str(mix): _MIXES[str(mix)] for mix in mixes}
    if any(cell.other_budget for cell in cells):
        said[OTHER_MARK] = "other rows or steps than the baseline: shown, never counted as a win"
    if any(cell.cut for cell in cells):
        said[CUT_MARK] = "cut from the teacher, so compared only with others that are"
    lead = (
        "A teacher taught small students. An arm is a way to do so, method-mix: how the student learns, and from which "
    )
    lead += "rows. Each arm is repeated over seeds."
    listed = [part for word, meaning in said.items() for part in (el("dt", word), el("dd", meaning))]
    return el(
        "div", el("p", lead), el("details", el("summary", "The words on this page"), _list(listed), class_="exact")
    )


def _list(parts: list[Markup]) -> Markup:
    return el("dl", *parts, class_="legend-list")
