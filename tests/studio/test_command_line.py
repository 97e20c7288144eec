"""``app.py``: its flags, its start and its end, as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import app
from studio import serving
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


def address_of(process: subprocess.Popen) -> str:
    """Where a studio that starts is: at the first port that is free, which it keeps from then on.

    One that a test has chosen could be another's when the studio comes to it.
    """
    return lines_until(process, "Atelier is at").split()[-1]


def lines_until(process: subprocess.Popen, word: str) -> str:
    seen = ""
    while word not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    return seen


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
    process = start(tmp_path, "--device", "cpu", **OF_OTHER_PROGRAMS)
    try:
        address = address_of(process)
        lines_until(process, f"{address}/v1")
        stream = f"{address}/gradio_api/heartbeat/abc"
        with httpx.stream("GET", stream, timeout=PATIENCE) as events:
            lines = events.iter_lines()
            next(lines)
            # Last, for soon after it torch is loaded, which takes seconds.
            page = httpx.get(f"{address}/", timeout=PATIENCE)
            assert f'"root":"{address}"' in page.text
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


class Here:
    """``app.py`` in a thread of the tests' process, and what it prints.

    A process of its own would first import all that is here already.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path, *flags: str) -> None:
        self.printed, self.code, self._servers = "", None, []
        arguments = ["--home", str(home), *flags]
        make = serving.Server

        def make_server(*given) -> serving.Server:
            self._servers.append(make(*given))
            return self._servers[-1]

        def run() -> None:
            self.code = app.main(arguments)

        monkeypatch.setattr(serving, "Server", make_server)
        monkeypatch.setattr(app, "print_line", self._print)
        self.thread = threading.Thread(target=run)
        self.thread.start()

    def _print(self, text: str, to_errors: bool = False) -> None:
        self.printed += f"{text}\n"

    def wait_for_line(self, words: str) -> str:
        """Waits until a line with these words is printed; returns it."""
        wait_until(lambda: words in self.printed or not self.thread.is_alive())
        return next(line for line in self.printed.splitlines() if words in line)

    def stop(self) -> None:
        wait_until(lambda: self._servers or not self.thread.is_alive())
        for server in self._servers:
            server.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def run_here(tmp_path, monkeypatch) -> Iterator[Callable[..., Here]]:
    """``run_here(*flags)``: the studio, which is stopped at the end."""
    running, before = [], dict(os.environ)

    def start(*flags: str) -> Here:
        running.append(Here(monkeypatch, tmp_path / "home", *flags))
        return running[-1]

    yield start
    for each in running:
        each.stop()
    os.environ.clear()
    os.environ.update(before)


def test_page_stays_up_when_there_is_no_share_link(run_here, monkeypatch):
    """A proxy that is not there stands for a network that is not there."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    studio = run_here("--share", "--device", "cpu")
    assert "gradio.live cannot be reached" in studio.wait_for_line("No share link")
    assert studio.wait_for_line("user host, password")
    password = studio.wait_for_line("user guest, password").rpartition(" ")[2]
    address = studio.wait_for_line("Atelier is at").split()[-1]
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        assert client.get("/").status_code == 401
        client.post("/login", data={"name": "guest", "password": password})
        assert client.get("/").status_code == 200


def test_device_that_is_not_there_stops_the_studio_with_a_sentence(run_here):
    studio = run_here("--offline", "--device", "cuda:99")
    address = studio.wait_for_line("Atelier is at").split()[-1]
    assert httpx.get(address, timeout=PATIENCE).status_code == 200
    assert studio.wait_for_line("cuda:99")
    studio.thread.join(PATIENCE)
    assert studio.code == 1


@pytest.mark.deep
def test_heavy_libraries_are_loaded_after_the_page_has_answered(tmp_path):
    process = start(tmp_path, "--device", "cpu")
    try:
        with httpx.Client(base_url=address_of(process), timeout=PATIENCE) as client:
            assert client.get("/api/v1/status").json()["ready"] is False
            assert client.get("/").status_code == 200
            wait_until(lambda: client.get("/api/v1/status").json()["ready"], every=0.2)
    finally:
        process.kill()
        process.wait(PATIENCE)
