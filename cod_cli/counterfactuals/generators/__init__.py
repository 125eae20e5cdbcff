"""Who writes counterfactuals, one file each; opened by the stages `counterfact` and `rival`, asked by `rounds`."""
