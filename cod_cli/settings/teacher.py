"""Which teacher, and the options of `cod label`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cod_cli.settings.base import GENERAL, TEACHER, Settings, option


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TeacherOptions(Settings):
    """Which teacher, and how its labels are called."""

    LIMITS: ClassVar[frozenset[str]] = Settings.LIMITS | {"cache"}

    teacher: Annotated[
        str | None, option("--teacher", help="Model folder or Hub id with a classification head.", panel=TEACHER)
    ] = None
    teacher_labels: Annotated[
        str | None,
        option(help="Where the names differ: LABEL_0=negative,LABEL_1=positive.", panel=TEACHER),
    ] = None
    max_length: Annotated[int, option(help="Longest text in tokens; what is longer is cut.", panel=GENERAL, min=8)] = (
        256
    )
    cache: Annotated[
        bool, option("--cache/--no-cache", help="Keep what was computed or paid for, for other runs.", panel=GENERAL)
    ] = True

    def results(self) -> dict[str, Any]:
        """As elsewhere; a local teacher by its whole path, so that later stages find it from any folder."""
        values = super().results()
        if self.teacher and Path(self.teacher).exists():
            values["teacher"] = str(Path(self.teacher).absolute())
        return values


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LabelSettings(TeacherOptions):
    """Options of `cod label`."""

    LIMITS: ClassVar[frozenset[str]] = TeacherOptions.LIMITS | {"batch_size"}

    batch_size: Annotated[int, option(help="Texts in one forward pass.", panel=GENERAL, min=1)] = 32
