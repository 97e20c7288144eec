"""The page's events take only what the page can send; anything else is answered in a sentence."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.studio.live import live_studio, options_for, page_config
from tests.studio.people import ACCOUNTS


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home) -> Iterator[tuple]:
    options = options_for(tmp_path_factory.mktemp("events"), twin_home, accounts=ACCOUNTS)
    with live_studio(options) as running:
        yield running


def send_events(client: httpx.Client, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sends events of the page; how each ended."""
    session = secrets.token_hex(5)
    ids = []
    for event in events:
        answer = client.post("/gradio_api/queue/join", json={**event, "session_hash": session})
        assert answer.status_code == 200, answer.text
        ids.append(answer.json()["event_id"])
    ended: dict[str, dict[str, Any]] = {}
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as answer:
        for line in answer.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                ended[message["event_id"]] = message
            if len(ended) == len(ids):
                break
    return [ended[id] for id in ids]


def bringing(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    """Each event that takes a file, with this one beside what else the page shows."""
    config = page_config(client)
    parts = {each["id"]: each for each in config["components"]}
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    events = []
    for event in config["dependencies"]:
        kinds = [parts[each]["type"] for each in event["inputs"]]
        for value in (file, [file]) if "file" in kinds else ():
            shown = [parts[each]["props"].get("value") for each in event["inputs"]]
            data = [
                value if kind == "file" else each for kind, each in zip(kinds, shown, strict=True)
            ]
            events.append({"fn_index": event["id"], "data": data})
    assert len(events) >= 8
    return events


def test_no_event_reads_a_file_of_the_server_or_of_another_visitor(studio, visitor, tmp_path):
    running = studio[0]
    one, other = visitor("guest"), visitor("guest")
    secret = tmp_path / "secret.csv"
    secret.write_text("name,code\nada,hidden-1\nbob,hidden-2\n")
    upload = {"files": ("t.csv", secret.read_bytes())}
    others = one.post("/gradio_api/upload", files=upload).json()[0]
    before = set(Path(running.home / "cache").rglob("*"))
    for path in (secret, running.home / "secret.key", f"{others}/../../../secret.key", others):
        for ended in send_events(other, bringing(other, str(path))):
            assert not ended["success"], ended
            assert "Bring it once more" in ended["output"]["error"]
    assert set(Path(running.home / "cache").rglob("*")) == before
    for event in bringing(one, others):  # one's own is read
        one.post("/gradio_api/upload", files=upload)
        if "hidden-1" in json.dumps(send_events(one, [event])):
            return
    raise AssertionError("no event has read the table")
