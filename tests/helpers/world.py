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
"""Another commit of the instruction set, which contains the same rows."""

FURTHER = {
    "embeddings": {"benchmark": "mine", "protocol": "letters-0shot"},
    "next_token": {"data": ["talks"]},
    "data.talks.heldout": 0.3,
    "benchmarks.open": {"path": "open", "format": "open", "languages": ["en", "yo"]},
    "models.nli": {"path": "nli", "dtype": "float32", "attention": "eager"},
    "generation": {
        "benchmarks": ["open"], "num_fewshot": 0, "max_new_tokens": 3, "samples": 2, "entailment": "nli",
    },
}  # fmt: skip
"""Settings of a study that also embeds prompts, scores next tokens, and generates and clusters answers."""

# Python imports this as sitecustomize at every start. Each stage then writes a list of the modules that it imported.
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
    """A study in a folder with ``code`` (Snakefile, workflow, config, envs, src) and ``work`` (data and results)."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.code, self.work, self.hub = folder / "code", folder / "work", hub

    def build(self) -> "World":
        """Write the code and the sources of the study. Nothing is run."""
        for name in ("src", "workflow", "config", "envs"):
            shutil.copytree(
                ROOT / name, self.code / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        shutil.copy(ROOT / "Snakefile", self.code)
        (self.code / "watch/seen").mkdir(parents=True)
        (self.code / "watch/sitecustomize.py").write_text(f"STAGES = {sorted(STAGES)}\n{WATCH}")
        # imported here because it is slow to import, and only one process of pytest builds a world
        from helpers import entailment, models

        models.save("llama", self.work / "model")
        entailment.save(self.work / "nli")
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
        """Serve the conversations from the hub."""
        self.hub.repositories[TALKS] = files(self.work.parent / "talks")

    def ask(self, language: str, question: str = "{}?") -> None:
        """Write the questions of one language. ``question`` is the text of question 3."""
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
        answered = [{**row, "answers": [row["options"][row["gold"]]]} for row in rows]
        (self.work / "open").mkdir(exist_ok=True)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in answered)
        (self.work / "open" / f"{language}.jsonl").write_text(text)

    def copy(self, folder: Path) -> "World":
        """A copy of this world in another folder. Links, file times and Snakemake's metadata are preserved."""
        subprocess.run(["cp", "-a", str(self.work.parent), str(folder)], check=True)
        return World(folder, self.hub)

    def configure(self, changes: dict) -> None:
        """Write the configuration of the study. ``changes`` maps dotted keys to new values."""
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
        """Replace the first ``old`` in a file of the code. Asserts that the file contains it."""
        path = self.code / file
        text = path.read_text()
        assert old in text, (file, old)
        path.write_text(text.replace(old, new, 1))

    def programs(self) -> str:
        """The folder of the command ``polycal``."""
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
        """The number of jobs per rule that a dry run plans, without ``all``.

        Rules per batch of languages count as their stage.
        """
        ran = self.snakemake("--dry-run", *words, overlays=overlays)
        assert ran.returncode == 0, ran.stderr + ran.stdout
        found = re.findall(r"^(?:local)?rule (\w+):$", ran.stdout + ran.stderr, re.MULTILINE)
        return Counter(
            re.sub(r"^(score|generate|cluster)_.+_\d\d$", r"\1", name) for name in found if name != "all"
        )

    def status(self, *words: str, overlays: tuple[str, ...] = ()) -> list[dict]:
        """The jobs that ``polycal status`` expects to run."""
        ran = self.book("status", "--json", *words, overlays=overlays)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def book(self, *words: str, overlays: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        """Run a command that compares results with the plan, such as ``status`` or ``verify``."""
        files = [word for file in self.configurations(*overlays) for word in ("--configfile", file)]
        return warm.run("polycal.cli.app", [*words, *files], self.environment(), self.work)

    def imported(self) -> dict[str, set[str]]:
        """Stage → modules of polycal that it has imported in all its runs so far."""
        seen: dict[str, set[str]] = {}
        for path in (self.code / "watch/seen").glob("*.json"):
            seen.setdefault(path.stem.rsplit("-", 1)[0], set()).update(json.loads(path.read_text()))
        return seen

    def forget(self) -> None:
        """Remove the lists of imported modules."""
        for path in (self.code / "watch/seen").glob("*.json"):
            path.unlink()

    def note(self, pattern: str) -> dict:
        """The manifest of the only result whose path matches ``pattern``."""
        (path,) = self.work.glob(pattern)
        return manifests.read(path)

    def events(self) -> list[dict]:
        found = sorted((self.work / "results/.events").glob("*.json"))
        return [json.loads(path.read_text()) for path in found]

    def run(self, *words: str, overlays: tuple[str, ...] = ()) -> Counter:
        """Run the workflow. Returns the number of cells per stage that were computed."""
        before = len(self.events())
        ran = self.snakemake(*words, overlays=overlays)
        assert ran.returncode == 0, ran.stderr + "".join(
            p.read_text() for p in self.work.glob("logs/**/*.log")
        )
        new = [event for event in self.events()[before:] if event["event"] == "computed"]
        return Counter(event["stage"] for event in new)
