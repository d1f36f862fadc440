"""One process a rank, on one node or several: ``python -m polycal.launch --ranks 2 -- COMMAND``.

On several nodes it is started once a node (``srun --ntasks-per-node=1``) and finds its place in SLURM_NODEID.
Signals go on to all ranks, and the worst code of the ranks comes back. (torchrun's agent dies on SIGUSR1
while its workers train on, and returns 1 on SIGTERM whatever they return.)
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

from polycal.artifacts.files import write_json
from polycal.errors import PolycalError
from polycal.store.locks import TRY_AGAIN

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


class LaunchError(PolycalError):
    """Ranks that cannot be started; the message says why."""


def run(
    command: Sequence[str],
    ranks: int,
    *,
    nodes: int = 1,
    node: int = 0,
    rendezvous: Path | None = None,
    patience: float = 600.0,
) -> int:
    """Run ``command`` as ``ranks`` processes on this node, number ``node`` of ``nodes``; their worst code.

    The ranks meet at a store that the launcher of node 0 holds, on a port that the system gives: no other
    job can take it in between. It is told to the other nodes in the file ``rendezvous``, for which they
    wait ``patience`` seconds before LaunchError is raised.
    """
    from torch.distributed import TCPStore

    store: Any = None
    if node == 0:
        host = "127.0.0.1" if nodes == 1 else os.uname().nodename
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False)
        place: Mapping[str, Any] = {"host": host, "port": store.port}
        if rendezvous is not None:
            write_json(rendezvous, place)
    else:
        place = _awaited(rendezvous, patience)
    shared = {
        **os.environ,
        "WORLD_SIZE": str(ranks * nodes),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": str(place["host"]),
        "MASTER_PORT": str(place["port"]),
        # torch's words for: the launcher holds the store, rank 0 opens none
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    children: list[subprocess.Popen[bytes]] = []
    with _forwarding(children):
        for local in range(ranks):
            own = {"RANK": str(node * ranks + local), "LOCAL_RANK": str(local)}
            children.append(
                subprocess.Popen(
                    command,
                    env=shared | own,
                    # no rank outlives its launcher: it would go on writing unsupervised
                    preexec_fn=_dying_with_parent(signal.SIGKILL),
                )
            )
        code = _worst(children)
    if node == 0 and rendezvous is not None:
        rendezvous.unlink(missing_ok=True)
    return code


def over_nodes(command: Sequence[str], ranks: int, nodes: int, folder: Path, threads: int = 1) -> int:
    """Run ``command`` as ``ranks`` processes on each of ``nodes`` nodes of this Slurm job; the worst code.

    ``threads`` are the cores that the job has on a node. ``folder``, which all nodes see, is this call's alone.
    """
    if nodes == 1:
        return run(command, ranks)
    _check_job(nodes)
    for left in folder.glob(".rendezvous-*"):
        left.unlink(missing_ok=True)  # of a job that was killed
    rendezvous = folder / f".rendezvous-{uuid.uuid4().hex[:12]}.json"
    # each task is this launcher, and the whole step ends where one of them fails; a step has all of the job's
    # GPUs and memory, but one core unless it asks; the first rank writes weights long after the others have ended
    step = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    step += [f"--cpus-per-task={threads}", "--kill-on-bad-exit=1", "--wait=0"]
    launcher = [sys.executable, "-m", "polycal.training.launcher", f"--ranks={ranks}", f"--nodes={nodes}"]
    children: list[subprocess.Popen[bytes]] = []
    try:
        # srun answers SIGTERM and SIGINT by killing its tasks; SIGUSR1 it hands on
        with _forwarding(children, signal.SIGUSR1):
            words = [*step, *launcher, f"--rendezvous={rendezvous}", "--", *command]
            children.append(subprocess.Popen(words, preexec_fn=_dying_with_parent(signal.SIGTERM)))
            code = _worst(children)
            return TRY_AGAIN if code == 0 and _again(rendezvous).exists() else code
    except FileNotFoundError:
        raise LaunchError(f"{nodes} nodes are asked for, but there is no srun on this machine.") from None
    finally:
        for path in (rendezvous, _again(rendezvous)):
            path.unlink(missing_ok=True)


def _again(rendezvous: Path) -> Path:
    """The file by which the launchers of a step say TRY_AGAIN: srun would kill the others for an exit code."""
    return rendezvous.with_suffix(".again")


def _check_job(nodes: int) -> None:
    """Raise LaunchError where ``srun`` would allocate a job of its own, or wait for ever for cores it has itself."""
    if "SLURM_JOB_ID" not in os.environ:
        raise LaunchError(
            f"{nodes} nodes are asked for, but this is no Slurm job: submit it with --nodes={nodes}."
        )
    # steps that users start are numbered from 0; batch and interactive ones have numbers near 2**32
    if int(os.environ.get("SLURM_STEP_ID", 2**32)) < 2**31:
        raise LaunchError(
            f"{nodes} nodes are asked for within a step of one: give the model training_nodes, not the rule nodes."
        )


def _dying_with_parent(number: int) -> Callable[[], None]:
    """To be called in a child: it is sent ``number`` when its parent ends, however that ends."""
    libc = ctypes.CDLL(None)

    def bind() -> None:
        libc.prctl(DIE_WITH_PARENT, number)

    return bind


@contextmanager
def _forwarding(children: Sequence[subprocess.Popen[bytes]], as_number: int | None = None) -> Iterator[None]:
    """Send what this process is sent on to all children, all as ``as_number`` if given, while it waits for them."""

    def forward(number: int, _: Any) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(as_number or number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _worst(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """The worst code of all; where one fails, the others would wait for it for ever, and are killed."""
    failed = 0
    while any(child.poll() is None for child in children):
        codes = [child.returncode for child in children if child.returncode not in (None, 0, TRY_AGAIN)]
        if codes and not failed:
            failed = _code(codes[0])
            for child in children:
                if child.poll() is None:
                    child.kill()
        time.sleep(0.05)
    codes = [_code(child.returncode) for child in children]
    return failed or max((code for code in codes if code not in (0, TRY_AGAIN)), default=max(codes))


def _code(returned: int) -> int:
    """The code that a shell would give: 128 + n for a process that signal n ended."""
    return returned if returned >= 0 else 128 - returned


def _awaited(rendezvous: Path | None, patience: float) -> Mapping[str, Any]:
    if rendezvous is None:
        raise LaunchError("several nodes need --rendezvous: a file in a folder that all of them share.")
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            told: dict[str, Any] = json.loads(rendezvous.read_text())
            return told
        except FileNotFoundError:
            time.sleep(0.2)
    raise LaunchError(f"{rendezvous}: the first node wrote no address within {patience:.0f} seconds.")


def main() -> None:
    """Read the command line and run the ranks of this node."""
    parser = argparse.ArgumentParser(prog="polycal.training.launcher", description="One process a rank.")
    parser.add_argument("--ranks", type=int, required=True, help="processes on this node")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--rendezvous", type=Path, help="file that all nodes see, named anew each time")
    parser.add_argument("command", nargs="+")
    told = parser.parse_args()
    node = int(os.environ.get("SLURM_NODEID", "0")) if told.nodes > 1 else 0
    try:
        code = run(told.command, told.ranks, nodes=told.nodes, node=node, rendezvous=told.rendezvous)
    except LaunchError as error:
        raise SystemExit(f"polycal.training.launcher: {error}") from None
    if code == TRY_AGAIN and told.rendezvous is not None:
        _again(told.rendezvous).touch()
        code = 0
    raise SystemExit(code)


if __name__ == "__main__":
    main()
