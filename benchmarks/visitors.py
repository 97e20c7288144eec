"""What a crowd at the door costs the host: waiting, memory, and whether the studio is still there.

    python -m benchmarks.visitors [--short] [--only idle logins …] [--minutes 10]

Starts a studio with the accounts that ``--share`` makes, without the tunnel, in a home of its own.
While each crowd is at the door, a host in a process of its own asks for a cheap route ten times a
second. The table says how long that took (median, 95th percentile, longest), what the studio's
processes took of the memory (proportional set size) before, at the peak and a minute after, and how
the crowd was answered: ok, refused (429 or 503), failed. To reach: longest ≤ 1 s (≤ 2 s beside
painting on both cores), memory after ≤ 1.15 × before, nothing failed.

Requests go to 127.0.0.1 only, are bounded in number and time, and end by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, PngImagePlugin

from benchmarks.common.machine import processor

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
LIMIT_SECONDS = 300.0  # of one crowd, whatever it does
PROBE_SECONDS = 0.1
CHEAP = "/api/v1/health"
CLUSTER = "/api/v1/jobs/cluster"
TARGET_SECONDS, TARGET_MEMORY = 1.0, 1.15

SERVE = """
import json, sys
from pathlib import Path
from studio.core.accounts.accounts import choose_accounts
from studio.app import build_app, open_studio, warm_up
from studio.core.services import Options
from studio.serving import Server, listen

accounts, made = choose_accounts(None, reachable=True)
listener = listen("127.0.0.1", 0)
studio = open_studio(Options(Path(sys.argv[1]), tuple(accounts), "cpu", None, True))
known = {each.account.name: each.password for each in made}
port = listener.getsockname()[1]
started = lambda: print(json.dumps({"port": port, "passwords": known}), flush=True)
Server(build_app(studio, lambda: warm_up(studio)), started).run(sockets=[listener])
"""


@dataclass
class Crowd:
    """How a crowd was answered.

    Attributes:
        answers: ok, refused or failed → how many.
        failures: the first few that failed.
    """

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def note(self, status: int, words: str = "") -> None:
        kind = "ok" if status < 400 else "refused" if status in (429, 503) else "failed"
        self.answers[kind] += 1
        if kind == "failed" and len(self.failures) < 3:
            self.failures.append(f"{status} {words[:200]}")

    async def ask(self, request: Awaitable[httpx.Response], expected: int = 0) -> httpx.Response:
        """Notes an answer; one with the ``expected`` status is ok."""
        try:
            answer = await request
        except httpx.HTTPError as error:
            self.note(599, repr(error))
            raise
        self.note(200 if answer.status_code == expected else answer.status_code, answer.text)
        return answer


class Studio:
    """A running studio: its address, passwords and processes."""

    def __init__(self, home: Path) -> None:
        # Longer-lived than a test's: the limits of open files are the system's own.
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(home)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        facts = json.loads(self._process.stdout.readline())
        self.address = f"http://{HOST}:{facts['port']}"
        self.port, self.passwords = facts["port"], facts["passwords"]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def memory(self) -> int:
        """Bytes of all its processes, what they share counted once."""
        total = 0
        for pid in (self._process.pid, *children(self._process.pid)):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += 1024 * int(line.split()[1])
        return total

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    @contextlib.asynccontextmanager
    async def visitor(self, name: str = "guest"):
        """A browser of a guest of its own, or of the host."""
        async with httpx.AsyncClient(base_url=self.address, timeout=120) as client:
            form = {"name": name, "password": self.passwords[name]}
            answer = await client.post("/login", data=form)
            assert answer.status_code == 303, answer.text
            yield client


def children(pid: int) -> Iterator[int]:
    """All descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(stat[1]), []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        for child in parents.get(waiting.pop(), ()):
            yield child
            waiting.append(child)


def probe(address: str, cookie: dict[str, str], over: Any, times: Any) -> None:
    """The host's process: asks for a cheap route until ``over`` is set, and sends the seconds."""
    found = []
    with httpx.Client(base_url=address, cookies=cookie, timeout=120) as client:
        while not over.is_set():
            start = time.perf_counter()
            try:
                client.get(CHEAP).raise_for_status()
                found.append(time.perf_counter() - start)
            except httpx.HTTPError:
                found.append(float("inf"))
            time.sleep(max(0.0, PROBE_SECONDS - (time.perf_counter() - start)))
    times.send(found)


# --- the crowds ---------------------------------------------------------------------------------


