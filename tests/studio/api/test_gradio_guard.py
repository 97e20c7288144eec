"""What of Gradio is open: a few routes, no files, no errands to addresses that visitors name."""

from __future__ import annotations

import http.server
import secrets
import threading
from collections.abc import Iterator

import gradio
import httpx
import pytest

from pipelines.core.errors import Refused
from studio.api import gradio_guard
from tests.studio.live import live_studio, options_for, page_config
from tests.studio.people import ACCOUNTS

# Gradio's routes that the page does not ask for, and that are therefore not there. A route that an
# update brings is in neither list: look at what it does before it is written into one.
CLOSED = {
    *("/config", "/config/", "/svelte/{path:path}", "/robots.txt", "/pwa_icon"),
    *("/pwa_icon/{size}", "/login", "/login/", "/logout", "/openapi.json"),
    *("/monitoring", "/monitoring/summary", "/monitoring/{key}", "/gradio_api/deep_link"),
    *(
        f"/gradio_api/{path}"
        for path in (
            *("user", "user/", "login_check", "login_check/", "token", "token/", "app_id/"),
            *("dev/reload", "runs", "runs/", "run-history/connect", "run-history/buckets"),
            *("run-history/records", "info", "info/", "openapi.json", "startup-events"),
            "run-history/records/{endpoint}/{record_id}/assets/{asset_id}",
            "custom_component/{id}/{environment}/{type}/{file_name}",
            *("proxy={url_path:path}", "file={path_or_url:path}", "file/{path:path}"),
            *("stream/{event_id}", "stream/{event_id}/close"),
            "stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
            "stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}",
            "stream/{session_hash}/{run}/{component_id}/playlist-file",
            *("reset/", "run/{api_name}", "run/{api_name}/", "api/{api_name}", "api/{api_name}/"),
            *("call/v2/{api_name}", "call/v2/{api_name}/", "call/{api_name}", "call/{api_name}/"),
            *("call/{api_name}/{event_id}", "call/v2/{api_name}/{event_id}", "queue/status"),
            *("component_server", "component_server/", "theme.css", "process_recording"),
            *("vibe-edit", "vibe-edit/", "undo-vibe-edit", "undo-vibe-edit/"),
            *("vibe-code", "vibe-code/", "vibe-starter-queries", "vibe-starter-queries/"),
        )
    ),
}


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home) -> Iterator[tuple]:
    options = options_for(tmp_path_factory.mktemp("guard"), twin_home, accounts=ACCOUNTS)
    with live_studio(options) as running:
        yield running


@pytest.fixture
def canary(monkeypatch) -> Iterator[tuple[str, list[str]]]:
    """An address that Gradio takes for a public one, and what it was asked for."""
    asked: list[str] = []

    class Canary(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<script>alert(document.domain)</script>")

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    async def takes_it_for_public(host: str, *_: object, **__: object) -> str:
        return "127.0.0.1"

    # Gradio lets no address of this machine pass; those of a neighbour it does.
    monkeypatch.setattr("safehttpx.async_validate_url", takes_it_for_public)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Canary) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/x.html", asked
        server.shutdown()
        thread.join()


def _routes() -> dict[str, set[str]]:
    """All routes of a Gradio app: template → methods."""
    app = gradio.routes.App.create_app(gradio.Blocks())
    found: dict[str, set[str]] = {}

    def walk(routes) -> None:
        for route in routes:
            if (inner := getattr(route, "original_router", None)) is not None:
                walk(inner.routes)
            else:
                found.setdefault(route.path, set()).update(route.methods or ())

    walk(app.routes)
    return found


def test_every_route_of_gradio_is_known():
    found = _routes()
    assert "/gradio_api/queue/join" in found  # the inner router has been walked through
    assert found.keys() - gradio_guard.SERVED.keys() - CLOSED == set()
    for template, methods in gradio_guard.SERVED.items():
        assert methods <= found[template], template


