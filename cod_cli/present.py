"""What each command prints: one function a command, named like it, from its result to something rich can show."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cod_cli import tables
from cod_cli.artifacts import Run
from cod_cli.records import Record
from cod_cli.report import printable
from cod_cli.stages.counterfact import CounterfactResult
from cod_cli.stages.demo import DemoResult
from cod_cli.stages.distill import DistillResult
from cod_cli.stages.eval import EvalResult
from cod_cli.stages.label import LabelResult
from cod_cli.stages.sample import SampleResult
from cod_cli.stages.show import Pairs, PromptText, Rejected, Summary
from cod_cli.stages.teach import TeachResult
