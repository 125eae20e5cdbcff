"""From the teacher that is asked for, or recorded, to one that answers; and what its answers were paid with."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cod_cli.errors import UsageError
from cod_cli.llm.client import Client, Session
from cod_cli.llm.endpoint import endpoint_url
from cod_cli.llm.journal import open_teacher_journal
from cod_cli.llm.prices import find_price, price_within, total_usage
from cod_cli.llm.prompts import class_messages, find_prompt
from cod_cli.models.folder import fingerprint
from cod_cli.models.load import load_classifier
from cod_cli.records import Shot, TeacherReply
from cod_cli.settings.shared import TeacherOptions, TeacherSpec
from cod_cli.store.cache import Cache, default_path
from cod_cli.store.run import Run, reading_of
from cod_cli.teachers.answers import class_codes
from cod_cli.teachers.base import Teacher
from cod_cli.teachers.llm import BlackBoxTeacher
from cod_cli.teachers.local import WhiteBoxTeacher, map_labels


def load_teacher(
    spec: TeacherSpec,
    labels: Sequence[str],
    *,
    device: str = "auto",
    cache: bool = True,
    batch_size: int = 32,
    role: str = "teacher",
) -> WhiteBoxTeacher:
    """A model of one's own as teacher, its columns put into the run's label order.

    Names are matched as they are, else without regard to case; ``spec.labels`` renames the model's first.

    Args:
        spec: which.
        labels: the run's classes in order.
        device: where it runs.
        cache: whether its logits are kept for other runs.
        batch_size: texts in one forward pass.
        role: what it is to the user, and the option that names it: ``teacher`` or ``judge``.

    Raises:
        UsageError: no teacher named, a kind that is not supported, or renamed labels that nobody has.
        CodError: no such model, or labels that do not match; the hint is the option to paste.
    """
    if not spec.name:
        raise UsageError(f"no {role} is named", f"add --{role} with a model folder or Hub id")
    if spec.llm is not None:
        raise UsageError(
            f"--{role} {spec.name}: an LLM's weights are not at hand, and this needs them",
            "use a model folder or Hub id with a classification head; `cod teach` makes one",
        )
    classifier = load_classifier(spec.name, device=device)
    return WhiteBoxTeacher(
        classifier,
        name=spec.name,
        fingerprint=fingerprint(spec.name),
        labels=labels,
        order=map_labels(classifier.labels, labels, spec.labels, role=role),
        max_length=spec.max_length,
        batch_size=batch_size,
        cache=Cache(default_path("teacher-logits") if cache else None),
    )


@contextmanager
def open_teacher(
    spec: TeacherSpec,
    labels: Sequence[str],
    replies: Path,
    session: Session,
    *,
    shots: Sequence[Shot] = (),
    device: str = "auto",
    cache: bool = True,
    batch_size: int = 32,
) -> Iterator[Teacher]:
    """A teacher, whatever it is; what an LLM says is journalled in ``replies``.

    Args:
        spec: which, and how it is asked.
        labels: the run's classes in order.
        replies: an LLM's journal.
        session: where an LLM is asked, within the limits of the command.
        shots: where an LLM's demonstrations are taken from.
        device: where a model runs.
        cache: whether what it says is kept for other runs.
        batch_size: texts in one forward pass of a model.

    Raises:
        UsageError: no teacher named, a prompt that does not fit, a cap on cost without a price.
        CodError: no such model, labels that do not match, or another process is writing ``replies``.
    """
    if spec.llm is None:
        yield load_teacher(spec, labels, device=device, cache=cache, batch_size=batch_size)
    else:
        with open_llm(spec, labels, replies, session, shots, cache=cache) as teacher:
            yield teacher


def open_llm(
    spec: TeacherSpec,
    labels: Sequence[str],
    replies: Path,
    session: Session,
    shots: Sequence[Shot] = (),
    *,
    cache: bool = True,
) -> BlackBoxTeacher:
    """An LLM as teacher; see `open_teacher`."""
    if not spec.llm:
        raise UsageError("--teacher openai: names no LLM", "write it as openai:MODEL")
    if spec.labels:
        raise UsageError(
            "--teacher-labels is about a model's own names, and an LLM has none",
            "describe the classes under `labels` in a prompt of your own: --teacher-prompt FILE",
        )
    prompt = find_prompt(spec.prompt)
    class_messages(prompt, "", labels, class_codes(labels))  # refused before a file is made
    price = price_within(spec.llm, spec.price, session.limits.max_cost)
    client = Client(
        spec.llm,
        session,
        base_url=spec.url,
        price=price,
        journal=open_teacher_journal(replies),
    )
    return BlackBoxTeacher(
        client,
        prompt,
        labels,
        shots=shots,
        demos=spec.demos,
        votes=spec.votes,
        cache=Cache(default_path("soft-labels")) if cache else None,
        price=price,
    )


def teacher_usage(spec: TeacherSpec, replies: Iterable[TeacherReply]) -> tuple[dict[str, int], float | None]:
    """Tokens and cost of what an LLM that is the teacher was paid for; nothing where it is none."""
    if spec.llm is None:
        return {}, None
    usage = total_usage(replies)
    return usage.record(), usage.cost(find_price(spec.llm, spec.price))


Options = TypeVar("Options", bound=TeacherOptions)


def with_recorded_teacher(run: Run, options: Options) -> Options:
    """Where no teacher is named: the one that labelled the rows that are there, else the one that checked the CFEs.

    What else the options say of a teacher holds for it.
    """
    if options.teacher:
        return with_known_length(run, options)
    recorded = options.with_teacher(next(iter(_recorded(run)), options.teacher_spec))
    return dataclasses.replace(recorded, **options.explicit())


def with_known_length(run: Run, options: Options) -> Options:
    """Where nobody says how long a text may be: as this very teacher read them in the run, else as it was trained."""
    spec = options.teacher_spec
    if not spec.name or spec.llm is not None or "max_length" in options.explicit():
        return options
    same = [found for found in _recorded(run) if found.record()["teacher"] == spec.record()["teacher"]]
    length = same[0].max_length if same else reading_of(spec.name).max_length
    return options if length is None else dataclasses.replace(options, max_length=length)


def _recorded(run: Run) -> list[TeacherSpec]:
    """The teacher that labelled the rows that are there, and the one that checked the CFEs."""
    manifests = [run.soft_labels.manifest(), run.counterfactuals.manifest()]
    specs = [TeacherSpec.from_manifest(manifest.settings) for manifest in manifests if manifest]
    return [spec for spec in specs if spec.name]


def with_endpoint(options: Options) -> Options:
    """An LLM teacher's address spelt out, so that its manifest says where later stages find it."""
    spec = options.teacher_spec
    if spec.llm is None:
        return options
    return options.with_teacher(dataclasses.replace(spec, url=endpoint_url(spec.url)))
