"""Bytes on disk: JSON lines, artifacts with manifests, the names of a run's files, the cache; called by all above."""
