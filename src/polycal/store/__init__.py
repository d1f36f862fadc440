"""Run stages: cache, locks, code versions and provenance."""