async def idle(studio: Studio, crowd: Crowd, scale: float) -> None:
    """Connections that say nothing."""
    opened = []
    for _ in range(round(2000 * scale)):
        try:
            opened.append(await asyncio.open_connection(HOST, studio.port))
            crowd.note(200)
        except OSError as error:
            crowd.note(599, repr(error))
    await asyncio.sleep(10)
    for _, writer in opened:
        writer.close()


async def logins(studio: Studio, crowd: Crowd, scale: float) -> None:
    """Wrong passwords, for names that are there and names that are not."""
    async with httpx.AsyncClient(base_url=studio.address, timeout=120) as client:

        async def one(number: int) -> None:
            form = {"name": ("guest", "host", f"n{number}")[number % 3], "password": "wrong"}
            await crowd.ask(client.post("/login", data=form), expected=401)

        await together(one, round(500 * scale), 60)


async def pages(studio: Studio, crowd: Crowd, scale: float) -> None:
    """Loads of the page by one guest, each with a session that begins its events."""
    async with studio.visitor() as guest:
        events = opening_events((await guest.get("/")).text)

        async def one(number: int) -> None:
            await crowd.ask(guest.get("/"))
            session = secrets.token_hex(5)
            for event in events[:3]:
                await crowd.ask(join(guest, event, session))
            with contextlib.suppress(httpx.TimeoutException):
                await listen(guest, session, crowd, seconds=1.0)

        await together(one, round(500 * scale), 20)


async def watches(studio: Studio, crowd: Crowd, scale: float) -> None:
    """Pages that watch one long job."""
    async with studio.visitor() as guest:
        job = (await paint(guest, crowd, steps=150)).json()
        events = opening_events((await guest.get("/")).text)

        async def one(number: int) -> None:
            session = secrets.token_hex(5)
            await crowd.ask(join(guest, events[0], session))
            await listen(guest, session, crowd, seconds=15.0)

        await together(one, round(60 * scale), 60)
        await crowd.ask(guest.post(f"/api/v1/jobs/{job['id']}/cancel"))


async def streams(studio: Studio, crowd: Crowd, scale: float) -> None:
    """Event streams of one job."""
    async with studio.visitor() as guest:
        job = (await paint(guest, crowd, steps=150)).json()

        async def one(number: int) -> None:
            path = f"/api/v1/jobs/{job['id']}/events"
            with contextlib.suppress(TimeoutError, httpx.TimeoutException):
                async with asyncio.timeout(15), guest.stream("GET", path) as answer:
                    crowd.note(answer.status_code)
                    async for _ in answer.aiter_lines():
                        pass

        await together(one, round(200 * scale), 200)
        await crowd.ask(guest.post(f"/api/v1/jobs/{job['id']}/cancel"))


async def maps(studio: Studio, crowd: Crowd, scale: float) -> None:
    """Maps of one picture, all at once."""
    async with studio.visitor() as guest:
        picture = (await crowd.ask(guest.post("/api/v1/inputs", content=a_picture()))).json()["id"]

        async def one(number: int) -> None:
            body = {"picture": picture, "preprocessor": "depth", "width": 512}
            await crowd.ask(
                guest.post("/api/v1/condition", json={**body, "height": 8 * number + 64})
            )

        await together(one, round(60 * scale), 60)


async def slow(studio: Studio, crowd: Crowd, scale: float) -> None:
    """Inputs on which a careless pattern, a lexer or a search would stay for minutes."""
    async with studio.visitor() as guest:
        info = PngImagePlugin.PngInfo()
        line = "ControlNet 0: " + " " * 160_000
        info.add_text("parameters", f"a mug\nSteps: 20, Sampler: Euler, {line}x, Seed: 1", zip=True)
        odd = a_picture(pnginfo=info)
        cell = b"a,b\n" + b"1" * 8000 + b"x,2\n3,4\n"
        code = "```trac-wiki\n" + "[[" * 9000 + "\n```\n" + "**a " * 15_000
        chat = {"messages": [{"role": "user", "content": code}]}
        await crowd.ask(guest.post("/api/v1/pictures/read-settings", content=odd))
        await any_answer(crowd, guest.post("/api/v1/cluster-tables?name=x.csv", content=cell))
        await paint(guest, crowd, prompt="a mug" + " " * 9_900 + "BREA")
        await any_answer(crowd, guest.post("/api/v1/chats/import", json=chat))
        turns = [{"role": ("user", "assistant")[n % 2], "content": "twin"} for n in range(10_000)]
        long = await guest.post("/api/v1/chats/import", json={"messages": turns})
        crowd.note(200 if long.status_code < 500 else long.status_code, long.text)
        if long.status_code == 201:
            chat = long.json()["chats"][0]["id"] if "chats" in long.json() else long.json()["id"]
            await any_answer(crowd, guest.get(f"/api/v1/chats/{chat}/export.json"))
        words = " ".join(f"w{number}" for number in range(500))
        await any_answer(crowd, guest.get("/api/v1/chats", params={"search": words[:1000]}))
        await any_answer(crowd, guest.get("/api/v1/pictures", params={"search": words[:1000]}))


