"""The page's events take only what the page can send; anything else is answered in a sentence."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastapi
import gradio
import httpx
import pytest

from studio.app import open_studio
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.page import shell
from studio.page.events import Page
from studio.page.sessions import Session
from tests.patience import wait_until
from tests.studio.live import live_studio, options_for, page_config, sentence
from tests.studio.people import ACCOUNTS


def edit_in_place(value: Any, edits: list[list[Any]]) -> Any:
    """The value of a generator after the one before, made of it as Gradio's script makes it."""
    for action, path, new in edits:
        if not path:
            value = {"replace": new, "append": f"{value}{new}"}[action]
        elif action == "delete":
            del value[path[0]]
        else:
            value[path[0]] = new
    return value


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


def upload_events(config: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """Each event that takes a file, with this one beside what else the page shows."""
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
    config = page_config(other)
    before = set(Path(running.home / "cache").rglob("*"))
    for path in (secret, running.home / "secret.key", f"{others}/../../../secret.key", others):
        for ended in send_events(other, upload_events(config, str(path))):
            assert not ended["success"], ended
            assert "Bring it once more" in ended["output"]["error"]
    assert set(Path(running.home / "cache").rglob("*")) == before

    def reads_own(number: int) -> bool:
        own = one.post("/gradio_api/upload", files=upload).json()[0]
        return "hidden-1" in json.dumps(send_events(one, [upload_events(config, own)[number]]))

    assert any(map(reads_own, range(len(upload_events(config, others))))), (
        "no event has read the table"
    )


ODD: dict[str, Any] = {
    "nothing": None,
    "a list": [None, {"a": [1]}],
    "an object": {"x": []},
    "half a character": "\ud800",
    "not a number": float("nan"),
    "too large a number": 2**70,
    "a long text": "x" * 100_000,
    "less than nothing": -1,
    "words": "no such thing",
    "an empty list": [],
}
# What of Gradio, Python or the database's own words no person should read.
INNER = re.compile(
    r"Traceback|Error\b|NoneType|<class|[Gg]radio|binding|object is|component|has failed"
)


@contextmanager
def page_of(home: Path, models: Path) -> Iterator[Any]:
    """The page's blocks, which nothing serves."""
    studio = open_studio(options_for(home, models))
    try:
        yield shell.build(studio)
    finally:
        studio.close()


async def _ask(blocks: Any, function: Any, odd: Any) -> str:
    """What an event with odd values in all places is answered, "" for no error."""
    scope = {"type": "http", "headers": [], "state": {"owner": LOCAL_OWNER}}
    request = gradio.Request(request=fastapi.Request(scope), session_hash="s")
    more = {"event_data": gradio.EventData(None, odd)}
    try:
        inputs = [odd for _ in function.inputs]
        await blocks.process_api(function, inputs, Session(blocks), request, **more)
    except gradio.Error as error:
        return error.message
    return ""


def _walk(blocks: Any, values: Callable[[int], Iterable[str]], caplog) -> None:
    functions = [each for each in blocks.fns.values() if each.fn is not None]
    assert len(functions) > 300

    async def walk() -> None:
        for at, function in enumerate(functions):
            for name in values(at):
                said = await _ask(blocks, function, ODD[name])
                assert not INNER.search(said), (function.name, name, said)
                assert len(said) < 300, (function.name, name, said)
                assert not caplog.records, (function.name, name)

    asyncio.run(walk())


def test_every_event_answers_odd_values_in_a_sentence(tmp_path, twin_home, caplog):
    """Nothing for half of them, and for the rest the others one after another."""
    others = sorted(ODD.keys() - {"nothing"})
    with page_of(tmp_path / "home", twin_home) as blocks:
        _walk(blocks, lambda at: ("nothing" if at % 2 else others[at // 2 % len(others)],), caplog)


@pytest.mark.deep
def test_every_event_answers_every_odd_value_in_a_sentence(tmp_path, twin_home, caplog):
    with page_of(tmp_path / "home", twin_home) as blocks:
        _walk(blocks, lambda at: ODD, caplog)


def test_wrong_events_are_answered_and_the_page_goes_on(studio, visitor, caplog):
    guest = visitor("guest")
    config = page_config(guest)
    several = next(each for each in config["dependencies"] if len(each["inputs"]) > 2)
    event = {"fn_index": several["id"], "data": [None]}
    (ended,) = send_events(guest, [event])
    assert "Load the page again" in ended["output"]["error"]
    assert ended["title"] == "This did not work"
    for wrong in (
        {"fn_index": 10**6, "data": []},
        {"fn_index": None, "data": []},
        {"fn_index": several["id"], "data": {}},
        {"fn_index": several["id"]},
        {"fn_index": "x", "data": [], "session_hash": []},
        {"fn_index": several["id"], "data": [], "session_hash": "\ud800"},
        {"fn_index": several["id"], "data": [], "session_hash": "a" * 100_000},
        {"fn_index": several["id"], "data": [], "batched": True},
    ):
        body = json.dumps({"session_hash": "abc", **wrong})
        headers = {"content-type": "application/json"}
        answer = guest.post("/gradio_api/queue/join", content=body, headers=headers)
        assert 400 <= answer.status_code < 500, wrong
        sentence(answer)
    assert guest.post("/gradio_api/cancel", json={}).status_code == 422
    mine = {"fn_index": several["id"], "data": [], "session_hash": "of" + secrets.token_hex(5)}
    answers = [each.post("/gradio_api/queue/join", json=mine) for each in (guest, visitor("guest"))]
    assert [answer.status_code for answer in answers] == [200, 422]
    asked = {"event_id": answers[0].json()["event_id"], "fn_index": 1}
    asked["session_hash"] = mine["session_hash"]
    answers = [each.post("/gradio_api/cancel", json=asked) for each in (visitor("guest"), guest)]
    assert [answer.status_code for answer in answers] == [404, 200]
    # A page of which nothing is known, be it that its first event was refused.
    nothing = guest.get(
        "/gradio_api/queue/data", params={"session_hash": "n" + mine["session_hash"]}
    )
    assert '"message":"The studio knows of nothing more' in nothing.text
    assert not caplog.records


def test_an_upload_of_the_page_to_a_full_disk_is_refused_in_both_languages(
    studio, visitor, monkeypatch, caplog
):
    async def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gradio.route_utils.GradioUploadFile.write", fails)
    guest, cache = visitor("guest"), studio[0].home / "cache"
    before = {*cache.rglob("*")}
    files = {"files": ("t.csv", b"a,b\n" * 5_000)}
    answer = guest.post("/gradio_api/upload", files=files)
    assert answer.status_code == 507
    assert sentence(answer).startswith("The disk of this studio is full: your file of 20 kB")
    answer = guest.post("/gradio_api/upload", files=files, headers={"accept-language": "zh"})
    assert sentence(answer).startswith("本工作室的磁盘已满")
    assert not caplog.records
    wait_until(lambda: {*cache.rglob("*")} == before)  # nothing of it is left


def test_what_follows_an_update_at_once_takes_nothing_from_it():
    with Page(lambda *_: False) as page:
        page.load(lambda: None, None, [gradio.Row(visible=False), gradio.HTML()])
    update, (event,) = {"__type__": "update"}, page.fns.values()
    chunks = [
        [{"visible": True, **update}, "<p>one"],
        [{**update}, "<p>one, two"],
        [{"visible": False, "value": "x", **update}, {**update}],
    ]
    sent = [page.handle_streaming_diffs(event, [*each], "s", "r", False) for each in chunks]
    last = page.handle_streaming_diffs(event, [None, None], "s", "r", True)
    assert sent[1][1] == [["append", [], ", two"]]  # of a text only what is new
    seen = [sent[0]]
    for edits in sent[1:]:
        seen.append([edit_in_place(*each) for each in zip(seen[-1], edits, strict=True)])
    assert [*seen, last] == [*chunks, chunks[-1]]
