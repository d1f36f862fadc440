"""Snakemake's Slurm executor with another reading of job states, so that no job is waited for in vain or forgotten.

Submission is that of snakemake-executor-plugin-slurm. What differs, each a fault that was met on a controller:
a job that Slurm preempts for good is waited for without end; a status query that fails forgets all jobs; a job that
Slurm has forgotten is waited for without end; a lost node spends a retry and its name breaks later submissions;
a controller that does not answer spends all retries in seconds; GPUs of a job on two nodes may fall 3 and 1.
"""

import os
import re
import subprocess
import time
from asyncio import to_thread
from collections.abc import AsyncGenerator
from pathlib import Path

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_executor_plugin_slurm import ExecutorSettings, common_settings
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

# Not the job's fault: it is submitted again, as often as this happens, without spending a retry.
TAKEN_AWAY = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED"}
FAILED = {
    "CANCELLED": "it was cancelled",
    "DEADLINE": "its deadline passed",
    "FAILED": "see its log",
    "OUT_OF_MEMORY": (
        "raise its model's scoring_memory_mb, or training_memory_mb if it was training, and start again"
    ),
    "TIMEOUT": "its time limit passed (scoring_minutes, training_minutes)",
}
# Slurm calls a job FAILED or CANCELLED whose step, not its script, was killed for memory; its daemon's word in the log tells.
MEMORY = re.compile(r"^slurmstepd.*(exceeded .*memory limit|oom.kill)", re.IGNORECASE | re.MULTILINE)
# Between two queries for all jobs while no job ends, and between two tries to reach the controller; tests set them.
LONGEST_WAIT_SECONDS = int(os.environ.get("POLYCAL_SLURM_LONGEST_WAIT_SECONDS", "180"))
STEP_SECONDS = int(os.environ.get("POLYCAL_SLURM_STEP_SECONDS", "10"))


class Executor(SlurmExecutor):
    """The Slurm executor, patient with the cluster."""

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """One question for all jobs; yields those to be waited for."""
        first = self.workflow.executor_settings.init_seconds_before_status_checks
        ended = not active_jobs
        if active_jobs:
            async with self.status_rate_limiter:
                states = await to_thread(self._states, [one.external_jobid for one in active_jobs])
            if states is None:
                self.logger.warning("The Slurm controller does not answer: waiting for it.")
            for one in active_jobs:
                state = "UNANSWERED" if states is None else states.get(one.external_jobid, "FORGOTTEN")
                if state == "COMPLETED":
                    self.report_job_success(one)
                elif state in TAKEN_AWAY:
                    self.logger.warning(
                        f"Slurm job {one.external_jobid} ended as {state}: submitting it again."
                    )
                    self._job_submission_executor.submit(self.run_job, one.job)
                elif state in FAILED or state == "FORGOTTEN":
                    log = Path(one.aux["slurm_logfile"])
                    if state != "TIMEOUT" and _killed_for_memory(log):
                        state = "OUT_OF_MEMORY"
                    if state == "OUT_OF_MEMORY":
                        # with as much memory it would end alike: no retry
                        one.job.attempt = one.job.restart_times + 1
                    why = FAILED.get(state, "Slurm knows it no longer")
                    self.report_job_error(
                        one,
                        msg=f"Slurm job {one.external_jobid} ended as {state}: {why}.",
                        aux_logs=[str(log)],
                    )
                else:
                    yield one
                    continue
                ended = True
        before: int = self.next_seconds_between_status_checks or first  # type: ignore[has-type]
        self.next_seconds_between_status_checks = (
            first if ended else min(before + STEP_SECONDS, LONGEST_WAIT_SECONDS)
        )

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit a job, after waiting for a controller that answers."""
        said = False
        while self.wait and _ask("scontrol", "ping") is None:
            if not said:
                self.logger.warning("The Slurm controller does not answer: waiting to submit.")
            said = True
            time.sleep(STEP_SECONDS)
        super().run_job(job)

    def get_partition_arg(self, job: JobExecutorInterface) -> str:
        """The partition; and for a job on several nodes, that each has the same share of its GPUs."""
        argument: str = super().get_partition_arg(job)
        nodes, gpus = job.resources.get("nodes") or 1, job.resources.get("gpu") or 0
        if nodes > 1 and gpus:
            # with the type wherever the total has it: Slurm refuses to be told one with and one without
            model = job.resources.get("gpu_model")
            argument += f" --gpus-per-node={f'{model}:' if model else ''}{gpus // nodes}"
        return argument

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel all jobs of this run, by its name: also those whose state is being asked for now."""
        _ask("scancel", f"--name={self.run_uuid}")

    def _states(self, jobs: list[str]) -> dict[str, str] | None:
        """Job id → state, of all jobs of this run; None where Slurm does not answer."""
        said = _ask("squeue", "--noheader", "--states=all", "--format=%i|%T", f"--name={self.run_uuid}")
        if said is None:
            return None
        states = dict(line.strip().split("|") for line in said.splitlines())
        if any(job not in states for job in jobs):
            # ended longer ago than the controller remembers; accounting does, where there is any
            told = _ask(
                "sacct",
                "-X",
                "-n",
                "-P",
                "-o",
                "JobIDRaw,State",
                "-S",
                "now-30days",
                f"--name={self.run_uuid}",
            )
            # "CANCELLED by 0" is CANCELLED
            pairs = (line.split("|") for line in (told or "").splitlines())
            states = {job: state.split()[0] for job, state in pairs} | states
        return states


def _killed_for_memory(log: Path) -> bool:
    """Whether Slurm's daemon says so in the log of a job."""
    try:
        return MEMORY.search(log.read_text(errors="replace")) is not None
    except OSError:
        return False


def _ask(*command: str) -> str | None:
    """What a Slurm program says; None where it fails."""
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout if asked.returncode == 0 else None
