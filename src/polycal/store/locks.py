"""Locks: each output has one writer, also if jobs run on several nodes. A lock is a file beside the output.

The file is written under a temporary name and then hard-linked to the name of the lock, which is atomic on
network file systems too. A waiting process takes over a lock only in these cases:

- The holder ran on this node, and its process no longer exists.
- Slurm reports that the holder's job has ended, or its job number now belongs to another job.
- The heartbeat (the modification time of the file) has not changed for ``STALE_AFTER_SECONDS`` by the clock
  of the waiting process. This applies only if neither this node nor Slurm reports the holder as running.

If Slurm has lost a node (NODE_FAIL), the job may still run there, so the heartbeat decides.
"""

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from polycal.artifacts import files
from polycal.errors import TransientError
from polycal.store import slurm
from polycal.vocabulary import TRY_AGAIN

# Tests set shorter times. The defaults allow for network file systems that show a heartbeat a minute late.
HEARTBEAT_SECONDS = float(os.environ.get("POLYCAL_LOCK_HEARTBEAT_SECONDS", "20"))
STALE_AFTER_SECONDS = float(os.environ.get("POLYCAL_LOCK_STALE_AFTER_SECONDS", "180"))
POLL_SECONDS = float(os.environ.get("POLYCAL_LOCK_POLL_SECONDS", "5"))


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    ``token`` is random and unique for each lock. ``host`` consists of the node's name, the boot and the
    process namespace, so that ``pid`` is unique within it. ``ticks`` is the start of the process in clock
    ticks since boot, which does not change if the node's clock is set; without /proc it is in seconds of
    the Unix time. ``job`` and ``job_name`` are the number and name of the Slurm job, as Slurm knows them; None
    if there is none. The name is compared too, because Slurm may reuse the number of a job that has ended.
    """

    token: str
    stage: str
    host: str
    pid: int
    ticks: int
    job: str | None
    job_name: str | None

    def __str__(self) -> str:
        where = f"process {self.pid} on {self.host.split()[0]}"
        return f"Slurm job {self.job} ({where})" if self.job else where


class LockError(TransientError):
    """A running process holds the lock, or the lock file cannot be written. The message says which."""


@contextlib.contextmanager
def acquire(stage: str, *outputs: Path, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on all ``outputs``, waiting if necessary.

    The lock of ``folder/name`` is the file ``folder/.name.lock``. Locks are taken in sorted order to avoid
    deadlock. Raises LockError if a lock file cannot be written. Without ``wait``, also raises LockError as
    soon as another process holds a lock and is known to run: on this node, or because its heartbeat
    changes.

    If another process takes the lock over during the block, this process exits with code TRY_AGAIN.
    """
    with contextlib.ExitStack() as held:
        for path in sorted({one.with_name(f".{one.name}.lock") for one in outputs}):
            held.enter_context(_hold(path, stage, wait))
        yield


@contextlib.contextmanager
def _hold(path: Path, stage: str, wait: bool = True) -> Iterator[None]:
    mine = _myself(stage)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _wait_for(path, mine, wait)
    except OSError as error:
        if files.is_disk_full(error):
            raise
        raise LockError(
            f"{path}: the lock cannot be written ({error.strerror}); the user who runs this must be able to write"
            " there."
        ) from error
    stop = threading.Event()
    heartbeat = threading.Thread(target=_heartbeat, args=(path, mine, stop), daemon=True)
    heartbeat.start()
    try:
        yield
    finally:
        stop.set()
        heartbeat.join()
        if _token(path) == mine.token:
            path.unlink(missing_ok=True)


def _wait_for(path: Path, mine: Holder, wait: bool) -> None:
    first, seen, since, said = "", "", time.monotonic(), ""
    while not _claim(path, mine):
        holder, sign = _read(path)
        if sign != seen:
            seen, since = sign, time.monotonic()
        if not sign:
            time.sleep(0.1)  # it was released meanwhile, or the network file system does not show it yet
            continue
        first = first or sign
        gone = _gone(holder, mine, time.monotonic() - since)
        if not wait and not gone and (sign != first or (holder and holder.host == mine.host)):
            raise LockError(f"{holder or path} works here; wait for it, or stop it there.")
        if gone and _take_over(path, sign, mine):
            print(f"{mine.stage}: took over the lock of {holder or path}: {gone}", flush=True)
            return
        if not gone:
            if said != str(holder):
                said = str(holder)
                print(f"{mine.stage}: {said} writes {path.name[1:-5]}; waiting for it", flush=True)
            time.sleep(POLL_SECONDS)


