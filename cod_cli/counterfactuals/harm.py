"""Where students are likely to lose by edits: a sign that is there before anything is trained, without held-out labels.

Where a class hangs on few words (sentiment), exchanging one to three words at random leaves most texts in it. Where it
hangs on the whole text (CoLA: grammar), most random edits turn it, whichever words they are, and mostly one way: then
rows that differ by an edit teach a student little but that edited texts are of that class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cod_cli.counterfactuals.edits import words
from cod_cli.counterfactuals.generators.augment import exchanged
from cod_cli.data.draw import Draws
from cod_cli.records import Shot
from cod_cli.teachers.base import Oracle

# By the class that the teacher chooses on a shot: how many of its edits it puts into each class.
Turned = Mapping[str, Mapping[str, int]]
# Half a thousand short texts at most, seconds on a CPU; the first shots are balanced, too.
SHOTS = 16
EDITS = 32
# From fewer shots the sign is not told: it was never measured there.
ENOUGH_SHOTS = 8
# In the middle of the widest gap among the signs tried (tests/evidence, "Where edits do harm").
MOST_DRIFT = 0.31


def turn_at_random(
    teacher: Oracle, shots: Sequence[Shot], labels: Sequence[str], columns: Sequence[str] = ()
) -> dict[str, dict[str, int]]:
    """What a teacher makes of random edits of the first shots; empty where there are too few of them.

    Args:
        teacher: asked about 32 edits of each of up to 16 shots, in one to three words, for others from these shots.
        shots: in the order in which they were drawn.
        labels: the teacher's classes in order.
        columns: names of columns that stand in the texts and stay.
    """
    shots = shots[:SHOTS]
    vocabulary = sorted({word.lower() for shot in shots for word in words(shot.text)})
    if len(shots) < ENOUGH_SHOTS or not vocabulary:
        return {}
    before = teacher.logits([shot.text for shot in shots]).argmax(axis=-1).tolist()
    edits = [
        (place, edit)
        for shot, place in zip(shots, before, strict=True)
        for n in range(EDITS)
        if (edit := exchanged(shot.text, vocabulary, Draws(f"random edit {shot.id} {n}"), columns)) != shot.text
    ]
    after = teacher.logits([edit for _, edit in edits]).argmax(axis=-1).tolist() if edits else []
    found: dict[str, dict[str, int]] = {}
    for (source, _), target in zip(edits, after, strict=True):
        counts = found.setdefault(labels[source], dict.fromkeys(labels, 0))
        counts[labels[target]] += 1
    return found


@dataclass(frozen=True)
class Drift:
    """Where random edits go: ``share`` is 0 where no class gains by them, and 1 where all end in ``label``."""

    label: str
    share: float


def drift(turned: Turned) -> Drift | None:
    """How far the classes after random edits lean to one of them, all classes before alike often; None for one class.

    The share that ends in that class, above 1/C for C classes before, as a part of what there is above it.
    """
    shares = [_shares(counts) for counts in turned.values() if sum(counts.values())]
    if len(shares) < 2:
        return None
    ends = {label: sum(share[label] for share in shares) / len(shares) for label in shares[0]}
    label = max(ends, key=ends.__getitem__)
    chance = 1 / len(shares)
    return Drift(label, max(0.0, ends[label] - chance) / (1 - chance))


def warning(turned: Turned | None) -> str | None:
    """Why students are likely to lose by edits, in words; None where they are not, or where nothing is known."""
    found = drift(turned) if turned else None
    if turned is None or found is None or found.share < MOST_DRIFT:
        return None
    ways = [_way(source, counts) for source, counts in turned.items() if sum(counts.values())]
    return (
        f"edits are likely to do harm here: exchanging a few words at random takes texts to *{found.label}*, whichever "
        f"words they are (it turns {', '.join(ways)}; a drift of {found.share:.2f}, where {MOST_DRIFT} and more is as "
        "on CoLA, where students lose by edits). Compare with --mix shots; or train on texts (cod pool, --mix pool)"
    )


def _way(source: str, counts: Mapping[str, int]) -> str:
    """How many edits of a class turn it, and where most of them go."""
    others = {label: n for label, n in counts.items() if label != source}
    most = max(others, key=others.__getitem__)
    share = sum(others.values()) / sum(counts.values())
    return f"{share:.0%} of *{source}* (to *{most}*)" if others[most] else f"none of *{source}*"


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {label: n / total for label, n in counts.items()}
