"""Work that is done stays done: results kept under a fingerprint of everything that determines them.

Snakemake deletes an output before it runs a job, and plans jobs for reasons that change no result (a
regrouped batch, lost metadata, a touched file). A stage therefore keeps what it makes in
``.kept/<fingerprint>/``, outside of all declared outputs, as hard links where the file system has them,
and hands it out when the same fingerprint is asked for again. Anything that would change the result
changes the fingerprint, so nothing stale is ever handed out.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.store import code_versions, provenance


def canonical(value: Any) -> str:
    """One spelling of a JSON value: sorted keys, no spaces, nothing that could end a script in a page."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # within JSON it can only stand in a string; Snakemake's report puts parameters into a script as they are
    return text.replace("<", "\\u003c")


def fingerprint(cell: Mapping[str, Any], code: str, reads: Mapping[str, str]) -> str:
    """sha256 over a cell, the class of its stage's code, and the content checksums of what it reads."""
    return hashlib.sha256(canonical({"cell": cell, "code": code, "reads": reads}).encode()).hexdigest()


def equivalents(stage: str, cell: Mapping[str, Any], code: str, reads: Mapping[str, str]) -> list[str]:
    """The fingerprint of a result, then those of the versions that are accepted as giving the same."""
    return [fingerprint(cell, version, reads) for version in code_versions.members(stage, code)]


def obtain(
    stage: str,
    cell: Mapping[str, Any],
    code: str,
    reads: Mapping[str, str],
    outputs: Mapping[str, Path],
    kept: Path | None,
    make: Callable[[dict[str, Any]], Iterable[Path] | None],
    folder: Path = Path(),
) -> bool:
    """Hand a kept result out, or let ``make(note)`` write ``outputs`` and keep them. True where it was made.

    ``outputs`` maps a role to the file to be written; ``kept`` is the folder of kept work, None keeps none.
    Further files that ``make`` names, all below ``folder``, are kept and handed out with them.
    """
    key = fingerprint(cell, code, reads)
    if kept is not None and handed_out(kept, stage, cell, code, reads, outputs, folder):
        return False
    begun = time.monotonic()
    for path in outputs.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    further = make(provenance.note(stage, cell, key, reads)) or ()
    if kept is not None:
        keep(kept, key, {**outputs, **{path.relative_to(folder).as_posix(): path for path in further}})
        journal(kept, "computed", stage, cell, key, seconds=round(time.monotonic() - begun, 3))
    return True


def handed_out(
    kept: Path,
    stage: str,
    cell: Mapping[str, Any],
    code: str,
    reads: Mapping[str, str],
    outputs: Mapping[str, Path],
    folder: Path = Path(),
) -> bool:
    """Hand out the result of this fingerprint, or one accepted as equal, and say so; False where none is kept."""
    for key in equivalents(stage, cell, code, reads):
        if hand_out(kept, key, outputs, folder):
            journal(kept, "handed out", stage, cell, key)
            print(f"{stage}: kept result {key[:12]} handed out, nothing computed", flush=True)
            return True
    return False


def place(kept: Path, key: str) -> Path:
    """The folder of the work kept under ``key``."""
    return kept / key[:2] / key


def hand_out(kept: Path, key: str, outputs: Mapping[str, Path], folder: Path = Path()) -> bool:
    """Link the results kept under ``key`` to ``outputs``; False, and nothing written, unless all are whole.

    Files kept beyond ``outputs`` go by their names below ``folder``.
    """
    shelf = place(kept, key)
    try:
        whole = json.loads((shelf / "complete.json").read_text())
    except (OSError, json.JSONDecodeError):
        return False
    if not set(outputs) <= set(whole):
        return False
    for role, sha256 in whole.items():
        if not (shelf / role).is_file() or files.sha256(shelf / role) != sha256:
            return False
    for role in whole:
        _link(shelf / role, outputs.get(role, folder / role))
    return True


def keep(kept: Path, key: str, outputs: Mapping[str, Path]) -> None:
    """Keep ``outputs`` under ``key``; what stood there before is replaced, ``complete.json`` comes last."""
    folder = place(kept, key)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "complete.json").unlink(missing_ok=True)
    for role, path in outputs.items():
        _link(path, folder / role)
        # The same file stands under two names: an edit in place would spoil both.
        os.chmod(folder / role, 0o444)
    write_json(folder / "complete.json", {role: files.sha256(folder / role) for role in outputs})


def _link(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, atomically; a copy where links are not to be had."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        try:
            os.link(source, aside)
        except OSError:
            shutil.copy2(source, aside)
        os.replace(aside, target)
    finally:
        # Renaming one link of a file onto another link of it does nothing and leaves both.
        aside.unlink(missing_ok=True)


def journal(kept: Path, event: str, stage: str, cell: Mapping[str, Any], key: str, **more: Any) -> None:
    """Say in ``.events`` beside ``kept`` what happened; one file an event, so that nodes need no lock."""
    at = time.time_ns()
    entry = {"event": event, "stage": stage, "cell": dict(cell), "fingerprint": key, "at": provenance.now()}
    job = {"job": os.environ.get("SLURM_JOB_ID"), "host": os.uname().nodename, **more}
    write_json(kept.parent / ".events" / f"{at}-{key[:12]}.json", {**entry, **job})
    remember(kept.parent, stage)


def remember(results: Path, stage: str) -> None:
    """Note in ``.versions`` what the present version of a stage is made of, so that ``why`` can name a change."""
    path = results / ".versions" / f"{stage}-{code_versions.code_version(stage)}.json"
    if not path.exists():
        write_json(path, code_versions.parts(stage))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, aside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        aside.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
