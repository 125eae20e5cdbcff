"""What a shell completes: the values of options that are names known here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType


def _mixes(incomplete: str) -> list[str]:
    from cod_cli.mixes import MIXES, RIVALS

    return _beginning([*MIXES, *RIVALS], incomplete)


def _kinds(incomplete: str) -> list[str]:
    from cod_cli.mixes import RIVALS

    whole, comma, last = incomplete.rpartition(",")
    return [f"{whole}{comma}{kind}" for kind in _beginning(RIVALS, last)]


def _prompts(incomplete: str) -> list[str]:
    from cod_cli.llm.prompts import shipped_names

    return _beginning(shipped_names(), incomplete)


def _beginning(names: "Mapping[str, object] | list[str]", incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


# By the option's field; what is a choice among fixed values needs no entry.
COMPLETIONS: Mapping[str, Callable[[str], list[str]]] = MappingProxyType(
    {"mix": _mixes, "kind": _kinds, "prompt": _prompts, "teacher_prompt": _prompts}
)
