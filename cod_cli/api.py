"""The five stages from Python: the same settings, results as records, nothing printed.

What a command would say on stderr goes to the logger ``cod_cli``. Each stage is imported when it is called.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.distill import DistillSettings
from cod_cli.settings.eval import EvalSettings
from cod_cli.settings.label import LabelSettings
from cod_cli.settings.sample import SampleSettings
from cod_cli.store.run import Run
from cod_cli.ui import Ui

if TYPE_CHECKING:
    from cod_cli.stages.counterfact import CounterfactPlan, CounterfactResult
    from cod_cli.stages.distill import DistillResult
    from cod_cli.stages.eval import EvalPlan, EvalResult
    from cod_cli.stages.label import LabelPlan, LabelResult
    from cod_cli.stages.sample import SampleResult

__all__ = [
    "CounterfactSettings",
    "DistillSettings",
    "EvalSettings",
    "LabelSettings",
    "Run",
    "SampleSettings",
    "counterfact",
    "distill",
    "evaluate",
    "label",
    "sample",
]

_logger = logging.getLogger("cod_cli")
# Who wants to hear it sets a handler up; otherwise Python would print warnings.
_logger.addHandler(logging.NullHandler())


class _Logged(Ui):
    """Hands notes and warnings to the logger, and shows no progress."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def note(self, text: str) -> None:
        """Log a plain message."""
        _logger.info(text)

    def warn(self, text: str) -> None:
        """Log what may be wrong."""
        _logger.warning(text)


def sample(run: Path | str, settings: SampleSettings) -> "SampleResult":
    """Draw the shots of a run, which is a folder; as `cod sample`.

    Raises:
        UsageError: fewer shots than classes, or a data source that cannot be one.
        CodError: too few rows of a class, other settings than the run was begun with, or broken data.
    """
    from cod_cli.stages.sample import sample

    return sample(Run(run), settings, _Logged())


def counterfact(run: Path | str, settings: CounterfactSettings) -> "CounterfactResult | CounterfactPlan":
    """Write and check the counterfactuals of a run's shots; as `cod counterfact`. With ``dry_run`` a plan.

    Raises:
        UsageError: settings that do not go together.
        CodError: no shots, other settings than the file was begun with, or a teacher that cannot be had.
        PartialError: an LLM has not answered everything; all else is saved.
    """
    from cod_cli.stages.counterfact import counterfact

    return counterfact(Run(run), settings, _Logged())


def label(run: Path | str, settings: LabelSettings) -> "LabelResult | LabelPlan":
    """Have the teacher label what the run holds; as `cod label`. With ``dry_run`` a plan.

    Raises:
        CodError: no shots, a teacher that cannot be had, or labels that do not match.
        PartialError: an LLM has not answered everything; all else is saved.
    """
    from cod_cli.stages.label import label

    return label(Run(run), settings, _Logged())


def distill(run: Path | str, settings: DistillSettings) -> "DistillResult":
    """Train a student for each seed; as `cod distill`.

    Raises:
        UsageError: an unknown mix, a name that is no folder name, a teacher whose layers cannot be matched.
        CodError: a stage's file is missing or does not fit; a student of that name was made otherwise.
        DivergedError: the loss is not finite any more.
    """
    from cod_cli.stages.distill import distill

    return distill(Run(run), settings, _Logged())


def evaluate(run: Path | str, settings: EvalSettings) -> "EvalResult | EvalPlan":
    """Score students and teacher on held-out rows; as `cod eval`. With ``dry_run`` a plan.

    Raises:
        CodError: no finished student, no row to score on, or labels other than the run's.
        PartialError: an LLM has not answered everything; all else is saved.
    """
    from cod_cli.stages.eval import evaluate

    return evaluate(Run(run), settings, _Logged())
