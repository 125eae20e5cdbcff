"""Teachers: who says how probable each class is for a text, in the run's label order."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from cod_cli.blackbox import BlackBoxTeacher
from cod_cli.cache import Cache, default_path
from cod_cli.checkpoints import fingerprint
from cod_cli.errors import UsageError
from cod_cli.journal import open_teacher_journal
from cod_cli.llm import Client
from cod_cli.matching import match_labels as match_labels
from cod_cli.metrics import flips as flips
from cod_cli.models import Classifier, Progress, load_classifier, logits_of, longest
from cod_cli.opinions import Opinion, Opinions, class_codes
from cod_cli.pacing import Limits
from cod_cli.prices import find_price, price_within
from cod_cli.records import Shot, SoftLabel, TeacherReply, text_sha
from cod_cli.settings import TeacherOptions
from cod_cli.templates import class_messages, find_prompt

Logits = npt.NDArray[np.float32]


class Teacher(Protocol):
    """Whose decisions a student learns.

    ``logits`` has a row for each text and a column for each of ``labels``; ``fingerprint`` changes with whatever
    changes them.
    """

    @property
    def name(self) -> str:
        """The model folder, Hub id or LLM as the user wrote it."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The run's classes in order."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits."""
        ...

    @property
    def source(self) -> Literal["logits", "logprobs", "votes"]:
        """Where the numbers come from."""
        ...

    @property
    def queries(self) -> int:
        """How many different texts it was asked about, answers from a cache included."""
        ...

    @property
    def cheap(self) -> bool:
        """Whether asking costs no money, so that many texts may be tried."""
        ...

    def logits(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> Logits:
        """Raw logits [n, C], float32; ``families`` are the ids of the shots that the texts are or stem from."""
        ...


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
        self.scored = 0
        self.gradients = 0
        self._known: dict[str, bytes] = {}

    def fresh(self) -> "WhiteBoxTeacher":
        """The same model, which nobody has asked yet."""
        teacher = copy.copy(self)
        teacher._forget()
        return teacher

    def opinions(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> Opinions:
        """The logits, a row for each text."""
        rows = self.logits(texts, progress=progress).tolist()
        return Opinions(tuple(Opinion(tuple(row), self.source) for row in rows))

    def logits(
        self, texts: Sequence[str], *, families: Sequence[str | None] | None = None, progress: Progress | None = None
    ) -> Logits:
        """Raw logits [n, C] in float32, columns in the run's label order."""
        keys = [f"{self.fingerprint}:{self.max_length}:{text_sha(text)}" for text in texts]
        unknown = [key for key in keys if key not in self._known]
        kept = self._cache.get_many(unknown)
        self._known.update((key, row) for key, row in kept.items() if len(row) == 4 * len(self.labels))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if progress is not None and len(missing) < len(texts):
            progress(len(texts) - len(missing))
        self._score(missing, progress)
        rows = [np.frombuffer(self._known[key], dtype="<f4") for key in keys]
        own = np.array(rows, dtype=np.float32).reshape(len(texts), len(self.labels))
        return own[:, self.order]

    @property
    def queries(self) -> int:
        """The different texts that were asked about, and one for each text whose gradient was."""
        return len(self._known) + self.gradients

    @property
    def memory_size(self) -> int:
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
        self.scored += len(fresh)


AnyTeacher = WhiteBoxTeacher | BlackBoxTeacher


def load_teacher(settings: TeacherOptions, labels: Sequence[str], *, batch_size: int = 32) -> WhiteBoxTeacher:
    """The teacher of ``--teacher``, its columns put into the run's label order.

    Names are matched as they are, else without regard to case; ``--teacher-labels`` renames the teacher's first.

    Raises:
        UsageError: no teacher named, or a kind that is not supported.
        CodError: no such model, or labels that do not match; the hint is the option to paste.
    """
    if not settings.teacher:
        raise UsageError("no teacher is named", "add --teacher with a model folder or Hub id")
    if settings.llm is not None:
        raise UsageError(
            f"--teacher {settings.teacher}: an LLM's weights are not at hand, and this needs them",
            "use a model folder or Hub id with a classification head; `cod teach` makes one",
        )
    classifier = load_classifier(settings.teacher, device=settings.device)
    return WhiteBoxTeacher(
        classifier,
        name=settings.teacher,
        fingerprint=fingerprint(settings.teacher),
        labels=labels,
        order=match_labels(classifier.labels, labels, settings.teacher_labels),
        max_length=settings.max_length,
        batch_size=batch_size,
        cache=Cache(default_path("teacher-logits") if settings.cache else None),
    )


