"""The status of each expected result: current, failed, missing, stale or broken, and what a run would do.

Snakemake reports only that parameters or inputs have changed. This module names what has changed: each key of
the cell, each module of the code version, and each input whose checksum differs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any

from polycal.artifacts import failures, manifests
from polycal.artifacts.checkpoints import CheckpointError
from polycal.artifacts.failures import Failure
from polycal.audit import current_inputs, differences, holes, snakemake_metadata
from polycal.audit.current_inputs import Manifests
from polycal.audit.expected_results import ExpectedResult
from polycal.data.hub import SourceError
from polycal.errors import PolycalError
from polycal.store import acceptances, cache, code_versions
from polycal.study import paths

NOUNS = {
    "score": "the record",
    "embed": "the record",
    "score_next_token": "the record",
    "generate": "the record",
    "cluster": "the record",
    "finetune": "the checkpoint",
    "report": "the report",
}
"""What messages call the result of a stage. Other stages have "the result"."""


class TargetError(PolycalError):
    """A target is not part of the study. The message names a similar one, if there is one."""


@dataclass
class ResultStatus:
    """The status of one expected result.

    - ``state``: one of

      - current: the result is as expected.
      - failed: it is a failed result, which would fail again in the same way. ``failure`` says why.
      - missing: a file does not exist.
      - stale: it was made with other settings, code or inputs, or one of its inputs has to be made.
      - broken: its manifest cannot be read, or its content contradicts the manifest.

    - ``reasons``: why the result has to be made.
    - ``after``: the inputs that have to be made before it.
    - ``outcome``: what a run would do: "computed"; "restored", because a cached result exists; or "open",
      until its inputs exist. Empty if nothing would run.
    - ``accepted``: the acceptances because of which the result is current.
    """

    result: ExpectedResult
    state: str = "current"
    reasons: list[str] = field(default_factory=list)
    after: list[ExpectedResult] = field(default_factory=list)
    outcome: str = ""
    accepted: list[dict[str, Any]] = field(default_factory=list)
    failure: Failure | None = None

    @property
    def runs(self) -> bool:
        """Whether the workflow has to make the result."""
        return bool(self.reasons or self.after)

    def all_reasons(self) -> list[str]:
        """``reasons``, and a sentence with the stages that have to run before it, if any."""
        before = sorted({result.stage for result in self.after})
        return self.reasons + [f"its input from {' and '.join(before)} would be made anew"] * bool(before)


def statuses(
    expected: Sequence[ExpectedResult],
    recorded: Manifests,
    trust_mtimes: bool = True,
    scheduled: bool = False,
) -> list[ResultStatus]:
    """The status of each result, in the order of ``expected``, in which each result must follow its inputs.

    ``trust_mtimes`` is passed to ``current_inputs.checksums``. With ``scheduled``, a current record also
    counts as one to make if Snakemake would rerun its job, because the set of languages of the job has
    changed.
    """
    running: dict[str, ExpectedResult] = {}
    found = []
    for result in expected:
        before = _unique(running[path] for path in result.inputs.values() if path in running)
        status = ResultStatus(result, after=before)
        if any(not Path(path).exists() for path in {*result.outputs, result.recorded_in}):
            status.state, status.reasons = "missing", [f"{_noun(result)} is missing"]
        else:
            _compare(status, recorded, trust_mtimes)
        if scheduled and not status.runs and result.together:
            known = snakemake_metadata.inputs(result.out)
            if known is not None and known != result.together:
                status.reasons = ["it was made by a job with other languages than the present one"]
        elif status.runs:
            status.state = "stale" if status.state == "current" else status.state
        if status.failure and not status.runs:
            status.state = "failed"
        if status.runs:
            status.outcome = _outcome(status, recorded, trust_mtimes)
            running |= dict.fromkeys(result.outputs, result)
        found.append(status)
    return _with_companions(found)


def _compare(status: ResultStatus, recorded: Manifests, trust_mtimes: bool) -> None:
    """Compare the manifest of a result with what is expected, and set state, reasons and acceptances."""
    result = status.result
    try:
        manifest = recorded[result.recorded_in]
    except manifests.ManifestError as error:
        status.state, status.reasons = "broken", [str(error)]
        return
    if "fingerprint" not in manifest:
        status.reasons = [f"{_noun(result)} has no record of what made it"]
        return
    status.failure = failures.of(manifest)
    status.reasons = differences.setting_changes(manifest["cell"], result.cell)
    made_with, now = str(manifest["code_version"]), code_versions.code_version(result.stage)
    accepted = acceptances.accepted_version
    if accepted(result.stage, made_with)[0] != accepted(result.stage)[0]:
        status.reasons += differences.code_changes(result.stage, made_with, now)
    else:
        status.accepted = acceptances.relied_on(result.stage, made_with)
    if not status.after and not status.reasons:
        try:
            checksums = current_inputs.checksums(result, recorded, trust_mtimes)
            status.reasons = differences.input_changes(result, manifest["reads"], checksums)
        except (manifests.ManifestError, SourceError, CheckpointError) as error:
            status.reasons = [str(error)]


def _outcome(status: ResultStatus, recorded: Manifests, trust_mtimes: bool) -> str:
    if status.after:
        return "open"
    code = acceptances.accepted_version(status.result.stage)[0]
    try:
        checksums = current_inputs.checksums(status.result, recorded, trust_mtimes)
    except PolycalError:
        return "computed"
    keys = current_inputs.fingerprints(status.result, checksums, code)
    cached = any((cache.entry_dir(Path(paths.CACHE), key) / cache.COMPLETE).exists() for key in keys)
    return "restored" if cached else "computed"


def _with_companions(found: list[ResultStatus]) -> list[ResultStatus]:
    """Add the current results of jobs that have to run, because a job makes all its results.

    A current result is restored from the cache. A failed result is not cached, so it is computed again.
    """
    jobs = {status.result.job for status in found if status.runs}
    for status in found:
        if not status.runs and status.result.job in jobs:
            status.reasons = ["the same job makes another result that has to be made"]
            status.outcome = "computed" if status.failure else "restored"
    return found


def _unique(results: Iterable[ExpectedResult]) -> list[ExpectedResult]:
    return list({result.out: result for result in results}.values())


def _noun(result: ExpectedResult) -> str:
    return NOUNS.get(result.stage, "the result")


def select(found: Sequence[ResultStatus], targets: Sequence[str]) -> list[ResultStatus]:
    """The statuses of ``targets`` and all their direct and indirect inputs; without targets, all statuses.

    A target is a file, folder or stage. Raises TargetError for a target that is not part of the study.
    """
    if not targets:
        return list(found)
    by_path = {path: status for status in found for path in status.result.outputs}
    wanted: set[str] = set()
    for target in targets:
        name = target.rstrip("/")
        matching = [
            status.result.out
            for path, status in by_path.items()
            if name in (path, status.result.stage) or path.startswith(f"{name}/")
        ]
        if not matching:
            stages = {status.result.stage for status in found}
            near = get_close_matches(name, [*stages, *by_path], n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TargetError(f"{target}: the study needs no such file, stage or folder{hint}")
        wanted.update(matching)
    for status in reversed(found):
        if status.result.out in wanted:
            made = (by_path[path] for path in status.result.inputs.values() if path in by_path)
            wanted.update(one.result.out for one in made)
    return [status for status in found if status.result.out in wanted]


def as_text(found: Sequence[ResultStatus]) -> str:
    """The jobs that would run and why, then the failed results. Results with the same reasons are grouped."""
    running = [status for status in found if status.runs]
    failed = [status for status in found if status.state == "failed"]
    lines = []
    if not running:
        lines.append(f"nothing would run: every {'other ' if failed else ''}result is current")
    for stage, group in groupby(running, key=lambda status: status.result.stage):
        of_stage = list(group)
        jobs = len({status.result.job for status in of_stage})
        lines.append(f"{stage}: {jobs} job{'' if jobs == 1 else 's'}, {_outcomes(of_stage)}")
        by_reasons: dict[tuple[str, ...], list[ResultStatus]] = {}
        for status in of_stage:
            by_reasons.setdefault(tuple(status.all_reasons()), []).append(status)
        for reasons, alike in by_reasons.items():
            lines += [f"  {reason}" for reason in reasons]
            lines += [f"    {status.result.out}" for status in alike[:3]]
            lines += [f"    and {len(alike) - 3} more"] * (len(alike) > 3)
    if failed:
        lines.append(
            f"failed: {len(failed)} result{'' if len(failed) == 1 else 's'}, not tried again as they are"
        )
        lines += holes.lines({status.result.out: status.failure for status in failed if status.failure})
    return "\n".join(lines) + "\n"


OUTCOMES = {
    "computed": "computed",
    "restored": "restored, nothing computed",
    "open": "computed unless the cache has the result for the new inputs",
}


def _outcomes(found: Sequence[ResultStatus]) -> str:
    counts = [(sum(status.outcome == name for status in found), words) for name, words in OUTCOMES.items()]
    return ", ".join(f"{number} {words}" for number, words in counts if number)


def unknown_to_snakemake(found: Sequence[ResultStatus]) -> int:
    """The number of existing files for which Snakemake has no metadata."""
    existing = [path for status in found if status.state != "missing" for path in status.result.outputs]
    return sum(snakemake_metadata.inputs(path) is None for path in existing)


def as_json(found: Sequence[ResultStatus]) -> list[dict[str, Any]]:
    """The results that would be made, as values that JSON can represent."""
    return [
        {
            "stage": status.result.stage,
            "job": status.result.job,
            "outputs": list(status.result.outputs),
            "reasons": status.all_reasons(),
            "outcome": status.outcome,
        }
        for status in found
        if status.runs
    ]
