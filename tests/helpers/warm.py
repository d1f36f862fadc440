"""Python commands in processes that are forked from one which has already imported the libraries.

Planning then takes half a second instead of two, and a command does the same as in a fresh process. polycal itself is
imported again by each command. Jobs that Snakemake starts are forked from another process, by ``warm_jobs``.
"""

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

LIBRARIES = ["snakemake.cli", "pandas", "pyarrow.parquet", "pydantic", "scipy.stats", "typer", "pytest"]

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(LIBRARIES)


def run(
    module: str, words: list[str], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess:
    """Run ``module.main`` with the arguments ``words`` in ``folder``, in a forked process.

    The module is searched on the PYTHONPATH of ``environment`` first.
    """
    with tempfile.TemporaryDirectory() as aside:
        said = [Path(aside, name) for name in ("stdout", "stderr")]
        process = context.Process(target=_call, args=(module, words, environment, folder, said))
        process.start()
        process.join()
        return subprocess.CompletedProcess([module, *words], process.exitcode, *(p.read_text() for p in said))


def _call(module: str, words: list[str], environment: dict[str, str], folder: Path, said: list[Path]) -> None:
    for stream, path in zip((sys.stdout, sys.stderr), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.argv = [module, *words]
    # Snakemake loads its plugins, and the Slurm plugin has imported the installed polycal, not the one to be tested
    for name in [name for name in sys.modules if name.partition(".")[0] == "polycal"]:
        del sys.modules[name]
    try:
        import_module(module).main()
    finally:
        # a forked process ends without calling them
        atexit._run_exitfuncs()
