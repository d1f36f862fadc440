"""A study of a few seconds on the cluster: its configuration, the run of its workflow, and its results."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from helpers.cluster import Cluster, until
from helpers.hub import Hub
from helpers.world import World
from polycal.artifacts import records
from polycal.study import paths

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "profiles/slurm/profile.v9+.yaml"
QUESTIONS = 4000
EPOCHS = 800
ASKED = {"benchmark": "mine", "protocol": "letters-0shot", "model": "own", "base_seed": "none"}
BASE = {"data": "none", "recipe": "none", "beta": "none", "seed": "none"}
TUNED = {"data": "talks", "recipe": "brief", "beta": "0.1", "seed": "1"}
RECORDS = [paths.SCORES.format(**ASKED, **BASE, language=language) for language in ("en", "yo")]
CHECKPOINT = paths.FINETUNED.format(model="own", base_seed="none", **TUNED, lr="0.001")


# heartbeats and queries every few seconds instead of every few minutes
QUICK = {
    "POLYCAL_LOCK_HEARTBEAT_SECONDS": "1",
    "POLYCAL_LOCK_STALE_AFTER_SECONDS": "15",
    "POLYCAL_LOCK_POLL_SECONDS": "0.5",
    "POLYCAL_SLURM_LONGEST_WAIT_SECONDS": "10",
}

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@contextlib.contextmanager
def filled(place: Path) -> Iterator[None]:
    """Inside the context, the file system of the folder is full."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        filler.unlink()


class Study(World):
    """A study in its own folder, run with the profile for Slurm and the settings of this cluster."""

    cluster: Cluster
    begun = 0.0

    def __init__(self, folder: Path, hub: Hub) -> None:
        super().__init__(folder, hub)
        self.variables: dict[str, str] = {}

    def programs(self) -> str:
        """The installed command: jobs are ordinary processes here, because the tests kill them."""
        return str(Path(sys.executable).parent)

    def environment(self) -> dict[str, str]:
        """The environment of a user of the cluster, with this interpreter's packages and the study's own source."""
        mine = super().environment() | QUICK | self.variables
        if hasattr(self, "cluster"):
            mine |= {key: self.cluster.environment()[key] for key in ("SLURM_CONF",)}
            mine["PATH"] = f"{self.cluster.bin}:{mine['PATH']}"
        return mine

    def profile(self, resources: dict | None = None, **settings: object) -> Path:
        """Write the profile for Slurm with the partition and account of this cluster. Returns its folder.

        ``resources`` change its default resources, and ``settings`` its other entries. None removes an entry.
        """
        entries = yaml.safe_load(PROFILE.read_text())
        site = {"slurm_partition": "cpu", "slurm_account": "lab"}
        entries["default-resources"] |= site | (resources or {})
        entries |= {"jobs": 2, "latency-wait": 20, **settings}
        entries = {key: value for key, value in entries.items() if value is not None}
        folder = self.work.parent / "profile"
        folder.mkdir(exist_ok=True)
        (folder / PROFILE.name).write_text(yaml.safe_dump(entries))
        return folder

    def give(self, settings: dict | None = None, **resources: int) -> None:
        """Configure the study, with ``resources`` for its model.

        Unless ``settings`` differ, training is long enough for a fault to happen during it.
        """
        model = {"path": "model", "dtype": "float32", **resources}
        usual = {"grid.betas": ["0.1"], "languages_per_job": 1, "recipes.brief.epochs": EPOCHS}
        self.configure({**usual, "models.own": model, **(settings or {})})

    @contextlib.contextmanager
    def small_disk(self, folder: str, megabytes: int) -> Iterator[Path]:
        """Create a folder with its own small file system. At the end, all jobs are ended and it is unmounted."""
        place = self.work / folder
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
        subprocess.run(mount, check=True)
        try:
            yield place
        finally:
            self.end()
            subprocess.run(["umount", str(place)], check=True)

    def start(self, *words: str, before: Sequence[str] = ()) -> subprocess.Popen:
        """Start Snakemake, the controller of the workflow. Its output goes to ``controller.log``.

        ``words`` are the targets, by default RECORDS. ``before`` is a command that starts it, for example unshare.
        """
        self.begun = self.begun or time.time() - 1
        command = [*before, sys.executable, "-m", "snakemake", "-s", str(self.code / "Snakefile")]
        command += ["--profile", str(self.work.parent / "profile")]
        command += ["--configfile", *self.configurations(), "--", *(words or RECORDS)]
        with (self.work / "controller.log").open("ab") as log:
            self.controller = subprocess.Popen(
                command, env=self.environment(), cwd=self.work, stdout=log, stderr=log, start_new_session=True
            )
        return self.controller

    def finish(self, seconds: float = 900) -> str:
        """Wait for the controller, assert that it succeeds, and return the output of it and its jobs."""
        said = self.wait(seconds)
        assert self.controller.returncode == 0, said
        return said

    def wait(self, seconds: float = 900) -> str:
        """Wait until the controller ends, with success or not. Returns the output of it and its jobs."""
        self.controller.wait(seconds)
        return self.said() + self.logs()

    def logs(self) -> str:
        """The logs of all jobs."""
        return "".join(f"\n--- {p}\n{p.read_text()}" for p in sorted(self.work.glob("logs/**/*.log")))

    def end(self) -> None:
        """End the controller and all jobs that still run."""
        if hasattr(self, "controller") and self.controller.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.controller.pid, signal.SIGKILL)
            self.controller.wait()
        self.cluster.cancel_all()

    def working(self, stage: str, seconds: float = 600) -> dict:
        """The holder of a cell's lock while its job works: its stage, Slurm job, host and process."""

        def held() -> dict | None:
            for path in sorted(self.work.glob("results/**/.*.lock")):
                with contextlib.suppress(OSError, json.JSONDecodeError):
                    holder = json.loads(path.read_text())
                    if holder["stage"] == stage and holder["job"] in self.cluster.running():
                        return holder
            return None

        return until(f"a job of {stage} is at work", held, seconds, why=lambda: self.said() + self.logs())

    def said(self) -> str:
        """The output of the controller so far."""
        return (self.work / "controller.log").read_text()

    def save_often(self) -> None:
        """Save training state every three seconds. A run that is killed without warning then resumes from it."""
        self.variables["POLYCAL_SAVE_MINUTES"] = "0.05"

    def training(self, saved: bool = False) -> dict:
        """The holder of a checkpoint's lock, after its first steps or, with ``saved``, after it saved its state."""
        holder = self.working("finetune")
        log, sign = next(self.work.glob("logs/finetune/**/*.log")), " saved" if saved else " steps, "
        until("training has begun", lambda: sign in log.read_text(), why=log.read_text)
        return holder

    def trained(self) -> dict:
        """The manifest of the trained checkpoint."""
        return json.loads((self.work / CHECKPOINT).read_text())

    def computed(self) -> Counter:
        """How often each cell was computed, by the events that stages log."""
        made = [event for event in self.events() if event["event"] == "computed"]
        return Counter((event["stage"], event["fingerprint"]) for event in made)

    def contents(self) -> dict[str, str]:
        """Score record → checksum of its rows, for each of RECORDS."""
        return {name: records.metadata(self.work / name)["content"] for name in RECORDS}


