"""The studio behind a reverse proxy: at its root, below a path, https before http."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import HTTPConnection

import app
from studio.api.cross_origin import is_foreign
from studio.api.proxies import read_root_path
from tests.patience import PATIENCE
from tests.studio.live import live_studio, options_for, paint, sentence, settings
from tests.studio.nginx import AS_GRADIO_S_GUIDE, nginx, readme_recipe
from tests.studio.people import ACCOUNTS, PASSWORDS

JOBS = "/api/v1/jobs/text_to_image"


# --- whose page it is --------------------------------------------------------------------------


def connection_of(port: int = 7860, **headers: str) -> HTTPConnection:
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return HTTPConnection(
        {"type": "http", "path": "/", "headers": pairs, "server": ("127.0.0.1", port)}
    )


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        ("http://127.0.0.1:7860", {"host": "127.0.0.1:7860"}),
        ("http://Example.ORG:8080", {"host": "example.org:8080"}),
        # nginx: Host $host, $host:$server_port, its default $proxy_host with others beside it
        ("http://127.0.0.1:8080", {"host": "127.0.0.1"}),
        ("http://[::1]:8080", {"host": "[::1]"}),
        ("https://example.org", {"host": "example.org:443"}),
        ("http://example.org", {"host": "example.org:80"}),
        ("https://x.org", {"host": "127.0.0.1:7860", "x_forwarded_host": "x.org, inner.x.org"}),
        (
            "http://x.org:81",
            {"host": "localhost:7860", "x_forwarded_host": "x.org", "x_forwarded_port": "81"},
        ),
        ("https://x.org:8443", {"host": "up", "forwarded": 'for=1.2.3.4;host="x.org:8443";by=y'}),
        ("https://anywhere.org", {"host": "127.0.0.1:7860", "sec_fetch_site": "same-origin"}),
    ],
)
def test_own_pages_are_known_whatever_a_proxy_makes_of_the_host(origin: str, headers: dict):
    assert not is_foreign(origin, connection_of(**headers))


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        ("null", {"host": "localhost"}),
        ("http://[broken", {"host": "localhost"}),
        ("http://localhost:3000", {"host": "localhost:7860"}),
        ("http://localhost:3000", {"host": "localhost", "sec_fetch_site": "same-site"}),
        ("http://localhost:3000", {"host": "localhost", "port": 80}),
        ("https://example.org", {"host": "example.org:80"}),
        ("https://evil.org", {"host": "example.org"}),
        ("https://example.org.evil.org", {"host": "example.org"}),
        ("https://x.org", {"host": "y.org", "x_forwarded_host": "z.org, x.org"}),
        ("chrome-extension://x", {"host": "x"}),
        ("http://x.org:99999", {"host": "x.org:99999"}),
        ("", {}),
    ],
)
def test_pages_of_others_are_foreign(origin: str, headers: dict):
    assert is_foreign(origin, connection_of(**headers))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/atelier", "/atelier"),
        ("a/b_c/", "/a/b_c"),
        ("/", ""),
        ("", ""),
        (" /~ada/v1.2/ ", "/~ada/v1.2"),
    ],
)
def test_root_path_is_read(text: str, path: str):
    assert read_root_path(text) == path
    assert app.parse(["--root-path", text]).root_path == path


@pytest.mark.parametrize(
    "text",
    ["https://example.org/atelier", "/a b", "/../x", "/a//b", "/a?b", "/ü", '/a"b'],
)
def test_what_is_no_root_path_is_explained(text: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        app.parse(["--root-path", text])
    assert f"{text} is not a path" in capsys.readouterr().err


# --- behind nginx ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home) -> Iterator[tuple]:
    with live_studio(options_for(tmp_path_factory.mktemp("open"), twin_home)) as running:
        yield running


@pytest.fixture(scope="module")
def studio_below(tmp_path_factory, twin_home) -> Iterator[tuple]:
    """With accounts, and told that it is served below a path."""
    home = tmp_path_factory.mktemp("below")
    options = options_for(home, twin_home, accounts=ACCOUNTS, root_path="/atelier")
    with live_studio(options) as running:
        yield running


@pytest.mark.nginx
def test_page_and_api_answer_behind_nginx_as_gradio_s_guide_has_it(studio, tmp_path):
    with (
        nginx(tmp_path / "nginx", studio[1]) as address,
        httpx.Client(base_url=address, timeout=PATIENCE) as client,
    ):
        page = client.get("/").text
        script = re.search(r'<script type="module"[^>]* src="\./(assets/[\w-]+\.js)"', page)[1]
        for origin in (address, "http://elsewhere.example"):  # anybody may read it
            assert client.get(f"/{script}", headers={"origin": origin}).status_code == 200
        answer = client.post(JOBS, json=settings(), headers={"origin": address})
        assert answer.status_code == 202
        assert paint(client)["state"] == "done"


@pytest.mark.nginx
def test_foreign_page_is_refused_behind_nginx_too_and_said_once_in_the_log(
    studio, tmp_path, caplog
):
    with nginx(tmp_path / "nginx", studio[1]) as address, caplog.at_level(logging.WARNING):
        for _ in range(2):
            answer = httpx.post(address + JOBS, json={}, headers={"origin": "http://evil.example"})
            assert answer.status_code == 403
            assert "http://evil.example" in sentence(answer)
            assert "the studio is at 127.0.0.1." in sentence(answer)
    told = [each.getMessage() for each in caplog.records if "evil.example" in each.getMessage()]
    assert len(told) == 1
    assert "proxy_set_header Host $http_host" in told[0]


@pytest.mark.nginx
def test_events_come_at_once_through_nginx_s_default_buffers(studio, tmp_path):
    with nginx(tmp_path / "nginx", studio[1], headers="proxy_set_header Host $host;") as address:
        events = f"{address}/gradio_api/heartbeat/abc"
        with httpx.stream("GET", events, timeout=PATIENCE) as answer:
            assert next(answer.iter_lines()).startswith("data:")  # the stream has no end


@pytest.mark.nginx
@pytest.mark.parametrize("strips", [True, pytest.param(False, marks=pytest.mark.deep)])
def test_studio_below_a_path_leads_nowhere_else(studio_below, tmp_path, strips: bool):
    """By the README's recipe, and by a proxy that leaves the path in the address."""
    recipe = readme_recipe() if strips else AS_GRADIO_S_GUIDE
    folder = tmp_path / "nginx"
    with (
        nginx(folder, studio_below[1], "/atelier/", recipe, strips=strips) as address,
        httpx.Client(base_url=address, timeout=PATIENCE) as client,
    ):
        answer = client.get("/", headers={"accept": "text/html"})
        assert answer.headers["location"] == "/atelier/login"
        assert 'action="login"' in client.get("/login").text
        form = {"name": "ada", "password": PASSWORDS["ada"]}
        answer = client.post("/login", data=form, headers={"origin": address[: -len("/atelier")]})
        assert answer.headers["location"] == "/atelier/"
        assert "Path=/atelier;" in answer.headers["set-cookie"]
        page = client.get("/").text
        assert not re.findall(r'(?:href|src|action)="/(?!/)', page)
        assert client.get("/manifest.json").json()["start_url"] == "./"
        picture = paint(client)["pictures"][0]
        for name in ("url", "thumbnail"):
            assert not picture[name].startswith("/")
            assert client.get(picture[name]).headers["content-type"].startswith("image/")
        answer = client.post("/logout")
        assert answer.headers["location"] == "/atelier/login"
        assert "Path=/atelier;" in answer.headers["set-cookie"]


@pytest.mark.nginx
def test_cookie_is_for_https_alone_where_nginx_speaks_it(studio_below, tmp_path):
    with (
        nginx(tmp_path / "nginx", studio_below[1], https=True) as address,
        httpx.Client(base_url=address, timeout=PATIENCE, verify=False) as client,
    ):
        form = {"name": "ada", "password": PASSWORDS["ada"]}
        answer = client.post("/login", data=form, headers={"origin": address})
        assert "Secure" in answer.headers["set-cookie"]
        plain = httpx.post(f"{studio_below[1]}/login", data=form)
        assert "Secure" not in plain.headers["set-cookie"]
