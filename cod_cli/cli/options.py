"""Makes a Typer command of a plain function and a settings class: each field becomes an option."""

import copy
import dataclasses
import difflib
import errno
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from cod_cli.cli.completion import COMPLETIONS
from cod_cli.cli.explained import ExplainedCommand
from cod_cli.errors import CodError, UsageError
from cod_cli.settings.base import GENERAL, OUTPUT, Settings, option, options_of
from cod_cli.ui import Ui

# What to do about what an operating system refuses; paths are named before.
_HINTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space; the same command goes on from what is saved"),
    errno.EFBIG: "allow larger files (`ulimit -f`); the same command goes on from what is saved",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOENT: "check the path",
    errno.EISDIR: "name a file, not a folder",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a file stands where a folder should: name another folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a place that you may read and write"),
}


def command(app: typer.Typer, settings: type[Settings], **typer_options: Any) -> Callable[[Any], Any]:
    """Register ``function(arguments…, settings, ui)`` as a command of ``app``.

    The function's own parameters become arguments; those of ``settings`` become options, beside
    ``--config``, ``--json`` and ``-q``. Known failures end in their exit code, never in a traceback.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(context: typer.Context, **values: Any) -> None:
            ui = Ui(quiet=values.pop("quiet"), as_json=values.pop("json_"))
            values.pop("config")
            fields = {name: _tupled(values.pop(name)) for name in options_of(settings)}
            # What is given with its default value is given, too.
            named = frozenset(name for name in fields if _source(context, name) != "DEFAULT")

            def act() -> None:
                _require_utf8({**values, **fields})
                function(**values, settings=settings(**fields, named=named), ui=ui)

            with_exit_codes(ui, act)

        run.__name__ = function.__name__
        run.__doc__ = function.__doc__
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context, *_arguments(function), *_options(settings), *_shared()]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(cls=ExplainedCommand, **typer_options)(run)
        return function

    return register


def with_exit_codes(ui: Ui, action: Callable[[], Any]) -> None:
    """Run a command; failures that the user can mend become a message and an exit code."""
    try:
        with ui.listening():
            action()
        # Here, that a full disk is an error like any other.
        sys.stdout.flush()
    except CodError as error:
        ui.error(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        ui.error(CodError("interrupted; everything finished is saved", "the same command goes on from there"))
        raise typer.Exit(130) from None
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        ui.error(CodError(f"{where}{error.strerror}", _HINTS.get(error.errno, "check the path and its disk")))
        raise typer.Exit(1) from None


def _require_utf8(values: Mapping[str, Any]) -> None:
    """Refuse a name that is not UTF-8, as file systems may have them: manifests and error messages are."""
    for value in values.values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, str | Path) and not _is_utf8(str(item)):
                raise UsageError(f"{item} is not UTF-8", "rename it, or give a link to it whose name is")


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _source(context: typer.Context, name: str) -> str:
    """Where an option's value is from: ``COMMANDLINE``, ``DEFAULT_MAP`` for --config, or ``DEFAULT``."""
    source = context.get_parameter_source(name)
    return source.name if source else "DEFAULT"


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _arguments(function: Callable[..., Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("settings", "ui")
    ]


def _options(settings: type[Settings]) -> list[inspect.Parameter]:
    fields = {field.name: field for field in dataclasses.fields(settings)}
    parameters = []
    for name, (kind, info) in options_of(settings).items():
        if get_origin(kind) is tuple and Ellipsis in get_args(kind):
            kind = list[get_args(kind)[0]]  # type: ignore[misc]
        default = fields[name].default
        required = default is dataclasses.MISSING
        if name in COMPLETIONS:
            info = copy.copy(info)
            info.autocompletion = COMPLETIONS[name]
        parameters.append(_keyword(name, Annotated[kind, info], inspect.Parameter.empty if required else default))
    return parameters


def _shared() -> list[inspect.Parameter]:
    config = option("--config", help="YAML file of options, named as above; flags win.", panel=GENERAL)
    config.callback, config.is_eager = _overlay, True
    as_json = option("--json", help="Print one JSON document on stdout.", panel=OUTPUT)
    quiet = option("--quiet", "-q", help="No progress, no notes.", panel=OUTPUT)
    return [
        _keyword("config", Annotated[Path | None, config], None),
        _keyword("json_", Annotated[bool, as_json], False),
        _keyword("quiet", Annotated[bool, quiet], False),
    ]


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _meant(unknown: Sequence[object], known: Sequence[str]) -> str:
    """Which options somebody may have meant, else all that there are."""
    near = {str(key): difflib.get_close_matches(str(key).replace("-", "_"), known, n=1) for key in unknown}
    guesses = [f"{found[0]} (for {key})" for key, found in near.items() if found]
    return f"did you mean {', '.join(guesses)}?" if guesses else f"known: {', '.join(known)}"


def _overlay(context: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a YAML file; eager, so it runs before the other options are read."""
    if path is not None:
        with_exit_codes(Ui(), lambda: setattr(context, "default_map", _read_config(context, path)))
    return path


def _read_config(context: typer.Context, path: Path) -> dict[str, Any]:
    from cod_cli.store.yaml import read_yaml

    values = read_yaml(path, "give --config a YAML file")
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no options", "write one `name: value` a line")
    options = [p for p in context.command.params if p.param_type_name == "option" and p.name != "config"]
    known = {flag.lstrip("-").replace("-", "_"): p.name for p in options for flag in p.opts}
    names = {str(key): known.get(str(key).replace("-", "_")) for key in values}
    unknown = [key for key, name in names.items() if name is None]
    if unknown:
        raise UsageError(f"{path} has unknown options: {', '.join(unknown)}", _meant(unknown, sorted(known)))
    flags = {p.name for p in options if getattr(p, "is_flag", False)}
    for key, value in values.items():
        if isinstance(value, bool) and names[str(key)] not in flags:
            raise UsageError(
                f"{path}: {key} is {str(value).lower()}, as YAML reads yes, no, on and off",
                f"put quotes around a text: {key}: 'yes'; or write a number",
            )
    repeatable = {p.name for p in options if getattr(p, "multiple", False)}
    named = {str(names[str(key)]): value for key, value in values.items()}
    return {name: [value] if name in repeatable and isinstance(value, str) else value for name, value in named.items()}
