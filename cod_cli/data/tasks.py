"""The built-in tasks: where each lives on the Hub, what its labels are called, which rows belong to it."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from cod_cli.errors import UsageError

Family = Literal["sentiment", "acceptability", "topic", "generic"]
POLARITY = {0: "negative", 1: "positive"}


@dataclass(frozen=True)
class Task:
    """A classification data set on the Hub.

    ``raw_labels`` names the labels as they stand in the data, in class order. Rows whose raw label is in
    ``left_out``, or whose text is longer than ``max_chars`` characters, do not belong to the task.
    """

    name: str
    hub_id: str
    raw_labels: Mapping[int, str]
    config: str | None = None
    revision: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    eval_split: str = "test"
    family: Family = "sentiment"
    left_out: frozenset[int] = frozenset()
    max_chars: int | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in class order, each once."""
        return tuple(dict.fromkeys(self.raw_labels.values()))


# Hub ids are of repositories that hold data files: `datasets` runs no loading scripts any more. The length
# limits are those of the paper's experiments, in characters.
TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            # GLUE hides its test labels, so its validation split is the one to score on.
            Task("sst2", "nyu-mll/glue", POLARITY, config="sst2", text_column="sentence", eval_split="validation"),
            Task(
                "cola",
                "nyu-mll/glue",
                {0: "unacceptable", 1: "acceptable"},
                config="cola",
                text_column="sentence",
                eval_split="validation",
                family="acceptability",
            ),
            Task("imdb", "stanfordnlp/imdb", POLARITY, max_chars=300),
            # One to five stars are stored as 0 to 4; three stars are neither class.
            Task(
                "yelp",
                "Yelp/yelp_review_full",
                {0: "negative", 1: "negative", 3: "positive", 4: "positive"},
                left_out=frozenset({2}),
                max_chars=250,
            ),
            Task("amazon", "fancyzhx/amazon_polarity", POLARITY, text_column="content", max_chars=60),
            # The main branch is a loading script; this one is the Hub's own conversion. 2 is neutral.
            Task(
                "sentiment140",
                "stanfordnlp/sentiment140",
                {0: "negative", 4: "positive"},
                revision="refs/convert/parquet",
                label_column="sentiment",
                left_out=frozenset({2}),
            ),
            Task(
                "sst5",
                "SetFit/sst5",
                {0: "very negative", 1: "negative", 2: "neutral", 3: "positive", 4: "very positive"},
            ),
        )
    }
)


def task_named(name: str) -> Task:
    """The built-in task of that name.

    Raises:
        UsageError: there is none; the hint lists those there are and the other ways to name data.
    """
    if name in TASKS:
        return TASKS[name]
    meant = difflib.get_close_matches(name.lower(), TASKS, n=1)
    question = f" (did you mean {meant[0]}?)" if meant else ""
    raise UsageError(
        f"there is no task {name!r}{question}",
        f"name one of: {', '.join(TASKS)}; or a Hub id: org/name or org/name:config; "
        "or a path: reviews.jsonl, ./folder",
    )


def prompt_family(labels: Sequence[str]) -> Family:
    """The family of prompts that fits some class names, whatever the data source: `generic` where none does."""
    names = frozenset(name.lower() for name in labels)
    # A part of a task's classes fits too: SST-5 is often reduced to three.
    fitting = (task.family for task in TASKS.values() if len(names) > 1 and names <= frozenset(task.labels))
    return next(fitting, "generic")
