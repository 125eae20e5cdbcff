"""The data source that a run's shots were drawn from, read again."""

from collections.abc import Callable

from cod_cli.artifacts import Run
from cod_cli.data import Table, load_table
from cod_cli.errors import CodError


def shots_source(run: Run) -> Table:
    """The split that the shots were drawn from, as `cod sample` read it; rows without a label are left in.

    Raises:
        CodError: it is not at hand any more.
    """
    source = run.shots.require().settings
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
