"""The command ``polycal`` in processes that are forked from a server which has already imported the large libraries.

    python warm_jobs.py SOCKET

A job of a tiny study spends nearly all its time on importing PyTorch. To avoid this, another program named
``polycal`` is placed first on the path. It asks a server to run the job. The server forks, and the child does what
the command does, in the folder, environment and streams of the caller. The child itself imports polycal. transformers
and huggingface_hub read the environment while they are imported. The server imports them with HF_HUB_OFFLINE=1, as the
rules set it for all jobs that run a model, and a child with another value imports them again. Tests that interrupt
or kill jobs do not use this module.
"""

import atexit
import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path

LIBRARIES = [
    "torch", "torch._dynamo", "torch.distributed.tensor", "torch.export", "torch.distributed.fsdp", "scipy.optimize",
    "scipy.stats", "pandas", "pyarrow.parquet", "pyarrow.dataset", "pydantic", "typer", "yaml", "jinja2", "psutil", "regex",
    "PIL.Image", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "seaborn",
]  # fmt: skip
OFFLINE = [
    "huggingface_hub", "transformers", "transformers.models.auto.tokenization_auto", "transformers.models.llama.modeling_llama",
    "transformers.models.mistral.modeling_mistral", "transformers.models.gemma2.modeling_gemma2",
]  # fmt: skip
FOUND_BY_CHILDREN = ("polycal", "datasets")

CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys
asked = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({place!r})
    socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(asked)
    answer = server.makefile()
    child = int(answer.readline())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: os.kill(child, number))
    # nothing is answered by a child that was killed
    sys.exit(int(answer.readline() or 137))
"""


class Jobs:
    """A server of jobs for one process of pytest, and the folder ``bin`` with the program that uses it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="polycal-jobs-"))
        self.bin = self.folder / "bin"
        place = str(self.folder / "socket")
        self.bin.mkdir()
        (self.bin / "polycal").write_text(CLIENT.format(python=sys.executable, place=place))
        (self.bin / "polycal").chmod(0o755)
        self.server = subprocess.Popen(
            [sys.executable, "-P", __file__, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == b"ready\n"
        atexit.register(self.end)

    def end(self) -> None:
        """End the server and remove its folder."""
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)


_started: list[Jobs] = []


def path() -> str:
    """The folder of the program. The first call starts the server."""
    if not _started:
        _started.append(Jobs())
    return str(_started[0].bin)


def serve(place: str) -> None:
    """Fork a child for each job, until the standard input is closed."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in [*LIBRARIES, *OFFLINE]:
        import_module(name)
    early = {name.partition(".")[0] for name in sys.modules} & set(FOUND_BY_CHILDREN)
    assert not early, f"imported before a job is there: {early}"
    # the system then removes ended children, so that nobody has to wait for them
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            client, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _answer(client)
            client.close()


def _answer(client: socket.socket) -> None:
    """Run the job of a client in this forked child. Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(client, 8, 3)
    asked = b""
    while len(asked) < int.from_bytes(size, "big"):
        asked += client.recv(1 << 20)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    client.sendall(b"%d\n" % os.getpid())
    code = _job(*json.loads(asked))
    with contextlib.suppress(OSError):
        client.sendall(b"%d\n" % code)
    os._exit(0)


def _job(words: list[str], folder: str, environment: dict[str, str]) -> int:
    """Run the command as a fresh interpreter would, and return its exit status."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    random.seed()
    if environment.get("HF_HUB_OFFLINE") != "1":
        for name in [name for name in sys.modules if name.partition(".")[0] in OFFLINE]:
            del sys.modules[name]
    sys.argv, sys.orig_argv = words, [sys.executable, *words]
    sys.path[:0] = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    code = 0
    try:
        # Python imports sitecustomize at its start; a study may have its own
        sys.modules.pop("sitecustomize", None)
        with contextlib.suppress(ModuleNotFoundError):
            import_module("sitecustomize")
        import_module("polycal.cli").main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
