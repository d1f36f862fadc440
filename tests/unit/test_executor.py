"""What the executor asks of Slurm, and what it makes of the answers."""

import asyncio
import contextlib
from collections import Counter
from types import SimpleNamespace

import pytest

import snakemake_executor_plugin_slurm_patient as patient
from polycal import vocabulary


class Controller:
    """An executor's surroundings: it notes what is asked and reported."""

    def __init__(self, answers):
        self.answers, self.questions, self.reported = answers, 0, {}
        self.workflow = SimpleNamespace(
            executor_settings=SimpleNamespace(init_seconds_before_status_checks=5)
        )
        self.next_seconds_between_status_checks = None
        self.status_rate_limiter = contextlib.nullcontext()
        self.logger = SimpleNamespace(warning=lambda *_: None)
        self._job_submission_executor = SimpleNamespace(
            submit=lambda _, job: self.reported.update({job: "again"})
        )

    def run_job(self, job): ...

    def _states(self, jobs):
        self.questions += 1
        return self.answers

    def report_job_success(self, one):
        self.reported[one.job] = "done"

    def report_job_error(self, one, msg, aux_logs):
        self.reported[one.job] = msg

    def look(self, jobs):
        async def collect():
            return [one.job async for one in patient.Executor.check_active_jobs(self, jobs)]

        return asyncio.run(collect())


class Job(int):
    """A number that may be tried three times more."""

    restart_times = 3
    attempt = 1
    log = ()


def job(number, log="log"):
    return SimpleNamespace(job=Job(number), external_jobid=str(number), aux={"slurm_logfile": log})


@pytest.fixture
def executor(monkeypatch):
    """An executor without Snakemake, with what it said and submitted again."""
    made = object.__new__(patient.Executor)
    made.run_uuid, made.wait, made.said, made.unknown_since = "run", True, set(), {}
    made.sentences, made.again = [], []
    made.logger = SimpleNamespace(warning=made.sentences.append)
    made._job_submission_executor = SimpleNamespace(submit=lambda _, job: made.again.append(job))
    made._main_event_loop = None
    made.failures = {}
    made.report_job_error = lambda info, msg: made.failures.update({info.job: msg})
    monkeypatch.setattr(patient, "STEP_SECONDS", 0)
    return made


def test_two_thousand_queued_jobs_are_one_question_less_and_less_often():
    jobs = [job(n) for n in range(2000)]
    controller = Controller({str(n): "PENDING" for n in range(2000)})
    waits = []
    for _ in range(30):
        assert len(controller.look(jobs)) == 2000
        waits.append(controller.next_seconds_between_status_checks)
    assert controller.questions == 30
    assert min(waits) >= 5
    assert waits[-10:] == [180] * 10


def test_what_each_state_leads_to():
    states = [
        "COMPLETED",
        "RUNNING",
        "COMPLETING",
        "PREEMPTED",
        "NODE_FAIL",
        "TIMEOUT",
        "CANCELLED",
        "OUT_OF_MEMORY",
    ]
    controller = Controller(dict(zip("01234567", states, strict=True)))
    assert controller.look([job(n) for n in range(9)]) == [1, 2]
    said = Counter(word if word in ("done", "again") else "failed" for word in controller.reported.values())
    assert said == {"done": 1, "again": 2, "failed": 4}
    assert "scoring_memory_mb" in controller.reported[7]
    assert "FORGOTTEN" in controller.reported[8]
    assert controller.next_seconds_between_status_checks == 5


@pytest.mark.parametrize(
    "words",
    [
        "slurmstepd-c1: error: StepId=1.0 exceeded memory limit (427745280 > 314572800), being killed",
        "slurmstepd: error: Exceeded job memory limit",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0. Some of the step tasks have been OOM Killed.",
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch cgroup.",
    ],
)
def test_a_job_killed_for_its_memory_is_known_by_its_log_and_not_tried_again(tmp_path, words):
    log = tmp_path / "1.log"
    log.write_text(f"SNAKEMAKE\n{words}\nsrun: error: c1: task 0: Killed\n")
    controller, one = Controller({"1": "FAILED", "2": "FAILED"}), job(1, log)
    controller.look([one, job(2)])
    assert "ended as OUT_OF_MEMORY: raise its model's scoring_memory_mb" in controller.reported[1]
    assert one.job.attempt - 1 == one.job.restart_times
    assert "ended as FAILED: see its log" in controller.reported[2]


def test_a_job_that_slurm_has_put_back_into_the_queue_is_waited_for():
    states = ["PENDING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING"]
    controller = Controller({str(n): state for n, state in enumerate(states)})
    assert controller.look([job(n) for n in range(6)]) == list(range(6))
    assert not controller.reported


def test_a_controller_that_does_not_answer_loses_no_job():
    controller = Controller(None)
    assert controller.look([job(n) for n in range(5)]) == [0, 1, 2, 3, 4]
    assert not controller.reported


