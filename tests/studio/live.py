"""A studio that answers on a real port, in a thread of the test's process."""

from __future__ import annotations

import faulthandler
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from studio.app import build_app, open_studio
from studio.core.services import Options, Studio
from studio.page import parts, shell
from studio.page.events import Page
from studio.serving import Server, listen
from tests.patience import PATIENCE, wait_until

TINY = "tiny-sd1"
ENDED = ("done", "failed", "cancelled")


def build_api(studio: Studio) -> FastAPI:
    """As :func:`build_app`, with an empty page: to draw all of it takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell, "build", lambda studio, is_upload: Page(is_upload))
        patch.setattr(parts, "take_parts", lambda page: {})
        return build_app(studio)


@contextmanager
def live_studio(
    options: Options, build: Callable[[Studio], FastAPI] = build_app
) -> Iterator[tuple[Studio, str]]:
    """The studio and its address; stopped and closed at the end."""
    studio = open_studio(options)
    listener = listen("127.0.0.1", 0)
    started = threading.Event()
    server = Server(build(studio), started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert started.wait(PATIENCE)
        yield studio, f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        thread.join(PATIENCE)
        if thread.is_alive():
            faulthandler.dump_traceback(all_threads=True)  # who holds it up
        assert not thread.is_alive()


def options_for(home: Path, models: Path, control: Path | None = None, **more: Any) -> Options:
    """Options of a studio in ``home`` on the CPU that has the models of another home.

    ``control`` is a folder of control models that it has as well.
    """
    home.mkdir(exist_ok=True)
    if control is not None:
        (home / "control").symlink_to(control, target_is_directory=True)
    (home / "models").symlink_to(models / "models", target_is_directory=True)
    # What is free on the machine decides nothing: other tests run beside this one.
    return Options(home, **{"device": "cpu", "offline": True, "budget": 16 * 2**30} | more)


def page_config(client: httpx.Client) -> dict[str, Any]:
    """The components and events of the page and of all its tabs, which it fetches one by one."""
    text = client.get("/").text
    start = "window.gradio_config = "
    config = json.JSONDecoder().raw_decode(text[text.index(start) + len(start) :])[0]
    for name, part in config["parts"].items():
        if "listeners" not in part:  # those are there already
            fetched = client.get(f"/tabs/{name}.json").json()
            config["components"] += fetched["components"]
            config["dependencies"] += fetched["dependencies"]
    return config


def settings(**changes: Any) -> dict[str, Any]:
    """A request that the tiny model paints in a moment."""
    base = {"prompt": "a red mug", "model": TINY, "steps": 2, "width": 64, "height": 64, "seed": 1}
    return base | changes


def paint(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    """Sends a job and waits for its end; the job as the API describes it."""
    answer = client.post("/api/v1/jobs/text_to_image", json=settings(**changes))
    assert answer.status_code == 202, answer.text
    return wait_for(client, answer.json()["id"])


def wait_for(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """Waits for the end of a job; the job as the API describes it."""

    def find_ended() -> dict[str, Any] | None:
        job = client.get(f"/api/v1/jobs/{job_id}").json()
        return job if job["state"] in ENDED else None

    return wait_until(find_ended, every=0.02)


@contextmanager
def waiting_client(client: httpx.Client, path: str, body: Any) -> Iterator[None]:
    """Posts ``body`` as ``client`` would, and hangs up at the end without reading the answer."""
    request = client.build_request("POST", path, json=body)
    lines = [f"POST {request.url.raw_path.decode()} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    with socket.create_connection((request.url.host, request.url.port)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + request.content)
        yield


def sentence(answer: httpx.Response) -> str:
    """The one sentence of an error, whose form is checked."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type"}
    assert error["message"].strip()
    assert "Traceback" not in error["message"]
    return error["message"]
