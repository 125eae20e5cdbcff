"""A classifier of one's own as teacher, and how its classes are mapped to those of the run."""

import copy
import difflib
import shlex
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from cod_cli.errors import CodError, UsageError
from cod_cli.models.inference import Progress, logits_of, longest
from cod_cli.models.load import Classifier
from cod_cli.records import text_sha
from cod_cli.settings.base import parse_names
from cod_cli.store.cache import Cache, read_floats
from cod_cli.teachers.base import Logits, Output, Outputs


class WhiteBoxTeacher:
    """A classifier whose gradients can be had; no text is scored twice, across runs where there is a cache.

    Args:
        classifier: the model, with its labels in its own order.
        order: for each of the run's ``labels``, its column in the classifier's logits.
        cache: logits by fingerprint, length and text hash; texts are not kept.
    """

    source: Literal["logits"] = "logits"
    cheap = True

    def __init__(
        self,
        classifier: Classifier,
        *,
        name: str,
        fingerprint: str,
        labels: Sequence[str],
        order: Sequence[int],
        max_length: int = 256,
        batch_size: int = 32,
        cache: Cache[bytes] | None = None,
    ) -> None:
        self.classifier = classifier
        self.name = name
        self.fingerprint = fingerprint
        self.labels = tuple(labels)
        self.order = list(order)
        self.max_length = longest(classifier, max_length)
        self.batch_size = batch_size
        self._cache = Cache(None) if cache is None else cache
        self._forget()

    def _forget(self) -> None:
        self.new_outputs = 0
        self.gradients = 0
        self._known: dict[str, bytes] = {}

    def fresh(self) -> "WhiteBoxTeacher":
        """The same model, which nobody has asked yet."""
        teacher = copy.copy(self)
        teacher._forget()
        return teacher

    def outputs(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> Outputs:
        """The logits, a row for each text."""
        rows = self.logits(texts, progress=progress).tolist()
        return Outputs(tuple(Output(tuple(row), self.source) for row in rows))

    def logits(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> Logits:
        """Raw logits [n, C] in float32, columns in the run's label order."""
        keys = [f"{self.fingerprint}:{self.max_length}:{text_sha(text)}" for text in texts]
        unknown = [key for key in keys if key not in self._known]
        kept = self._cache.get_many(unknown)
        self._known.update((key, row) for key, row in kept.items() if read_floats(row, "f", len(self.labels)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if progress is not None and len(missing) < len(texts):
            progress(len(texts) - len(missing))
        self._score(missing, progress)
        rows = [np.frombuffer(self._known[key], dtype="<f4") for key in keys]
        own = np.array(rows, dtype=np.float32).reshape(len(texts), len(self.labels))
        return own[:, self.order]

    def estimate(
        self, texts: Sequence[str], families: Sequence[str | None] | None = None, *, anew: bool = False
    ) -> None:
        """It costs no money."""

    @property
    def queries(self) -> int:
        """The different texts that were asked about, and one for each text whose gradient was."""
        return len(self._known) + self.gradients

    @property
    def cache_size(self) -> int:
        """Texts whose logits are kept, those of other teachers included."""
        return self._cache.count()

    @property
    def cache_problem(self) -> str | None:
        """Why nothing could be kept, None where all is well."""
        return self._cache.problem

    def _score(self, missing: Mapping[str, str], progress: Progress | None) -> None:
        if not missing:
            return
        own = logits_of(
            self.classifier,
            list(missing.values()),
            batch_size=self.batch_size,
            max_length=self.max_length,
            progress=progress,
        )
        fresh = {key: row.astype("<f4").tobytes() for key, row in zip(missing, own, strict=True)}
        self._known.update(fresh)
        self._cache.put_many(fresh)
        self.new_outputs += len(fresh)


def map_labels(
    teachers: Sequence[str], labels: Sequence[str], renamed: str | None = None, *, role: str = "teacher"
) -> list[int]:
    """For each of ``labels`` its index among the teacher's.

    Args:
        teachers: the teacher's own names, in the order of its logits.
        labels: the run's.
        renamed: the value of ``--teacher-labels``, ``LABEL_0=negative,LABEL_1=positive``.
        role: ``teacher``, or ``judge`` for ``--judge-labels``, as messages call it.

    Raises:
        UsageError: a name is renamed that is not there, or to one that is not there.
        CodError: names are left that do not match.
    """
    names = _rename(teachers, labels, renamed, role)
    order = {label: index for index, label in enumerate(names) if label in labels}
    for index, name in enumerate(names):
        alike = [label for label in labels if label not in order and label.casefold() == name.casefold()]
        if name not in order and len(alike) == 1:
            order[alike[0]] = index
    if len(order) < len(labels) or len(set(order.values())) < len(teachers):
        raise _mismatch(teachers, labels, order, role)
    return [order[label] for label in labels]


def _rename(teachers: Sequence[str], labels: Sequence[str], renamed: str | None, role: str) -> list[str]:
    new = parse_names(f"--{role}-labels", renamed) if renamed else {}
    strangers = [
        *(name for name in new if name not in teachers),
        *(name for name in new.values() if name not in labels),
    ]
    if strangers:
        raise UsageError(
            f"--{role}-labels: there is no label {strangers[0]!r}",
            f"the {role}'s are {', '.join(teachers)}; the shots' are {', '.join(labels)}",
        )
    return [new.get(name, name) for name in teachers]


def _mismatch(teachers: Sequence[str], labels: Sequence[str], order: Mapping[str, int], role: str) -> CodError:
    message = f"the {role}'s labels ({', '.join(teachers)}) are not those of the shots ({', '.join(labels)})"
    if len(teachers) != len(labels):
        return CodError(message, f"use a {role} with these {len(labels)} classes; `cod teach` makes one")
    left = [name for index, name in enumerate(teachers) if index not in order.values()]
    right = [label for label in labels if label not in order]
    guesses = ",".join(f"{name}={guess}" for name, guess in zip(left, _guess(left, right), strict=True))
    return CodError(message, f"say which is which, after checking this guess: --{role}-labels {shlex.quote(guesses)}")


def _guess(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """For each name on the left one on the right: where they resemble each other that one, else in order."""
    free, guesses = list(right), []
    for name in left:
        alike = difflib.get_close_matches(name.casefold(), [label.casefold() for label in free], n=1, cutoff=0.4)
        found = next((label for label in free if label.casefold() in alike), free[0])
        free.remove(found)
        guesses.append(found)
    return guesses