def _claim(path: Path, mine: Holder, over: bool = False) -> bool:
    """Create the lock file atomically. Returns False if it exists already; ``over`` replaces it instead."""
    aside = path.with_name(f"{path.name}.{mine.token}.part")
    try:
        aside.write_text(json.dumps(asdict(mine)))
        if over:
            os.replace(aside, path)
            return True
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        except OSError:
            # The file system has no hard links, or the link was made but the server's reply was lost.
            if _token(path) == mine.token:
                return True
            return _create(path, mine)
        return True
    finally:
        aside.unlink(missing_ok=True)


def _create(path: Path, mine: Holder) -> bool:
    try:
        with path.open("x") as file:
            json.dump(asdict(mine), file)
    except FileExistsError:
        return False
    return True


def _take_over(path: Path, sign: str, mine: Holder) -> bool:
    """Replace an abandoned lock. Returns False if it has changed since ``sign`` was read.

    A second lock lets only one waiting process do this at a time.
    """
    with _hold(path.with_name(f"{path.name}.{sign.split()[0]}"), mine.stage):
        _, now = _read(path)
        return now == sign and _claim(path, mine, over=True)


def _read(path: Path) -> tuple[Holder | None, str]:
    """The holder of a lock, and its sign of life: a text that changes with every heartbeat.

    The holder is None if the file is missing or cannot be parsed. The sign is empty if the file is missing.
    """
    try:
        time_ns = path.stat().st_mtime_ns
    except FileNotFoundError:
        return None, ""
    try:
        holder = Holder(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None, ""
    except (ValueError, TypeError):
        return None, f"unreadable {time_ns}"
    return holder, f"{holder.token} {time_ns}"


def _token(path: Path) -> str | None:
    holder, _ = _read(path)
    return holder.token if holder else None


def _gone(holder: Holder | None, mine: Holder, silent: float) -> str:
    """Why a lock is abandoned; empty if its holder runs or may run.

    ``silent`` is the number of seconds without a heartbeat.
    """
    if holder is not None and holder.host == mine.host:
        return "" if _lives(holder) else "its process is gone"
    if holder is not None and holder.job and holder.job != mine.job:
        state, name = slurm.job_state(holder.job)
        if state and holder.job_name and name != holder.job_name:
            return f"Slurm's job {holder.job} is another one by now"
        if state in slurm.ENDED:
            return f"Slurm says {state}"
        if state in slurm.ALIVE:
            return ""
    return f"no sign of life for {silent:.0f} s" if silent > STALE_AFTER_SECONDS else ""


def _lives(holder: Holder) -> bool:
    return _start_ticks(holder.pid) == holder.ticks


def _start_ticks(pid: int) -> int | None:
    """The start of a process in clock ticks since boot, or in seconds of the Unix time without /proc.

    None if the process does not exist or has ended (a zombie).
    """
    if not Path("/proc/self/stat").exists():
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time())
        except psutil.NoSuchProcess:
            return None
    try:
        # Skip to the last bracket: the process name in field 2 may contain blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _myself(stage: str) -> Holder:
    node = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    host = [node]
    host += [boot.read_text().strip()] if boot.exists() else []
    host += [str(os.stat(space).st_ino)] if space.exists() else []
    pid, ticks = os.getpid(), _start_ticks(os.getpid())
    assert ticks is not None  # this process exists
    job = os.environ.get("SLURM_JOB_ID")
    name = slurm.job_name(job) or None if job else None
    return Holder(uuid.uuid4().hex[:12], stage, " ".join(host), pid, ticks, job, name)


def _heartbeat(path: Path, mine: Holder, stop: threading.Event) -> None:
    """Touch the lock file regularly. End the process if another one has taken over the lock.

    Otherwise both processes would write the same output.
    """
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            lost = _token(path) != mine.token
            if not lost:
                os.utime(path)
        except OSError:
            continue  # the file system does not respond; try again at the next heartbeat
        if lost and not stop.is_set():
            print(f"{mine.stage}: the lock {path} is another's; leaving without a result", flush=True)
            os._exit(TRY_AGAIN)
