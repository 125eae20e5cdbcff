"""Which labelled shots an LLM is shown beside the text that it is asked about."""

from collections.abc import Sequence

from cod_cli.records import Shot


def demonstrations(
    shots: Sequence[Shot], labels: Sequence[str], m: int, *, text: str, family: str | None = None
) -> list[Shot]:
    """At most ``m`` shots, the first of each class in turn, so that the classes are balanced.

    Neither the text itself is among them nor the shot that it stems from; where one is left out, the next of its
    class takes its place.

    Args:
        shots: in order.
        labels: the classes in order.
        m: how many, at most.
        text: what is asked about.
        family: the id of the shot that the text is or stems from; None where it stems from none.
    """
    own = text.strip()
    allowed = [shot for shot in shots if shot.id != family and shot.text.strip() != own]
    classes = [[shot for shot in allowed if shot.label == label] for label in labels]
    longest = max(map(len, classes), default=0)
    turns = [of_class[place] for place in range(longest) for of_class in classes if place < len(of_class)]
    return turns[:m]
