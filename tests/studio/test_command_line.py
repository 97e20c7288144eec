"""``app.py``: its flags, its start and its end, as processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import app
from studio.core.jobs.queue import Unfinished
from tests.patience import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "size"),
    [("8", 8 * 10**9), ("8GB", 8 * 10**9), ("1.5 gb", 15 * 10**8), ("500MB", 5 * 10**8)],
)
def test_budget_is_read(text: str, size: int):
    assert app.byte_count(text) == size


@pytest.mark.parametrize(
    "flags", [["--budget", "much"], ["--budget", "0"], ["--port", "0"], ["--port", "x"]]
)
def test_bad_flag_is_explained(flags: list[str], capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        app.parse(flags)
    assert flags[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("x.org", False)],
)
def test_only_loopback_is_left_without_a_login(host: str, expected: bool):
    assert app.is_loopback(host) == expected


def start(home: Path, *flags: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "app.py", "--home", str(home), "--offline", *flags]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        # Under nohup the tests ignore it, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines_until(process: subprocess.Popen, word: str) -> str:
    seen = ""
    while word not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    return seen


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


OF_OTHER_PROGRAMS = {"ALL_PROXY": "socks5://127.0.0.1:9", "GRADIO_ROOT_PATH": "/other"}


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGINT,
        *(pytest.param(each, marks=pytest.mark.deep) for each in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_studio_starts_answers_and_stops_in_order(tmp_path, how: signal.Signals):
    """With an event stream open, as every page has one, and what other programs have left."""
    port = free_port()
    process = start(tmp_path, "--port", str(port), "--device", "cpu", **OF_OTHER_PROGRAMS)
    try:
        lines_until(process, f"http://127.0.0.1:{port}/v1")
        page = httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE)
        assert f'"root":"http://127.0.0.1:{port}"' in page.text
        stream = f"http://127.0.0.1:{port}/gradio_api/heartbeat/abc"
        with httpx.stream("GET", stream, timeout=PATIENCE) as events:
            lines = events.iter_lines()
            next(lines)
            process.send_signal(how)
            list(lines)  # it ends in order
        rest, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode in (0, -how)
    assert rest == ""


@pytest.mark.parametrize(
    ("unfinished", "line"),
    [
        (Unfinished(None, 0), None),
        (Unfinished(None, 1), "At the next start 1 queued job will go on."),
        (Unfinished("text_to_image", 2), "the running job (text to image) and 2 queued jobs will"),
        (Unfinished("dreambooth", 0, ending=True), "(dreambooth) will go on. It is still saving"),
    ],
)
def test_last_line_says_what_goes_on_next_time(unfinished: Unfinished, line: str | None):
    said = app.farewell(unfinished)
    assert said is None if line is None else line in said


def test_page_stays_up_when_there_is_no_share_link(tmp_path):
    """A proxy that is not there stands for a network that is not there."""
    port = free_port()
    environment = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "app.py", "--home", str(tmp_path), "--port", str(port), "--share"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed = lines_until(process, "No share link")
        assert "gradio.live cannot be reached" in printed
        assert "user guest, password" in printed
        assert "user host, password" in printed
        password = printed.partition("user guest, password ")[2].split()[0]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            assert client.get("/").status_code == 401
            client.post("/login", data={"name": "guest", "password": password})
            assert client.get("/").status_code == 200
    finally:
        process.kill()
        process.wait()


def test_device_that_is_not_there_stops_the_studio_with_a_sentence(tmp_path):
    process = start(tmp_path, "--port", str(free_port()), "--device", "cuda:99")
    try:
        printed = lines_until(process, "Atelier is at")
        lines_until(process, "For other programs")
        address = printed.split()[-1]
        httpx.get(address, timeout=PATIENCE)
        rest, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "cuda:99" in rest


@pytest.mark.deep
def test_heavy_libraries_are_loaded_after_the_page_has_answered(tmp_path):
    port = free_port()
    process = start(tmp_path, "--port", str(port), "--device", "cpu")
    try:
        lines_until(process, "Atelier is at")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            assert client.get("/api/v1/status").json()["ready"] is False
            assert client.get("/").status_code == 200
            wait_until(lambda: client.get("/api/v1/status").json()["ready"], every=0.2)
    finally:
        process.kill()
        process.wait()
