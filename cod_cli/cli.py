"""The command line: parse, call one stage, show what it returned. The only place with deferred imports."""

from pathlib import Path
from typing import Annotated

import typer

from cod_cli import __version__, settings
from cod_cli.options import command
from cod_cli.report import Ui

app = typer.Typer(
    name="cod",
    help="Distil a text classifier into a small one from a few labelled examples and their counterfactuals.",
    epilog="Start with: cod demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]


def _version(show: bool) -> None:
    if show:
        typer.echo(f"cod {__version__}")
        raise typer.Exit


@app.callback()
def cod(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Distil a text classifier into a small one from a few labelled examples and their counterfactuals."""


@command(app, settings.SampleSettings)
def sample(run: RunFolder, settings: settings.SampleSettings, ui: Ui) -> None:
    """Draw k class-balanced shots from a data source.

    Example: `cod sample runs/a --data reviews.csv -k 16`
    """
    from cod_cli.artifacts import Run
    from cod_cli.stages.sample import sample

    ui.result(sample(Run(run), settings, ui))


def main() -> None:
    """The entry point of the ``cod`` command."""
    app()
