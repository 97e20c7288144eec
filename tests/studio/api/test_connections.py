"""Limits on connections, on a small server of their own."""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import h11
import pytest
import uvicorn

from pipelines.core.errors import Busy
from studio.api import connections
from studio.api.connections import Door, OncePerMinute, guarded_connection
from studio.core.accounts.rate_limits import MAX_WAITING, OneByOne
from studio.serving import listen
from tests.clock import set_clock
from tests.patience import PATIENCE, wait_until

LARGE = 20_000_000  # bytes: more than what the system keeps of an answer
REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.fixture
def door() -> Door:
    return Door(3)


@pytest.fixture
def address(door: Door) -> Iterator[tuple[str, int]]:
    """A server that answers with ``hello``, or with much, once the whole body is there."""

    async def app(scope, receive, send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = bytes(LARGE) if scope["path"] == "/large" else b"hello"
        await send({"type": "http.response.body", "body": body})

    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app,
        http=guarded_connection(door),
        ws="none",
        lifespan="off",
        log_level="error",
        loop="asyncio",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(PATIENCE)


@pytest.fixture
def connect(address) -> Iterator:
    opened: list[socket.socket] = []

    def open_one() -> socket.socket:
        opened.append(socket.create_connection(address, timeout=PATIENCE))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def answer(connection: socket.socket, request: bytes = REQUEST) -> bytes:
    connection.sendall(request)
    return connection.recv(1000)


def is_closed(connection: socket.socket) -> bool:
    return connection.recv(1000) == b""


def test_the_connection_that_waits_longest_makes_room(connect, door):
    idle = [connect() for _ in range(3)]
    assert b"200 OK" in answer(idle[1])  # heard last, idle again
    newcomer = connect()
    assert b"200 OK" in answer(newcomer)
    assert is_closed(idle[0])
    assert b"200 OK" in answer(idle[2])
    assert len(door) == 3


def test_a_crowd_of_idle_connections_keeps_nobody_out(connect, door):
    crowd = [connect() for _ in range(40)]
    assert b"200 OK" in answer(connect())
    assert is_closed(crowd[0])
    assert len(door) <= 3


def test_who_is_being_answered_is_not_dropped(connect, door):
    busy = [connect() for _ in range(3)]
    for each in busy:
        each.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\na")
    wait_until(lambda: len(door._busy) == 3)
    refused = connect()
    said = refused.recv(1000)
    assert said.startswith(b"HTTP/1.1 503")
    assert b"Too many connections" in said
    for each in busy:
        assert b"200 OK" in answer(each, b"b")


def test_short_answers_are_sent_at_once(connect, door):
    connect()
    (connection,) = wait_until(lambda: list(door._idle))
    ours = connection.transport.get_extra_info("socket")
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_places_are_given_back(connect, door):
    for _ in range(7):
        connection = connect()
        assert b"200 OK" in answer(connection)
        connection.shutdown(socket.SHUT_RDWR)
    assert b"200 OK" in answer(connect())
    assert len(door) <= 3
    # Those that have gone may be taken off the list just now.
    wait_until(lambda: sum(door._by_address.values()) == len(door))


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nx: ", b"POST / HTTP/1.1\r\n"])
def test_who_does_not_say_what_is_wanted_is_cut_off(connect, monkeypatch, head: bytes):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    connection = connect()
    connection.sendall(head)
    assert is_closed(connection)


def test_a_body_that_does_not_come_is_cut_off(connect, monkeypatch):
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.2)
    connection = connect()
    assert answer(connection, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab") == b""


def test_who_does_not_take_the_answer_is_cut_off(address, connect, door, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.2)
    admitted, admit = [], door.admit
    monkeypatch.setattr(door, "admit", lambda each: admitted.append(each) or admit(each))
    connection = connect()
    connection.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
    wait_until(lambda: admitted and len(door) == 0)


def test_who_takes_the_answer_slowly_is_not_cut_off():
    untaken, looks, ended = [900, 500, 100, 100], [], []
    connection = object.__new__(connections.Connection)
    connection.transport = SimpleNamespace(
        is_closing=lambda: False,
        get_write_buffer_size=lambda: untaken[0],
        abort=lambda: ended.append("abort"),
        close=lambda: ended.append("close"),
    )
    connection.flow = SimpleNamespace(read_paused=False)
    connection._untaken, connection._timer_seconds = math.inf, 20.0
    connection._expect = looks.append
    while untaken:
        assert ended == []
        connection._give_up()
        untaken.pop(0)
    assert (looks, ended) == ([20.0] * 3, ["abort"])


def test_who_keeps_us_waiting_makes_room_where_all_are_at_work(connect, door, monkeypatch):
    monkeypatch.setattr(connections, "STALLED_SECONDS", 0.0)
    slow = [connect() for _ in range(3)]
    for each in slow:
        each.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\na")
        wait_until(lambda each=each: len(door._busy) == slow.index(each) + 1)
    assert b"200 OK" in answer(connect())
    assert is_closed(slow[0])
    assert b"200 OK" in answer(slow[2], b"b")


class Fake:
    """A connection as the door sees it."""

    def __init__(self, address: str) -> None:
        self.address, self.dropped = address, False

    def drop(self) -> None:
        self.dropped = True


def test_one_address_makes_room_for_itself_only():
    door = Door(10, address_limit=2)
    others = [Fake("10.0.0.1") for _ in range(3)]
    crowd = [Fake("10.0.0.2") for _ in range(4)]
    for each in (others[0], *crowd, others[1]):
        assert door.admit(each)
    assert [each.dropped for each in crowd] == [True, True, False, False]
    assert not any(each.dropped for each in others)
    for each in crowd[2:]:
        door.note(each, is_idle=False)
    assert not door.admit(Fake("10.0.0.2"))
    assert all(door.admit(Fake("127.0.0.1")) for _ in range(6))  # a tunnel's are everybody's


def test_file_limit_is_raised_as_far_as_is_allowed():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 700));"
        "from studio.api.connections import connection_limit; print(connection_limit());"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == resource.RLIM_INFINITY or hard >= 700
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["500", "700"]


