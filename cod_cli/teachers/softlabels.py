"""File 3 read back: which counterfactuals flip the teacher by the soft labels that stand there.

Nothing of a model is loaded for it, so that `cod show` and `cod report` may ask, too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cod_cli.metrics import flips, softmax
from cod_cli.records import Counterfactual, Shot, SoftLabel, text_sha


@dataclass(frozen=True)
class Flip:
    """Whether a CFE flips the teacher, and the teacher's P(target) on the shot and on the CFE."""

    flipped: bool
    p_before: float
    p_after: float


def flips_by_file3(
    cfes: Iterable[Counterfactual], shots: Iterable[Shot], softs: Iterable[SoftLabel], labels: Sequence[str]
) -> dict[str, Flip]:
    """By id, each CFE that file 3 can tell about; not those whose text, or whose shot's, has no soft label there.

    So flips are known also where `cod counterfact` had no teacher, or where somebody edited a row since.

    Args:
        cfes: rows of file 2.
        shots: the rows of file 1.
        softs: the rows of file 3, whose logits are raw.
        labels: the classes that their columns stand for.
    """
    known = {(soft.id, soft.text_sha): soft.logits for soft in softs}
    before = {shot.id: known.get((shot.id, text_sha(shot.text))) for shot in shots}
    found = {}
    for cfe in cfes:
        source, own = before.get(cfe.shot_id or ""), known.get((cfe.id, text_sha(cfe.text)))
        if source is not None and own is not None and cfe.label in labels:
            found[cfe.id] = _flip(source, own, labels.index(cfe.label))
    return found


def _flip(before: Sequence[float], after: Sequence[float], target: int) -> Flip:
    p_before, p_after = (round(float(softmax(logits)[target]), 6) for logits in (before, after))
    return Flip(flips(before, after, target), p_before, p_after)


def with_flips_by_file3(
    cfes: Sequence[Counterfactual], shots: Iterable[Shot], softs: Iterable[SoftLabel], labels: Sequence[str]
) -> list[Counterfactual]:
    """The CFEs with the flip and the probabilities of `flips_by_file3`; one that it cannot tell stays as it is."""
    found = flips_by_file3(cfes, shots, softs, labels)
    return [cfe.replace(**vars(found[cfe.id])) if cfe.id in found else cfe for cfe in cfes]


def choices_by_file3(
    rows: Iterable[Counterfactual], softs: Iterable[SoftLabel], labels: Sequence[str]
) -> dict[str, str]:
    """By id, the class that the teacher chooses on each row that file 3 can tell about; ``labels`` as above."""
    known = {(soft.id, soft.text_sha): soft.logits for soft in softs}
    found = {row.id: known.get((row.id, text_sha(row.text))) for row in rows}
    return {name: labels[logits.index(max(logits))] for name, logits in found.items() if logits is not None}