def test_what_the_page_does_not_ask_for_is_not_there(visitor):
    host = visitor("host")
    for template in _routes().keys() - gradio_guard.SERVED.keys():
        path = template.replace("{path:path}", "a/b").replace("{", "").replace("}", "")
        if path.rstrip("/") in ("/login", "/logout", "/robots.txt"):
            continue  # ours, not Gradio's: test_accounts
        for method in ("GET", "POST"):
            assert host.request(method, path).status_code == 404, (method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file={}",
        "/gradio_api/file/{}",
        "/gradio_api/proxy={}",
        "/file={}",
        "/proxy={}",
        "/static/{}",
        "/assets/{}",
        "/gradio_api/custom_component/{}",
        "/pictures/{}.png",
        "/api/v1/pictures/{}",
        "/api/v1/inputs/{}",
    ],
)
def test_no_route_fetches_an_address(visitor, canary, path: str):
    address, asked = canary
    for form in (address, address.replace(":", "%3A").replace("/", "%2F"), address.upper()):
        answer = visitor("host").get(path.format(form))
        assert answer.status_code in (403, 404)
        assert "alert(" not in answer.text
    assert asked == []


def test_no_event_of_the_page_fetches_an_address(visitor, canary):
    address, asked = canary
    guest = visitor("guest")
    file = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
    session = secrets.token_hex(5)
    with_files = [
        event
        for event in page_config(guest)["dependencies"]
        if any(_kind(guest, part) == "file" for part in event["inputs"])
    ]
    assert with_files
    for event in with_files:
        data = {
            "data": [file for _ in event["inputs"]],
            "fn_index": event["id"],
            "session_hash": session,
        }
        assert guest.post("/gradio_api/queue/join", json=data).status_code == 200
    ended = 0
    with guest.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as answer:
        for line in answer.iter_lines():
            ended += "process_completed" in line
            if ended == len(with_files):
                break
    assert asked == []


_KINDS: dict[int, str] = {}


def _kind(client: httpx.Client, part: int) -> str:
    if not _KINDS:
        _KINDS.update({each["id"]: each["type"] for each in page_config(client)["components"]})
    return _KINDS[part]


def test_gradio_s_own_functions_fetch_nothing(studio, canary, tmp_path):
    address, asked = canary
    fetching = gradio.processing_utils
    for waiting in (
        fetching.async_ssrf_protected_get(address),
        fetching.async_ssrf_protected_download(address, str(tmp_path)),
    ):
        with pytest.raises(Refused, match="not from an address elsewhere"):
            waiting.send(None)
    for fetch in (fetching.save_url_to_cache, fetching.unsafe_download):
        with pytest.raises(Refused, match="not from an address elsewhere"):
            fetch(address, str(tmp_path))
    assert asked == []


@pytest.mark.parametrize(
    "path", ["/", "/login", "/theme.css", "/api/v1/models", "/scripts/main.js", "/nowhere"]
)
def test_only_pages_may_run_scripts(visitor, path: str):
    answer = visitor("ada" if path != "/login" else None).get(path)
    policy = answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ("script-src" in policy) == (path in ("/", "/login"))
    assert ("default-src 'none'; sandbox" in policy) == (path not in ("/", "/login"))
    assert "attachment" not in answer.headers.get("content-disposition", "")


def test_what_is_neither_picture_nor_script_of_ours_is_saved_instead_of_shown():
    """An answer of a later route in HTML could not become a page of this origin."""
    from starlette.responses import HTMLResponse
    from starlette.testclient import TestClient

    from studio.api.access import Access
    from studio.core.accounts.accounts import Accounts

    async def careless(scope, receive, send) -> None:
        await HTMLResponse("<script>alert(1)</script>")(scope, receive, send)

    app = Access(careless, Accounts(b"x" * 32), keys=None, on_page=lambda: None)
    answer = TestClient(app, base_url="http://localhost").get("/api/v1/later")
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; sandbox")
