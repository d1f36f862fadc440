"""What would run, and why: each recorded result against the present plan, in words.

Snakemake says that parameters or inputs changed. Here the recorded cell is held against the planned one key by key,
the recorded code version against the present one module by module, and what was read against what lies there now.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any

from polycal.artifacts import files, manifests
from polycal.artifacts.checkpoints import CheckpointError
from polycal.audit import expected_results, snakemake_metadata
from polycal.audit.expected_results import Notes, Task
from polycal.data.sources import SourceError
from polycal.errors import PolycalError
from polycal.store import cache, code_versions

RESULTS = Path("results")
KEPT = RESULTS / ".kept"


class TargetError(PolycalError):
    """A target that the plan does not hold; the message names near ones."""


@dataclass
class Finding:
    """What stands of one task: its state, why it would run, and which tasks that it reads would run first.

    ``state``: current, missing, stale (made from another cell, code or input than the plan says) or broken.
    ``outcome`` of a run: computed, handed out (a kept result is at hand), or open until its inputs are made.
    """

    task: Task
    state: str = "current"
    reasons: list[str] = field(default_factory=list)
    after: list[Task] = field(default_factory=list)
    outcome: str = ""
    accepted: list[dict[str, Any]] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        """Whether the workflow has to run it."""
        return bool(self.reasons or self.after)


def judge(
    planned: Sequence[Task], notes: Notes, believe: bool = True, scheduled: bool = False
) -> list[Finding]:
    """A finding for each task, in the plan's order; ``believe`` as in ``expected_results.reads``.

    With ``scheduled`` also those that Snakemake runs though nothing is wrong with them: results that it knows from
    jobs of other languages.
    """
    running: dict[str, Task] = {}
    found = []
    for task in planned:
        finding = Finding(
            task, after=_first(running[path] for path in task.inputs.values() if path in running)
        )
        gone = [path for path in {*task.outputs, task.note} if not Path(path).exists()]
        if gone:
            finding.state, finding.reasons = "missing", [f"{_kind(task)} is missing"]
        else:
            _compare(finding, notes, believe)
        if scheduled and not finding.runs and task.together:
            known = snakemake_metadata.inputs(task.out)
            if known is not None and known != task.together:
                finding.reasons = ["it was made by a job of other languages than are asked for together now"]
        elif finding.runs:
            finding.state = "stale" if finding.state == "current" else finding.state
        if finding.runs:
            finding.outcome = _outcome(finding, notes, believe)
            running |= dict.fromkeys(task.outputs, task)
        found.append(finding)
    return _companions(found)


def _compare(finding: Finding, notes: Notes, believe: bool) -> None:
    """Hold what the result says of itself against its task."""
    task = finding.task
    try:
        said = notes[task.note]
    except manifests.ManifestError as error:
        finding.state, finding.reasons = "broken", [str(error)]
        return
    if "fingerprint" not in said:
        finding.reasons = [f"{_kind(task)} does not say what made it"]
        return
    finding.reasons = changed(said["cell"], task.cell)
    made, now = str(said["code_version"]), code_versions.code_version(task.stage)
    if code_versions.code_class(task.stage, made)[0] != code_versions.code_class(task.stage)[0]:
        finding.reasons += code_changes(task.stage, made, now)
    else:
        finding.accepted = code_versions.relied_on(task.stage, made)
    if not finding.after and not finding.reasons:
        try:
            finding.reasons = _other_inputs(task, said["reads"], expected_results.reads(task, notes, believe))
        except (manifests.ManifestError, SourceError, CheckpointError) as error:
            finding.reasons = [str(error)]


def _outcome(finding: Finding, notes: Notes, believe: bool) -> str:
    if finding.after:
        return "open"
    code = code_versions.code_class(finding.task.stage)[0]
    try:
        keys = expected_results.fingerprints(
            finding.task, expected_results.reads(finding.task, notes, believe), code
        )
    except ValueError:
        return "computed"
    there = any((cache.place(KEPT, key) / "complete.json").exists() for key in keys)
    return "handed out" if there else "computed"


def _companions(found: list[Finding]) -> list[Finding]:
    """A job makes all its results anew: those that are current are handed out beside those that are not."""
    busy = {finding.task.job for finding in found if finding.runs}
    for finding in found:
        if not finding.runs and finding.task.job in busy:
            finding.reasons = ["the same job makes another result that has to be made"]
            finding.outcome = "handed out"
    return found


def _first(ones: Iterable[Task]) -> list[Task]:
    return list({task.out: task for task in ones}.values())


def _kind(task: Task) -> str:
    if task.stage in ("score", "embed", "next_token"):
        return "the record"
    return {"finetune": "the checkpoint", "present": "the report"}.get(task.stage, "the result")


def changed(old: Any, new: Any) -> list[str]:
    """In words, key by key, what became of a setting: ``settings.epochs: 2 → 1``."""
    was, now = dict(_flat("", old)), dict(_flat("", new))
    lines = []
    for key in sorted(was.keys() | now.keys()):
        if key not in was:
            lines.append(f"{key}: new, {_short(now[key])}")
        elif key not in now:
            lines.append(f"{key}: gone, was {_short(was[key])}")
        elif was[key] != now[key]:
            lines.append(f"{key}: {_difference(was[key], now[key])}")
    return lines


def _flat(at: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key in value:
            yield from _flat(f"{at}.{key}" if at else str(key), value[key])
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        for number, one in enumerate(value):
            yield from _flat(f"{at}[{number}]", one)
    else:
        yield at, value


def _difference(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list) and len(old) + len(new) > 8:
        added, gone = ([_short(x) for x in one if x not in other] for one, other in ((new, old), (old, new)))
        told = [f"with {', '.join(added)}"] * bool(added) + [f"without {', '.join(gone)}"] * bool(gone)
        return " and ".join(told) or "in another order"
    return f"{_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else files.canonical_json(value)
    return text if len(text) <= 80 else text[:77] + "..."


def code_changes(stage: str, made: str, now: str) -> list[str]:
    """In words, what of a stage's code and runtime differs between version ``made`` and the present one."""
    path = RESULTS / ".versions" / f"{stage}-{made}.json"
    try:
        old = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return [f"code of {stage}: version {made} → {now} (of what {made} was made is not recorded)"]
    new, lines = code_versions.parts(stage), []
    for kind, word in (("modules", "module"), ("files", "file")):
        was, is_now = old.get(kind, {}), new[kind]
        lines += [f"{word} {n} changed" for n in sorted(was.keys() & is_now.keys()) if was[n] != is_now[n]]
        lines += [f"{word} {n} is new" for n in sorted(is_now.keys() - was.keys())]
        lines += [f"{word} {n} is no longer used" for n in sorted(was.keys() - is_now.keys())]
    was, is_now = old.get("runtime", {}), new["runtime"]
    for name in sorted(was.keys() | is_now.keys()):
        if was.get(name) != is_now.get(name):
            lines.append(f"locked version of {name}: {was.get(name, 'none')} → {is_now.get(name, 'none')}")
    return lines or [f"code of {stage}: version {made} → {now}"]


