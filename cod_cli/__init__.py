"""cod: few-shot distillation of text classifiers with counterfactual explanations."""

__version__ = "0.2.0.dev0"
