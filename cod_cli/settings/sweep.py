"""Options of `cod sweep`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cod_cli.settings.base import (
    COST,
    DATA,
    GENERAL,
    LLM,
    OUTPUT,
    STUDENT,
    TEACHER,
    Settings,
    option,
    parse_seeds,
    parse_whole_numbers,
)


@dataclass(frozen=True, kw_only=True)
class SweepSettings(Settings):
    """Options of `cod sweep`; what is given here wins over the grid."""

    out: Annotated[
        Path, option("--out", help="Folder of the sweep; one run folder for each task, k and seed.", panel=OUTPUT)
    ]
    data: Annotated[str | None, option("--data", help="Task name, Hub id, file or folder.", panel=DATA)] = None
    split: Annotated[str | None, option("--split", help="Split to score on.", panel=DATA)] = None
    teacher: Annotated[str | None, option("--teacher", help="Model folder or Hub id.", panel=TEACHER)] = None
    student: Annotated[str | None, option("--student", help="Model folder or Hub id to start from.", panel=STUDENT)] = (
        None
    )
    student_layers: Annotated[
        str | None,
        option(
            help="Keep so many evenly spaced layers of it, or those named, from 0.",
            panel=STUDENT,
            metavar="INT[,INT…]",
        ),
    ] = None
    generator: Annotated[str | None, option("--generator", help="Who writes the CFEs.", panel=LLM)] = None
    model: Annotated[str | None, option("--model", help="The LLM's name at its endpoint.", panel=LLM)] = None
    shots: Annotated[
        str | None,
        option("-k", "--shots", help="Rows to train on, several: 8,16,32.", panel=DATA, metavar="INT[,INT…]"),
    ] = None
    seed: Annotated[
        str | None, option(help="Seeds, each with shots of its own.", panel=GENERAL, metavar="INT[,INT…]")
    ] = None
    jobs: Annotated[int, option("--jobs", help="Runs under way at once.", panel=GENERAL, min=1, limit=True)] = 1
    dry_run: Annotated[
        bool, option("--dry-run", help="Print runs, LLM calls, cost and time; do nothing.", panel=COST, limit=True)
    ] = False
    drop_weights: Annotated[
        bool,
        option(
            "--drop-weights",
            help="Delete a student's weights once it is scored; all else stays.",
            panel=GENERAL,
            limit=True,
        ),
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("shots", "seed"):
            if (text := getattr(self, name)) is not None:
                _numbers(name, text)

    def given(self) -> dict[str, object]:
        """The grid's entries that were given as options."""
        lists = {"k": ("shots", self.shots), "seeds": ("seed", self.seed)}
        values: dict[str, object] = {
            key: _numbers(name, text) for key, (name, text) in lists.items() if text is not None
        }
        names = ("data", "split", "teacher", "student", "student_layers", "generator", "model")
        return values | {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def _numbers(name: str, text: str) -> list[int]:
    if name == "seed":
        return parse_seeds(text)
    return parse_whole_numbers("-k", text, "give a positive number, or several: -k 8,16,32", least=1)
