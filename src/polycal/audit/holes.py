"""Describe the holes of a study: results that failed, were refused by ``measure``, or are missing."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from polycal.artifacts.failures import Failure
from polycal.store import failed_results
from polycal.vocabulary import CELL_KEYS

SHOWN = 20
"""Number of results that a message names. The others are only counted."""


def failed(paths: Iterable[str]) -> dict[str, Failure]:
    """The failed results among ``paths`` (path → failure). Missing and broken files are not included."""
    found = {path: failed_results.failure_at(Path(path)) for path in paths}
    return {path: failure for path, failure in found.items() if failure is not None}


def refused(tables: Iterable[str]) -> dict[str, Failure]:
    """The cells whose records ``measure`` refused (description of the cell → failure).

    ``tables`` are paths of its tables of holes, of which missing ones are skipped. The columns are
    CELL_KEYS, ``stage`` and ``reason``. Only rows of the stage ``measure`` are read; the other rows are
    failed or missing records.
    """
    found: dict[str, Failure] = {}
    for table in filter(Path.is_file, map(Path, tables)):
        for row in pq.ParquetFile(table).read().to_pylist():
            if row["stage"] == "measure":
                names = ", ".join(f"{key}={row[key]}" for key in CELL_KEYS)
                found[f"{table} ({names})"] = Failure("measure", row["reason"])
    return found


def lines(holes: Mapping[str, Failure]) -> list[str]:
    """Lines with each stage and reason once, followed by the results; at most SHOWN results in all."""
    by_failure: dict[Failure, list[str]] = {}
    for path, failure in holes.items():
        by_failure.setdefault(failure, []).append(path)
    named, remaining = [], SHOWN
    for failure, alike in by_failure.items():
        if remaining:
            named += [f"  {failure.stage}: {failure.reason}", *(f"    {path}" for path in alike[:remaining])]
            remaining -= len(alike[:remaining])
    more = len(holes) - SHOWN
    return [*named, f"    and {more} more"] if more > 0 else named


def failed_in_words(holes: Mapping[str, Failure]) -> str:
    """The message at the end of a workflow in which only the results ``holes`` failed."""
    one = "1 result has failed and would fail again as it is"
    several = f"{len(holes)} results have failed and would fail again as they are"
    return "\n".join(
        [
            f"{one if len(holes) == 1 else several}; all others that this run was to make are there:",
            *lines(holes),
        ]
    )


def missing_in_words(missing: Sequence[str], page: str) -> str:
    """The message about results that are missing after all retries of a workflow.

    ``page`` is the path of the report that the target ``partial`` makes without them.
    """
    number = "1 result is" if len(missing) == 1 else f"{len(missing)} results are"
    named = [f"    {path}" for path in missing[:SHOWN]]
    more = [f"    and {len(missing) - SHOWN} more"] * (len(missing) > SHOWN)
    sentence = (
        f"{number} missing; start again to try once more, or give the target 'partial' for tables and a page of"
        f" what is there ({page}):"
    )
    return "\n".join([sentence, *named, *more])
