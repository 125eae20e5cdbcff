"""Where students are likely to lose by edits: a sign that is there before anything is trained, without held-out labels.

Where a class hangs on few words (sentiment), exchanging one to three words at random leaves most texts in it. Where it
hangs on the whole text (CoLA: grammar), most random edits turn it, whichever words they are, and mostly one way: then
rows that differ by an edit teach a student little but that edited texts are of that class.
"""

from collections.abc import Mapping, Sequence
from math import log2

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
LEAST_SURVIVING = 0.35


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


def surviving(turned: Turned) -> float | None:
    """How much of what tells the classes apart random edits leave, from 0, nothing, to 1, all; None for one class.

    The mutual information of a text's class before the edit and after it, all classes before alike often, as a share of
    the entropy before.
    """
    shares = [_shares(counts) for counts in turned.values() if sum(counts.values())]
    if len(shares) < 2:
        return None
    mean = [sum(column) / len(shares) for column in zip(*shares, strict=True)]
    # Rounding may leave a hair below zero, which no information is.
    return max(0.0, _entropy(mean) - sum(map(_entropy, shares)) / len(shares)) / log2(len(shares))


def warning(turned: Turned | None) -> str | None:
    """Why students are likely to lose by edits, in words; None where they are not, or where nothing is known."""
    left = surviving(turned) if turned else None
    if turned is None or left is None or left >= LEAST_SURVIVING:
        return None
    ways = [_way(source, counts) for source, counts in turned.items() if sum(counts.values())]
    return (
        f"edits are likely to do harm here: exchanging a few words at random turns {', '.join(ways)}, whichever words "
        f"they are, and leaves {left:.0%} of what tells the classes apart (below {LEAST_SURVIVING:.0%}, as on CoLA, "
        "where students lose by edits). Compare with --mix shots, or train on whole texts: cod pool, --mix pool"
    )


def _way(source: str, counts: Mapping[str, int]) -> str:
    """How many edits of a class turn it, and where most of them go."""
    others = {label: n for label, n in counts.items() if label != source}
    most = max(others, key=others.__getitem__)
    share = sum(others.values()) / sum(counts.values())
    return f"{share:.0%} of *{source}* (to *{most}*)" if others[most] else f"none of *{source}*"


def _shares(counts: Mapping[str, int]) -> list[float]:
    total = sum(counts.values())
    return [n / total for n in counts.values()]


def _entropy(shares: Sequence[float]) -> float:
    return sum(share * log2(1 / share) for share in shares if share)
