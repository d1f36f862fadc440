"""Starts one process per rank, on one or several nodes: ``python -m polycal.training.launcher --ranks 2 -- COMMAND``.

On several nodes the launcher is started once per node (``srun --ntasks-per-node=1``). It reads the number of its
node from SLURM_NODEID. It forwards signals to all ranks, and its exit code is the worst of theirs. torchrun is not
used because it returns 1 for any code of its workers, so that TRY_AGAIN would be lost.
"""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.errors import TransientError
from polycal.vocabulary import TRY_AGAIN

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


class LaunchError(TransientError):
    """The ranks cannot be started. The message says why."""


def run(
    command: Sequence[str],
    ranks: int,
    *,
    nodes: int = 1,
    node: int = 0,
    rendezvous: Path | None = None,
    patience: float = 600.0,
) -> int:
    """Run ``command`` as ``ranks`` processes on this node, and return their worst exit code.

    ``node`` is the number of this node, from 0 to ``nodes`` − 1. The ranks connect through a TCPStore. The launcher
    of node 0 holds it open on a port that the system chooses, so that no other job can take the port. Launchers of
    other nodes read its address from the file ``rendezvous``. Raises LaunchError if several nodes have no
    ``rendezvous``, or if the file does not appear within ``patience`` seconds.
    """
    from torch.distributed import TCPStore

    store: Any = None
    if node == 0:
        host = "127.0.0.1" if nodes == 1 else os.uname().nodename
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False)
        address: Mapping[str, Any] = {"host": host, "port": store.port}
        if rendezvous is not None:
            files.write_json(rendezvous, address)
    else:
        address = _wait_for(rendezvous, patience)
    environment = {
        **os.environ,
        "WORLD_SIZE": str(ranks * nodes),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": str(address["host"]),
        "MASTER_PORT": str(address["port"]),
        # torch then uses the launcher's store; without it rank 0 would open another
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    children: list[subprocess.Popen[bytes]] = []
    with _forwarding(children):
        for local in range(ranks):
            numbers = {"RANK": str(node * ranks + local), "LOCAL_RANK": str(local)}
            children.append(
                subprocess.Popen(
                    command,
                    env=environment | numbers,
                    # a rank that outlived its launcher would continue to write unsupervised
                    preexec_fn=_dying_with_parent(signal.SIGKILL),
                )
            )
        code = _wait(children)
    if node == 0 and rendezvous is not None:
        rendezvous.unlink(missing_ok=True)
    return code


def over_nodes(command: Sequence[str], ranks: int, nodes: int, folder: Path, threads: int = 1) -> int:
    """Run ``command`` as ``ranks`` processes on each of ``nodes`` nodes of this Slurm job; return the worst exit code.

    ``threads`` is the number of cores that the job has per node. ``folder`` must be visible to all nodes, and no
    other call may use it at the same time. Raises LaunchError if this is not the batch step of a Slurm job, or if
    srun is missing.
    """
    if nodes == 1:
        return run(command, ranks)
    _check_job(nodes)
    for leftover in folder.glob(".rendezvous-*"):
        leftover.unlink(missing_ok=True)  # from a job that was killed
    rendezvous = folder / f".rendezvous-{uuid.uuid4().hex[:12]}.json"
    # Each task of the step is one launcher. --kill-on-bad-exit ends the whole step if one of them fails. A step
    # gets all of the job's GPUs and memory, but only one core unless it requests more. --wait=0 sets no time
    # limit after the first task ends, because rank 0 writes weights long after the other ranks have ended.
    step = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    step += [f"--cpus-per-task={threads}", "--kill-on-bad-exit=1", "--wait=0"]
    launcher = [sys.executable, "-m", "polycal.training.launcher", f"--ranks={ranks}", f"--nodes={nodes}"]
    children: list[subprocess.Popen[bytes]] = []
    try:
        # srun kills its tasks on SIGTERM and SIGINT, but forwards SIGUSR1 to them
        with _forwarding(children, signal.SIGUSR1):
            words = [*step, *launcher, f"--rendezvous={rendezvous}", "--", *command]
            children.append(subprocess.Popen(words, preexec_fn=_dying_with_parent(signal.SIGTERM)))
            code = _wait(children)
            return TRY_AGAIN if code == 0 and _try_again_file(rendezvous).exists() else code
    except FileNotFoundError:
        raise LaunchError(f"{nodes} nodes are requested, but there is no srun on this machine.") from None
    finally:
        for path in (rendezvous, _try_again_file(rendezvous)):
            path.unlink(missing_ok=True)


def _try_again_file(rendezvous: Path) -> Path:
    """The file by which a launcher of a step reports TRY_AGAIN. After a nonzero exit code srun would kill the others."""
    return rendezvous.with_suffix(".again")


def _check_job(nodes: int) -> None:
    """Raise LaunchError if ``srun`` would allocate another job, or wait forever for cores that this step uses."""
    if "SLURM_JOB_ID" not in os.environ:
        raise LaunchError(
            f"{nodes} nodes are requested, but this is no Slurm job: submit it with --nodes={nodes}."
        )
    # steps that users start are numbered from 0; batch and interactive steps have numbers near 2**32
    if int(os.environ.get("SLURM_STEP_ID", 2**32)) < 2**31:
        raise LaunchError(
            f"{nodes} nodes are requested within a step of one node: give the model training_nodes, not the rule nodes."
        )


def _dying_with_parent(number: int) -> Callable[[], None]:
    """A function for a child process to call. The child then gets signal ``number`` when its parent ends for any reason."""
    libc = ctypes.CDLL(None)

    def bind() -> None:
        libc.prctl(DIE_WITH_PARENT, number)

    return bind


@contextmanager
def _forwarding(children: Sequence[subprocess.Popen[bytes]], as_number: int | None = None) -> Iterator[None]:
    """Forward the signals FORWARDED from this process to all children, as signal ``as_number`` if it is given."""

    def forward(number: int, _: Any) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(as_number or number)

    previous_handlers = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all children, and return their worst exit code: an error, else TRY_AGAIN, else 0.

    If one fails, the others are killed, because they would wait for it forever in their next collective operation.
    """
    failed = 0
    while any(child.poll() is None for child in children):
        codes = [child.returncode for child in children if child.returncode not in (None, 0, TRY_AGAIN)]
        if codes and not failed:
            failed = _exit_code(codes[0])
            for child in children:
                if child.poll() is None:
                    child.kill()
        time.sleep(0.05)
    codes = [_exit_code(child.returncode) for child in children]
    return failed or max((code for code in codes if code not in (0, TRY_AGAIN)), default=max(codes))


def _exit_code(returncode: int) -> int:
    """The exit code that a shell would report: 128 + n for a process that was ended by signal n."""
    return returncode if returncode >= 0 else 128 - returncode


def _wait_for(rendezvous: Path | None, patience: float) -> Mapping[str, Any]:
    """The address that node 0 wrote to ``rendezvous``.

    Raises LaunchError if there is no ``rendezvous``, or no address within ``patience`` seconds.
    """
    if rendezvous is None:
        raise LaunchError("several nodes need --rendezvous: a file in a folder that all of them share.")
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            address: dict[str, Any] = json.loads(rendezvous.read_text())
            return address
        except FileNotFoundError:
            time.sleep(0.2)
    raise LaunchError(f"{rendezvous}: the first node wrote no address within {patience:.0f} seconds.")


def main() -> None:
    """Read the command line and run the ranks of this node."""
    parser = argparse.ArgumentParser(
        prog="polycal.training.launcher", description="Start one process per rank."
    )
    parser.add_argument("--ranks", type=int, required=True, help="processes on this node")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--rendezvous", type=Path, help="file visible to all nodes; a new name per run")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    node = int(os.environ.get("SLURM_NODEID", "0")) if options.nodes > 1 else 0
    try:
        code = run(
            options.command, options.ranks, nodes=options.nodes, node=node, rendezvous=options.rendezvous
        )
    except LaunchError as error:
        raise SystemExit(f"polycal.training.launcher: {error}") from None
    if code == TRY_AGAIN and options.rendezvous is not None:
        _try_again_file(options.rendezvous).touch()
        code = 0
    raise SystemExit(code)


if __name__ == "__main__":
    main()
