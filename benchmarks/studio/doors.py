"""What the doors for other programs cost over the engines themselves.

    python -m benchmarks.studio.doors [--runs 7]

One studio serves in this process, and all sides take turns: the engine called directly, and the
same request by each door. Shown are medians and what a door takes more; the goal is 5 % at most.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from mcp import Client

from benchmarks.common.machine import processor
from pipelines.chat.engine import run as answer
from pipelines.chat.requests import ChatRequest
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.text_to_image import run as paint
from studio.app import build_app, open_studio
from studio.core.services import Options, Studio
from studio.serving import Server, listen

PICTURE = {"prompt": "a red mug on a wooden floor", "steps": 20, "seed": 5}
TALK = {"temperature": 0.0, "messages": [{"role": "user", "content": "Tell me about ducks."}]}
TOKENS = 32
SECONDS = 300.0  # for which a door may be silent
Side = Callable[[], None]


def by_mcp(address: str) -> None:
    """Paints a picture by the official client, its connection included."""

    async def call() -> None:
        async with Client(f"{address}/mcp") as client:
            result = await client.call_tool("paint", PICTURE)
            assert not result.is_error, result

    asyncio.run(call())


def sides(studio: Studio, address: str, client: httpx.Client) -> dict[str, dict[str, Side]]:
    """What is measured → side → one run of it; the engine comes first."""

    def post(path: str, body: dict[str, Any]) -> None:
        client.post(f"{address}/v1/{path}", json=body).raise_for_status()

    def exhaust(engine: Callable[..., Any], request: Any) -> None:
        for _ in engine(request, studio.cache, threading.Event()):
            pass

    painting = TextToImageRequest(**PICTURE)
    talking = ChatRequest(max_new_tokens=TOKENS, **TALK)
    return {
        "a picture": {
            "engine": lambda: exhaust(paint, painting),
            "/v1/images/generations": lambda: post("images/generations", PICTURE),
            "/mcp": lambda: by_mcp(address),
        },
        f"an answer of {TOKENS} tokens": {
            "engine": lambda: exhaust(answer, talking),
            "/v1/chat/completions": lambda: post(
                "chat/completions", {**TALK, "max_tokens": TOKENS}
            ),
        },
    }


def measure(compared: dict[str, Side], runs: int) -> dict[str, float]:
    """Side → the median of its seconds, the sides taking turns; the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    for turn in range(runs + 1):
        for name, work in compared.items():
            begun = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each) for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=7, help="of each side (%(default)s)")
    runs = parser.parse_args().runs
    print(processor())
    with tempfile.TemporaryDirectory() as home:
        studio = open_studio(Options(Path(home), offline=True))
        listener, started = listen("127.0.0.1", 0), threading.Event()
        server = Server(build_app(studio), started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        started.wait()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(timeout=SECONDS) as client:
                for what, compared in sides(studio, address, client).items():
                    print(f"\n{what:32} {'seconds':>8} {'over the engine':>16}")
                    found = measure(compared, runs)
                    engine = found["engine"]
                    for name, seconds in found.items():
                        print(f"{name:32} {seconds:8.3f} {seconds / engine - 1:16.1%}")
        finally:
            server.stop()
            thread.join()


if __name__ == "__main__":
    main()
