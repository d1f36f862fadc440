"""One writer a cell: a lock file beside each output, on whatever nodes the jobs run.

A finished file is linked to the lock's name, which is atomic on network file systems too. A waiter takes a lock
over only where the holder is known to be gone: its process on the same node, its job by Slurm's word, or its
heartbeat (the file's time) has stood still by the waiter's own clock. A job that Slurm calls running is waited for
however silent it is; one whose node Slurm has lost may still run there, so its heartbeat decides.
"""

import contextlib
import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from polycal.errors import PolycalError

# Seconds. A network file system may show a heartbeat a minute late.
BEAT = 20.0
SILENCE = 180.0
POLL = 5.0

# Slurm has ended every process of a job in one of these states; NODE_FAIL is none of them.
ENDED = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}
ALIVE = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "CONFIGURING", "RESIZING"}
# sysexits' EX_TEMPFAIL: to be tried again
TRY_AGAIN = 75


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. ``place`` tells one process number from the same number elsewhere."""

    token: str
    stage: str
    place: str
    pid: int
    started: float
    job: str | None

    def __str__(self) -> str:
        where = f"process {self.pid} on {self.place.split()[0]}"
        return f"Slurm job {self.job} ({where})" if self.job else where


class LockError(PolycalError):
    """Another holds the lock, and lives; the message says who."""


@contextlib.contextmanager
def hold(stage: str, *outputs: Path, leave: bool = False) -> Iterator[None]:
    """Be the only writer of ``outputs``; waits while another lives, in one order, so that none waits in a circle.

    With ``leave``, raises LockError as soon as the other is known to live.
    """
    with contextlib.ExitStack() as held:
        for path in sorted({one.with_name(f".{one.name}.lock") for one in outputs}):
            held.enter_context(_hold(path, stage, leave))
        yield


@contextlib.contextmanager
def _hold(path: Path, stage: str, leave: bool = False) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = _myself(stage)
    _acquire(path, mine, leave)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, mine, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        if _token(path) == mine.token:
            path.unlink(missing_ok=True)


def _acquire(path: Path, mine: Holder, leave: bool) -> None:
    first, seen, since, said = "", "", time.monotonic(), ""
    while not _claim(path, mine):
        holder, sign = _read(path)
        if sign != seen:
            seen, since = sign, time.monotonic()
        if not sign:
            time.sleep(0.1)  # released between two looks, or not to be seen yet
            continue
        first = first or sign
        gone = _gone(holder, mine, time.monotonic() - since)
        if leave and not gone and (sign != first or (holder and holder.place == mine.place)):
            raise LockError(f"{holder or path} works here; wait for it, or stop it there.")
        if gone and _take_over(path, sign, mine):
            print(f"{mine.stage}: took over the lock of {holder or path}: {gone}", flush=True)
            return
        if not gone:
            if said != str(holder):
                said = str(holder)
                print(f"{mine.stage}: {said} writes {path.name[1:-5]}; waiting for it", flush=True)
            time.sleep(POLL)


def _claim(path: Path, mine: Holder, over: bool = False) -> bool:
    """Put the lock file there, whole; False where one is. ``over`` replaces it."""
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
            # no links here, or the answer of a network file system was lost on the way
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
    """Replace the lock that was found abandoned, unless another waiter did: of them one at a time, by a lock."""
    with _hold(path.with_name(f"{path.name}.{sign.split()[0]}"), mine.stage):
        _, now = _read(path)
        return now == sign and _claim(path, mine, over=True)


def _read(path: Path) -> tuple[Holder | None, str]:
    """The holder, None where the file does not say; and what changes with every heartbeat, empty without a lock."""
    try:
        time_ns = path.stat().st_mtime_ns
        text = path.read_text()
    except FileNotFoundError:
        return None, ""
    try:
        holder = Holder(**json.loads(text))
    except (ValueError, TypeError):
        return None, f"unreadable {time_ns}"
    return holder, f"{holder.token} {time_ns}"


def _token(path: Path) -> str | None:
    holder, _ = _read(path)
    return holder.token if holder else None


def _gone(holder: Holder | None, mine: Holder, silent: float) -> str:
    """Why a lock is abandoned; empty where its holder lives or may live."""
    if holder is not None and holder.place == mine.place:
        return "" if _lives(holder) else "its process is gone"
    if holder is not None and holder.job and holder.job != mine.job:
        state = _state(holder.job)
        if state in ENDED:
            return f"Slurm says {state}"
        if state in ALIVE:
            return ""
    return f"no sign of life for {silent:.0f} s" if silent > SILENCE else ""


def _lives(holder: Holder) -> bool:
    try:
        process = psutil.Process(holder.pid)
        return process.create_time() == holder.started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _state(job: str) -> str:
    """What Slurm calls a job; empty where it does not know or does not answer."""
    command = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _myself(stage: str) -> Holder:
    node = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    place = [node]
    place += [boot.read_text().strip()] if boot.exists() else []
    place += [str(os.stat(space).st_ino)] if space.exists() else []
    me = psutil.Process()
    job = os.environ.get("SLURM_JOB_ID")
    return Holder(uuid.uuid4().hex[:12], stage, " ".join(place), me.pid, me.create_time(), job)


def _beat(path: Path, mine: Holder, stop: threading.Event) -> None:
    """Show that the holder lives, and end it where it has lost the lock, before it writes beside another."""
    while not stop.wait(BEAT):
        try:
            lost = _token(path) != mine.token
            if not lost:
                os.utime(path)
        except OSError:
            continue  # a file system that does not answer now
        if lost and not stop.is_set():
            print(f"{mine.stage}: the lock {path} is another's; leaving without a result", flush=True)
            os._exit(TRY_AGAIN)
