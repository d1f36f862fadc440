"""The check that a machine has the main memory that the jobs of a base model need, before any of them starts."""

from collections.abc import Iterable

from polycal.study.config import Config

MB = 1_000_000


def too_little(config: Config, jobs: Iterable[tuple[str, str]], free_bytes: int) -> str | None:
    """A sentence about the job that needs most, if it needs more than ``free_bytes``; None if all have enough.

    A job is a base model and the key of its entry that gives the job's memory: training_memory_mb or
    scoring_memory_mb. A key without a value in the configuration is ignored, because its default was not measured.
    """
    needs = {
        (getattr(config.models[model], key), f"models.{model}.{key}")
        for model, key in jobs
        if key in config.models[model].model_fields_set
    }
    if not needs or (most := max(needs))[0] * MB <= free_bytes:
        return None
    return (
        f"{most[1]}: a job needs {most[0] * MB / 1e9:.1f} GB of memory, but {free_bytes / 1e9:.1f} GB are free on this"
        " machine; use a machine with more memory or end other programs."
    )