async def people(studio: Studio, crowd: Crowd, scale: float, minutes: float = 10.0) -> None:
    """Eight visitors who paint, chat and cluster, each for themselves."""
    end = time.monotonic() + 60 * minutes

    async def one(number: int) -> None:
        async with studio.visitor() as guest:
            while time.monotonic() < end:
                await PASTIMES[number % len(PASTIMES)](guest, crowd)
                await asyncio.sleep(0.5)

    await together(one, 8, 8)


async def paint_one(guest: httpx.AsyncClient, crowd: Crowd) -> None:
    await until_ended(guest, crowd, await paint(guest, crowd, steps=8))


async def chat_once(guest: httpx.AsyncClient, crowd: Crowd) -> None:
    body = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": "Name a toy."}],
        "max_tokens": 24,
    }
    await crowd.ask(guest.post("/v1/chat/completions", json=body))


async def cluster_once(guest: httpx.AsyncClient, crowd: Crowd) -> None:
    source = {"kind": "made", "name": "moons", "points": 5000}
    data = (await crowd.ask(guest.post("/api/v1/cluster-data", json=source))).json()
    if "id" in data:
        body = {"data": data["id"], "algorithm": "kmeans"}
        await until_ended(guest, crowd, await crowd.ask(guest.post(CLUSTER, json=body)))


PASTIMES = (paint_one, chat_once, cluster_once)

CROWDS: dict[str, Callable[..., Awaitable[None]]] = {
    "idle": idle,
    "logins": logins,
    "pages": pages,
    "watches": watches,
    "streams": streams,
    "maps": maps,
    "slow": slow,
    "people": people,
}


# --- what crowds do -----------------------------------------------------------------------------


async def together(one: Callable[[int], Awaitable[None]], count: int, at_once: int) -> None:
    """``one(number)`` for each number below ``count``, ``at_once`` at a time."""
    places = asyncio.Semaphore(at_once)

    async def place(number: int) -> None:
        async with places:
            with contextlib.suppress(httpx.HTTPError):
                await one(number)

    await asyncio.gather(*(place(number) for number in range(count)))


async def until_ended(guest: httpx.AsyncClient, crowd: Crowd, answer: httpx.Response) -> None:
    """Looks at a job twice a second, as long as it goes on."""
    job = answer.json()
    while "id" in job and job["state"] not in ("done", "failed", "cancelled"):
        await asyncio.sleep(0.5)
        job = (await crowd.ask(guest.get(f"/api/v1/jobs/{job['id']}"))).json()
    if job.get("state") == "failed":
        crowd.note(599, str(job["error"]))


async def any_answer(crowd: Crowd, request: Awaitable[httpx.Response]) -> None:
    """An answer of whatever status that is not the server's own failure."""
    answer = await request
    crowd.note(200 if answer.status_code < 500 else answer.status_code, answer.text)


def paint(guest: httpx.AsyncClient, crowd: Crowd, **settings: Any) -> Awaitable[httpx.Response]:
    body = {"prompt": "a red mug", **settings}
    return crowd.ask(guest.post("/api/v1/jobs/text_to_image", json=body))


def a_picture(**options: Any) -> bytes:
    buffer = BytesIO()
    Image.effect_noise((512, 512), 60).convert("RGB").save(buffer, "PNG", **options)
    return buffer.getvalue()


def opening_events(page: str) -> list[dict[str, Any]]:
    """What the page begins when it is opened: first what goes on, such as the watch of a job."""
    start = page.index("window.gradio_config = ") + len("window.gradio_config = ")
    config = json.JSONDecoder().raw_decode(page[start:])[0]
    loads = [
        each
        for each in config["dependencies"]
        if each["backend_fn"] and any(target[1] == "load" for target in each["targets"])
    ]
    return sorted(loads, key=lambda each: not each["types"]["generator"])


