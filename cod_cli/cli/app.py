"""The command line: parse, call one stage, show what it returned. Stages are imported where they are called."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cod_cli import __version__
from cod_cli.cli.explained import QuickGroup
from cod_cli.cli.options import command
from cod_cli.cli.streams import prepare_streams
from cod_cli.settings.advise import AdviseSettings
from cod_cli.settings.cache import CacheSettings
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.demo import DemoSettings
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.export import ExportSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.pool import PoolSettings
from cod_cli.settings.predict import PredictSettings
from cod_cli.settings.report import ReportSettings
from cod_cli.settings.rival import RivalSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.settings.show import ShowSettings
from cod_cli.settings.sweep import SweepSettings
from cod_cli.settings.teach import TeachSettings
from cod_cli.ui import Ui

app = typer.Typer(
    name="cod",
    cls=QuickGroup,
    help="Distil a text classifier into a small one from a few labelled examples and their counterfactuals.",
    epilog="Start with: cod demo",
    no_args_is_help=True,
    rich_markup_mode="markdown",
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
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Distil a text classifier into a small one from a few labelled examples and their counterfactuals."""


def _present(ui: Ui, name: str, result: Any) -> None:
    from cod_cli.cli import views

    if ui.as_json:
        ui.json(views.document(result))
    else:
        ui.show(getattr(views, name)(result))


@command(app, SampleSettings)
def sample(run: RunFolder, settings: SampleSettings, ui: Ui) -> None:
    """Draw k class-balanced shots from a data source."""
    from cod_cli.stages.sample import sample
    from cod_cli.store.run import Run

    _present(ui, "sample", sample(Run(run), settings, ui))


@command(app, CounterfactSettings)
def counterfact(run: RunFolder, settings: CounterfactSettings, ui: Ui) -> None:
    """Write counterfactuals of the shots and check them against the teacher."""
    from cod_cli.stages.counterfact import counterfact
    from cod_cli.store.run import Run

    _present(ui, "counterfact", counterfact(Run(run), settings, ui))


@command(app, RivalSettings)
def rival(run: RunFolder, settings: RivalSettings, ui: Ui) -> None:
    """Make what the same budget could buy instead of counterfactuals, to compare with."""
    from cod_cli.stages.rival import rival
    from cod_cli.store.run import Run

    _present(ui, "rival", rival(Run(run), settings, ui))


@command(app, PoolSettings)
def pool(run: RunFolder, settings: PoolSettings, ui: Ui) -> None:
    """Gather texts without labels, for the teacher to label."""
    from cod_cli.stages.pool import pool
    from cod_cli.store.run import Run

    _present(ui, "pool", pool(Run(run), settings, ui))


@command(app, LabelSettings)
def label(run: RunFolder, settings: LabelSettings, ui: Ui) -> None:
    """Cache the teacher's soft labels for shots and counterfactuals."""
    from cod_cli.stages.label import label
    from cod_cli.store.run import Run

    _present(ui, "label", label(Run(run), settings, ui))


@command(app, DistillSettings)
def distill(run: RunFolder, settings: DistillSettings, ui: Ui) -> None:
    """Train a student on the soft labels; it becomes an ordinary model folder."""
    from cod_cli.stages.distill import distill
    from cod_cli.store.run import Run

    _present(ui, "distill", distill(Run(run), settings, ui))


@command(app, EvalSettings, name="eval")
def eval_(run: RunFolder, settings: EvalSettings, ui: Ui) -> None:
    """Score every student and the teacher on held-out rows and print a table."""
    from cod_cli.stages.eval import evaluate
    from cod_cli.store.run import Run

    _present(ui, "eval_", evaluate(Run(run), settings, ui))


@command(app, TeachSettings)
def teach(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The teacher's folder.")],
    settings: TeachSettings,
    ui: Ui,
) -> None:
    """Fine-tune a teacher on a whole training split."""
    from cod_cli.stages.teach import teach

    _present(ui, "teach", teach(out, settings, ui))


@command(app, ShowSettings)
def show(
    settings: ShowSettings,
    ui: Ui,
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="The run's folder.")] = None,
) -> None:
    """Print the pairs with their changed words marked, or what a prompt would send."""
    from cod_cli.stages.show import show
    from cod_cli.store.run import Run

    _present(ui, "show", show(Run(run) if run else None, settings, ui))


@command(app, PredictSettings)
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder or Hub id.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSONL, CSV, TSV or text file; - reads stdin.")],
    settings: PredictSettings,
    ui: Ui,
) -> None:
    """Print label and probabilities for each row of a file, as JSON lines."""
    from cod_cli.stages.predict import predict

    for row in predict(model, file, settings, ui):
        ui.line(row)


@command(app, ExportSettings)
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder or Hub id.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    settings: ExportSettings,
    ui: Ui,
) -> None:
    """Write a classifier as an ONNX graph that runs without PyTorch, compared with the model that it was made of."""
    from cod_cli.stages.export import export

    _present(ui, "export", export(model, out, settings, ui))


@command(app, SweepSettings)
def sweep(
    settings: SweepSettings,
    ui: Ui,
    grid: Annotated[str | None, typer.Argument(metavar="[GRID]", help="YAML file, or a grid that ships.")] = None,
) -> None:
    """Run a grid of tasks, k, seeds and arms; what is there already is kept."""
    from cod_cli.stages.sweep.cells import SweepResult, sweep

    result = sweep(grid, settings, ui)
    _present(ui, "sweep", result)
    if isinstance(result, SweepResult) and (problem := result.problem()) is not None:
        raise problem


@command(app, AdviseSettings)
def advise(run: RunFolder, settings: AdviseSettings, ui: Ui) -> None:
    """Say what a run has and lacks, and what each next step would cost and bring."""
    from cod_cli.stages.advise import advise
    from cod_cli.store.run import Run

    _present(ui, "advise", advise(Run(run), settings, ui))


@command(app, CacheSettings)
def cache(settings: CacheSettings, ui: Ui) -> None:
    """Say what is kept for other runs, and where; --clear forgets it."""
    from cod_cli.stages.cache import cache

    _present(ui, "cache", cache(settings, ui))


@command(app, ReportSettings)
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with runs below it, or one run.")],
    settings: ReportSettings,
    ui: Ui,
) -> None:
    """Compare arms over seeds at equal budget, and say in words which differences are more than luck."""
    from cod_cli.stages.report import report

    result = report(folder, settings, ui)
    if not result.printed:
        _present(ui, "report", result)


@command(app, DemoSettings)
def demo(
    settings: DemoSettings,
    ui: Ui,
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to put it.")] = Path("cod-demo"),
) -> None:
    """Run the whole pipeline on real tweets: no key, no model hub, no GPU."""
    from cod_cli.stages.demo import demo

    _present(ui, "demo", demo(folder, settings, ui))


def main() -> None:
    """The entry point of the ``cod`` command."""
    # The Hub's client counts its users unless it is told not to, and reads this when it is imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    prepare_streams()
    try:
        app()
    finally:
        sys.stdout.flush()
