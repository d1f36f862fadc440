"""Run a stage: take the lock, restore the cached result or compute it, cache it, record its cost.

In a job that a workflow planned, a cell that cannot be computed ends in a failed result, and the job succeeds.

This is the only place where the science and the bookkeeping meet. Stages know nothing of it.
"""

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polycal import errors
from polycal.artifacts import checkpoints, failures, records
from polycal.artifacts.failures import Failure
from polycal.errors import LanguageError
from polycal.store import acceptances, cache, code_versions, failed_results, locks, provenance
from polycal.store.attempts import Attempt
from polycal.store.code_versions import VersionError
from polycal.store.stages import Stage, load


@dataclass(frozen=True)
class Job:
    """A job of a stage: its cells (one, but for stages that run per language), inputs, outputs and options.

    ``inputs`` maps each input to its path, or to a list of paths. ``out`` has a path per cell: the file to write, or
    the folder of the tables. ``code`` is the version that the job was planned with, None for whatever is there.
    ``missing`` are files of the cell that do not exist, where the stage is computed without them.
    """

    stage: Stage
    cells: Sequence[Mapping[str, Any]]
    inputs: Mapping[str, Any]
    out: Sequence[Path]
    cache: Path | None = None
    code: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[Path] = ()

    def inherits(self, inputs: Mapping[str, Any]) -> Failure | None:
        """The failure of one of ``inputs``, which is that of the result too, in a job of a workflow."""
        return failed_results.of_inputs(self.stage, inputs) if self.code is not None else None

    def ends_in(self, error: BaseException) -> Failure | None:
        """The failure that is written for an error; None where another attempt, or a person, may bring the result."""
        if self.code is None or not self.stage.one_cell or not errors.is_final(error):
            return None
        return Failure(self.stage.name, str(error))


def run(job: Job) -> None:
    """Make the results of a job, or restore them.

    Raises VersionError where the code is not the one that the job was planned with, and whatever the stage raises,
    except where a failed result is written instead.
    """
    code = _planned_code(job)
    if job.stage.per_language:
        _run_per_language(job, code)
        return
    inputs = input_checksums(job.stage, job.cells[0], job.inputs)
    outputs = _outputs(job.stage, job.cells[0], job.out[0])
    with locks.acquire(job.stage.name, *outputs.values()):
        if failure := job.inherits(job.inputs):
            _fail(job, 0, cache.fingerprint(job.cells[0], code, inputs), inputs, failure)
            return
        restored = _restored_or_computed(job, code, inputs, outputs)
        # only the manifest is cached; where the files that belong to it are gone, they are made again
        if restored and job.stage.whole and not load(job.stage.whole)(job.out[0]):
            _compute(job, code, inputs, outputs)


def _planned_code(job: Job) -> str:
    """The accepted version of the stage's code; it must be the one that the job was planned with."""
    present = acceptances.accepted_version(job.stage.name)[0]
    if job.code not in (None, present):
        raise VersionError(
            f"{job.stage.name}: planned with code version {job.code}, but the code is at {present};"
            " start the workflow again."
        )
    return present


def input_checksums(stage: Stage, cell: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, str]:
    """The content checksum of each input of a job, by the rules of its stage (``Input``, ``Stage.checksums``)."""
    if stage.checksums:
        return load(stage.checksums)(cell, **inputs)
    checksums: dict[str, str] = {}
    for declared in stage.inputs:
        given = inputs.get(declared.name)
        for path in given if isinstance(given, list) else [given] if given else []:
            several = declared.many and not stage.per_language
            checksums[path.stem if several else declared.name] = content(declared.kind, path)
    return checksums


def content(kind: str, path: Path) -> str:
    """The checksum of an input: of the rows of a record, of the weights behind a manifest or folder.

    Of a failed result it is the fingerprint.
    """
    if failed := failed_results.manifest_at(path):
        return failures.content(failed)
    return checkpoints.read(path).content if kind == "checkpoint" else str(records.metadata(path)["content"])


def _check_before_computing(job: Job) -> None:
    """Import the code that was planned, and check that the weights that will be read are those of their manifest.

    Raises VersionError or CheckpointError. Reading a record checks it page by page, without this.
    """
    code_versions.check_loaded(job.stage.name)
    for declared in job.stage.inputs:
        if declared.kind == "checkpoint" and not declared.many:
            checkpoints.check(job.inputs[declared.name])


def _fail(job: Job, number: int, key: str, inputs: Mapping[str, str], failure: Failure) -> None:
    """Write the failed result of one cell, which nothing was computed for."""
    record = provenance.run_record(job.stage.name, job.cells[number], key, inputs)
    failed_results.write(job.out[number], provenance.RunStamp(record), failure, job.cache)


def _outputs(stage: Stage, cell: Mapping[str, Any], out: Path) -> dict[str, Path]:
    """Name in the cache → file, of all files that the rule declares."""
    if not stage.tables_of_cell:
        return {stage.output: out}
    names = [f"{name}.parquet" for name in load(stage.tables_of_cell)(cell)]
    return {name: out / name for name in names}


