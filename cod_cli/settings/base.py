"""What a settings class is, and what all commands share.

A settings class is a frozen dataclass, one for each command; ``cli/options.py`` turns its fields into command-line
options, stages read them, and `Settings.results` goes into a manifest. Nothing heavy is imported here, so that
``cod --help`` is quick.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from typer.models import OptionInfo

from cod_cli.errors import UsageError

# The panels of `--help`, in their order there.
DATA = "Data"
TEACHER = "Teacher"
STUDENT = "Student"
LLM = "LLM"
CHECKS = "Edits and checks"
TRAINING = "Training"
CALIBRATION = "Calibration"
WITHOUT = "Without a student"
COMPARISON = "Comparison"
COST = "Limits and cost"
OUTPUT = "Output"
GENERAL = "General"
PANELS = (DATA, TEACHER, STUDENT, LLM, CHECKS, TRAINING, CALIBRATION, WITHOUT, COMPARISON, COST, OUTPUT, GENERAL)


class FieldOption(OptionInfo):
    """The command-line option of a settings field.

    ``limit``: it changes how a result is reached, not the result, so it may differ between reruns.
    """

    limit: bool = False


def option(*flags: str, help: str, panel: str, limit: bool = False, **rest: Any) -> FieldOption:
    """A command-line option for a settings field, shown in one of the panels above; see `FieldOption`."""
    info = FieldOption(default=..., param_decls=flags, help=help, rich_help_panel=panel, **rest)
    info.limit = limit
    return info


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all commands share. Values out of range are a `UsageError` when the settings are built."""

    # The options that a user named, on the command line or in --config, be it with their defaults; no option itself.
    named: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, hint in options_of(type(self)).items():
            _check_value(name, getattr(self, name), *hint)

    def explicit(self) -> dict[str, Any]:
        """The options that were given: those that a user named, and those that are not as they are by default."""
        options = options_of(type(self))
        values = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        return {
            name: value
            for name, (value, default) in values.items()
            if name in options and (name in self.named or value != default)
        }

    def results(self) -> dict[str, Any]:
        """The options that change results, for the manifest, with tuples as lists and paths as text."""
        infos = options_of(type(self))
        names = [field.name for field in dataclasses.fields(self) if field.name in infos]
        return {name: _plain(getattr(self, name)) for name in names if not infos[name][1].limit}


def options_of(settings: type[Settings]) -> dict[str, tuple[Any, FieldOption]]:
    """Type and option of each field of a settings class, in order."""
    hints = get_type_hints(settings, include_extras=True)
    names = [field.name for field in dataclasses.fields(settings) if get_origin(hints[field.name]) is Annotated]
    return {name: (get_args(hints[name])[0], get_args(hints[name])[1]) for name in names}


def flag_of(name: str, info: FieldOption) -> str:
    """The long flag by which a user knows a field."""
    flags = [flag for flag in info.param_decls or () if flag.startswith("-")]
    return flags[-1].split("/")[0] if flags else "--" + name.replace("_", "-")


_TOO_LARGE = 2**64


def _check_value(name: str, value: Any, kind: Any, info: FieldOption) -> None:
    if value is None:
        return
    if get_origin(kind) is Literal and value not in get_args(kind):
        choices = ", ".join(map(str, get_args(kind)))
        raise UsageError(f"{flag_of(name, info)} is {value!r}", f"choose one of: {choices}")
    for number in value if isinstance(value, tuple) else (value,):
        # NaN is below no minimum and above no cap; torch takes no seed of more than 64 bits.
        if isinstance(number, float) and not math.isfinite(number):
            raise UsageError(f"{flag_of(name, info)} is {number}", "give a finite number")
        if isinstance(number, int) and abs(number) >= _TOO_LARGE:
            raise UsageError(f"{flag_of(name, info)} is too large", "give a number below 2^64")
    if info.min is not None and value < info.min:
        raise UsageError(f"{flag_of(name, info)} is {value}, below its minimum of {info.min}")
    if info.max is not None and value > info.max:
        raise UsageError(f"{flag_of(name, info)} is {value}, above its maximum of {info.max}")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def parse_whole_numbers(flag: str, text: str, hint: str, *, least: int = 0) -> list[int]:
    """Read ``8,16,32``, the value of an option.

    Raises:
        UsageError: another form, or a number below ``least`` or of more than 64 bits.
    """
    parts = [part.strip() for part in text.split(",")]
    # Python reads no number of thousands of digits.
    if not all(part.isdecimal() and len(part) <= 20 and least <= int(part) < _TOO_LARGE for part in parts):
        raise UsageError(f"{flag} is {text if len(text) <= 80 else text[:80] + '…'!r}", hint)
    return [int(part) for part in parts]


def parse_seeds(text: str) -> list[int]:
    """Whole numbers separated by commas, each only once."""
    seeds = parse_whole_numbers("--seed", text, "give a whole number below 2^64, or several: --seed 0,1,2")
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seed is {text!r}: a seed stands there twice")
    return seeds


def require_folder_name(what: str, name: str) -> None:
    """Refuse what would be no folder beside others, on any system: a path, a hidden name, a very long one.

    Raises:
        UsageError: calls it ``what``.
    """
    path = any(character in name for character in "/\\") or name.startswith(".")
    if path or not name.strip() or not name.isprintable():
        raise UsageError(f"{what} is {name!r}", "give the name of a folder, without a path")
    # Beside it stand others with the name and an ending, and 255 bytes are what systems take.
    if len(name.encode()) > 200:
        raise UsageError(f"{what} is {name[:40]!r}… of {len(name.encode())} bytes", "give a shorter name")


def parse_names(option: str, text: str) -> dict[str, str]:
    """Read ``0=negative,1=positive``, the value of an option.

    Raises:
        UsageError: another form, or a label that stands there twice.
    """
    names: dict[str, str] = {}
    for part in text.split(","):
        raw, equals, name = (piece.strip() for piece in part.partition("="))
        if not (raw and equals and name) or raw in names:
            problem = "names one label twice" if raw in names else "is not of the form LABEL=NAME"
            raise UsageError(f"{option} {text!r}: {part.strip()!r} {problem}", f"write {option} 0=negative,1=positive")
        names[raw] = name
    return names
