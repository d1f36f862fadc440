"""The cache of results. Its keys are fingerprints: hashes of settings, code version and inputs.

Snakemake deletes an output before it runs a job. It also reruns jobs for reasons that change no result, such
as a different set of languages per job, lost metadata or a touched file. Each stage therefore caches its
result in ``CACHE/xx/FINGERPRINT/``, where Snakemake does not delete it. If the fingerprint of a job is
unchanged, the cached result is restored and nothing is computed. Cached files are hard links to the outputs,
or copies if the file system has no hard links.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.store import acceptances, code_versions, provenance

COMPLETE = "complete.json"
"""File with the sha256 of each file of an entry. It is written last; an entry without it is not used."""


def fingerprint(cell: Mapping[str, Any], code: str, inputs: Mapping[str, str]) -> str:
    """The fingerprint of a result, as 64 hexadecimal digits.

    It is the sha256 of the result's cell (all its settings), the accepted code version of its stage, and the
    content checksum of each input.
    """
    text = files.canonical_json({"cell": cell, "code": code, "reads": inputs})
    return hashlib.sha256(text.encode()).hexdigest()


def equivalent_fingerprints(
    stage: str, cell: Mapping[str, Any], code: str, inputs: Mapping[str, str]
) -> list[str]:
    """The fingerprint for code version ``code``, then one for each version with the same results.

    ``code`` must be the version that ``acceptances.accepted_version`` returns.
    """
    return [fingerprint(cell, version, inputs) for version in acceptances.equivalent_versions(stage, code)]


def entry_dir(cache: Path, key: str) -> Path:
    """The folder of the cache entry with fingerprint ``key``."""
    return cache / key[:2] / key


def restore(
    cache: Path,
    stage: str,
    cell: Mapping[str, Any],
    code: str,
    inputs: Mapping[str, str],
    outputs: Mapping[str, Path],
    folder: Path,
) -> bool:
    """Restore the cached result with this fingerprint or an equivalent one. Returns False if there is none.

    ``outputs`` maps the name of a file in the cache entry to the path that it is restored to. All other
    files of the entry are restored below ``folder`` under their own names. A line is printed and an event
    is logged.
    """
    for key in equivalent_fingerprints(stage, cell, code, inputs):
        if restore_entry(cache, key, outputs, folder):
            log_event(cache, "restored", stage, cell, key)
            print(f"{stage}: cached result {key[:12]} restored, nothing computed", flush=True)
            return True
    return False


def restore_entry(cache: Path, key: str, outputs: Mapping[str, Path], folder: Path = Path()) -> bool:
    """Restore all files of the entry with fingerprint ``key``, to the paths that ``restore`` describes.

    Returns False and restores nothing if there is no complete entry, if it lacks one of ``outputs``, or if a
    file does not match its checksum.
    """
    entry = entry_dir(cache, key)
    try:
        checksums = json.loads((entry / COMPLETE).read_text())
        named = {str(name): str(sha256) for name, sha256 in checksums.items()}
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        files.set_aside(entry / COMPLETE, "not the checksums of a cached result, which is not used")
        return False
    if not set(outputs) <= set(named):
        return False
    for name, sha256 in named.items():
        try:
            intact = files.sha256(entry / name) == sha256
        except OSError:
            intact = False
        if not intact:
            print(f"{entry / name}: missing or altered; the cached result is not used.", flush=True)
            return False
    for name in named:
        _link(entry / name, outputs.get(name, folder / name))
    return True


def store(cache: Path, key: str, outputs: Mapping[str, Path]) -> None:
    """Cache the files ``outputs`` (name → path) under fingerprint ``key``, replacing an existing entry.

    The cached files are read-only. If the cache cannot be written, a message is printed and the result is not
    cached. Raises OSError if the disk is full.
    """
    with not_needed(f"{entry_dir(cache, key)}: the result is not cached"):
        _store(cache, key, outputs)


def _store(cache: Path, key: str, outputs: Mapping[str, Path]) -> None:
    entry = entry_dir(cache, key)
    entry.mkdir(parents=True, exist_ok=True)
    (entry / COMPLETE).unlink(missing_ok=True)
    for name, path in outputs.items():
        _link(path, entry / name)
        # Output and cached file are the same file, so an edit in place would change the cached result.
        os.chmod(entry / name, 0o444)
    files.write_json(entry / COMPLETE, {name: files.sha256(entry / name) for name in outputs})


@contextlib.contextmanager
def not_needed(what: str) -> Iterator[None]:
    """Print ``what`` and continue if the block cannot write a bookkeeping file.

    Raises OSError if the disk is full, because results could not be written either.
    """
    try:
        yield
    except OSError as error:
        if files.is_disk_full(error):
            raise
        print(f"{what}: {error.filename or ''} cannot be written ({error.strerror}).", flush=True)


def _link(source: Path, target: Path) -> None:
    """Hard-link ``target`` to ``source`` atomically, or copy it if the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        try:
            os.link(source, part)
        except OSError:
            shutil.copy2(source, part)
        os.replace(part, target)
    finally:
        # If both names already are the same file, os.replace does nothing and leaves the temporary name.
        part.unlink(missing_ok=True)


def log_event(cache: Path, event: str, stage: str, cell: Mapping[str, Any], key: str, **facts: Any) -> None:
    """Log an event (restored, computed or failed) in ``.events`` beside the cache.

    Each event is a file of its own, so that no lock is needed between nodes. The code version of the stage is
    recorded too (``record_code_parts``). If the event cannot be written, a message is printed. Raises OSError
    if the disk is full.
    """
    at = time.time_ns()
    entry = {"event": event, "stage": stage, "cell": dict(cell), "fingerprint": key, "at": provenance.now()}
    job = {"job": os.environ.get("SLURM_JOB_ID"), "host": os.uname().nodename, **facts}
    path = cache.parent / ".events" / f"{at}-{key[:12]}.json"
    with not_needed(f"{event} is not logged"):
        files.write_json(path, {**entry, **job}, durable=False)
    record_code_parts(cache.parent, stage)


def record_code_parts(results: Path, stage: str) -> None:
    """Write what the present code version of a stage consists of to ``.versions`` in the folder ``results``.

    ``polycal status`` compares it with a later version to name the modules that changed.
    """
    path = results / ".versions" / f"{stage}-{code_versions.code_version(stage)}.json"
    with not_needed(f"the version of {stage} is not recorded"):
        if not path.exists() or not path.stat().st_size:
            files.write_json(path, code_versions.parts(stage))