class Prepared:
    """A study that was run once, undisturbed and without Slurm, and copies of it without some of its results.

    The copies are in ``folder``. The study is in ``whole``, or in ``folder`` by default.
    """

    def __init__(self, folder: Path, whole: Path | None = None) -> None:
        self.folder = folder
        self.whole = Study(whole or folder / "whole", Hub())

    def build(self) -> "Prepared":
        """Compute the study."""
        self.whole.work.mkdir(parents=True)
        self.whole.build()
        self.whole.give()
        for language in ("en", "yo"):
            path = self.whole.work / "questions" / f"{language}.jsonl"
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            many = [{**rows[n % 8], "question_id": f"q{n}", "question": f"{n}?"} for n in range(QUESTIONS)]
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in many))
        self.whole.run(*RECORDS, CHECKPOINT)
        return self.read()

    def read(self) -> "Prepared":
        """Read the results of the computed study, and serve its data set from the hub of this process."""
        self.whole.publish()
        self.contents = self.whole.contents()
        self.trained = self.whole.trained()
        return self

    def study(self, name: str, cluster: Cluster, trained: bool = True) -> Study:
        """A copy of the study without scores, and without checkpoints unless ``trained``."""
        folder = self.folder / name
        made = Study(folder, self.whole.hub)
        subprocess.run(["cp", "-a", str(self.whole.work.parent), str(folder)], check=True)
        for path in made.work.glob("results/scores"):
            shutil.rmtree(path)
        for path in made.work.glob("results/.cache/*/*/scores.parquet"):
            shutil.rmtree(path.parent)
        if not trained:
            shutil.rmtree(made.work / "results/checkpoints")
            [path] = made.work.glob(f"results/.cache/*/{self.trained['fingerprint']}")
            shutil.rmtree(path)
        shutil.rmtree(made.work / "results/.events")
        made.cluster = cluster
        made.profile()
        return made
