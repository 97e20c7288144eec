"""Pages of other origins: those that the host names use the API, all others nothing."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import app
from studio.api.access import Access
from studio.api.cross_origin import read_origin
from studio.core.accounts.accounts import LOCAL_OWNER, Accounts
from studio.features import load_features
from tests.studio.people import ACCOUNTS, PASSWORDS

PAGE = "http://localhost:3000"
DOORS = ("/v1/models", "/api/v1/jobs")


class _Keys:
    """One key, which is the host's."""

    def owner_of_key(self, token: str):
        class Found:
            owner = LOCAL_OWNER.id

        return Found()


async def _who(request: Request) -> JSONResponse:
    return JSONResponse({"owner": request.state.owner.id})


def studio(accounts=(), origins=(PAGE,), base: str = "http://127.0.0.1:7860") -> TestClient:
    routes = [
        Route(path, _who, methods=["GET", "POST"]) for path in (*DOORS, "/", "/pictures/x.png")
    ]
    guarded = Access(
        Starlette(routes=routes),
        Accounts(b"secret" * 8, accounts),
        _Keys(),
        on_page=lambda: None,
        allowed_origins=origins,
        features=load_features(),
    )
    return TestClient(guarded, base_url=base)


def preflight(client: TestClient, path: str, origin: str = PAGE, **more: str):
    headers = {"origin": origin, "access-control-request-method": "POST", **more}
    return client.options(path, headers=headers)


@pytest.mark.parametrize("path", DOORS)
def test_page_that_the_host_names_asks_and_reads_the_answer(path: str):
    names = "authorization,content-type,x-stainless-lang"
    asked = preflight(studio(), path, **{"access-control-request-headers": names})
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert asked.headers["access-control-allow-headers"] == names
    assert "access-control-allow-credentials" not in asked.headers
    answer = studio().post(path, headers={"origin": PAGE, "sec-fetch-site": "same-site"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3001",
        "https://localhost:3000",
        "http://localhost:3000.evil.example",
        "null",
    ],
)
def test_other_pages_are_refused_their_preflight_too(origin: str):
    for answer in (
        preflight(studio(), DOORS[0], origin),
        studio().post(DOORS[0], headers={"origin": origin}),
    ):
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
        can_be_named = f"--allow-origin {origin}" in answer.json()["error"]["message"]
        assert can_be_named == (origin != "null")


@pytest.mark.parametrize("path", ["/", "/pictures/x.png", "/login", "/gradio_api/queue/join"])
def test_only_the_programs_doors_are_open_to_it(path: str):
    assert preflight(studio(), path).status_code == 403
    assert studio().post(path, headers={"origin": PAGE}).status_code == 403


def test_without_the_flag_no_page_is_let_in():
    assert preflight(studio(origins=()), DOORS[0]).status_code == 403


def test_preflight_does_not_get_around_the_host_s_name():
    client = studio(base="http://evil.example")
    assert preflight(client, DOORS[0]).status_code == 403


def test_refusal_can_be_read_by_the_page():
    answer = studio(ACCOUNTS).get(DOORS[0], headers={"origin": PAGE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, PAGE)


def test_page_acts_by_its_own_key_and_never_as_whoever_is_logged_in():
    client = studio(ACCOUNTS)
    basic = client.get(DOORS[0], auth=("ada", PASSWORDS["ada"]))
    assert basic.json() == {"owner": "ada"}
    assert client.get(DOORS[0]).json() == {"owner": "ada"}, "by the session that this began"
    assert client.get(DOORS[0], headers={"origin": PAGE}).status_code == 401
    key = {"origin": PAGE, "authorization": "Bearer sk-atelier-x"}
    assert client.get(DOORS[0], headers=key).json() == {"owner": "local"}
    named = client.get(DOORS[1], headers={"origin": PAGE}, auth=("bob", PASSWORDS["bob"]))
    assert named.json() == {"owner": "bob"}
    assert "set-cookie" not in named.headers


def test_own_page_stays_itself_when_its_origin_is_named_too():
    client = studio(ACCOUNTS, origins=("http://127.0.0.1:7860",))
    client.get(DOORS[0], auth=("ada", PASSWORDS["ada"]))
    answer = client.get(DOORS[0], headers={"origin": "http://127.0.0.1:7860"})
    assert answer.json() == {"owner": "ada"}


def test_header_names_of_a_preflight_are_repeated_only_where_they_are_some():
    odd = preflight(studio(), DOORS[0], **{"access-control-request-headers": "a:b"})
    assert "access-control-allow-headers" not in odd.headers


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://localhost:3000", "http://localhost:3000"),
        ("HTTP://LocalHost:3000/", "http://localhost:3000"),
        ("https://studio.example:443", "https://studio.example"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://faß.example", "https://xn--fa-hia.example"),
        ("app://obsidian.md", "app://obsidian.md"),
    ],
)
def test_origin_is_read_as_browsers_write_it(text: str, origin: str):
    assert read_origin(text) == origin
    assert app.parse(["--allow-origin", text, "--allow-origin", PAGE]).allow_origin == [
        origin,
        PAGE,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "http://*",
        "null",
        "localhost:3000",
        "http://a.b/c",
        "http://a?b",
        "http://a:x",
        "http://a..ü",
    ],
)
def test_what_is_no_origin_is_explained(text: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        app.parse(["--allow-origin", text])
    assert f"{text} is not an origin" in capsys.readouterr().err
