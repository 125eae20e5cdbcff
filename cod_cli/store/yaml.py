"""Reading YAML that a user wrote, or saying what is wrong with it."""

from pathlib import Path
from typing import Any

import yaml

from cod_cli.errors import UsageError


def read_yaml(path: Path, hint: str) -> Any:
    """What a YAML file holds.

    Args:
        path: the file.
        hint: what to do where there is none.

    Raises:
        UsageError: there is no such file, or it is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist", hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _no_yaml(str(path), error) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """What a YAML text holds; ``where`` is how errors call it.

    Raises:
        UsageError: it is no YAML.
    """
    try:
        return yaml.safe_load(text)
    # ValueError: a date that there is not, a number of thousands of digits.
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _no_yaml(where, error) from None


def _no_yaml(where: str, error: Exception) -> UsageError:
    return UsageError(f"{where} is no YAML: {' '.join(str(error).split())}")
