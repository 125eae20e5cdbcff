"""Whose decisions a student learns: a local classifier or an LLM, and how its probabilities are read."""
