"""Which of a teacher's labels is which of the run's."""

import difflib
import shlex
from collections.abc import Mapping, Sequence

from cod_cli.columns import parse_names
from cod_cli.errors import CodError, UsageError


def match_labels(teachers: Sequence[str], labels: Sequence[str], renamed: str | None = None) -> list[int]:
    """For each of ``labels`` its index among the teacher's.

    Args:
        teachers: the teacher's own names, in the order of its logits.
        labels: the run's.
        renamed: the value of ``--teacher-labels``, ``LABEL_0=negative,LABEL_1=positive``.
    """
    names = _rename(teachers, labels, renamed)
    order = {label: index for index, label in enumerate(names) if label in labels}
    for index, name in enumerate(names):
        alike = [label for label in labels if label not in order and label.casefold() == name.casefold()]
        if name not in order and len(alike) == 1:
            order[alike[0]] = index
    if len(order) < len(labels) or len(set(order.values())) < len(teachers):
        raise _mismatch(teachers, labels, order)
    return [order[label] for label in labels]


def _rename(teachers: Sequence[str], labels: Sequence[str], renamed: str | None) -> list[str]:
    new = parse_names("--teacher-labels", renamed) if renamed else {}
    strangers = [
        *(name for name in new if name not in teachers),
        *(name for name in new.values() if name not in labels),
    ]
    if strangers:
        raise UsageError(
            f"--teacher-labels: there is no label {strangers[0]!r}",
            f"the teacher's are {', '.join(teachers)}; the shots' are {', '.join(labels)}",
        )
    return [new.get(name, name) for name in teachers]


def _mismatch(teachers: Sequence[str], labels: Sequence[str], order: Mapping[str, int]) -> CodError:
    message = f"the teacher's labels ({', '.join(teachers)}) are not those of the shots ({', '.join(labels)})"
    if len(teachers) != len(labels):
        return CodError(message, f"use a teacher with these {len(labels)} classes; `cod teach` makes one")
    left = [name for index, name in enumerate(teachers) if index not in order.values()]
    right = [label for label in labels if label not in order]
    guesses = ",".join(f"{name}={guess}" for name, guess in zip(left, _guess(left, right), strict=True))
    return CodError(message, f"say which is which, after checking this guess: --teacher-labels {shlex.quote(guesses)}")


def _guess(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """For each name on the left one on the right: where they resemble each other that one, else in order."""
    free, guesses = list(right), []
    for name in left:
        alike = difflib.get_close_matches(name.casefold(), [label.casefold() for label in free], n=1, cutoff=0.4)
        found = next((label for label in free if label.casefold() in alike), free[0])
        free.remove(found)
        guesses.append(found)
    return guesses
