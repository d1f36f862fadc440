"""Snakemake's Slurm executor with another reading of job states, so that no job is waited for in vain or forgotten.

Submission is that of snakemake-executor-plugin-slurm. What differs, each a fault that was met on a controller:
a job that Slurm preempts for good is waited for without end; a status query that fails forgets all jobs; a job that
Slurm has forgotten, or that only accounting takes for running, is waited for without end; a lost node spends a retry
and its name breaks later submissions; a controller that does not answer, or that takes no more jobs of this user,
spends all retries in seconds, and so does an error that no retry mends; nothing is said of a job that Slurm holds
back; jobs that find ``.snakemake`` deleted do nothing and end well; GPUs of a job on two nodes may fall 3 and 1.
"""

import os
import re
import subprocess
import tempfile
import time
from asyncio import to_thread
from collections.abc import AsyncGenerator
from pathlib import Path

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_executor_plugin_slurm import ExecutorSettings, common_settings
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from polycal.vocabulary import NO_RETRY

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

# Not the job's fault: it is submitted again, as often as this happens, without spending a retry.
# RUNAWAY is not Slurm's word for a state: the controller does not know the job, and accounting was not told its end.
TAKEN_AWAY = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED", "RUNAWAY"}
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
# Submissions that Slurm takes when other jobs of this user have ended, or when its controller answers again.
LATER = re.compile(
    r"\w*Submit\w*Limit|temporarily un\w+|timed out|Unable to contact|Connection refused|Zero Bytes",
    re.IGNORECASE,
)
# Reasons for which every job waits; of others, such as a hold or a limit, something is said.
USUAL_REASONS = {"None", "Priority", "Resources", "BeginTime", "Cleaning", "Prolog"}
# A controller that starts again may need minutes before it knows its jobs.
RUNAWAY_SECONDS = int(os.environ.get("POLYCAL_SLURM_RUNAWAY_SECONDS", "300"))
# Between two queries for all jobs while no job ends, and between two tries to reach the controller; tests set them.
LONGEST_WAIT_SECONDS = int(os.environ.get("POLYCAL_SLURM_LONGEST_WAIT_SECONDS", "180"))
STEP_SECONDS = int(os.environ.get("POLYCAL_SLURM_STEP_SECONDS", "10"))


class Executor(SlurmExecutor):
    """The Slurm executor, patient with the cluster."""

    def __post_init__(self, test_mode: bool = False) -> None:
        super().__post_init__(test_mode)
        self.said: set[str] = set()
        self.unknown_since: dict[str, float] = {}

    @property
    def tmpdir(self) -> str:
        """The folder that every job waits for; outside of ``.snakemake``, which people delete while jobs are queued."""
        if self._tmpdir is None:
            Path("logs").mkdir(exist_ok=True)
            self._tmpdir: str | None = tempfile.mkdtemp(dir="logs", prefix=".slurm-")
        return os.path.abspath(self._tmpdir)

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
                    if state != "TIMEOUT" and _matches(MEMORY, log):
                        state = "OUT_OF_MEMORY"
                    if state == "OUT_OF_MEMORY" or _needs_a_person(one):
                        # it would end in the same way
                        _spend_retries(one.job)
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
        while self.wait and _ask("scontrol", "ping") is None:
            self._say_once("The Slurm controller does not answer: waiting to submit.")
            time.sleep(STEP_SECONDS)
        if self.wait:
            super().run_job(job)

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        """Submit a job again that Slurm will take later; of another job that it refuses, no further try is made."""
        if refused := LATER.search(msg):
            self._say_once(f"Slurm takes no job now ({refused[0]}): waiting to submit.")
            end = time.monotonic() + STEP_SECONDS
            while self.wait and time.monotonic() < end:
                time.sleep(1)
            if self.wait:
                self._job_submission_executor.submit(self.run_job, job_info.job)
                return
        elif "sbatch failed" in msg:
            _spend_retries(job_info.job)
        super()._report_job_error_threadsafe(job_info, msg)

    def _say_once(self, sentence: str) -> None:
        if sentence not in self.said:
            self.said.add(sentence)
            self.logger.warning(sentence)

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

    def shutdown(self) -> None:
        """End also what waits to be submitted."""
        self.wait = False
        super().shutdown()

    def _states(self, jobs: list[str]) -> dict[str, str] | None:
        """Job id → state, of all jobs of this run; None where Slurm does not answer."""
        answer = _ask("squeue", "--noheader", "--states=all", "--format=%i|%T|%r", f"--name={self.run_uuid}")
        if answer is None:
            return None
        states: dict[str, str] = {}
        for line in answer.splitlines():
            job, states[job], reason = line.strip().split("|", 2)
            if job in jobs and states[job] in WAITING and reason not in USUAL_REASONS:
                self._say_once(_waits(job, states[job], reason))
        if any(job not in states for job in jobs):
            # ended longer ago than the controller remembers; accounting does, where there is any
            fields, name = ["-X", "-n", "-P", "-o", "JobIDRaw,State", "-S", "now-30days"], self.run_uuid
            accounted = _ask("sacct", *fields, f"--name={name}") or ""
            # "CANCELLED by 0" is CANCELLED
            pairs = (line.split("|") for line in accounted.splitlines())
            unknown = {job: state.split()[0] for job, state in pairs if job not in states}
            states |= {job: self._known_to_accounting(job, unknown[job]) for job in jobs if job in unknown}
        return states

    def _known_to_accounting(self, job: str, state: str) -> str:
        """The state of a job that the controller does not know: RUNAWAY where accounting was not told that it ended.

        That is decided after ``RUNAWAY_SECONDS``. If the job runs after all, the lock of its cell keeps its successor
        from computing beside it.
        """
        if state == "COMPLETED" or state in FAILED or state in TAKEN_AWAY:
            return state
        since = self.unknown_since.setdefault(job, time.monotonic())
        if time.monotonic() - since >= RUNAWAY_SECONDS:
            return "RUNAWAY"
        self._say_once(
            f"Slurm job {job} is unknown to the controller, but {state} in accounting: if that is so for"
            f" {RUNAWAY_SECONDS} s, it is submitted again."
        )
        return state


WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"}


def _waits(job: str, state: str, reason: str) -> str:
    """Why a job does not start, and what a person can do."""
    held = "held" in reason.lower() or state in ("REQUEUE_HOLD", "SPECIAL_EXIT")
    release = f"; 'scontrol release {job}' lets it start" if held else ""
    return f"Slurm job {job} is waited for, which Slurm holds back ({state}, {reason}){release}."


def _spend_retries(job: JobExecutorInterface) -> None:
    """Let Snakemake not try a job again that would end in the same way."""
    job.attempt = job.restart_times + 1


def _needs_a_person(one: SubmittedJobInfo) -> bool:
    """Whether polycal says in the log of the rule that no further try can end in another way."""
    line = re.compile(f"^{re.escape(NO_RETRY.format(one.external_jobid))}$", re.MULTILINE)
    return any(_matches(line, Path(log)) for log in one.job.log)


def _matches(pattern: re.Pattern[str], log: Path) -> bool:
    """Whether the log of a job contains a line."""
    try:
        return pattern.search(log.read_text(errors="replace")) is not None
    except OSError:
        return False


def _ask(*command: str) -> str | None:
    """What a Slurm program says; None where it fails."""
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout if asked.returncode == 0 else None
