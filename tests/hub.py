"""A hub on the loopback that speaks as much of the real one's API as is used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def serve_hub(repos: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub with these repositories; the hub's client asks it and nobody else."""
    server = Hub(repos)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/nonexistent")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent/token")
    yield server
    server.shutdown()
    server.server_close()


class Hub(ThreadingHTTPServer):
    """Serves repositories.

    Attributes:
        repos: name → path → content.
        files: those of the first.
        gate: status of every answer, with the hub's error code in it, or None.
        cut: after so many bytes of a file the connection breaks; once.
        asked: (method, path, Range header) of each request.
    """

    daemon_threads = True

    def __init__(self, repos: dict[str, dict[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos, self.files = repos, next(iter(repos.values()))
        self.gate, self.cut, self.token, self.asked = None, None, None, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def sibling(name: str, content: bytes) -> dict:
    """A file as the hub's API describes it; large ones are in LFS, with their hash."""
    file = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
    if not name.endswith((".json", ".txt", ".md", ".py")):
        sha256 = hashlib.sha256(content).hexdigest()
        file["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 135}
    return file


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args) -> None:
        """Keep the test's output quiet."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):  # a client that stops reading
            super().handle()

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range")))
        allowed = hub.token is not None and self.headers.get("Authorization") == (
            f"Bearer {hub.token}"
        )
        if hub.gate is not None and not allowed:
            status, code = hub.gate
            return self.send(status, b"{}", {"X-Error-Code": code}, body)
        repo = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        files = hub.repos.get(repo)
        if files is None:
            return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
        if path.startswith(f"/api/models/{repo}/tree/"):
            tree = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in files.items()
            ]
            return self.send(200, json.dumps(tree).encode(), {}, body)
        if path.startswith(f"/api/models/{repo}"):
            siblings = [sibling(name, content) for name, content in files.items()]
            info = {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
            return self.send(200, json.dumps(info).encode(), {}, body)
        name = path.removeprefix(f"/{repo}/resolve/{COMMIT}/")
        if name not in files:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
        content = files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if match is None:
            return self.send(200, content, headers, body)
        start = int(match[1])
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.send(206, content[start:], headers, body)

    def send(self, status: int, content: bytes, headers: dict, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        cut, hub = self.server.cut, self.server
        if cut is not None and len(content) > cut:
            hub.cut = None
            self.wfile.write(content[:cut])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content)
