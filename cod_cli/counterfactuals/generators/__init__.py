"""Who writes counterfactuals, one file each."""