def join(guest: httpx.AsyncClient, event: dict[str, Any], session: str) -> Awaitable:
    body = {
        "data": [None] * len(event["inputs"]),
        "fn_index": event["id"],
        "session_hash": session,
    }
    return guest.post("/gradio_api/queue/join", json=body)


async def listen(guest: httpx.AsyncClient, session: str, crowd: Crowd, seconds: float) -> None:
    """Hears what a session's events say, as the page does."""
    query = {"session_hash": session}
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(seconds),
            guest.stream("GET", "/gradio_api/queue/data", params=query) as answer,
        ):
            crowd.note(answer.status_code)
            async for line in answer.aiter_lines():
                if "close_stream" in line:
                    return


# --- measuring ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What one crowd has cost: seconds, bytes, answers."""

    name: str
    seconds: list[float]
    before: int
    peak: int
    after: int
    crowd: Crowd
    alive: bool


async def measure(studio: Studio, name: str, scale: float, settle: float, **options: float) -> Row:
    """One crowd beside the host; ``settle`` is how long afterwards the memory is looked at."""
    async with studio.visitor("host") as host:
        cookies = dict(host.cookies)
    before, crowd, peak = studio.memory(), Crowd(), [0]
    gone = threading.Event()

    def look() -> None:
        while not gone.wait(1.0):
            peak[0] = max(peak[0], studio.memory())

    context = multiprocessing.get_context("spawn")
    times, told = context.Pipe(duplex=False)
    over = context.Event()
    host_process = context.Process(target=probe, args=(studio.address, cookies, over, told))
    looker = threading.Thread(target=look)
    host_process.start()
    looker.start()
    await asyncio.sleep(2.0)
    try:
        async with asyncio.timeout(LIMIT_SECONDS + 60 * options.get("minutes", 0)):
            await CROWDS[name](studio, crowd, scale, **options)
    except TimeoutError:
        crowd.note(599, "the crowd did not end in time")
    except Exception as error:
        crowd.note(599, repr(error))
    await asyncio.sleep(2.0)
    over.set()
    seconds = await asyncio.to_thread(times.recv)
    host_process.join()
    await asyncio.sleep(settle)
    gone.set()
    looker.join()
    return Row(name, seconds, before, peak[0], studio.memory(), crowd, studio.alive)


def line(row: Row) -> str:
    times = sorted(row.seconds)
    spread = (
        statistics.median(times),
        times[min(len(times) - 1, int(0.95 * len(times)))],
        times[-1],
    )
    seconds = "".join(f"{each:>9.3f}" for each in spread)
    memory = "".join(f"{each / 2**20:>8.0f}" for each in (row.before, row.peak, row.after))
    answers = "".join(f"{row.crowd.answers[kind]:>9}" for kind in ("ok", "refused", "failed"))
    state = "" if row.alive else "  the studio has ended"
    return f"{row.name:<10}{seconds}{memory}{row.after / row.before:>7.2f}{answers}{state}"


def run(names: list[str], scale: float, settle: float, minutes: float) -> list[Row]:
    """The rows of these crowds, printed as they come."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Path(folder) / "home")
        try:
            asyncio.run(warm(studio))
            for name in names:
                options = {"minutes": minutes} if name == "people" else {}
                rows.append(asyncio.run(measure(studio, name, scale, settle, **options)))
                print(line(rows[-1]), flush=True)
                for each in rows[-1].crowd.failures:
                    print(f"    failed: {each}", flush=True)
        finally:
            studio.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return rows


async def warm(studio: Studio) -> None:
    """Loads what every studio has loaded after its first minutes."""
    crowd = Crowd()
    async with studio.visitor("host") as host:
        await host.get("/")
        for pastime in PASTIMES:
            await pastime(host, crowd)
        picture = (await host.post("/api/v1/inputs", content=a_picture())).json()["id"]
        body = {"picture": picture, "preprocessor": "depth", "width": 512, "height": 512}
        await host.post("/api/v1/condition", json=body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="a tenth of each crowd")
    parser.add_argument("--only", nargs="+", choices=CROWDS, default=list(CROWDS))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the eight people")
    flags = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores")
    print(f"{'':<10}{'host: s median, 95 %, longest':>27}{'MB before, peak, after':>24}"
          f"{'ratio':>7}{'ok':>9}{'refused':>9}{'failed':>9}")  # fmt: skip
    short = flags.short
    run(flags.only, 0.1 if short else 1.0, 5.0 if short else 60.0, 0.5 if short else flags.minutes)


if __name__ == "__main__":
    main()
