"""A study so small that it runs in seconds, on a copy of polycal's source that a test may edit."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

from helpers import warm, warm_jobs
from helpers.hub import COMMIT, Hub, files
from polycal.artifacts import manifests
from polycal.store.stages import STAGES

ROOT = Path(__file__).parents[2]
ASKED = {"en": ["tree", "house", "river"], "sw": ["mti", "nyumba", "mto"], "yo": ["igi", "ilé", "odò"]}
TALKS = "someone/talks"


OTHER = "f" * 40
"""Another commit of the instruction set, with the same rows."""

FURTHER = {
    "embeddings": {"benchmark": "mine", "protocol": "letters-0shot"},
    "next_token": {"data": ["talks"]},
    "data.talks.heldout": 0.3,
}
"""Prompts embedded and next tokens predicted, as only some studies ask."""

# Python imports it at every start: a stage leaves word of the modules that it has really imported.
WATCH = """
import atexit, json, os, pathlib, sys

words = sys.orig_argv[3 if sys.orig_argv[1:2] == ["-c"] else 2 :]
stage = os.environ.get("WATCHED") or (words[0].replace("-", "_") if words else "")
if stage in STAGES:
    os.environ["WATCHED"] = stage

    def leave_word():
        found = [name.removeprefix("polycal.") for name in sys.modules if name.startswith("polycal.")]
        place = pathlib.Path(__file__).parent / "seen" / f"{stage}-{os.getpid()}.json"
        place.write_text(json.dumps(sorted(found)))

    atexit.register(leave_word)
