"""The tools by the official client of MCP, against a live studio."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import numpy as np
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from studio.core.services import Studio
from tests.patience import PATIENCE, wait_until
from tests.studio.live import TINY, build_api, live_studio, options_for
from tests.studio.people import ACCOUNTS

QUICK = {"model": TINY, "prompt": "a red mug", "steps": 2, "seed": 5, "width": 64, "height": 72}
MODES = ("legacy", "auto")  # sessions with a handshake, and the newest protocol
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def studio_and_address(tmp_path_factory, twin_home) -> Iterator[tuple[Studio, str]]:
    options = options_for(tmp_path_factory.mktemp("mcp"), twin_home, accounts=ACCOUNTS)
    with live_studio(options, build_api) as found:
        yield found


@pytest.fixture(scope="module")
def keys(studio_and_address) -> dict[str, str]:
    """Name → a key of that user's."""
    found = {}
    for name in ("ada", "bob"):
        owner = studio_and_address[0].accounts.owner_of_key(name)
        host = type(owner)(owner.id, owner.name, is_host=True)
        found[name] = studio_and_address[0].keys.make(host, "agent")[1]
    return found


@asynccontextmanager
async def connect(address: str, key: str, mode: str):
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http:
        transport = streamable_http_client(f"{address}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


def pictures_in(result: Any) -> list[Image.Image]:
    data = [each.data for each in result.content if each.type == "image"]
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in data]


def words_of(result: Any) -> str:
    return " ".join(each.text for each in result.content if each.type == "text")


@pytest.mark.parametrize("mode", MODES)
def test_agent_paints_changes_enlarges_and_finds_again(studio_and_address, keys, mode):
    studio, address = studio_and_address
    told: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async def work() -> None:
        async with connect(address, keys["bob"], mode) as client:
            tools = {each.name for each in (await client.list_tools()).tools}
            assert tools == {"paint", "change", "upscale", "list_models", "get_picture"}
            listed = await client.call_tool("list_models", {})
            names = {each["name"] for each in listed.structured_content["models"]}
            assert TINY in names
            painted = await client.call_tool("paint", QUICK, progress_callback=note)
            assert not painted.is_error, words_of(painted)
            (fact,), (shown,) = painted.structured_content["pictures"], pictures_in(painted)
            assert shown.size == (64, 72) == (fact["width"], fact["height"])
            whole = httpx.get(fact["link"], headers={"authorization": f"Bearer {keys['bob']}"})
            assert Image.open(io.BytesIO(whole.content)).tobytes() == shown.tobytes()
            assert httpx.get(
                fact["link"], headers={"authorization": f"Bearer {keys['ada']}"}
            ).status_code == 404, "another's picture is not there"  # fmt: skip
            found = await client.call_tool("get_picture", {"picture": fact["id"]})
            assert pictures_in(found)[0].tobytes() == shown.tobytes()
            same = await client.call_tool(
                "change", {**QUICK, "picture": fact["id"], "strength": 0.0}
            )
            assert not same.is_error, words_of(same)
            larger = await client.call_tool("upscale", {"picture": fact["id"], "scale": 2})
            assert pictures_in(larger)[0].size == (128, 144), words_of(larger)

    asyncio.run(work())
    assert told == sorted(told)
    assert told
    assert len(studio.gallery.ids("bob")) >= 3


def test_agent_changes_what_a_mask_says_alone_and_hears_what_had_no_effect(
    studio_and_address, keys
):
    async def work() -> None:
        async with connect(studio_and_address[1], keys["bob"], "auto") as client:
            painted = await client.call_tool("paint", QUICK)
            (fact,), (before,) = painted.structured_content["pictures"], pictures_in(painted)
            assert "notes" not in painted.structured_content
            mask = Image.new("L", before.size, 0)
            mask.paste(255, (0, 0, 32, 72))
            file = io.BytesIO()
            mask.save(file, "PNG")
            result = await client.call_tool(
                "change",
                {**QUICK, "picture": fact["id"], "mask": base64.b64encode(file.getvalue()).decode(),
                 "strength": 1.0, "seed": 6},
            )  # fmt: skip
            assert not result.is_error, words_of(result)
            after = np.asarray(pictures_in(result)[0]).astype(int)
            changed = (after != np.asarray(before)).any(axis=-1)
            assert changed[:, :32].mean() > 0.5
            assert not changed[:, 48:].any(), "beyond the blurred edge"
            low = await client.call_tool(
                "change", {**QUICK, "picture": fact["id"], "prompt": "a mug AND a hat"}
            )
            notes = low.structured_content["notes"]
            assert any(each.startswith("AND is read as a plain word") for each in notes), notes

    asyncio.run(work())


