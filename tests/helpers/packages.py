"""Packages of files, and a package index on this machine."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path

MARKER = "EXECUTED"


def wheel(folder: Path, name: str, files: Mapping[str, bytes], version: str = "1.0.0") -> Path:
    """A wheel with these files; paths are those in the archive."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    described = {f"{info}/METADATA": metadata, f"{info}/WHEEL": "Wheel-Version: 1.0\n", f"{info}/RECORD": ""}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in {**files, **{key: text.encode() for key, text in described.items()}}.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return path


def sdist(folder: Path, name: str, files: Mapping[str, bytes], version: str = "1.0.0") -> Path:
    """A source distribution with these files below NAME-VERSION. Whoever builds it gets the file MARKER beside it."""
    path = folder / f"{name}-{version}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    hurt = f"open({str(folder / MARKER)!r}, 'w').close()\n"
    backend = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    code = {"setup.py": hurt.encode(), "backend.py": hurt.encode(), "pyproject.toml": backend}
    information = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    with tarfile.open(path, "w:gz") as archive:
        for member, content in {**files, **code, "PKG-INFO": information}.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{member}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def sha256(path: Path) -> str:
    """The checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Index:
    """A server of the archives in ``folder`` at ``address``, as a simple index (PEP 503).

    ``asked`` lists the requested paths. ``cuts`` maps the name of an archive to the number of bytes after which each
    of its connections breaks. With ``status`` other than 200, every request is answered with it.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.cuts: dict[str, int] = {}
        self.status = 200
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                index.asked.append(self.path)
                name = self.path.strip("/").split("/")[-1]
                listed = sorted(path for path in folder.glob("*-*") if path.name.startswith(f"{name}-"))
                if index.status != 200:
                    self.answer(index.status, b"")
                elif self.path.startswith("/files/"):
                    self.answer(200, (folder / name).read_bytes(), index.cuts.get(name))
                elif listed:
                    links = [f'<a href="/files/{p.name}#sha256={sha256(p)}">{p.name}</a>' for p in listed]
                    self.answer(200, f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode())
                else:
                    self.answer(404, b"")

            def answer(self, status: int, body: bytes, cut: int | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:cut])

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}/simple"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
