"""Texts without labels: which may enter a run's pool, and which of them are taken; called by `cod pool`."""
