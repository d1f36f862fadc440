"""When a study would be done on a number of GPUs with a time limit for each job."""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from polycal.errors import PolycalError
from polycal.study.cost_estimate import JobEstimate

CLUSTERS = (8, 32, 128)
"""Numbers of GPUs for which the calendar time is estimated if none is given."""
RESUMED = "finetune"
"""The stage whose jobs save their state, so that a job after the time limit goes on where the last one ended."""


class ScheduleError(PolycalError):
    """Jobs that the given GPUs or time limit can never run; the message names them."""


@dataclass(frozen=True)
class Schedule:
    """How the jobs that are left run on a cluster."""

    days: float
    """Days until the last job ends, if the GPUs are free for this study only and nobody waits in a queue."""
    at_once: dict[str, int]
    """The largest number of jobs that run at once, by stage."""
    parts: int
    """The largest number of jobs that one training needs, one after the other, because of the time limit."""


def schedule(
    estimates: Sequence[JobEstimate], gpus: int, limit_hours: float | None, load_hours: float
) -> Schedule | None:
    """Start the longest jobs first, as soon as GPUs are free; trainings before scoring. None if a time is unknown.

    Trainings longer than ``limit_hours`` are cut into parts, each with ``load_hours`` to load the model and its state
    again. Each stage waits for the one before, so real runs end a little earlier. Raises ScheduleError.
    """
    days, at_once, parts = 0.0, {}, 1
    for stage in dict.fromkeys(line.stage for line in estimates if line.gpus):
        jobs: list[tuple[float, int]] = []
        for line in (line for line in estimates if line.stage == stage and line.gpus):
            if line.left is None:
                return None
            if line.left and line.gpus > gpus:
                raise ScheduleError(
                    f"{line.stage} {line.what} needs {line.gpus} GPUs per job; --gpus is {gpus}, and must be as many at least."
                )
            for hours in line.left:
                pieces = _parts(line, hours, limit_hours, load_hours)
                parts = max(parts, pieces)
                jobs.append((hours + (pieces - 1) * load_hours, line.gpus))
        hours, running = _makespan(jobs, gpus)
        days += hours / 24
        if jobs:
            at_once[stage] = running
    return Schedule(days, at_once, parts)


def _parts(line: JobEstimate, hours: float, limit: float | None, load: float) -> int:
    if limit is None or hours <= limit:
        return 1
    if line.stage != RESUMED:
        raise ScheduleError(
            f"{line.stage} {line.what}: a job takes {hours:.1f} h, longer than the limit of {limit:g} h; lower"
            " languages_per_job or choose a longer limit."
        )
    if load >= limit:
        raise ScheduleError(f"Loading a model takes {load:.2g} h; the limit of {limit:g} h must be longer.")
    return 1 + math.ceil((hours - limit) / (limit - load))


def _makespan(jobs: Iterable[tuple[float, int]], gpus: int) -> tuple[float, int]:
    """Hours until all jobs (hours, GPUs) are done, and the most that ran at once."""
    ends: list[tuple[float, int]] = []
    now, free, most = 0.0, gpus, 0
    for hours, needed in sorted(jobs, reverse=True):
        while free < needed:
            now, returned = heapq.heappop(ends)
            free += returned
        heapq.heappush(ends, (now + hours, needed))
        free -= needed
        most = max(most, len(ends))
    return max((end for end, _ in ends), default=now), most
