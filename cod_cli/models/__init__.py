"""Classifiers: where their folder lies, how they are loaded, run, trained in part, and saved."""
