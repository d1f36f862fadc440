"""Every result against the plan, cell by cell: what is missing, stale, broken or foreign.

Nothing is believed here: checksums of rows, weights and sources are taken again, and a fingerprint has to follow
from the cell, code version and checksums that the result itself states.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from polycal.artifacts import checkpoints, records
from polycal.audit import staleness
from polycal.audit.expected_results import Notes, Task
from polycal.audit.staleness import Finding
from polycal.errors import PolycalError
from polycal.store import cache, code_versions

RECORDS = (
    "scores/**/scores.parquet",
    "embeddings/**/embeddings.parquet",
    "next_token/**/tokens.parquet",
    "checkpoints/**/manifest.json",
    "checkpoints/**/selected.json",
)


class RegisterError(PolycalError):
    """Snakemake could not be told of the results; the message holds what it said."""


@dataclass
class Verified:
    """Findings for the plan's results, records and checkpoints that no cell of the plan asks for, idle acceptances."""

    findings: list[Finding]
    foreign: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)

    def of(self, state: str) -> list[Finding]:
        """The findings of one state."""
        return [finding for finding in self.findings if finding.state == state]

    @property
    def whole(self) -> bool:
        """Whether every result that the plan asks for is there and stands on the plan."""
        return all(finding.state == "current" for finding in self.findings)


def verify(planned: Sequence[Task]) -> Verified:
    """Hold every result of the plan against its cell, and its content against the checksums that it states."""
    notes = Notes()
    findings = staleness.judge(planned, notes, believe=False)
    for finding in findings:
        if finding.state in ("current", "stale") and (wrong := _contradictions(finding.task, notes)):
            finding.state, finding.reasons = "broken", wrong
    asked = {path for task in planned for path in task.outputs}
    there = {path.as_posix() for pattern in RECORDS for path in staleness.RESULTS.glob(pattern)}
    return Verified(findings, sorted(there - asked), idle())


def idle() -> list[str]:
    """In words, the acceptances without effect."""
    return [
        f"{entry['stage']}: {entry['old']} → {entry['new']} ({entry['because']}): {why}"
        for entry, why in code_versions.without_effect()
    ]


def _contradictions(task: Task, notes: Notes) -> list[str]:
    """Where a result contradicts what it says of itself."""
    out = Path(task.note)
    try:
        said = notes[task.note]
        wrong = []
        key = cache.fingerprint(said["cell"], said["code"], said["reads"])
        if key != said["fingerprint"]:
            wrong.append("its fingerprint does not follow from the cell, code and inputs that it states")
        if "content" not in said:
            return wrong
        if out.suffix == ".parquet":
            if records.checksum(pq.ParquetFile(out).read()) != said["content"]:
                wrong.append("its rows are not those that it was written with")
        elif "manifest" not in said:
            folder = checkpoints.read(out).folder
            if checkpoints.describe(folder)["content"] != said["content"]:
                wrong.append(f"the weights in {folder} are not those that it was written with")
        return wrong
    except (KeyError, ValueError, OSError) as error:
        told = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        return [told if isinstance(error, ValueError) else f"{out}: {told}"]


def text(found: Verified) -> str:
    """The result of a verification in words, each missing, stale or broken result with its reasons."""
    lines = []
    for state in ("broken", "stale", "missing"):
        for finding in found.of(state):
            lines.append(f"{state}: {finding.task.out}")
            lines += [f"  {reason}" for reason in staleness.because(finding)] if state != "missing" else []
    lines += [f"foreign: {path} (no cell of this plan)" for path in found.foreign]
    lines += [f"acceptance without effect: {entry}" for entry in found.idle]
    relied: dict[str, int] = {}
    for finding in found.findings:
        for entry in finding.accepted:
            told = f"{entry['stage']} {entry['old']} → {entry['new']}: {entry['because']}"
            relied[told] = relied.get(told, 0) + 1
    lines += [f"accepted: {told} ({number} results rely on it)" for told, number in relied.items()]
    tally = [f"{len(found.of(state))} {state}" for state in ("current", "missing", "stale", "broken")]
    lines.append(f"{len(found.findings)} results planned: {', '.join(tally)}; {len(found.foreign)} foreign")
    return "\n".join(lines) + "\n"


def register(found: Verified, configfiles: Sequence[Path]) -> int:
    """Let Snakemake know the results as they stand; returns how many jobs it learned of.

    Without its metadata Snakemake goes by file times. Jobs all of whose results are current are recorded as done.
    What is stale gets the oldest time there is, so that it is made again; where no file is read whose time
    would show that, the result is removed. Raises RegisterError where Snakemake refuses.
    """
    jobs: dict[str, list[Finding]] = {}
    for finding in found.findings:
        jobs.setdefault(finding.task.job, []).append(finding)
    current = [own for own in jobs.values() if all(finding.state == "current" for finding in own)]
    for finding in [*found.of("stale"), *found.of("broken")]:
        for path in map(Path, finding.task.outputs):
            if finding.task.inputs:
                # to Snakemake a time of 0 is none
                os.utime(path, (1, 1))
            else:
                path.unlink()
    if not current:
        return 0
    targets = [finding.task.out for own in current for finding in own]
    if found.whole:
        targets = []
    snakefile = Path("Snakefile") if Path("Snakefile").exists() else code_versions.ROOT / "Snakefile"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--cores", "1"]
    command += ["--touch", "--forceall", "--quiet", "all"]
    command += ["--configfile", *map(str, configfiles)] if configfiles else []
    ran = subprocess.run([*command, "--", *targets], capture_output=True, text=True)
    if ran.returncode:
        raise RegisterError(f"snakemake --touch failed: {(ran.stderr or ran.stdout).strip()[-2000:]}")
    return len(current)
