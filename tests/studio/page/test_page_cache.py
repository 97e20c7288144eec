"""The page is made once for an address, and is the one that was asked for."""

from __future__ import annotations

import gzip

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from studio.page import cache
from studio.page.cache import PageCache, PageDelivery


@pytest.fixture
def page_calls() -> list[str]:
    """What the page was made for, in order."""
    return []


@pytest.fixture
def client(page_calls: list[str]) -> TestClient:
    def page(request: Request) -> HTMLResponse:
        page_calls.append(str(request.url))
        if request.headers.get("host") == "broken":
            return HTMLResponse("not today", status_code=500)
        return HTMLResponse(f"<html>{request.url}</html>")

    def other(request: Request) -> PlainTextResponse:
        page_calls.append(str(request.url))
        return PlainTextResponse("other")

    app = Starlette(routes=[Route("/", page), Route("/other", other)])
    return TestClient(PageDelivery(PageCache(app)), base_url="http://one")


def test_the_page_is_made_once_for_each_address(client, page_calls):
    texts = {
        client.get("/", headers={"host": host}).text for host in ("one", "two") for _ in range(3)
    }
    assert len(texts) == 2
    assert page_calls == ["http://one/", "http://two/"]


def test_what_a_proxy_says_of_the_address_counts(client, page_calls):
    for proto in ("http", "https", "http"):
        client.get("/", headers={"x-forwarded-proto": proto, "x-forwarded-host": "far"})
    assert len(page_calls) == 2


def test_a_query_makes_no_other_page(client, page_calls):
    assert client.get("/").text == client.get("/?tab=chat&deep_link=x").text
    assert page_calls == ["http://one/"]


def test_it_is_compressed_for_who_takes_that_and_not_sent_again_to_who_has_it(client):
    with client.stream("GET", "/", headers={"accept-encoding": "br, gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
        tag = answer.headers["etag"]
    plain = client.get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content
    again = client.get("/", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/", headers={"if-none-match": '"older"'}).status_code == 200


def test_hosts_that_strangers_make_up_take_no_memory(client, page_calls):
    for number in range(cache.KEPT + 5):
        client.get("/", headers={"host": f"host{number}"})
    pages = client.app.app._pages
    assert len(pages) == cache.KEPT
    client.get("/", headers={"host": f"host{cache.KEPT + 4}"})
    assert len(page_calls) == cache.KEPT + 5


def test_a_page_that_broke_off_is_not_kept():
    parts = [b"<html>", b"all of it</html>"]
    sent = []

    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": parts[0], "more_body": True})
        if sent:
            await send({"type": "http.response.body", "body": parts[1]})
        sent.append(scope["path"])

    app = PageDelivery(PageCache(page))
    with pytest.raises(AssertionError):  # the client's own, as nothing was answered
        TestClient(app).get("/")
    assert TestClient(app).get("/").content == b"".join(parts)


def test_what_failed_is_not_kept_and_other_routes_pass(client, page_calls):
    for _ in range(2):
        answer = client.get("/", headers={"host": "broken"})
        assert (answer.status_code, answer.text) == (500, "not today")
        assert client.get("/other").text == "other"
        assert client.head("/").status_code == 200
    assert len(page_calls) == 6