def test_jobs_that_the_controller_has_forgotten_are_looked_up_in_accounting(executor, monkeypatch):
    said = {"squeue": "1|RUNNING|None\n", "sacct": "1|RUNNING\n2|CANCELLED by 0\n3|COMPLETED\n"}
    monkeypatch.setattr(patient, "_ask", lambda name, *_: said[name])
    assert executor._states(["1"]) == {"1": "RUNNING"}
    assert executor._states(["1", "2"])["2"] == "CANCELLED"


@pytest.mark.parametrize("command", [("false",), ("no-such-program",)])
def test_a_program_that_fails_has_no_answer(command):
    assert patient._ask(*command) is None


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"gpu": 4, "nodes": 1}, ""),
        ({"nodes": 2}, ""),
        ({"gpu": 8, "nodes": 2}, " --gpus-per-node=4"),
        ({"gpu": 8, "nodes": 2, "gpu_model": "h100"}, " --gpus-per-node=h100:4"),
    ],
)
def test_gpus_of_several_nodes_are_asked_for_in_equal_shares(asked, expected):
    executor = object.__new__(patient.Executor)
    executor._partitions = None
    resources = {"slurm_partition": "gpu", **asked}
    job = SimpleNamespace(resources=Resources(resources))
    assert executor.get_partition_arg(job) == f" -p gpu{expected}"


class Resources(dict):
    """Resources of a job, by key and by name."""

    __getattr__ = dict.get


def test_a_job_that_only_accounting_takes_for_running_is_said_and_in_the_end_submitted_again(
    executor, monkeypatch
):
    answers = {"squeue": "1|RUNNING|None\n", "sacct": "1|RUNNING\n2|RUNNING\n3|COMPLETED\n"}
    monkeypatch.setattr(patient, "_ask", lambda name, *_: answers[name])
    now = [1000.0]
    monkeypatch.setattr(patient.time, "monotonic", lambda: now[0])
    expected = {"1": "RUNNING", "2": "RUNNING", "3": "COMPLETED"}
    assert executor._states(["1", "2", "3"]) == expected
    now[0] += patient.RUNAWAY_SECONDS - 1
    assert executor._states(["1", "2", "3"]) == expected
    [said] = executor.sentences
    assert said.startswith("Slurm job 2 is unknown to the controller, but RUNNING in accounting")
    now[0] += 1
    assert executor._states(["1", "2", "3"]) == {**expected, "2": "RUNAWAY"}
    assert "RUNAWAY" in patient.TAKEN_AWAY


def test_a_job_that_slurm_holds_back_is_said_once(executor, monkeypatch):
    lines = [
        "1|PENDING|Priority",
        "2|PENDING|JobHeldUser",
        "3|REQUEUE_HOLD|launch failed requeued held",
        "4|PENDING|AssocGrpCpuLimit",
        "5|PENDING|JobHeldUser",
    ]
    monkeypatch.setattr(patient, "_ask", lambda *_: "\n".join(lines))
    for _ in range(3):
        executor._states(["1", "2", "3", "4"])
    held, requeued, limited = executor.sentences
    assert held == (
        "Slurm job 2 is waited for, which Slurm holds back (PENDING, JobHeldUser); 'scontrol release 2' lets it start."
    )
    assert "scontrol release 3" in requeued
    assert limited == "Slurm job 4 is waited for, which Slurm holds back (PENDING, AssocGrpCpuLimit)."


REFUSED = "SLURM sbatch failed. The error message was 'sbatch: error: {}'."


@pytest.mark.parametrize(
    "words",
    [
        "AssocMaxSubmitJobLimit",
        "QOSMaxSubmitJobPerUserLimit",
        "AssocGrpSubmitJobsLimit",
        "Slurm temporarily unable to accept job, sleeping and retrying",
        "Batch job submission failed: Socket timed out on send/recv operation",
        "Batch job submission failed: Unable to contact slurm controller (connect failure)",
    ],
)
def test_a_job_that_slurm_will_take_later_is_submitted_again_without_a_retry(executor, words):
    one = job(1)
    for _ in range(3):
        executor._report_job_error_threadsafe(one, REFUSED.format(words))
    assert executor.again == [1, 1, 1]
    assert executor.failures == {}
    assert one.job.attempt == 1
    [said] = executor.sentences
    assert said.startswith("Slurm takes no job now (")


def test_a_job_that_slurm_will_never_take_is_not_tried_again(executor):
    one = job(1)
    executor._report_job_error_threadsafe(one, REFUSED.format("invalid account or partition specified"))
    assert executor.again == []
    assert "invalid account" in executor.failures[1]
    assert one.job.attempt - 1 == one.job.restart_times


def test_an_error_that_only_a_person_can_mend_is_not_tried_again(tmp_path):
    controller, one, other = Controller({"1": "FAILED", "2": "FAILED"}), job(1), job(2)
    log = tmp_path / "score.log"
    log.write_text(f"polycal: wrong.\n{vocabulary.NO_RETRY.format(1)}\n")
    one.job.log = other.job.log = [str(log)]
    controller.look([one, other])
    assert one.job.attempt - 1 == one.job.restart_times
    # the line is of an earlier job of this rule
    assert other.job.attempt == 1
