"""Compare every result with the configuration: which are missing, failed, stale, broken or foreign.

The checksums of rows, weights and sources are computed again. The fingerprint of each result is computed
again from the cell, code version and checksums in its manifest.
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
from polycal.audit.current_inputs import Manifests
from polycal.audit.expected_results import ExpectedResult
from polycal.audit.staleness import ResultStatus
from polycal.errors import PolycalError
from polycal.store import acceptances, cache, code_versions
from polycal.study import paths

STATES = ("current", "failed", "missing", "stale", "broken")
DONE = ("current", "failed")
"""States of results that Snakemake does not have to make."""


class RegisterError(PolycalError):
    """Snakemake failed to register the results. The message contains its output."""


@dataclass
class Verification:
    """The result of ``verify``.

    ``statuses`` has one entry per expected result. ``foreign`` contains the paths of records and checkpoints
    that no cell of the study needs. ``unused_acceptances`` contains a sentence per entry without effect.
    """

    statuses: list[ResultStatus]
    foreign: list[str] = field(default_factory=list)
    unused_acceptances: list[str] = field(default_factory=list)

    def of(self, state: str) -> list[ResultStatus]:
        """The statuses whose state is ``state``."""
        return [status for status in self.statuses if status.state == state]

    @property
    def complete(self) -> bool:
        """Whether every expected result is current. A failed result is not."""
        return all(status.state == "current" for status in self.statuses)


def verify(expected: Sequence[ExpectedResult]) -> Verification:
    """Compare every expected result with its settings, code and inputs, and its content with its manifest."""
    recorded = Manifests()
    statuses = staleness.statuses(expected, recorded, trust_mtimes=False)
    for status in statuses:
        if status.state in ("current", "failed", "stale") and (
            wrong := _contradictions(status.result, recorded)
        ):
            status.state, status.reasons = "broken", wrong
    needed = {path for result in expected for path in result.outputs}
    existing = {path.as_posix() for pattern in paths.RECORDS for path in Path().glob(pattern)}
    return Verification(statuses, sorted(existing - needed), unused_acceptances())


def unused_acceptances() -> list[str]:
    """A sentence for each acceptance that has no effect on the present code."""
    return [
        f"{entry['stage']}: {entry['old']} → {entry['new']} ({entry['because']}): {why}"
        for entry, why in acceptances.unused_acceptances()
    ]


def _contradictions(result: ExpectedResult, recorded: Manifests) -> list[str]:
    """One sentence for each contradiction between a result and its own manifest."""
    file = Path(result.recorded_in)
    try:
        manifest = recorded[result.recorded_in]
        wrong = []
        key = cache.fingerprint(manifest["cell"], manifest["code"], manifest["reads"])
        if key != manifest["fingerprint"]:
            wrong.append("its fingerprint does not follow from the cell, code and inputs that it records")
        if "content" not in manifest:
            return wrong
        if file.suffix == ".parquet":
            if records.checksum(pq.ParquetFile(file).read()) != manifest["content"]:
                wrong.append("its rows are not those that it was written with")
        elif "manifest" not in manifest:
            folder = checkpoints.read(file).folder
            if checkpoints.describe(folder)["content"] != manifest["content"]:
                wrong.append(f"the weights in {folder} are not those that it was written with")
        return wrong
    except KeyError as error:
        return [f"{file}: lacks {error}"]
    except OSError as error:
        return [f"{file}: {error}"]
    except ValueError as error:
        return [str(error)]


def as_text(found: Verification) -> str:
    """Lines with each broken, stale, failed or missing result and its reasons, then the counts."""
    lines = []
    for state in ("broken", "stale", "failed", "missing"):
        for status in found.of(state):
            lines.append(f"{state}: {status.result.out}")
            lines += [f"  {one.stage}: {one.reason}" for one in [status.failure] if one and state == "failed"]
            lines += [f"  {reason}" for reason in status.all_reasons()] if state != "missing" else []
    lines += [f"foreign: {path} (no cell of this study)" for path in found.foreign]
    lines += [f"acceptance without effect: {entry}" for entry in found.unused_acceptances]
    relying: dict[str, int] = {}
    for status in found.statuses:
        for entry in status.accepted:
            words = f"{entry['stage']} {entry['old']} → {entry['new']}: {entry['because']}"
            relying[words] = relying.get(words, 0) + 1
    lines += [f"accepted: {words} ({number} results rely on it)" for words, number in relying.items()]
    counts = [f"{len(found.of(state))} {state}" for state in STATES]
    lines.append(f"{len(found.statuses)} results expected: {', '.join(counts)}; {len(found.foreign)} foreign")
    return "\n".join(lines) + "\n"


def register(found: Verification, configfiles: Sequence[Path]) -> int:
    """Write Snakemake's metadata for the existing results, and return the number of jobs registered.

    Without metadata Snakemake compares only file times. A job is recorded as done if all its results are
    current or failed. A stale or broken result with inputs gets an old file time, so that Snakemake makes
    it again. A stale or broken result without inputs is deleted, because Snakemake has no input to compare
    its time with. Raises RegisterError if Snakemake fails.
    """
    jobs: dict[str, list[ResultStatus]] = {}
    for status in found.statuses:
        jobs.setdefault(status.result.job, []).append(status)
    current = [of_job for of_job in jobs.values() if all(status.state in DONE for status in of_job)]
    for status in [*found.of("stale"), *found.of("broken")]:
        for path in map(Path, status.result.outputs):
            if status.result.inputs:
                # Snakemake treats a time of 0 as a missing time.
                os.utime(path, (1, 1))
            else:
                path.unlink()
    if not current:
        return 0
    targets = (
        []
        if all(status.state in DONE for status in found.statuses)
        else [status.result.out for of_job in current for status in of_job]
    )
    snakefile = Path("Snakefile") if Path("Snakefile").exists() else code_versions.ROOT / "Snakefile"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--cores", "1"]
    command += ["--touch", "--forceall", "--quiet", "all"]
    command += ["--configfile", *map(str, configfiles)] if configfiles else []
    ran = subprocess.run([*command, "--", *targets], capture_output=True, text=True)
    if ran.returncode:
        raise RegisterError(f"snakemake --touch failed: {(ran.stderr or ran.stdout).strip()[-2000:]}")
    return len(current)
