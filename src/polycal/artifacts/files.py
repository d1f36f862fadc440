"""Atomic writing of files, which are then complete or absent. Also checksums of files, and JSON."""

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A context with a temporary path beside ``path``, which becomes ``path`` at the end of the block.

    If the block raises, the temporary file is removed. Each call uses a new temporary name, so two writers
    never share a half-written file. ``os.replace`` is atomic within a file system (POSIX rename), so a reader
    sees either the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


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


def is_disk_full(error: OSError) -> bool:
    """Whether a file could not be written because the disk is full or the user's quota is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