"""


class World:
    """A folder with ``code`` (Snakefile, workflow, config, envs, src) and ``work`` (data and results)."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.code, self.work, self.hub = folder / "code", folder / "work", hub

    def build(self) -> "World":
        """Lay out the code and the sources of the study; nothing is run."""
        for name in ("src", "workflow", "config", "envs"):
            shutil.copytree(
                ROOT / name, self.code / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        shutil.copy(ROOT / "Snakefile", self.code)
        (self.code / "watch/seen").mkdir(parents=True)
        (self.code / "watch/sitecustomize.py").write_text(f"STAGES = {sorted(STAGES)}\n{WATCH}")
        # slow to import, and only one of pytest's processes builds a world
        from helpers import models

        models.save("llama", self.work / "model")
        talks = self.work.parent / "talks"
        talks.mkdir()
        rows = [{"instruction": f"Say {n}.", "input": "", "output": "n" * n} for n in range(1, 10)]
        (talks / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.publish()
        for language in ASKED:
            self.ask(language)
        self.configure({})
        return self

    def publish(self) -> None:
        """Put the conversations on the hub."""
        self.hub.repositories[TALKS] = files(self.work.parent / "talks")

    def ask(self, language: str, question: str = "{}?") -> None:
        """Write the questions of one language."""
        rows = [
            {
                "question_id": f"q{n}",
                "group": "g",
                "question": question.format(n) if n == 3 else f"{n}?",
                "options": ASKED[language],
                "gold": n % 3,
                "split": "test",
            }
            for n in range(8)
        ]
        (self.work / "questions").mkdir(exist_ok=True)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (self.work / "questions" / f"{language}.jsonl").write_text(text)

    def copy(self, folder: Path) -> "World":
        """The same world at another place, with links, times and Snakemake's metadata as they are."""
        subprocess.run(["cp", "-a", str(self.work.parent), str(folder)], check=True)
        return World(folder, self.hub)

    def configure(self, changes: dict) -> None:
        """Write the study with ``changes``: a dotted key and its new value each."""
        study = {
            "study": "tiny",
            "models": {"own": {"path": "model", "dtype": "float32"}},
            "data": {"talks": {"hub": TALKS, "revision": COMMIT, "format": "alpaca", "language": "en"}},
            "benchmarks": {"mine": {"path": "questions", "format": "file", "languages": ["en", "yo"]}},
            "recipes": {
                "brief": {
                    "learning_rates": ["1e-3"], "epochs": 2, "global_batch_size": 4, "micro_batch_size": 4, "warmup_ratio": 0,
                    "max_grad_norm": 1, "max_length": 64, "precision": "float32",
                }
            },
            "protocols": {"letters-0shot": {"candidates": "letters"}},
            "grid": {
                "models": ["own"], "data": ["talks"], "recipes": ["brief"], "betas": [0, 0.1], "seeds": [1],
                "benchmarks": ["mine"], "protocols": ["letters-0shot"],
            },
            "measure": {"bootstrap_samples": 20},
            "languages_per_job": 4,
        }  # fmt: skip
        for key, value in changes.items():
            *way, last = key.split(".")
            place = study
            for step in way:
                place = place[step]
            place[last] = value
        (self.work / "study.yaml").write_text(yaml.safe_dump(study))

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace ``old``, which must be there, in a file of the code."""
        path = self.code / file
        text = path.read_text()
        assert old in text, (file, old)
        path.write_text(text.replace(old, new, 1))

    def programs(self) -> str:
        """The folder that holds the command ``polycal``."""
        return warm_jobs.path()

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.programs()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self.code / 'src'}:{self.code / 'watch'}",
            "OMP_NUM_THREADS": "1",
            "HF_ENDPOINT": self.hub.address,
            "HF_HOME": str(self.work.parent / "cache"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def configurations(self, *overlays: str) -> list[str]:
        return [str(self.code / "config/languages.yaml"), "study.yaml", *overlays]

    def snakemake(self, *words: str, overlays: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        command = ["-s", str(self.code / "Snakefile"), "-c", "2", *words]
        command += ["--configfile", *self.configurations(*overlays)]
        return warm.run("snakemake.cli", command, self.environment(), self.work)

    def polycal(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["polycal", *words], capture_output=True, text=True, env=self.environment(), cwd=self.work
        )

    def planned(self, *words: str, overlays: tuple[str, ...] = ()) -> Counter:
        """How many jobs of each rule a dry run plans; scoring jobs under one name, ``all`` left out."""
        ran = self.snakemake("--dry-run", *words, overlays=overlays)
        assert ran.returncode == 0, ran.stderr + ran.stdout
        found = re.findall(r"^(?:local)?rule (\w+):$", ran.stdout + ran.stderr, re.MULTILINE)
        return Counter(re.sub(r"^score_.+_\d\d$", "score", name) for name in found if name != "all")

    def status(self, *words: str, overlays: tuple[str, ...] = ()) -> list[dict]:
        """What polycal says would run."""
        ran = self.book("status", "--json", *words, overlays=overlays)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def book(self, *words: str, overlays: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        """One of the commands that compare results with the plan."""
        files = [word for file in self.configurations(*overlays) for word in ("--configfile", file)]
        return warm.run("polycal.cli.app", [*words, *files], self.environment(), self.work)

    def imported(self) -> dict[str, set[str]]:
        """Modules of polycal that each stage has imported in all its runs so far."""
        seen: dict[str, set[str]] = {}
        for path in (self.code / "watch/seen").glob("*.json"):
            seen.setdefault(path.stem.rsplit("-", 1)[0], set()).update(json.loads(path.read_text()))
        return seen

    def forget(self) -> None:
        """Forget what was imported so far."""
        for path in (self.code / "watch/seen").glob("*.json"):
            path.unlink()

    def note(self, pattern: str) -> dict:
        """What the one result that ``pattern`` names says of itself."""
        (path,) = self.work.glob(pattern)
        return manifests.read(path)

    def events(self) -> list[dict]:
        found = sorted((self.work / "results/.events").glob("*.json"))
        return [json.loads(path.read_text()) for path in found]

    def run(self, *words: str, overlays: tuple[str, ...] = ()) -> Counter:
        """Run, and say how many cells of each stage were computed, scores also by language."""
        before = len(self.events())
        ran = self.snakemake(*words, overlays=overlays)
        assert ran.returncode == 0, ran.stderr + "".join(
            p.read_text() for p in self.work.glob("logs/**/*.log")
        )
        new = [event for event in self.events()[before:] if event["event"] == "computed"]
        return Counter(event["stage"] for event in new)
