"""Gradio's files are read once, sent compressed, and not again to who has them."""

from __future__ import annotations

import gzip

import anyio
import brotli
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from studio.page.assets import FILES, AssetCache

TEXT = "export const words = 'again and again and again and again';"
SCRIPT = "/assets/core-Bdx9080F.js"
TYPES = {"js": "text/javascript", "css": "text/css", "woff2": "font/woff2"}


@pytest.fixture
def read() -> list[str]:
    """The paths of what was read, in order."""
    return []


@pytest.fixture
def client(read: list[str]) -> TestClient:
    def send(request: Request) -> Response:
        read.append(request.url.path)
        assert not {"range", "if-none-match", "accept-encoding"} & set(request.headers)
        if "missing" in request.url.path:
            return PlainTextResponse(request.headers["accept-language"], status_code=404)
        changed = {"cache-control": "no-cache"} if "changed" in request.url.path else {}
        kind = request.url.path.rpartition(".")[2]
        return Response(TEXT, media_type=TYPES[kind], headers=changed)

    def other(request: Request) -> Response:
        read.append(request.url.path)
        return PlainTextResponse(request.headers.get("accept-encoding", ""))

    paths = ("/assets/{name}", "/theme.css", "/static/js/{name}")
    routes = [*(Route(path, send) for path in paths), Route("/{rest:path}", other)]
    return TestClient(AssetCache(Starlette(routes=routes)))


def test_a_file_whose_first_visitor_left_is_whole_for_the_next(tmp_path):
    (tmp_path / "script.js").write_text(TEXT)
    files = FileResponse(tmp_path / "script.js")  # stops reading when its visitor has gone
    app = AssetCache(files)
    scope = {
        "type": "http", "method": "GET", "path": SCRIPT, "headers": [],
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip

    async def leave():
        return {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError(f"nobody is there to be sent {message}")

    anyio.run(app, scope, leave, send)
    assert TestClient(app).get(SCRIPT).text == TEXT


@pytest.mark.parametrize("path", [SCRIPT, "/theme.css", "/static/js/frame.min.js"])
def test_a_file_is_read_once_for_each_encoding(client, read, path):
    for accepted in ("gzip, deflate, br, zstd", "br", "gzip", "identity", "") * 2:
        answer = client.get(path, headers={"accept-encoding": accepted, "range": "bytes=0-1"})
        assert (answer.status_code, answer.text) == (200, TEXT)
    assert read == [path] * 3


@pytest.mark.parametrize(
    ("encoding", "decompress"), [("br", brotli.decompress), ("gzip", gzip.decompress)]
)
def test_it_is_sent_compressed(client, encoding, decompress):
    with client.stream("GET", SCRIPT, headers={"accept-encoding": encoding}) as answer:
        raw = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == encoding
    assert decompress(raw).decode() == TEXT
    font = client.get("/assets/sans-12345678.woff2", headers={"accept-encoding": encoding})
    assert "content-encoding" not in font.headers


def test_who_has_it_is_not_sent_it_again(client):
    tag = client.get(SCRIPT).headers["etag"]
    again = client.get(SCRIPT, headers={"if-none-match": f'W/"older", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(SCRIPT, headers={"if-none-match": '"older"'}).text == TEXT


def test_only_what_is_named_by_its_content_is_kept_without_asking(client):
    kept = {
        path: client.get(path).headers["cache-control"]
        for path in (SCRIPT, "/assets/changed-12345678.js", "/theme.css", "/assets/plain.js")
    }
    assert "immutable" in kept.pop(SCRIPT)
    assert set(kept.values()) == {"no-cache"}


def test_everything_else_is_passed_on_as_it_was_asked(client, read):
    for path in ("/", "/assetsx.js", "/assets/x/core.js", "/static/fonts/x.woff"):
        for _ in range(2):
            assert client.get(path, headers={"accept-encoding": "br"}).text == "br"
    assert len(read) == 8
    assert client.post("/theme.css").status_code == 405


def test_an_error_is_sent_and_not_kept(client, read):
    for language in ("de", "zh"):
        answer = client.get("/assets/missing-1.js", headers={"accept-language": language})
        assert (answer.status_code, answer.text) == (404, language)
    assert len(read) == 2


@pytest.mark.parametrize(
    "path",
    ["/assets//core.js", "/assets/./core.js", "/assets/..", "/assets/x/core.js", "/theme.css/"],
)
def test_a_second_path_to_a_file_is_not_kept(path):
    assert FILES.fullmatch(path) is None