@contextmanager
def open_teacher(
    settings: TeacherOptions,
    labels: Sequence[str],
    replies: Path,
    *,
    shots: Sequence[Shot] = (),
    batch_size: int = 32,
    note: Callable[[str], object] | None = None,
    beside: Client | None = None,
) -> Iterator[AnyTeacher]:
    """The teacher of ``--teacher``, whatever it is; what an LLM says is journalled in ``replies``.

    Args:
        labels: the run's classes in order.
        shots: where an LLM's demonstrations are taken from.
        batch_size: texts in one forward pass of a model.
        note: told of what an LLM's server does not take.
        beside: a client whose limits an LLM shares.

    Raises:
        UsageError: no teacher named, a prompt that does not fit, a cap on cost without a price.
        CodError: no such model, labels that do not match, or another process is writing ``replies``.
    """
    if settings.llm is None:
        yield load_teacher(settings, labels, batch_size=batch_size)
    else:
        with open_llm(settings, labels, replies, shots, note, beside) as teacher:
            yield teacher


def open_llm(
    settings: TeacherOptions,
    labels: Sequence[str],
    replies: Path,
    shots: Sequence[Shot] = (),
    note: Callable[[str], object] | None = None,
    beside: Client | None = None,
) -> BlackBoxTeacher:
    """The LLM of ``--teacher openai:MODEL``; see `open_teacher`."""
    if not settings.llm:
        raise UsageError("--teacher openai: names no LLM", "write it as openai:MODEL")
    if settings.teacher_labels:
        raise UsageError(
            "--teacher-labels is about a model's own names, and an LLM has none",
            "describe the classes under `labels` in a prompt of your own: --teacher-prompt FILE",
        )
    prompt = find_prompt(settings.teacher_prompt)
    class_messages(prompt, "", labels, class_codes(labels))  # refused before a file is made
    price = price_within(settings.llm, settings.llm_price, settings.max_cost)
    client = Client(
        settings.llm,
        base_url=settings.llm_url,
        limits=Limits.of(settings),
        price=price,
        journal=open_teacher_journal(replies),
        note=note,
        beside=beside,
    )
    return BlackBoxTeacher(
        client,
        prompt,
        labels,
        shots=shots,
        demos=settings.demos,
        votes=settings.votes,
        memory=Cache(default_path("soft-labels")) if settings.cache else None,
        price=price,
        note=note,
    )


def soft_label(row_id: str, text: str, said: Opinion, teacher: AnyTeacher) -> SoftLabel:
    """A teacher's opinion as it stands on disk."""
    return SoftLabel(
        id=row_id,
        text_sha=text_sha(text),
        logits=[round(value, 6) for value in said.logits],
        teacher=teacher.fingerprint,
        source=said.source,
        covered_mass=round(said.covered_mass, 6),
    )


def paid(settings: TeacherOptions, replies: Iterable[TeacherReply]) -> tuple[dict[str, int], float | None]:
    """Tokens and cost of what an LLM that is the teacher was paid for; nothing where it is none."""
    if settings.llm is None:
        return {}, None
    told = [reply.usage for reply in replies if reply.usage]
    usage = {name: sum(one.get(name, 0) for one in told) for name in ("prompt_tokens", "completion_tokens")}
    price = find_price(settings.llm, settings.llm_price)
    return usage, price.of(usage["prompt_tokens"], usage["completion_tokens"]) if price else None
