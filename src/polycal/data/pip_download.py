"""Download one archive of a release from the index that pip is configured with. Nothing is installed or built.

``pip download`` builds a source distribution to learn its metadata, which runs code of the archive. This program
uses the parts of pip that come before: the finder of links, and the session with its index, credentials and
certificates. pip offers them to no other program, so it runs in a process of its own::

    python -m polycal.data.pip_download NAME VERSION SHA256 OUT

The last line that it prints is JSON with one key, which is one of the constants below.
"""

import json
import sys
from pathlib import Path
from typing import Any

from polycal.artifacts import files

ARCHIVE = "archive"
"""The archive is in OUT. Value: its name."""
UNREACHABLE = "unreachable"
"""No index answers. Value: what the connection reported."""
VERSIONS = "versions"
"""There is no such release. Value: the versions of the package, oldest first."""
OTHERS = "others"
"""No archive of the release has the checksum. Value: name → sha256 of its archives."""
CUT = "cut"
"""The connection broke. Value: the bytes that arrived and the bytes that were announced."""
DISK_FULL = "disk_full"
"""The archive does not fit on the disk. Value: true."""

CHUNK = 1 << 20
IDENTITY = {"Accept-Encoding": "identity"}
"""Header against a server that compresses archives again on the way, which would change their checksums."""


def main() -> int:
    """Download the archive that the command line names."""
    from pip._internal.commands.download import DownloadCommand

    class Download(DownloadCommand):
        """pip's command, up to the point where it has a session and a finder of links."""

        def run(self, options: Any, args: list[str]) -> int:
            session = self.get_default_session(options)
            finder = self._build_package_finder(options, session, ignore_requires_python=True)
            print(json.dumps(download(session, finder, *args)))
            return 0

    # Three times quiet: only critical messages.
    return Download("download", "").main(["-qqq", *sys.argv[1:]])


def download(session: Any, finder: Any, name: str, version: str, sha256: str, out: str) -> dict[str, Any]:
    """Download the archive with the checksum ``sha256`` to ``out``, and return the result as JSON.

    ``session`` and ``finder`` are pip's. Where the index gives no checksum, as for a folder of archives, each
    archive of the release is downloaded until one has it.
    """
    from pip._vendor.packaging.version import Version
    from pip._vendor.requests import RequestException

    candidates = finder.find_all_candidates(name)
    links = [found.link for found in candidates if found.version == Version(version)]
    others = {link.filename: (link.hash or "") if link.hash_name == "sha256" else "" for link in links}
    try:
        if not links and (problem := _unreachable(session, finder, name)):
            return {UNREACHABLE: problem}
        if not links:
            return {VERSIONS: [str(known) for known in sorted({found.version for found in candidates})]}
        for link in links:
            if others[link.filename] not in ("", sha256):
                continue
            arrived, announced = _save(session, link.url_without_fragment, Path(out))
            if arrived < announced:
                return {CUT: [arrived, announced]}
            others[link.filename] = files.sha256(Path(out))
            if others[link.filename] == sha256:
                return {ARCHIVE: link.filename}
    except RequestException as error:
        return {UNREACHABLE: _first_line(error)}
    except OSError as error:
        if not files.is_disk_full(error):
            raise
        return {DISK_FULL: True}
    return {OTHERS: others}


def _unreachable(session: Any, finder: Any, name: str) -> str:
    """Why no index answers, because pip's finder passes over errors in silence; empty if one answers."""
    from pip._vendor.requests import RequestException

    problem = ""
    for index in finder.index_urls:
        try:
            # An index without the package answers 404.
            status = session.get(f"{index.rstrip('/')}/{name}/").status_code
        except RequestException as error:
            problem = _first_line(error)
            continue
        if status < 500:
            return ""
        problem = f"the index answered {status}"
    return problem


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _save(session: Any, url: str, out: Path) -> tuple[int, int]:
    """Write the body of ``url`` to ``out``; returns the bytes that arrived and those that were announced."""
    from pip._vendor.urllib3.exceptions import HTTPError

    response = session.get(url, headers=IDENTITY, stream=True)
    response.raise_for_status()
    announced, arrived = int(response.headers.get("Content-Length") or 0), 0
    with out.open("wb") as file:
        try:
            while chunk := response.raw.read(CHUNK):
                arrived += file.write(chunk)
        except HTTPError:
            # The caller compares the two numbers.
            announced = max(announced, arrived + 1)
    return arrived, announced


if __name__ == "__main__":
    raise SystemExit(main())
