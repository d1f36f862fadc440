"""The holes of a study: results that failed for good, and results that are missing. In words, for the workflow."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from polycal.artifacts import failures, manifests
from polycal.artifacts.failures import Failure

SHOWN = 20
"""Results that a message names; of the others it gives the number."""


def failed(paths: Iterable[str]) -> dict[str, Failure]:
    """The failed results among ``paths``; a file that is missing or broken is not one."""
    found = {path: _failure(Path(path)) for path in paths}
    return {path: failure for path, failure in found.items() if failure is not None}


def _failure(path: Path) -> Failure | None:
    try:
        return failures.read(path) if path.is_file() else None
    except manifests.ManifestError:
        return None


def lines(holes: Mapping[str, Failure]) -> list[str]:
    """Each reason once, with the stage that failed, and below it the results that have it; SHOWN results in all."""
    by_failure: dict[Failure, list[str]] = {}
    for path, failure in holes.items():
        by_failure.setdefault(failure, []).append(path)
    told, left = [], SHOWN
    for failure, alike in by_failure.items():
        if left:
            told += [f"  {failure.stage}: {failure.reason}", *(f"    {path}" for path in alike[:left])]
            left -= len(alike[:left])
    more = len(holes) - SHOWN
    return [*told, f"    and {more} more"] if more > 0 else told


def failed_in_words(holes: Mapping[str, Failure]) -> str:
    """What failed and why, for the end of a workflow that did all the rest."""
    one = "1 result has failed and would fail again as it is"
    several = f"{len(holes)} results have failed and would fail again as they are"
    return "\n".join([f"{one if len(holes) == 1 else several}; all others that this run was to make are there:", *lines(holes)])


def missing_in_words(missing: Sequence[str], page: str) -> str:
    """What is missing after a workflow whose retries are exhausted; ``page`` can be made without it."""
    number = "1 result is" if len(missing) == 1 else f"{len(missing)} results are"
    named = [f"    {path}" for path in missing[:SHOWN]]
    more = [f"    and {len(missing) - SHOWN} more"] * (len(missing) > SHOWN)
    sentence = (
        f"{number} missing; start again to try once more, or give the target 'partial' for tables and a page of"
        f" what is there ({page}):"
    )
    return "\n".join([sentence, *named, *more])
