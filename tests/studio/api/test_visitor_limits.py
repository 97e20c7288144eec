"""What one visitor may ask for at the same time, and whose uploads lie where."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio.route_utils import FileUploadProgress, GradioUploadFile
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from pipelines.core.errors import Busy
from studio.api import visitor_limits
from studio.api.visitor_limits import Allowance, VisitorLimits
from studio.core import upload_ledger
from studio.core.accounts.accounts import Owner
from studio.core.accounts.session_owners import SessionOwners
from studio.core.upload_ledger import UploadLedger, arriving
from studio.page.uploads import UploadParser, UploadProgress

ADA, BOB = Owner("ada", "ada", False), Owner("bob", "bob", False)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def ledger(folder) -> UploadLedger:
    return UploadLedger(folder, lambda owner: 100)


def write_upload(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.write_bytes(bytes(size))
    return path


def test_what_is_on_its_way_and_what_waits_take_room_together(ledger, folder):
    ledger.enter(ADA, [write_upload(folder, "a", 40)])
    with ledger.receive(ADA, 50):
        with pytest.raises(Busy, match="room for 10 B more"), ledger.receive(ADA, 11):
            pass
        with ledger.receive(ADA, 10), ledger.receive(BOB, 100):
            pass
    with ledger.receive(ADA, 60):
        pass


def test_a_file_that_a_tab_has_read_gives_its_room_back(ledger, folder):
    path = write_upload(folder, "a", 90)
    ledger.enter(ADA, [path])
    assert ledger.count_waiting("ada") == (1, 90)
    path.unlink()
    assert ledger.count_waiting("ada") == (0, 0)
    with ledger.receive(ADA, 100):
        pass


def test_who_announces_less_than_is_sent_is_held_to_the_room_too(ledger):
    with ledger.receive(ADA, 0) as upload:
        for _ in range(10):
            upload.take(10)
        with pytest.raises(Busy):
            upload.take(10)
    with ledger.receive(ADA, 100):  # nothing is left of it
        pass


def test_what_a_broken_upload_has_left_goes_although_another_is_on_its_way(ledger, folder):
    with ledger.receive(BOB, 10) as slow:
        slow.files.append(write_upload(folder, "tmpbob", 5))
        with ledger.receive(ADA, 50) as broken:
            broken.files += [write_upload(folder, "tmpada", 30), folder / "tmpmoved"]
        assert [path.name for path in folder.iterdir()] == ["tmpbob"]
    assert not list(folder.iterdir())


def test_an_upload_looks_at_those_that_wait_and_not_at_all_that_lies_there(
    ledger, folder, monkeypatch
):
    """With ten thousand files in the folder, a search of it held everybody up for seconds."""
    for number in range(500):
        write_upload(folder, f"taken {number}", 1)
    ledger.enter(ADA, [write_upload(folder, name, 1) for name in "abc"])
    looked, stat = [], Path.stat

    def search(*given) -> None:
        raise AssertionError("the folder was searched")

    monkeypatch.setattr(
        Path, "stat", lambda path, **more: looked.append(path) or stat(path, **more)
    )
    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, search)
    with ledger.receive(ADA, announced=1):
        pass
    assert ledger.holds(ADA, folder / "a")
    assert {path.name for path in looked} <= {"a", "b", "c"}
    assert len(looked) <= 4


def test_who_has_no_upload_left_is_forgotten(folder, monkeypatch):
    monkeypatch.setattr(upload_ledger, "MANY_OWNERS", 4)
    ledger = UploadLedger(folder, lambda owner: 100)
    for number in range(40):
        path = write_upload(folder, "a", 5)
        ledger.enter(Owner(f"guest-{number}", "guest", False), [path])
        path.unlink()
        ledger.enter(ADA, [write_upload(folder, "b", 5)])
    assert len(ledger._files) < 12
    assert ledger.holds(ADA, folder / "b")


def read_form(folder: Path, body: bytes, **options) -> list[GradioUploadFile]:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    async def read() -> list:
        headers = Headers({"content-type": "multipart/form-data; boundary=X"})
        parser = UploadParser(headers, stream(), upload_dir=folder, max_file_size=1e6, **options)
        return (await parser.parse()).getlist("files")

    return asyncio.run(read())


ONE_FILE = (
    b'--X\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nhi\r\n--X--\r\n'
)


def test_two_who_bring_the_same_photo_have_a_file_each(folder):
    one, other = (read_form(folder, ONE_FILE)[0] for _ in range(2))
    assert one.sha.hexdigest() != other.sha.hexdigest()
    assert Path(one.file.name).read_bytes() == Path(other.file.name).read_bytes() == b"hi"


@pytest.mark.parametrize("progress", [None, FileUploadProgress()])
def test_a_form_without_files_is_said_and_leaves_nothing(ledger, folder, progress):
    form = ONE_FILE.removesuffix(b"--X--\r\n") + ONE_FILE.replace(b'; filename="a"', b"")
    with ledger.receive(ADA, 50) as upload:
        arriving.set(upload)
        with pytest.raises(HTTPException, match="no form of files"):
            read_form(folder, form, upload_id="x", upload_progress=progress)
        assert len(list(folder.iterdir())) == 1
    assert not list(folder.iterdir())


def test_files_are_few_and_the_disk_keeps_some_room(ledger, folder, monkeypatch):
    monkeypatch.setattr(upload_ledger, "MAX_WAITING_FILES", 2)
    ledger.enter(ADA, [write_upload(folder, name, 1) for name in "ab"])
    with pytest.raises(Busy, match="2 of your files"), ledger.receive(ADA, 1):
        pass
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500_000_009))
    with ledger.receive(BOB, 9):
        pass
    with pytest.raises(Busy, match="nearly full"), ledger.receive(BOB, 10):
        pass


def test_an_allowance_fills_up_again_for_each_owner():
    now = [0.0]
    allowance = Allowance(3, 2.0, now=lambda: now[0])
    assert [allowance.take("a") for _ in range(4)] == [True, True, True, False]
    assert allowance.take("b")
    now[0] = 1.0
    assert [allowance.take("a") for _ in range(3)] == [True, True, False]
    now[0] = 100.0
    assert [allowance.take("a") for _ in range(4)] == [True, True, True, False]


def call(limits: VisitorLimits, path: str, owner: Owner) -> asyncio.Task:
    """A request; its task answers with the status once the app is done."""

    async def request() -> int:
        sent = []

        async def send(message) -> None:
            sent.append(message)

        async def receive() -> dict:
            return {"type": "http.request", "body": b""}

        address, _, query = path.partition("?")
        scope = {"type": "http", "path": address, "method": "GET", "headers": [],
                 "query_string": query.encode(), "state": {"owner": owner}}  # fmt: skip
        await limits(scope, receive, send)
        return sent[0]["status"]

    return asyncio.create_task(request())


@pytest.mark.parametrize(
    "path", ["/gradio_api/queue/data", "/gradio_api/heartbeat/abc", "/api/v1/jobs/x/events"]
)
def test_streams_of_one_owner_are_limited_and_others_are_not_kept_out(monkeypatch, path: str):
    streams = tuple(replace(each, limit=2) for each in visitor_limits.STREAMS)
    monkeypatch.setattr(visitor_limits, "STREAMS", streams)

    async def test() -> None:
        closed = asyncio.Event()

        async def stream(scope, receive, send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await closed.wait()

        limits = VisitorLimits(stream, uploads=None, sessions=SessionOwners())
        opened = [call(limits, path, ADA) for _ in range(2)]
        await asyncio.sleep(0)
        assert await call(limits, path, ADA) == 429
        opened.append(call(limits, path.replace("abc", "bobs"), BOB))
        await asyncio.sleep(0)
        closed.set()
        assert await asyncio.gather(*opened) == [200] * 3
        assert await call(limits, path, ADA) == 200
        assert not limits._open

    asyncio.run(test())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("queue/data?session_hash=abc", "abc"),
        ("heartbeat/abc", "abc"),
        ("upload_progress?upload_id=abc", "upload abc"),
        ("upload?upload_id=abc", "upload abc"),
    ],
)
def test_another_s_page_is_not_there(path: str, name: str):
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask() -> list[int]:
        limits = VisitorLimits(app, uploads=None, sessions=SessionOwners())
        assert limits.sessions.claim(name, ADA.id)
        asked = ("abc", ADA), ("abc", BOB), ("bobs", BOB), ("bobs", ADA), ("abc", ADA)
        address = f"/gradio_api/{path}"
        return [await call(limits, address.replace("abc", name), who) for name, who in asked]

    assert asyncio.run(ask()) == [200, 404, 200, 404, 200]


def test_uploads_whose_progress_is_asked_for_are_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr("studio.page.uploads.MAX_TRACKED", 3)

    async def ask() -> UploadProgress:
        progress = UploadProgress()
        for number in range(10):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(progress.is_tracked(f"asked{number}"), 0)
        waiting = asyncio.create_task(progress.is_tracked("sent9"))
        await asyncio.sleep(0)
        for number in range(10):
            progress.append(f"sent{number}", "a.png", b"abc")
        assert await waiting
        progress.stop_tracking("sent8")
        return progress

    progress = asyncio.run(ask())
    assert {*progress._statuses} == {"sent7", "sent9"} == {*progress._signals}


def test_events_of_one_owner_are_limited(monkeypatch):
    monkeypatch.setattr(visitor_limits, "EVENTS_AT_ONCE", 2)
    monkeypatch.setattr(visitor_limits, "EVENTS_PER_SECOND", 0.0)

    async def test() -> None:
        async def app(scope, receive, send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

        limits = VisitorLimits(app, uploads=None, sessions=SessionOwners())
        path = "/gradio_api/queue/join"
        assert [await call(limits, path, ADA) for _ in range(3)] == [200, 200, 429]
        assert await call(limits, path, BOB) == 200

    asyncio.run(test())
