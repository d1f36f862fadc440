"""Atomic writing of files, which are then complete or absent. Also checksums of files, and JSON."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A context with a temporary path beside ``path``, which becomes ``path`` at the end of the block.

    If the block raises, the temporary file is removed. Each call uses a new temporary name, so two writers
    never share a half-written file. ``os.replace`` is atomic within a file system (POSIX rename), so a reader
    sees either the old file or the new one. This also holds after a loss of power, because the content is flushed
    to disk before the rename and the folder after it. Without ``durable`` neither is flushed, for files that
    nothing reads again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        if durable:
            flush(part)
        os.replace(part, path)
        if durable:
            flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Force the content of a file, or the names in a folder, to disk; not all file systems can do it for folders."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def set_aside(path: Path, why: str) -> None:
    """Rename a bookkeeping file that cannot be used, so that it is in nobody's way, and say so in one sentence."""
    aside = path.with_name(f"{path.name}.unreadable-{uuid.uuid4().hex[:8]}")
    try:
        os.replace(path, aside)
        done = f"set aside as {aside.name}"
    except OSError as error:
        done = f"passed over, as it cannot be renamed ({error.strerror})"
    print(f"{path}: {why}; {done}, the work goes on.", flush=True)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path, durable) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", durable)


def canonical_json(value: Any) -> str:
    """A JSON value as text with sorted keys, no spaces and no ``<``. Equal values give equal text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # Snakemake's report copies parameters into a <script>, where "<" could end it. In JSON "<" occurs only
    # inside strings, so it can be escaped.
    return text.replace("<", "\\u003c")


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(paths: Iterable[Path]) -> list[str]:
    """The sha256 of each file, computed by one thread per core. Hashing releases the interpreter's lock."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(sha256, paths))


def free_bytes(folder: Path) -> tuple[Path, int]:
    """The nearest folder at or above ``folder`` that exists, and the free bytes of its disk."""
    while not folder.exists():
        folder = folder.parent
    return folder, shutil.disk_usage(folder).free


DISK_FULL = ("No space left on device", "Disk quota exceeded", "iostream error", "unexpected pos")
"""What libraries that write files by themselves, safetensors and PyTorch, report if the disk is full."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a file could not be written because the disk is full or the user's quota is used up."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    by_name = type(error).__name__ in ("RuntimeError", "SafetensorError")
    return by_name and any(words in str(error) for words in DISK_FULL)


def disk_full_in_words(error: BaseException) -> str:
    """What to do about a full disk; names the file, or the folders whose disks have no room, and this machine."""
    named = getattr(error, "filename", None)
    if not named:
        folders = (Path.cwd(), Path(tempfile.gettempdir()))
        named = " and ".join(str(folder) for folder in folders if shutil.disk_usage(folder).free < NO_ROOM)
    place = f"{named} on " if named else ""
    return (
        "the disk is full; make room and start again, finished results are kept"
        f" ({place}{os.environ.get('SLURMD_NODENAME') or os.uname().nodename})."
    )


NO_ROOM = 1_000_000
"""Free bytes below which a disk is called full."""
