"""What a student may train on: the mixes, and the rivals of counterfactuals by kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cod_cli.errors import UsageError

MIXES = ("all", "cod", "shots")


@dataclass(frozen=True)
class Kind:
    """A rival: what its rows are.

    ``llm``: an LLM writes them. ``flips``: a row counts only if the teacher flips on it. ``real``: they are texts of
    the data source, made from no shot. ``other_budget``: more rows are trained on than the run has shots.
    """

    name: str
    rows: str
    llm: bool = False
    flips: bool = False
    real: bool = False
    other_budget: bool = False


RIVALS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("eda", "the shot with words exchanged, put in, swapped or left out (EDA)"),
            Kind("aeda", "the shot with punctuation marks put in (AEDA)"),
            Kind("pool", "other real texts, labelled by the teacher", real=True),
            Kind("pool-queries", "a real text for each query that the CFEs cost", real=True, other_budget=True),
            Kind("cod-unverified", "the first edit as it came, unchecked"),
            Kind("cod-unreverted", "the CFE before needless edits were undone", flips=True),
            Kind("cod-nearest", "of the edits that flip, the one nearest to the boundary", flips=True),
            Kind("cod-confident", "of the edits that flip, the one that the teacher is surest of", flips=True),
            Kind("paraphrase", "the shot in other words (LLM)", llm=True),
            Kind("opposite", "a free text of the other class (LLM)", llm=True, flips=True),
        )
    }
)
# Every table marks these, and no contrast counts them as a win.
OTHER_BUDGET = frozenset({"all"} | {kind.name for kind in RIVALS.values() if kind.other_budget})


def rival_named(name: str) -> Kind:
    """The rival of that kind.

    Raises:
        UsageError: there is none.
    """
    if name not in RIVALS:
        raise UsageError(f"there is no rival {name!r}", f"choose from: {', '.join(RIVALS)}")
    return RIVALS[name]


def require_mix(mix: str) -> None:
    """Refuse a mix that there is not."""
    if mix not in MIXES and mix not in RIVALS:
        raise UsageError(f"--mix is {mix!r}", f"choose one of: {', '.join((*MIXES, *RIVALS))}")
