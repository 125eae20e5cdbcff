"""What a run was made from, found again: the data source of its shots, its teacher."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from cod_cli.artifacts import Run
from cod_cli.data import Table, load_table
from cod_cli.endpoint import endpoint_url
from cod_cli.errors import CodError
from cod_cli.settings import LLMOptions, TeacherOptions

Options = TypeVar("Options", bound=TeacherOptions)


def shots_source(run: Run) -> Table:
    """The split that the shots were drawn from, as `cod sample` read it; rows without a label are left in.

    Raises:
        CodError: it is not at hand any more.
    """
    # Also where held-out rows stand in the place of the run's own shots.
    source = Run(run.folder).shots.require().settings
    return load_table(
        source["data"],
        split=source["split"],
        text_columns=source["text_column"],
        label_column=source["label_column"],
        label_names=source["label_names"],
        require_labels=False,
    )


def training_texts(run: Run, note: Callable[[str], object]) -> list[str]:
    """The texts that the shots were drawn from; empty, with a note, where they are not at hand any more."""
    try:
        return [row.text for row in shots_source(run).rows]
    except CodError as error:
        note(f"the editor takes its words from the teacher's vocabulary: {error.message}")
        return []


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