@pytest.mark.parametrize("mode", MODES)
def test_call_that_is_cancelled_cancels_its_job(studio_and_address, keys, mode):
    studio, address = studio_and_address

    def newest():
        return studio.jobs.list("bob", kind="text_to_image", limit=1)[0]

    async def work() -> None:
        async with connect(address, keys["bob"], mode) as client:
            call = asyncio.create_task(
                client.call_tool("paint", {**QUICK, "steps": 150, "batch_count": 8})
            )
            await asyncio.to_thread(
                wait_until, lambda: newest().state == "running" and newest().request["steps"] == 150
            )
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await asyncio.to_thread(wait_until, lambda: newest().ended)
            assert newest().state == "cancelled"

    asyncio.run(work())


def test_what_is_wrong_is_said_where_the_model_reads_it(studio_and_address, keys):
    async def work() -> None:
        async with connect(studio_and_address[1], keys["bob"], "auto") as client:
            for tool, given, words in (
                ("paint", {}, "prompt is missing"),
                ("paint", {**QUICK, "width": 65}, "multiple of 8"),
                ("paint", {**QUICK, "wings": 2}, "wings is not known here"),
                ("paint", {**QUICK, "model": "nobody"}, "nobody"),
                ("change", {**QUICK, "picture": "http://127.0.0.1/x.png"}, "not fetched"),
                ("get_picture", {"picture": "../../etc/passwd"}, "passwd"),
                ("x" * 1000, {}, "There is no tool called"),
            ):
                result = await client.call_tool(tool, given)
                assert result.is_error, tool
                assert words in words_of(result)

    asyncio.run(work())


def test_wrong_key_no_key_and_a_session_of_another_are_refused(studio_and_address, keys):
    address = f"{studio_and_address[1]}/mcp"
    with httpx.Client(headers=ACCEPT, timeout=PATIENCE) as client:
        for headers in ({}, {"authorization": "Bearer sk-atelier-wrong"}):
            answer = client.post(address, json=INITIALIZE, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["message"]
        bobs = {"authorization": f"Bearer {keys['bob']}"}
        opened = client.post(address, json=INITIALIZE, headers=bobs)
        assert opened.status_code == 200
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        adas = {"authorization": f"Bearer {keys['ada']}"}
        assert client.post(address, json=ping, headers=bobs | session).status_code == 200
        assert client.post(address, json=ping, headers=adas | session).status_code == 404
        large = client.post(address, content=b"x" * 4_000_001, headers=bobs)
        assert large.status_code == 413


def test_sessions_have_a_limit_for_each_owner(studio_and_address, keys):
    with httpx.Client(headers=ACCEPT, timeout=PATIENCE) as client:
        adas = {"authorization": f"Bearer {keys['ada']}"}
        statuses = {
            client.post(f"{studio_and_address[1]}/mcp", json=INITIALIZE, headers=adas).status_code
            for _ in range(31)
        }
        assert statuses == {200, 503}
        bobs = {"authorization": f"Bearer {keys['bob']}"}
        assert (
            client.post(f"{studio_and_address[1]}/mcp", json=INITIALIZE, headers=bobs).status_code
            == 200
        )


def test_hanging_up_cancels_the_job(studio_and_address, keys):
    studio, address = studio_and_address
    bobs = {"authorization": f"Bearer {keys['bob']}"}

    def newest():
        return studio.jobs.list("bob", kind="text_to_image", limit=1)[0]

    with httpx.Client(headers=ACCEPT | bobs, timeout=PATIENCE) as client:
        opened = client.post(f"{address}/mcp", json=INITIALIZE)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        client.post(f"{address}/mcp", json=told, headers=session)
        call = {
            "jsonrpc": "2.0",
            "id": 3,
            "method": "tools/call",
            "params": {
                "name": "paint",
                "arguments": {**QUICK, "steps": 149, "batch_count": 16},
            },
        }
        with client.stream("POST", f"{address}/mcp", json=call, headers=session) as answer:
            assert answer.status_code == 200
            wait_until(lambda: newest().state == "running" and newest().request["steps"] == 149)
    wait_until(lambda: newest().ended)
    assert newest().state == "cancelled"


def test_open_calls_have_a_limit_for_each_owner(studio_and_address, keys, monkeypatch):
    """A limit of one: the call that waits for its picture is open, and no other is served."""
    address = studio_and_address[1]
    monkeypatch.setattr("studio.features.mcp.sessions.MAX_OPEN", 1)
    bobs = {"authorization": f"Bearer {keys['bob']}"}
    with httpx.Client(headers=ACCEPT | bobs, timeout=PATIENCE) as client:
        session_id = client.post(f"{address}/mcp", json=INITIALIZE).headers["mcp-session-id"]
        session = {"mcp-session-id": session_id}
        call = {
            "jsonrpc": "2.0",
            "id": 4,
            "method": "tools/call",
            "params": {"name": "paint", "arguments": {**QUICK, "steps": 148, "batch_count": 16}},
        }
        with client.stream("POST", f"{address}/mcp", json=call, headers=session):
            ping = {"jsonrpc": "2.0", "id": 5, "method": "ping"}
            refused = client.post(f"{address}/mcp", json=ping, headers=session)
            assert refused.status_code == 429
            assert "open" in refused.json()["error"]["message"]
