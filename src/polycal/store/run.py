"""Run a job of a stage: lock the outputs, restore the cached result or compute it, cache it, record its cost.

In a workflow, a cell that cannot be computed gets a failed result, and the job succeeds. The rest of the
study then continues.

This module connects the stages with the bookkeeping of this package. The functions that compute results do
not import it, so that a change of the bookkeeping does not change their code version.
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
    """A job of a stage.

    ``cells`` contains one cell, or one per language for a stage with ``per_language``. ``inputs`` maps the
    name of each input to its path, or to a list of paths. ``out`` contains a path for each cell: the file
    to write, or the folder of the tables. ``cache`` is the folder of cached results; None: no cache.
    ``code`` is the code version that a workflow planned the job with; None accepts any version and writes
    no failed results. ``missing`` are input files that do not exist, for a stage that runs without them
    (``Stage.partial``).
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
        """The failure that the result inherits from a failed input, or None. None outside of a workflow."""
        return failed_results.of_inputs(self.stage, inputs) if self.code is not None else None

    def ends_in(self, error: BaseException) -> Failure | None:
        """The failure to write for ``error``, or None if the error has to be raised.

        Outside of a workflow every error is raised. In a workflow an error is raised if the stage is not a
        stage of one cell (``Stage.one_cell``), or if another attempt may succeed.
        """
        if self.code is None or not self.stage.one_cell or not errors.is_final(error):
            return None
        return Failure(self.stage.name, str(error))


def run(job: Job) -> None:
    """Compute the results of a job, or restore them from the cache.

    Raises VersionError if the code version is not the planned one, LockError if an output cannot be locked,
    and any error of the stage for which no failed result is written. Errors in reading the inputs are
    raised too.
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
        # The cache contains only the manifest. If the files that it describes are gone, compute them again.
        if restored and job.stage.whole and not load(job.stage.whole)(job.out[0]):
            _compute(job, code, inputs, outputs)


def _planned_code(job: Job) -> str:
    """The accepted code version of the stage. Raises VersionError if it is not the planned one."""
    present = acceptances.accepted_version(job.stage.name)[0]
    if job.code not in (None, present):
        raise VersionError(
            f"{job.stage.name}: planned with code version {job.code}, but the code is at {present};"
            " start the workflow again."
        )
    return present


def input_checksums(stage: Stage, cell: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, str]:
    """The content checksum of each input of a job: name of the input → checksum.

    The names and checksums follow the rules in ``Input``, or the function ``Stage.checksums`` if there is
    one. Raises an error of the reader if an input is missing or broken.
    """
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
    """The content checksum of an input.

    For a record it is the checksum of the rows. For a checkpoint, given as manifest or folder, it is the
    checksum of the weights. For a failed result it is the fingerprint.
    """
    if failed := failed_results.manifest_at(path):
        return failures.content(failed)
    return checkpoints.read(path).content if kind == "checkpoint" else str(records.metadata(path)["content"])


def _check_before_computing(job: Job) -> None:
    """Import the planned code, and check that the weights of input models match their manifests.

    Raises VersionError or CheckpointError. Records need no check here, because their pages have checksums
    that are checked on reading.
    """
    code_versions.check_loaded(job.stage.name)
    for declared in job.stage.inputs:
        if declared.kind == "checkpoint" and not declared.many:
            checkpoints.check(job.inputs[declared.name])


def _fail(job: Job, number: int, key: str, inputs: Mapping[str, str], failure: Failure) -> None:
    """Write a failed result for cell ``number``, without computing anything."""
    record = provenance.run_record(job.stage.name, job.cells[number], key, inputs)
    failed_results.write(job.out[number], provenance.RunStamp(record), failure, job.cache)


def _outputs(stage: Stage, cell: Mapping[str, Any], out: Path) -> dict[str, Path]:
    """The declared outputs of a job: name in the cache → path."""
    if not stage.tables_of_cell:
        return {stage.output: out}
    names = [f"{name}.parquet" for name in load(stage.tables_of_cell)(cell)]
    return {name: out / name for name in names}


def _restored_or_computed(
    job: Job, code: str, inputs: Mapping[str, str], outputs: Mapping[str, Path]
) -> bool:
    """Restore the result, or compute it. Returns True if it was restored."""
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
    """Restore the cached records and compute the others together. Each is cached as soon as it is written."""
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
    """Compute the cells ``todo`` together, so that they share the loaded model.

    If a cell fails because of its questions (LanguageError), each cell that is not done is computed alone, so
    that only that cell gets a failed result. Other failures apply to all cells that are not done.
    """
    name = job.stage.name
    keys = [cache.fingerprint(job.cells[n], code, checksums[n]) for n in todo]
    recorded = [
        provenance.run_record(name, job.cells[n], key, checksums[n])
        for n, key in zip(todo, keys, strict=True)
    ]
    # Earlier failed attempts count in the cost of the first result that they delayed.
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
        gc.collect()  # free the model of this attempt before the next one loads it again
        for position in remaining:
            _compute_per_language(job, code, checksums, [todo[position]])
        return
    for position in remaining:
        stamp = provenance.RunStamp(recorded[position])
        failed_results.write(job.out[todo[position]], stamp, failure, job.cache)
    running.pop().succeeded()


def _chosen(job: Job, todo: Sequence[int]) -> dict[str, Any]:
    """The inputs of the cells ``todo``. Of an input with one file per cell, only their files are included."""
    many = {declared.name for declared in job.stage.inputs if declared.many}
    return {name: [given[n] for n in todo] if name in many else given for name, given in job.inputs.items()}
