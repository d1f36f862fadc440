"""Snakemake's Slurm executor, with job states handled so that no job is forgotten or waited for forever.

Submission is that of snakemake-executor-plugin-slurm. Each difference is the remedy for a fault of that executor
which was observed with a real Slurm controller:

- It waits forever for a job that Slurm preempts and does not requeue.
- It forgets all jobs if one status query fails.
- It waits forever for a job that Slurm no longer knows, and for a job that runs only according to accounting.
- The loss of a node uses up a retry of the job, and the name of the node breaks later submissions.
- A controller that does not answer, or that accepts no more jobs of this user, uses up all retries within seconds.
  So does an error that no retry can fix.
- It does not report a job that Slurm holds.
- Jobs that find ``.snakemake`` deleted do nothing and are reported as successful.
- The GPUs of a job on two nodes may be split unevenly, for example 3 and 1.
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

# Jobs in these states are submitted again without using up a retry, because the job did not cause the state.
# RUNAWAY is not a state of Slurm: the controller does not know the job, and accounting has no end for it.
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
# If a step of a job, and not its script, was killed for its memory, the state of the job is FAILED or CANCELLED.
# Only this line of Slurm's daemon in the job's log shows the cause.
MEMORY = re.compile(r"^slurmstepd.*(exceeded .*memory limit|oom.kill)", re.IGNORECASE | re.MULTILINE)
# Errors of submissions that succeed later, when other jobs of this user have ended or the controller answers again.
LATER = re.compile(
    r"\w*Submit\w*Limit|temporarily un\w+|timed out|Unable to contact|Connection refused|Zero Bytes",
    re.IGNORECASE,
)
# Usual reasons for which a job waits. Other reasons, such as a hold or a limit, are reported.
USUAL_REASONS = {"None", "Priority", "Resources", "BeginTime", "Cleaning", "Prolog"}
# A controller that was restarted may need minutes before it knows its jobs.
RUNAWAY_SECONDS = int(os.environ.get("POLYCAL_SLURM_RUNAWAY_SECONDS", "300"))
# The time between two status queries grows by STEP_SECONDS up to LONGEST_WAIT_SECONDS while no job ends. STEP_SECONDS
# is also the time between two attempts to reach the controller. Tests set shorter times.
LONGEST_WAIT_SECONDS = int(os.environ.get("POLYCAL_SLURM_LONGEST_WAIT_SECONDS", "180"))
STEP_SECONDS = int(os.environ.get("POLYCAL_SLURM_STEP_SECONDS", "10"))


class Executor(SlurmExecutor):
    """The Slurm executor with the differences that the module describes."""

    def __post_init__(self, test_mode: bool = False) -> None:
        super().__post_init__(test_mode)
        self.said: set[str] = set()
        self.unknown_since: dict[str, float] = {}

    @property
    def tmpdir(self) -> str:
        """The temporary folder that each job needs. It is not in ``.snakemake``, which users delete while jobs wait."""
        if self._tmpdir is None:
            Path("logs").mkdir(exist_ok=True)
            self._tmpdir: str | None = tempfile.mkdtemp(dir="logs", prefix=".slurm-")
        return os.path.abspath(self._tmpdir)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Query the states of all jobs at once. Yields the jobs that have not ended."""
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
                        # another attempt would end in the same way
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
        """Submit a job. Waits until the controller answers."""
        while self.wait and _ask("scontrol", "ping") is None:
            self._say_once("The Slurm controller does not answer: waiting to submit.")
            time.sleep(STEP_SECONDS)
        if self.wait:
            super().run_job(job)

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        """Submit a job again if Slurm will accept it later. A job that is refused for another reason is not retried."""
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
        """The option for the partition, and for a job on several nodes, the same number of GPUs on each node."""
        argument: str = super().get_partition_arg(job)
        nodes, gpus = job.resources.get("nodes") or 1, job.resources.get("gpu") or 0
        if nodes > 1 and gpus:
            # The type must be given here if the total has one: Slurm refuses one option with and one without type.
            model = job.resources.get("gpu_model")
            argument += f" --gpus-per-node={f'{model}:' if model else ''}{gpus // nodes}"
        return argument

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel all jobs of this run by their common name, including those whose states are being queried now."""
        _ask("scancel", f"--name={self.run_uuid}")

    def shutdown(self) -> None:
        """End, and submit none of the jobs that wait for the controller."""
        self.wait = False
        super().shutdown()

    def _states(self, jobs: list[str]) -> dict[str, str] | None:
        """Job id → state, for all jobs of this run that Slurm knows. None if Slurm does not answer.

        The states of ``jobs`` that the controller no longer knows are read from accounting. Jobs that neither knows
        are missing in the result.
        """
        answer = _ask("squeue", "--noheader", "--states=all", "--format=%i|%T|%r", f"--name={self.run_uuid}")
        if answer is None:
            return None
        states: dict[str, str] = {}
        for line in answer.splitlines():
            job, states[job], reason = line.strip().split("|", 2)
            if job in jobs and states[job] in WAITING and reason not in USUAL_REASONS:
                self._say_once(_waits(job, states[job], reason))
        if any(job not in states for job in jobs):
            # The controller forgets a job some time after its end. Accounting, if the cluster has it, does not.
            fields, name = ["-X", "-n", "-P", "-o", "JobIDRaw,State", "-S", "now-30days"], self.run_uuid
            accounted = _ask("sacct", *fields, f"--name={name}") or ""
            # the first word, because a state may be "CANCELLED by 0"
            pairs = (line.split("|") for line in accounted.splitlines())
            unknown = {job: state.split()[0] for job, state in pairs if job not in states}
            states |= {job: self._known_to_accounting(job, unknown[job]) for job in jobs if job in unknown}
        return states

    def _known_to_accounting(self, job: str, state: str) -> str:
        """The state of a job that the controller does not know, given its state in accounting.

        If accounting has no end for the job, the state is RUNAWAY after ``RUNAWAY_SECONDS``. If the job runs
        nevertheless, the lock of its cell makes its successor wait.
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
    """The message for a job that Slurm holds: why it does not start, and how to release it."""
    held = "held" in reason.lower() or state in ("REQUEUE_HOLD", "SPECIAL_EXIT")
    release = f"; 'scontrol release {job}' lets it start" if held else ""
    return f"Slurm job {job} is waited for, which Slurm holds back ({state}, {reason}){release}."


def _spend_retries(job: JobExecutorInterface) -> None:
    """Make Snakemake not retry a job that would end in the same way."""
    job.attempt = job.restart_times + 1


def _needs_a_person(one: SubmittedJobInfo) -> bool:
    """Whether polycal's line NO_RETRY is in the log of the rule: another attempt would end in the same way."""
    line = re.compile(f"^{re.escape(NO_RETRY.format(one.external_jobid))}$", re.MULTILINE)
    return any(_matches(line, Path(log)) for log in one.job.log)


def _matches(pattern: re.Pattern[str], log: Path) -> bool:
    """Whether a log contains the pattern. False if the log cannot be read."""
    try:
        return pattern.search(log.read_text(errors="replace")) is not None
    except OSError:
        return False


def _ask(*command: str) -> str | None:
    """The standard output of a Slurm program, or None if it fails or takes more than two minutes."""
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout if asked.returncode == 0 else None
