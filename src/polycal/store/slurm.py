"""Ask Slurm for the state of a job, its time in the queue and its use of GPUs. Each answer may be unknown."""

import datetime
import functools
import subprocess
from collections.abc import Sequence

ENDED = frozenset(
    {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}
)
"""States in which Slurm has ended all processes of a job. Not NODE_FAIL: the node may still run the job."""

ALIVE = frozenset(
    {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "CONFIGURING", "RESIZING"}
)
"""States in which a job may have running processes."""


def _ask(command: Sequence[str], timeout: float) -> str:
    """The output of a Slurm command; empty if it is missing, fails, or takes over ``timeout`` seconds."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def job_state(job: str) -> tuple[str, str]:
    """The state of a job, such as RUNNING, and its name. Both are empty if Slurm does not know the job.

    Only the controller is asked (squeue). The accounting database may show a job as RUNNING for ever, if it
    was not informed of the end.
    """
    answer = _ask(["squeue", "--noheader", "--states=all", "--format=%T|%j", f"--jobs={job}"], 60)
    state, _, name = answer.partition("|")
    return state, name


@functools.cache
def job_name(job: str) -> str:
    """The name of a job; empty if Slurm does not know it.

    Slurm is asked, because srun, which Snakemake starts its jobs with, sets SLURM_JOB_NAME to "python".
    """
    return job_state(job)[1]


def accounted_seconds(job: str) -> tuple[float, float] | None:
    """Wall seconds and GPU seconds of a job from Slurm's accounting; None if it has no record of the job."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}"]
    answer = _ask([*command, "--format=ElapsedRaw,AllocTRES"], 30)
    try:
        elapsed, allocated = answer.split()[0].split("|")
        gpus = dict(entry.split("=") for entry in allocated.split(",") if entry).get("gres/gpu", "0")
        return float(elapsed), float(elapsed) * int(gpus)
    except (ValueError, IndexError):
        return None


@functools.cache
def queue_seconds(job: str | None) -> float | None:
    """Seconds between submission and start of a job, from squeue or else from sacct; None if unknown."""
    if job is None:
        return None
    questions = (
        ["squeue", "--noheader", f"--jobs={job}", "--format=%V|%S"],
        ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=Submit,Start"],
    )
    for command in questions:
        try:
            answer = _ask(command, 30).split()[0].split("|")
            submitted, started = map(datetime.datetime.fromisoformat, answer)
        except (ValueError, IndexError):
            continue
        return max((started - submitted).total_seconds(), 0.0)
    return None
