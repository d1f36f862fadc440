"""A Hugging Face hub on this machine. Its repositories map file names to bytes."""

import hashlib
import http.server
import json
import re
import threading
from pathlib import Path

from helpers.weight_files import safetensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": safetensors("weight", size=1_024_000),
    "pytorch_model.bin": b"pickle",
    "original/consolidated.00.pth": b"pickle",
    "modeling_own.py": b"raise SystemExit",
    "README.md": b"# a model",
}
"""A repository with the files of a model, and with files that must not be downloaded."""


class Hub:
    """A server of repositories at ``address``.

    ``repositories`` maps the name of a repository to its files. Those in ``gated`` need a token. ``commits`` exist in
    all repositories. ``asked`` lists the requests (command, path, range). ``cuts`` maps a file to the numbers of
    bytes after which its next connections break.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.commits = {COMMIT}
        self.asked: list[tuple[str, str, str | None]] = []
        self.cuts: dict[str, list[int]] = {}
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                hub.asked.append((self.command, self.path, self.headers.get("Range")))
                path, _, _ = self.path.partition("?")
                if found := re.fullmatch(
                    r"/api/(models|datasets)/([\w-]+/[\w.-]+)/(revision|tree)/(\w+).*", path
                ):
                    _, name, what, revision = found.groups()
                    return self.describe(name, what, revision)
                if found := re.fullmatch(r"/(?:datasets/)?([\w-]+/[\w.-]+)/resolve/(\w+)/(.+)", path):
                    return self.file(*found.groups())
                return self.answer(404, b"{}")

            def answer(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def describe(self, name: str, what: str, revision: str) -> None:
                if name not in hub.repositories:
                    return self.answer(404, b"{}", X_Error_Code="RepoNotFound")
                if revision not in hub.commits:
                    return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
                files = [
                    {
                        "rfilename": n,
                        "path": n,
                        "type": "file",
                        "size": len(b),
                        "oid": "0" * 40,
                        "blobId": "0" * 40,
                    }
                    | ({"lfs": lfs(b)} if n.endswith(".safetensors") else {})
                    for n, b in hub.repositories[name].items()
                ]
                body = files if what == "tree" else {"id": name, "sha": revision, "siblings": files}
                return self.answer(200, json.dumps(body).encode(), Content_Type="application/json")

            def file(self, name: str, revision: str, file: str) -> None:
                if name in hub.gated and not self.headers.get("Authorization"):
                    return self.answer(401, b"{}", X_Error_Code="GatedRepo")
                body = hub.repositories[name][file]
                headers = {
                    "X_Repo_Commit": revision,
                    "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
                    "Accept_Ranges": "bytes",
                }
                first = re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range") or "")
                if first and self.command == "GET":
                    start = int(first[1])
                    headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                    return self.answer(206, body[start:], **headers)
                if self.command == "GET" and hub.cuts.get(file):
                    self.send_response(200)
                    for key, value in headers.items():
                        self.send_header(key.replace("_", "-"), value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body[: hub.cuts[file].pop(0)])
                    self.wfile.flush()
                    self.close_connection = True
                    return None
                return self.answer(200, body, **headers)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()


def lfs(body: bytes) -> dict[str, object]:
    digest = hashlib.sha256(body).hexdigest()
    return {"sha256": digest, "oid": digest, "size": len(body), "pointerSize": 1}


def files(folder: Path) -> dict[str, bytes]:
    """All files below ``folder``, as a repository of the hub."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
