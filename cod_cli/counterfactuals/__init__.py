"""Counterfactuals: who writes them, how a reply is read, checked, minimised and counted."""