def test_a_warning_is_written_once_a_minute_with_how_many_more_there_were(monkeypatch):
    now = [0.0]
    set_clock(monkeypatch, connections, monotonic=lambda: now[0])
    limit = OncePerMinute()

    def warn(level: int = logging.WARNING) -> str | None:
        record = logging.LogRecord("x", level, "", 0, "Invalid HTTP request received.", (), None)
        return record.getMessage() if limit.filter(record) else None

    assert [warn() for _ in range(3)] == ["Invalid HTTP request received.", None, None]
    assert warn(logging.ERROR) == "Invalid HTTP request received."
    now[0] = 61.0
    assert warn() == "Invalid HTTP request received. (and 2 more like it)"


def test_the_same_failure_of_requests_is_written_once_a_minute(monkeypatch):
    set_clock(monkeypatch, connections, monotonic=lambda: 0.0)
    limit = OncePerMinute()

    def fail(kind: type[Exception]) -> bool:
        try:
            raise kind("in an application")
        except kind:
            error = sys.exc_info()
        record = logging.LogRecord("x", logging.ERROR, "", 0, "Exception in ASGI", (), error)
        return limit.filter(record)

    assert [fail(KeyError) for _ in range(3)] == [True, False, False]
    assert fail(ValueError)  # another fault is not hidden behind it


def test_passwords_are_checked_one_after_another_and_a_crowd_is_told_so():
    at_once = most = 0
    lock = threading.Lock()
    hold = threading.Event()

    def check() -> bool:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        assert hold.wait(PATIENCE)
        with lock:
            at_once -= 1
        return True

    async def crowd() -> list[object]:
        gate = OneByOne()
        waiting = [asyncio.create_task(gate.run(check)) for _ in range(MAX_WAITING + 5)]
        await asyncio.sleep(0)
        hold.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    answers = asyncio.run(crowd())
    assert most == 1
    assert answers.count(True) == MAX_WAITING
    assert all(isinstance(each, Busy) for each in answers[MAX_WAITING:])


def test_what_breaks_http_amid_its_own_request_leaves_no_traceback_in_the_log():
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "Exception in app", (), None)
    assert OncePerMinute().filter(record)
    try:
        raise h11.LocalProtocolError("can't handle event type Response when state=MUST_CLOSE")
    except h11.LocalProtocolError:
        record.exc_info = sys.exc_info()
    assert not OncePerMinute().filter(record)
