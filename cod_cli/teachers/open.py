"""Teachers: who says how probable each class is for a text, in the run's label order."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cod_cli.errors import UsageError
from cod_cli.llm.client import Client, Session
from cod_cli.llm.endpoint import endpoint_url
from cod_cli.llm.journal import open_teacher_journal
from cod_cli.llm.prices import find_price, price_within, total_usage
from cod_cli.llm.prompts import class_messages, find_prompt
from cod_cli.models.folder import fingerprint
from cod_cli.models.load import load_classifier
from cod_cli.records import Shot, SoftLabel, TeacherReply, text_sha
from cod_cli.settings.shared import LLMOptions, TeacherOptions
from cod_cli.store.cache import Cache, default_path
from cod_cli.store.run import Run
from cod_cli.teachers.answers import class_codes
from cod_cli.teachers.base import Output
from cod_cli.teachers.llm import BlackBoxTeacher
from cod_cli.teachers.local import WhiteBoxTeacher, map_labels

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
        order=map_labels(classifier.labels, labels, settings.teacher_labels),
        max_length=settings.max_length,
        batch_size=batch_size,
        cache=Cache(default_path("teacher-logits") if settings.cache else None),
    )


@contextmanager
def open_teacher(
    settings: TeacherOptions,
    labels: Sequence[str],
    replies: Path,
    session: Session,
    *,
    shots: Sequence[Shot] = (),
    batch_size: int = 32,
    note: Callable[[str], object] | None = None,
) -> Iterator[AnyTeacher]:
    """The teacher of ``--teacher``, whatever it is; what an LLM says is journalled in ``replies``.

    Args:
        labels: the run's classes in order.
        session: where an LLM is asked, within the limits of the command.
        shots: where an LLM's demonstrations are taken from.
        batch_size: texts in one forward pass of a model.
        note: told of what an LLM's server does not take.

    Raises:
        UsageError: no teacher named, a prompt that does not fit, a cap on cost without a price.
        CodError: no such model, labels that do not match, or another process is writing ``replies``.
    """
    if settings.llm is None:
        yield load_teacher(settings, labels, batch_size=batch_size)
    else:
        with open_llm(settings, labels, replies, session, shots, note) as teacher:
            yield teacher


def open_llm(
    settings: TeacherOptions,
    labels: Sequence[str],
    replies: Path,
    session: Session,
    shots: Sequence[Shot] = (),
    note: Callable[[str], object] | None = None,
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
        session,
        base_url=settings.llm_url,
        price=price,
        journal=open_teacher_journal(replies),
        note=note,
    )
    return BlackBoxTeacher(
        client,
        prompt,
        labels,
        shots=shots,
        demos=settings.demos,
        votes=settings.votes,
        cache=Cache(default_path("soft-labels")) if settings.cache else None,
        price=price,
        note=note,
    )


def soft_label(row_id: str, text: str, said: Output, teacher: AnyTeacher) -> SoftLabel:
    """A teacher's output as it stands on disk."""
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
    usage = total_usage(replies)
    return usage.record(), usage.cost(find_price(settings.llm, settings.llm_price))


Options = TypeVar("Options", bound=TeacherOptions)


def with_recorded_teacher(run: Run, settings: Options) -> Options:
    """Where no teacher is named: the one that labelled the rows that are there, else the one that checked the CFEs."""
    if settings.teacher:
        return settings
    manifests = [run.soft_labels.manifest(), run.counterfactuals.manifest()]
    recorded: dict[str, Any] = next((m.settings for m in manifests if m and m.settings.get("teacher")), {})
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    if "teacher_url" in recorded:  # the checks' endpoint, where the other one is the generator's
        recorded = {**recorded, "base_url": recorded["teacher_url"]}
    of_llms = TeacherOptions.OF_LLMS if TeacherOptions(teacher=recorded.get("teacher")).llm else ()
    names = [name for name in ("teacher", "teacher_labels", "max_length", *of_llms) if name in recorded]
    return dataclasses.replace(
        settings, **{name: recorded[name] for name in names if getattr(settings, name) == defaults[name]}
    )


def with_endpoint(settings: Options) -> Options:
    """An LLM teacher's address spelt out, so that its manifest says where later stages find it."""
    if settings.llm is None:
        return settings
    where = "teacher_url" if isinstance(settings, LLMOptions) else "base_url"
    spelt: dict[str, Any] = {where: endpoint_url(settings.llm_url)}
    return dataclasses.replace(settings, **spelt)
