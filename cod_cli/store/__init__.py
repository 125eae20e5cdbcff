"""Bytes on disk: JSON lines, artifacts with their manifests, the names of a run's files, the cache."""
