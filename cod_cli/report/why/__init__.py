"""Why counterfactuals help: Fisher information, and where boundaries cross the segment of a pair."""
