"""The text of ``polycal plan``: what a study costs, from what each figure is, and when it would be done."""

from collections.abc import Iterable, Iterator

from polycal.study import cluster_schedule, cost_estimate, grid
from polycal.study.config import Config
from polycal.study.cost_estimate import HOUR, JobEstimate
from polycal.study.finished_jobs import FinishedJobs
from polycal.study.gpu_benchmark import MeasuredShares


def table(
    config: Config,
    finished: FinishedJobs | None = None,
    gpus: int | None = None,
    limit_hours: float | None = None,
    shares: MeasuredShares | None = None,
) -> str:
    """Assumptions, a line for each kind of job, sums, calendar time, and memory of training.

    The calendar time is for ``gpus`` GPUs whose jobs may take ``limit_hours``, or for clusters of three sizes.
    Raises ScheduleError if a job can never run there.
    """
    assumed = config.planning
    estimates = cost_estimate.estimate(config, finished, shares)
    lines = [
        f"Assumed where nothing was measured: {assumed.gpu_tflops:g} TFLOP/s per GPU, of which training achieves"
        f" {assumed.training_share:.0%} and scoring {assumed.scoring_share:.0%}; {assumed.load_seconds:g} s to load a"
        " model. Change this under 'planning'. Jobs are done if their results exist; 'polycal status' says which a"
        " run would make again.",
        "",
        f"{'stage':9} {'what':42} {'jobs':>6} {'done':>6} {'GPUs/job':>8} {'GPU-hours':>10} {'longest h':>10}"
        f" {'disk GB':>9}  origin of the time",
        *(f"{_row(line)}  {_notes(line, limit_hours)}".rstrip() for line in estimates),
        _sums(estimates),
        "Besides: the jobs that measure and report, on CPUs, each with up to 8 GB and 2 h.",
    ]
    timed = [line for line in estimates if line.stage != "fetch"]
    if any(line.hours is None or line.disk_gb is None for line in timed):
        lines.append(
            "?: unknown; give, under 'planning', 'parameters' of the model, 'size' and 'tokens' of data,"
            " 'questions' and 'tokens' of benchmarks. The time of a model without GPUs is known from finished jobs only."
        )
    lines += _calendar(config, estimates, gpus, limit_hours)
    if probes := _probe_jobs(config):
        lines.append(f"Not estimated: {probes}.")
    return "\n".join([*lines, *_memory_lines(config)])


def _calendar(
    config: Config, estimates: list[JobEstimate], gpus: int | None, limit_hours: float | None
) -> Iterator[str]:
    if not any(line.gpu_hours for line in estimates):
        return
    load = config.planning.load_seconds / HOUR
    if gpus is None:
        found = [
            (size, cluster_schedule.schedule(estimates, size, limit_hours, load))
            for size in cluster_schedule.CLUSTERS
            if all(line.gpus <= size for line in estimates)
        ]
        days = ", ".join(f"{plan.days:,.1f} days with {size} GPUs" for size, plan in found if plan)
        if days:
            yield f"Calendar time of the jobs that are left, without waiting in a queue: {days}."
    elif plan := cluster_schedule.schedule(estimates, gpus, limit_hours, load):
        jobs = " and ".join(f"{count} {stage} jobs" for stage, count in plan.at_once.items()) or "no jobs"
        parts = f" A training needs up to {plan.parts} jobs, one after the other." if plan.parts > 1 else ""
        limit = f" and at most {limit_hours:g} h per job" if limit_hours else ""
        yield (
            f"With {gpus} GPUs{limit}: up to {jobs} at once, done after {plan.days:,.1f} days without waiting in a"
            f" queue.{parts}"
        )


def _notes(line: JobEstimate, limit_hours: float | None) -> str:
    limits = [limit for limit in (line.limit_hours, limit_hours) if limit is not None]
    limit = min(limits, default=None)
    over = line.longest is not None and limit is not None and line.longest > limit
    return "; ".join(
        filter(None, [line.origin, line.note, f"longer than its limit of {limit:g} h" if over else ""])
    )


def _sums(estimates: list[JobEstimate]) -> str:
    hours, disk = _total(line.gpu_hours for line in estimates), _total(line.disk_gb for line in estimates)
    jobs, done = sum(line.jobs for line in estimates), sum(line.done for line in estimates)
    return f"{'all':52} {jobs:6} {done:6} {'':8} {_figure(hours):>10} {'':10} {_figure(disk):>9}"


def _row(line: JobEstimate) -> str:
    longest = _figure(line.longest) if line.stage != "fetch" else ""
    return (
        f"{line.stage:9} {line.what:42} {line.jobs:6} {line.done or '':>6} {line.gpus or '':>8}"
        f" {_figure(line.gpu_hours):>10} {longest:>10} {_figure(line.disk_gb):>9}"
    )


def _figure(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.1g}" if 0 < value < 0.05 else f"{value:,.1f}"


def _total(values: Iterable[float | None]) -> float | None:
    """The sum; None if one value is unknown."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _probe_jobs(config: Config) -> str:
    """The jobs of embeddings, next tokens and generated answers in words; empty if the study has none."""
    blocks, jobs = grid.blocks(config), []
    if chosen := config.embeddings:
        pair = (chosen.benchmark, chosen.protocol)
        scored = [cell for cell in grid.cells(blocks) if (cell.benchmark, cell.protocol) == pair]
        jobs.append(f"{len({tuple(cell.checkpoint.values()) for cell in scored})} jobs that embed prompts")
    if config.next_token:
        count = len(grid.checkpoints(blocks)) * len(grid.heldout_data(config))
        jobs.append(f"{count} jobs that score next tokens")
    if config.generation:
        count = len(grid.checkpoints(blocks)) * len(grid.generation_batches(config))
        jobs.append(f"{count} jobs that generate answers")
        if config.generation.entailment:
            jobs.append(f"{count} jobs that cluster them")
    return " and ".join(jobs)


def _memory_lines(config: Config) -> Iterator[str]:
    trained = {
        (model, recipe)
        for block in config.grid.blocks()
        if block.data
        for model in block.models
        for recipe in block.recipes
    }
    for model, recipe in sorted(trained):
        parts = cost_estimate.memory_gb(config.models[model], config.recipes[recipe])
        if parts:
            shown = " + ".join(f"{value:.1f} {name}" for name, value in parts.items())
            yield f"{model}, {recipe}: {sum(parts.values()):.0f} GB per GPU in training ({shown})"
