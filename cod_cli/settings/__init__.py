"""Every option of every command: its name, its default (the paper's where it has one), its help.

One module per stage's options; nothing heavy is imported here, so that ``cod --help`` is quick.
"""

from cod_cli.settings.base import GENERAL, Settings, flag_of, option, options_of, parse_seeds
from cod_cli.settings.counterfact import CounterfactSettings
from cod_cli.settings.data import DataOptions, SampleSettings
from cod_cli.settings.endpoint import EndpointOptions
from cod_cli.settings.llm import LLMOptions
from cod_cli.settings.report import ReportSettings
from cod_cli.settings.rival import RivalSettings
from cod_cli.settings.sweep import SweepSettings
from cod_cli.settings.teacher import LabelSettings, TeacherOptions
from cod_cli.settings.training import DistillSettings, TeachSettings, TrainingOptions
from cod_cli.settings.viewing import CacheSettings, DemoSettings, EvalSettings, PredictSettings, ShowSettings

__all__ = [
    "GENERAL",
    "CacheSettings",
    "CounterfactSettings",
    "DataOptions",
    "DemoSettings",
    "DistillSettings",
    "EndpointOptions",
    "EvalSettings",
    "LLMOptions",
    "LabelSettings",
    "PredictSettings",
    "ReportSettings",
    "RivalSettings",
    "SampleSettings",
    "Settings",
    "ShowSettings",
    "SweepSettings",
    "TeachSettings",
    "TeacherOptions",
    "TrainingOptions",
    "flag_of",
    "option",
    "options_of",
    "parse_seeds",
]
