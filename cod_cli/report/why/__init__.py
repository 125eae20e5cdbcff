"""Why counterfactuals help: Fisher information, and pairs that a boundary crosses; called by `cod report --why`.

`measure` runs the models, `fisher` and `crossing` are the theory, `explain` and `tables` tell what was found.
"""
