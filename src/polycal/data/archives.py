"""Read single files of wheels and source distributions.

No file is written under a name that an archive chooses, links are not followed, and nothing of an archive is run.
"""

import contextlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from polycal.data.hub import SourceError

ZIP, TAR = (".whl", ".zip"), (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Endings of the names of archives."""
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)
"""Errors of an archive that is cut off or damaged."""
LISTED = 5
"""How many names an error about a missing file lists."""


class ArchiveError(SourceError):
    """An archive is broken, or a file in it cannot be used."""


def members(archive: Path) -> list[str]:
    """The names of the regular files in an archive. Raises ArchiveError if it is broken or not an archive."""
    with _opened(archive) as opened:
        entries = opened.infolist() if isinstance(opened, zipfile.ZipFile) else opened.getmembers()
        return [_name(entry) for entry in entries if _is_file(entry)]


def copy(archive: Path, member: str, out: IO[bytes]) -> None:
    """Append the content of the file ``member`` of an archive to ``out``.

    Raises ArchiveError if the archive is broken, lacks the file or has it twice, or if it is a link or a folder.
    """
    with _opened(archive) as opened:
        entries: list[Any] = opened.infolist() if isinstance(opened, zipfile.ZipFile) else opened.getmembers()
        found = [entry for entry in entries if _name(entry).rstrip("/") == member]
        if len(found) != 1:
            number = "no file" if not found else f"{len(found)} files"
            raise ArchiveError(f"{archive.name}: contains {number} {member!r}; there must be one.")
        if not _is_file(found[0]):
            raise ArchiveError(f"{archive.name}: {member!r} is a link or a folder; name a file.")
        content: Any = (
            opened.open(found[0]) if isinstance(opened, zipfile.ZipFile) else opened.extractfile(found[0])
        )
        with content:
            shutil.copyfileobj(content, out, 1 << 20)


def _name(entry: Any) -> str:
    """The name of an entry of a zip or tar file."""
    return str(entry.filename if isinstance(entry, zipfile.ZipInfo) else entry.name)


def _is_file(entry: Any) -> bool:
    """Whether an entry is a regular file: not a folder, a link or a device."""
    if isinstance(entry, tarfile.TarInfo):
        return entry.isreg()
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return not entry.is_dir() and kind in (0, stat.S_IFREG)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    """The open archive. Errors of a damaged one become an ArchiveError."""
    try:
        if archive.name.endswith(ZIP):
            with zipfile.ZipFile(archive) as opened:
                yield opened
        elif archive.name.endswith(TAR):
            with tarfile.open(archive) as tar:
                yield tar
        else:
            raise ArchiveError(
                f"{archive.name}: not a wheel or source distribution; its name must end in"
                f" {', '.join((*ZIP, *TAR))}."
            )
    except BROKEN as error:
        raise ArchiveError(
            f"{archive.name}: the archive is broken ({error}); choose another release."
        ) from error
