"""The spelling of a source in packages: releases, checksums, and the names of files inside the archives."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

RELEASE = r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[0-9][A-Za-z0-9.!+_-]*)"
"""Pattern of a release: the name and the version of a package."""
SHA256 = r"[0-9a-f]{64}"
PART_NUMBER = r"[.-](?:part|chunk)?\d+$"
"""Pattern of the number at the end of the name of a part, such as ``.part00`` or ``-00001``."""


def split_release(release: str) -> tuple[str, str]:
    """The name and the version of ``NAME==VERSION``. Raises ValueError if it is spelled otherwise."""
    found = re.fullmatch(RELEASE, release)
    if found is None:
        raise ValueError(f"{release!r} is not NAME==VERSION, such as llamafactory==0.9.5")
    return found["name"], found["version"]


def joined_name(parts: Sequence[str]) -> str:
    """The name of the file that ``parts`` make: that of the first part, without its number if there are several."""
    name = PurePosixPath(parts[0]).name
    return re.sub(PART_NUMBER, "", name) if len(parts) > 1 else name


def are_numbered(parts: Sequence[str]) -> bool:
    """Whether all names end in a number, as those of the parts of one file do."""
    return all(re.search(PART_NUMBER, part) for part in parts)


def check_member(name: str) -> str:
    """``name``, the path of a file inside an archive. Raises ValueError if it leads outside of the archive."""
    pieces = name.split("/")
    if name.startswith("/") or "\\" in name or ":" in pieces[0] or {"", ".", ".."} & set(pieces):
        raise ValueError(
            f"{name!r} is not the path of a file inside the archive, such as package/data/file.json"
        )
    return name
