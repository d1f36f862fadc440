"""A study of seconds on the cluster: what is asked for, how the workflow runs, and what it must end with."""

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


# heartbeats and questions in seconds instead of minutes
QUICK = {
    "POLYCAL_LOCK_HEARTBEAT_SECONDS": "1",
    "POLYCAL_LOCK_STALE_AFTER_SECONDS": "15",
    "POLYCAL_LOCK_POLL_SECONDS": "0.5",
    "POLYCAL_SLURM_LONGEST_WAIT_SECONDS": "10",
}

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@contextlib.contextmanager
def filled(place: Path) -> Iterator[None]:
    """No room at all on the file system of a folder."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        filler.unlink()


class Study(World):
    """A study in a folder of its own, run by the shipped profile with this site's lines."""

    cluster: Cluster
    begun = 0.0

    def __init__(self, folder: Path, hub: Hub) -> None:
        super().__init__(folder, hub)
        self.variables: dict[str, str] = {}

    def programs(self) -> str:
        """Jobs are processes of their own, because the tests kill them."""
        return str(Path(sys.executable).parent)

    def environment(self) -> dict[str, str]:
        """The cluster's user, with the packages of this interpreter and the study's own source."""
        mine = super().environment() | QUICK | self.variables
        if hasattr(self, "cluster"):
            mine |= {key: self.cluster.environment()[key] for key in ("SLURM_CONF",)}
            mine["PATH"] = f"{self.cluster.bin}:{mine['PATH']}"
        return mine

    def profile(self, resources: dict | None = None, **settings: object) -> Path:
        """The shipped profile with this site's partition and account, and what a test changes on top."""
        told = yaml.safe_load(PROFILE.read_text())
        site = {"slurm_partition": "cpu", "slurm_account": "lab"}
        told["default-resources"] |= site | (resources or {})
        told |= {"jobs": 2, "latency-wait": 20, **settings}
        told = {key: value for key, value in told.items() if value is not None}
        folder = self.work.parent / "profile"
        folder.mkdir(exist_ok=True)
        (folder / PROFILE.name).write_text(yaml.safe_dump(told))
        return folder

    def give(self, settings: dict | None = None, **resources: int) -> None:
        """Configure what the jobs get; training is long enough for a fault to strike, but where ``settings`` differ."""
        model = {"path": "model", "dtype": "float32", **resources}
        usual = {"grid.betas": ["0.1"], "languages_per_job": 1, "recipes.brief.epochs": EPOCHS}
        self.configure({**usual, "models.own": model, **(settings or {})})

    @contextlib.contextmanager
    def small_disk(self, folder: str, megabytes: int) -> Iterator[Path]:
        """A file system of its own for a folder that is to be; at the end nothing runs that could use it."""
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
        """Start the workflow's controller, by the command ``before`` if any; its output goes to ``controller.log``."""
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
        """Wait for the controller, which must end well; what it said."""
        said = self.wait(seconds)
        assert self.controller.returncode == 0, said
        return said

    def wait(self, seconds: float = 900) -> str:
        """Wait until the controller has ended, well or not; what it and its jobs said."""
        self.controller.wait(seconds)
        return self.said() + self.logs()

    def logs(self) -> str:
        """What the jobs said."""
        return "".join(f"\n--- {p}\n{p.read_text()}" for p in sorted(self.work.glob("logs/**/*.log")))

    def end(self) -> None:
        """End whatever still runs."""
        if hasattr(self, "controller") and self.controller.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.controller.pid, signal.SIGKILL)
            self.controller.wait()
        self.cluster.cancel_all()

    def working(self, stage: str, seconds: float = 600) -> dict:
        """The holder of a cell's lock, in the middle of its work: what runs, as which Slurm job and process."""

        def held() -> dict | None:
            for path in sorted(self.work.glob("results/**/.*.lock")):
                with contextlib.suppress(OSError, json.JSONDecodeError):
                    holder = json.loads(path.read_text())
                    if holder["stage"] == stage and holder["job"] in self.cluster.running():
                        return holder
            return None

        return until(f"a job of {stage} is at work", held, seconds, why=lambda: self.said() + self.logs())

    def said(self) -> str:
        """What the controller said so far."""
        return (self.work / "controller.log").read_text()

    def save_often(self) -> None:
        """Save training state every three seconds: a run that had no time to save one goes on from that."""
        self.variables["POLYCAL_SAVE_MINUTES"] = "0.05"

    def training(self, saved: bool = False) -> dict:
        """The holder of a checkpoint's lock, after the first steps of its training, or when it saved its state."""
        holder = self.working("finetune")
        log, sign = next(self.work.glob("logs/finetune/**/*.log")), " saved" if saved else " steps, "
        until("training has begun", lambda: sign in log.read_text(), why=log.read_text)
        return holder

    def trained(self) -> dict:
        """The manifest of the trained checkpoint."""
        return json.loads((self.work / CHECKPOINT).read_text())

    def computed(self) -> Counter:
        """How often each cell was computed, as the stages themselves say."""
        made = [event for event in self.events() if event["event"] == "computed"]
        return Counter((event["stage"], event["fingerprint"]) for event in made)

    def contents(self) -> dict[str, str]:
        """Score record → checksum of its rows, of every record that was asked for."""
        return {name: records.metadata(self.work / name)["content"] for name in RECORDS}


class Prepared:
    """The study run once, undisturbed and without Slurm, and copies of it in ``folder`` with parts taken away.

    The study is at ``whole``, or else in the same folder.
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
        """What the computed study holds; its data set is on this process's hub."""
        self.whole.publish()
        self.contents = self.whole.contents()
        self.trained = self.whole.trained()
        return self

    def study(self, name: str, cluster: Cluster, trained: bool = True) -> Study:
        """A copy with nothing scored; with its checkpoints or without."""
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
