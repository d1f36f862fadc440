"""Snakemake with the repository's rules, on a study in its own folder."""

import os
import subprocess
import sys
from pathlib import Path

from helpers import warm, warm_jobs

ROOT = Path(__file__).parents[2]


def snakemake(
    folder: Path,
    *words: str,
    configuration: list[Path],
    environment: dict[str, str] | None = None,
    programs: str = "",
) -> subprocess.CompletedProcess:
    """Run the workflow in ``folder`` on two cores.

    ``configuration`` lists the configuration files after the list of languages. ``words`` are the last arguments:
    options, then ``--`` and targets. ``environment`` replaces the environment of this process. ``programs`` is a
    folder that comes first on the path of jobs.
    """
    given = dict(os.environ if environment is None else environment)
    folders = [programs, warm_jobs.path(), str(Path(sys.executable).parent), given.get("PATH", "")]
    given |= {"PATH": os.pathsep.join(filter(None, folders)), "OMP_NUM_THREADS": "1"}
    files = [ROOT / "config/languages.yaml", *configuration]
    command = ["-c", "2", "-s", str(ROOT / "Snakefile"), "-d", str(folder), "--configfile", *map(str, files)]
    return warm.run("snakemake.cli", [*command, *words], given, folder)
