"""Why counterfactuals help: Fisher information, and pairs that a boundary crosses; called by `cod report --why`."""