def _restored_or_computed(
    job: Job, code: str, inputs: Mapping[str, str], outputs: Mapping[str, Path]
) -> bool:
    """True where the result was restored."""
    cell, folder = job.cells[0], job.out[0].parent
    if job.cache and cache.restore(job.cache, job.stage.name, cell, code, inputs, outputs, folder):
        return True
    _compute(job, code, inputs, outputs)
    return False


def _compute(job: Job, code: str, inputs: Mapping[str, str], outputs: Mapping[str, Path]) -> None:
    cell, name, began = job.cells[0], job.stage.name, time.monotonic()
    _check_before_computing(job)
    key = cache.fingerprint(cell, code, inputs)
    for path in outputs.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    with Attempt(job.cache, key) as attempt:
        stamp = provenance.RunStamp({**provenance.run_record(name, cell, key, inputs), **attempt.earlier})
        entry = load(job.stage.entry)
        missing = {"missing": job.missing} if job.stage.partial else {}
        try:
            further = entry(cell, **job.inputs, **job.options, **missing, out=job.out[0], stamp=stamp) or ()
        except Exception as error:
            if (failure := job.ends_in(error)) is None:
                raise
            failed_results.write(job.out[0], stamp, failure, job.cache)
            return
    if job.cache is not None:
        folder = job.out[0].parent
        beside = {path.relative_to(folder).as_posix(): path for path in further}
        cache.store(job.cache, key, {**outputs, **beside})
        seconds = round(time.monotonic() - began, 3)
        cache.log_event(job.cache, "computed", name, cell, key, seconds=seconds)


def _run_per_language(job: Job, code: str) -> None:
    """Restore the cached records; compute the others together, and cache each as soon as it is written."""
    stage, inputs_of = job.stage, [_chosen(job, [number]) for number in range(len(job.cells))]
    checksums = [
        input_checksums(stage, cell, inputs) for cell, inputs in zip(job.cells, inputs_of, strict=True)
    ]
    with locks.acquire(stage.name, *job.out):
        failed = {number: job.inherits(inputs) for number, inputs in enumerate(inputs_of)}
        for number, failure in failed.items():
            if failure is not None:
                key = cache.fingerprint(job.cells[number], code, checksums[number])
                _fail(job, number, key, checksums[number], failure)
        todo = [
            number
            for number, (cell, out) in enumerate(zip(job.cells, job.out, strict=True))
            if failed[number] is None
            and (
                job.cache is None
                or not cache.restore(
                    job.cache, stage.name, cell, code, checksums[number], {stage.output: out}, out.parent
                )
            )
        ]
        if todo:
            _check_before_computing(job)
            _compute_per_language(job, code, checksums, todo)


def _compute_per_language(
    job: Job, code: str, checksums: Sequence[Mapping[str, str]], todo: Sequence[int]
) -> None:
    """Compute the cells ``todo`` together; if one fails because of its questions, each of the others alone."""
    name = job.stage.name
    keys = [cache.fingerprint(job.cells[n], code, checksums[n]) for n in todo]
    recorded = [
        provenance.run_record(name, job.cells[n], key, checksums[n])
        for n, key in zip(todo, keys, strict=True)
    ]
    # failed attempts count in the cost of the first result that they kept waiting
    running = [Attempt(job.cache, keys[0])]
    recorded[0] |= running[0].earlier
    remaining = list(range(len(todo)))

    def done(position: int) -> None:
        cell, out = job.cells[todo[position]], job.out[todo[position]]
        if job.cache is not None:
            cache.store(job.cache, keys[position], {job.stage.output: out})
            cache.log_event(job.cache, "computed", name, cell, keys[position])
        running.pop().succeeded()
        remaining.remove(position)
        if position + 1 < len(todo):
            running.append(Attempt(job.cache, keys[position + 1]))
            recorded[position + 1].update(running[0].earlier)

    for number in todo:
        job.out[number].parent.mkdir(parents=True, exist_ok=True)
    failure, in_language = None, False
    try:
        load(job.stage.entry)(
            [job.cells[n] for n in todo],
            **_chosen(job, todo),
            **job.options,
            out=[job.out[n] for n in todo],
            stamps=[provenance.RunStamp(record) for record in recorded],
            done=done,
        )
    except BaseException as error:
        failure, in_language = job.ends_in(error), isinstance(error, LanguageError)
        if failure is None or not running:
            for attempt in running:
                attempt.failed()
            raise
    if failure is None:
        return
    if in_language and len(remaining) > 1:
        running.pop().withdrawn()
        gc.collect()  # the model of this attempt, before another one is loaded
        for position in remaining:
            _compute_per_language(job, code, checksums, [todo[position]])
        return
    for position in remaining:
        stamp = provenance.RunStamp(recorded[position])
        failed_results.write(job.out[todo[position]], stamp, failure, job.cache)
    running.pop().succeeded()


def _chosen(job: Job, todo: Sequence[int]) -> dict[str, Any]:
    """The inputs of the cells ``todo``: of an input with a file per cell those files, else the input as it is."""
    many = {declared.name for declared in job.stage.inputs if declared.many}
    return {name: [given[n] for n in todo] if name in many else given for name, given in job.inputs.items()}
