"""The cache of results: each under a hash of everything that determines it, its fingerprint.

Snakemake deletes an output before it runs a job, and plans jobs for reasons that change no result (other languages
per job, lost metadata, a touched file). Each stage therefore caches its result in ``CACHE/xx/FINGERPRINT/``, outside of
all declared outputs, as hard links where the file system has them. A job whose fingerprint is unchanged restores the
cached result; a changed setting, code version or input changes the fingerprint.
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
"""Written last into an entry: the sha256 of each of its files. An entry without it is not used."""


def fingerprint(cell: Mapping[str, Any], code: str, inputs: Mapping[str, str]) -> str:
    """sha256 of a cell, its stage's accepted code version, and the content checksums of its inputs."""
    text = files.canonical_json({"cell": cell, "code": code, "reads": inputs})
    return hashlib.sha256(text.encode()).hexdigest()


def equivalent_fingerprints(
    stage: str, cell: Mapping[str, Any], code: str, inputs: Mapping[str, str]
) -> list[str]:
    """The fingerprint of a result, then those with code versions that are accepted as giving the same result."""
    return [fingerprint(cell, version, inputs) for version in acceptances.equivalent_versions(stage, code)]


def entry_dir(cache: Path, key: str) -> Path:
    """The folder of the result with fingerprint ``key``."""
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
    """Restore the cached result of a fingerprint, or of an equivalent one, and print so; False if there is none.

    ``outputs`` maps the names of files in the cache to where they belong. Further files of the entry are restored
    under their names below ``folder``.
    """
    for key in equivalent_fingerprints(stage, cell, code, inputs):
        if restore_entry(cache, key, outputs, folder):
            log_event(cache, "restored", stage, cell, key)
            print(f"{stage}: cached result {key[:12]} restored, nothing computed", flush=True)
            return True
    return False


def restore_entry(cache: Path, key: str, outputs: Mapping[str, Path], folder: Path = Path()) -> bool:
    """Link the files of entry ``key`` to ``outputs``; False, and nothing written, unless all have their checksum."""
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
    """Cache ``outputs`` (name → file) under ``key``, replacing what is there; ``complete.json`` is written last.

    Where the cache cannot be written, the result is there and is not cached, which is said. A full disk is raised.
    """
    with _not_in_the_way(f"{entry_dir(cache, key)}: the result is not cached"):
        _store(cache, key, outputs)


def _store(cache: Path, key: str, outputs: Mapping[str, Path]) -> None:
    entry = entry_dir(cache, key)
    entry.mkdir(parents=True, exist_ok=True)
    (entry / COMPLETE).unlink(missing_ok=True)
    for name, path in outputs.items():
        _link(path, entry / name)
        # Both names are the same file: an edit in place would change the cached result too.
        os.chmod(entry / name, 0o444)
    files.write_json(entry / COMPLETE, {name: files.sha256(entry / name) for name in outputs})


@contextlib.contextmanager
def _not_in_the_way(what: str) -> Iterator[None]:
    """Say ``what`` where the block cannot write, and go on; a full disk, which stops the results too, is raised."""
    try:
        yield
    except OSError as error:
        if files.is_disk_full(error):
            raise
        print(f"{what}: {error.filename or ''} cannot be written ({error.strerror}).", flush=True)


def _link(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, atomically; a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        try:
            os.link(source, part)
        except OSError:
            shutil.copy2(source, part)
        os.replace(part, target)
    finally:
        # Renaming one link of a file onto another link of it does nothing and leaves both.
        part.unlink(missing_ok=True)


def log_event(cache: Path, event: str, stage: str, cell: Mapping[str, Any], key: str, **facts: Any) -> None:
    """Write what happened to ``.events`` beside the cache; one file per event, so that nodes need no lock."""
    at = time.time_ns()
    entry = {"event": event, "stage": stage, "cell": dict(cell), "fingerprint": key, "at": provenance.now()}
    job = {"job": os.environ.get("SLURM_JOB_ID"), "host": os.uname().nodename, **facts}
    path = cache.parent / ".events" / f"{at}-{key[:12]}.json"
    with _not_in_the_way(f"{event} is not logged"):
        files.write_json(path, {**entry, **job}, durable=False)
    record_code_parts(cache.parent, stage)


def record_code_parts(results: Path, stage: str) -> None:
    """Write to ``.versions`` what a stage's present version consists of, so that ``status`` can name a change."""
    path = results / ".versions" / f"{stage}-{code_versions.code_version(stage)}.json"
    with _not_in_the_way(f"the version of {stage} is not recorded"):
        if not path.exists() or not path.stat().st_size:
            files.write_json(path, code_versions.parts(stage))
