"""What pages ask of the queue of events: who cancels what, and how a page's stream ends."""

from __future__ import annotations

import asyncio
import json
import secrets
from types import SimpleNamespace
from typing import Any

import pytest

from studio.core.accounts.accounts import Owner
from studio.core.accounts.session_owners import SessionOwners
from studio.page.queue import CANCEL, STREAM, PageQueue

ADA, BOB = Owner("ada", "ada", False), Owner("bob", "bob", False)


@pytest.fixture
def sessions() -> SessionOwners:
    sessions = SessionOwners()
    sessions.claim("adas", "ada")
    sessions.claim("bobs", "bob")
    return sessions


@pytest.fixture
def page() -> SimpleNamespace:
    pending = {"adas": {"a1"}, "bobs": {"b1"}}
    boxes = {"bobs": None}
    return SimpleNamespace(
        _queue=SimpleNamespace(
            pending_event_ids_session=pending, pending_messages_per_session=boxes
        )
    )


def ask(app, path: str, owner: Owner, body: bytes = b"", query: str = "") -> tuple[int, bytes]:
    """Status and body of an answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "method": "POST" if path == CANCEL else "GET",
             "headers": [], "query_string": query.encode(), "state": {"owner": owner}}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert not sent[-1].get("more_body")
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent)


def test_an_event_is_cancelled_by_its_own_page_alone(page, sessions):
    cancelled = []

    async def gradio_app(scope, receive, send) -> None:
        cancelled.append(json.loads((await receive())["body"])["event_id"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    app = PageQueue(gradio_app, page, sessions)

    def cancel(owner: Owner, session: str, event: str) -> int:
        body = json.dumps({"session_hash": session, "event_id": event, "fn_index": 3})
        return ask(app, CANCEL, owner, body.encode())[0]

    assert cancel(BOB, "adas", "a1") == 404
    assert cancel(BOB, "nobodys", "a1") == 404
    assert cancel(BOB, "bobs", "a1") == 200  # as if it had ended
    assert cancel(BOB, "bobs", "unknown") == 200
    assert not cancelled
    assert cancel(ADA, "adas", "a1") == 200
    assert cancelled == ["a1"]
    assert sessions.claim("nobodys", "ada")  # a question claims nothing


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[", b'{"session_hash": "adas"}', b" " * 20_000, b"\xff", b"[1]"]
)
def test_what_is_no_cancelling_is_refused_in_a_sentence(page, sessions, body):
    status, answer = ask(PageQueue(None, page, sessions), CANCEL, ADA, body)
    assert status == 422
    assert "Load the page again" in json.loads(answer)["error"]["message"]


def fail_after(chunk: bytes, error: Exception):
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b": \n\n", "more_body": True})
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        raise error

    return app


LAST = b'data: {"msg":"unexpected_error","message":"404: Not Found","session_not_found":true}\n\n'


def test_a_stream_of_a_page_that_waits_for_nothing_ends_in_order(page, sessions):
    app = PageQueue(fail_after(LAST, RuntimeError("404")), page, sessions)
    status, body = ask(app, STREAM, ADA, query="session_hash=adas")
    assert status == 200
    texts = body.decode().removeprefix(": \n\n").split("\n\n")
    *messages, rest = [json.loads(each[6:]) if each else None for each in texts]
    assert [each["msg"] for each in messages] == ["unexpected_error", "close_stream"]
    assert rest is None
    assert messages[0]["message"].startswith("The studio knows of nothing more")


def test_another_failure_of_a_stream_is_one(page, sessions):
    app = PageQueue(fail_after(LAST, RuntimeError("404")), page, sessions)
    with pytest.raises(RuntimeError):  # its page is there
        ask(app, STREAM, BOB, query="session_hash=bobs")
    quoting = b'data: {"msg":"process_completed","output":"\\"unexpected_error\\""}\n\n'
    app = PageQueue(fail_after(quoting, ZeroDivisionError()), page, sessions)
    with pytest.raises(ZeroDivisionError):
        ask(app, STREAM, ADA, query="session_hash=adas")


def test_who_begins_thousands_of_sessions_has_nobody_s_forgotten(monkeypatch):
    monkeypatch.setattr("studio.core.accounts.session_owners.REMEMBERED", 20)
    sessions = SessionOwners()
    assert sessions.claim("adas", "ada")
    for _ in range(100):
        assert sessions.claim(secrets.token_hex(5), "bob")
    assert len(sessions._owners) == 20 == sum(sessions._counts.values())
    assert not sessions.claim("adas", "bob")
    assert sessions.owns("adas", "ada")
