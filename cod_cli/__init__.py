"""cod: few-shot distillation of text classifiers with counterfactual explanations."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cod_cli.api import (
        CounterfactSettings,
        DistillSettings,
        EvalSettings,
        LabelSettings,
        Run,
        SampleSettings,
        counterfact,
        distill,
        evaluate,
        label,
        sample,
    )

__version__ = "0.2.0.dev0"
__all__ = [
    "CounterfactSettings",
    "DistillSettings",
    "EvalSettings",
    "LabelSettings",
    "Run",
    "SampleSettings",
    "__version__",
    "counterfact",
    "distill",
    "evaluate",
    "label",
    "sample",
]


def __getattr__(name: str) -> Any:
    """What `cod_cli.api` offers, imported when somebody asks (PEP 562)."""
    if name in __all__:
        return getattr(import_module("cod_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