def _other_inputs(task: Task, was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    lines = []
    for role in sorted(was.keys() | now.keys()):
        name = f"{role} ({task.inputs[role]})" if task.inputs.get(role, role) != role else role
        if role not in was:
            lines.append(f"input {name} is new")
        elif role not in now:
            lines.append(f"input {name} is no longer read")
        elif was[role] != now[role]:
            lines.append(f"input {name} has other content")
    return lines


def chosen(found: Sequence[Finding], targets: Sequence[str]) -> list[Finding]:
    """The findings of ``targets`` (files, folders or stages) and of all that they read; all without a target.

    Raises TargetError for a target that the plan does not hold.
    """
    if not targets:
        return list(found)
    made = {path: finding for finding in found for path in finding.task.outputs}
    wanted: set[str] = set()
    for target in targets:
        name = target.rstrip("/")
        own = [f.task.out for p, f in made.items() if name in (p, f.task.stage) or p.startswith(f"{name}/")]
        if not own:
            stages = {finding.task.stage for finding in found}
            near = get_close_matches(name, [*stages, *made], n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TargetError(f"{target}: the plan makes no such file, and has no such stage or folder{hint}")
        wanted.update(own)
    for finding in reversed(found):
        if finding.task.out in wanted:
            wanted.update(made[path].task.out for path in finding.task.inputs.values() if path in made)
    return [finding for finding in found if finding.task.out in wanted]


def text(found: Sequence[Finding]) -> str:
    """Which jobs would run and why, those of one stage and reason together."""
    running = [finding for finding in found if finding.runs]
    if not running:
        return "nothing would run: every result stands on the present plan\n"
    lines = []
    for stage, group in groupby(running, key=lambda finding: finding.task.stage):
        own = list(group)
        lines.append(f"{stage}: {_count(len({f.task.job for f in own}), 'job')}, {_outcomes(own)}")
        by_reason: dict[tuple[str, ...], list[Finding]] = {}
        for finding in own:
            by_reason.setdefault(tuple(because(finding)), []).append(finding)
        for reasons, alike in by_reason.items():
            lines += [f"  {reason}" for reason in reasons]
            lines += [f"    {finding.task.out}" for finding in alike[:3]]
            lines += [f"    and {len(alike) - 3} more"] * (len(alike) > 3)
    return "\n".join(lines) + "\n"


def because(finding: Finding) -> list[str]:
    """All reasons of a finding, what has to be made before it included."""
    before = sorted({task.stage for task in finding.after})
    return finding.reasons + [f"it reads what {' and '.join(before)} would make anew"] * bool(before)


def _outcomes(found: Sequence[Finding]) -> str:
    words = {"computed": "computed", "handed out": "handed out, nothing computed", "open": "open"}
    tally = [(sum(f.outcome == outcome for f in found), word) for outcome, word in words.items()]
    told = ", ".join(f"{number} {word}" for number, word in tally if number)
    return told.replace("open", "computed only where what they read comes out different")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def unknown(found: Sequence[Finding]) -> int:
    """How many results that are there Snakemake knows nothing of."""
    there = [path for f in found if f.state != "missing" for path in f.task.outputs]
    return sum(snakemake_metadata.inputs(path) is None for path in there)


def plain(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """The tasks that would run, as plain JSON."""
    return [
        {
            "stage": f.task.stage,
            "job": f.task.job,
            "outputs": list(f.task.outputs),
            "reasons": because(f),
            "outcome": f.outcome,
        }
        for f in found
        if f.runs
    ]
