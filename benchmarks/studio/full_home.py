"""How long each route keeps everybody waiting when one visitor's home is full.

    python -m benchmarks.studio.full_home [--rounds 3]

Fills a home to what a visitor can keep: 5,000 pictures, 2,000 jobs with the longest prompts, a
conversation of 10,000 messages and 500 short ones, 200 brought-in pictures, 50 tables and data
sets, 10,000 files in the upload folder. Then asks every listing, searching and exporting route, one
after the other, while a process beside it asks for a cheap route every 20 ms. The table says for
each route its own seconds, the size of its answer, and the longest answer of the cheap route
meanwhile, less its median on the idle studio: what the route has kept the event loop or the
interpreter busy. To reach: ≤ 0.2 s.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from benchmarks.common.machine import processor
from benchmarks.visitors import CHEAP, Studio

PICTURES, JOBS, MESSAGES, CHATS, INPUTS, TABLES, UPLOADS = 5000, 2000, 10_000, 500, 200, 50, 10_000
PROBE_SECONDS = 0.02
TARGET_SECONDS = 0.2
WORDS = " ".join(f"w{number}" for number in range(240))[:1000]

# Runs in the studio's own code, before the server starts: rows as the services write them.
FILL = """
import io, json, sys, time
from pathlib import Path
from PIL import Image
from pipelines.core.events import Picture
from pipelines.diffusion.requests import TextToImageRequest
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.app import open_studio
from studio.core.services import Options

home, pictures, jobs, messages, chats, inputs, tables, uploads = (
    Path(sys.argv[1]), *map(int, sys.argv[2:]))
studio = open_studio(Options(home, (), "cpu", None, True))
prompt = ("a red mug on a wooden floor, " * 400)[:10_000]
request = TextToImageRequest(prompt=prompt).model_dump_json()
with studio.store.transaction() as connection:
    connection.executemany(
        "INSERT INTO jobs (id, owner, kind, request, state, created) "
        "VALUES (?, 'local', 'text_to_image', ?, 'done', ?)",
        [(f"job{n}", request, time.time()) for n in range(jobs)])
folder = home / "outputs" / "local"
folder.mkdir(parents=True, exist_ok=True)
buffer = io.BytesIO()
Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
for n in range(pictures):
    (folder / f"p{n}.png").write_bytes(buffer.getvalue())
with studio.store.transaction() as connection:
    connection.executemany(
        "INSERT INTO pictures (id, owner, job_id, position, kind, request, parameters, words, "
        "width, height, bytes, seconds, file, created) VALUES "
        "(?, 'local', ?, ?, 'text_to_image', ?, ?, ?, 64, 64, 200, 1.0, ?, ?)",
        [(f"p{n}", f"job{n % jobs}", n // jobs, request, prompt, prompt, f"local/p{n}.png",
          time.time()) for n in range(pictures)])
turns = [{"role": ("user", "assistant")[n % 2], "content": f"twin {n % 7}"}
         for n in range(messages)]
long = json.dumps({"messages": turns}).encode()
brought = studio.exchange.bring("local", io.BytesIO(long), len(long), "smollm2-135m")
(home / "longest").write_text(brought.first.id)
short = json.dumps({"messages": turns[:4]}).encode()
for _ in range(chats):
    studio.exchange.bring("local", io.BytesIO(short), len(short), "smollm2-135m")
for n in range(inputs):
    made = io.BytesIO()
    Image.new("RGB", (128, 128), (n, 0, 0)).save(made, "PNG")
    studio.inputs.bring("local", made.getvalue())
for n in range(tables):
    studio.cluster_data.make(LOCAL_OWNER, {"kind": "made", "name": "blobs", "points": 20_000,
                                           "seed": n}, __import__("threading").Event())
for n in range(uploads):
    place = home / "cache" / f"{n:064x}"
    place.mkdir(parents=True)
    (place / "x.png").write_bytes(b"x")
studio.close()
"""

GETS = (
    "/",
    "/api/v1/jobs?limit=200",
    "/api/v1/pictures?limit=200",
    f"/api/v1/pictures?limit=200&search={WORDS}",
    "/api/v1/pictures/ids",
    "/api/v1/chats",
    f"/api/v1/chats?search={WORDS}",
    "/api/v1/chats/{chat}",
    "/api/v1/chats/{chat}?drawn=true",
    "/api/v1/chats/{chat}?drawn=true&all=true",
    "/api/v1/chats/{chat}/export.md",
    "/api/v1/chats/{chat}/export.json",
    "/api/v1/inputs",
    "/api/v1/subjects",
    "/api/v1/loras",
    "/api/v1/trainings",
    "/api/v1/cluster-tables",
    "/api/v1/cluster-data",
    "/api/v1/models",
    "/api/v1/status",
)


def fill(home: Path) -> None:
    import subprocess

    counts = map(str, (PICTURES, JOBS, MESSAGES, CHATS, INPUTS, TABLES, UPLOADS))
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", FILL, str(home), *counts], cwd=root, check=True)


def probe(address: str, cookies: dict[str, str], over: Any, told: Any) -> None:
    """Asks for the cheap route until ``over`` is set; sends when each answer came, and its time."""
    found = []
    with httpx.Client(base_url=address, cookies=cookies, timeout=120) as client:
        while not over.is_set():
            start = time.monotonic()
            client.get(CHEAP)
            found.append((start, time.monotonic()))
            time.sleep(PROBE_SECONDS)
    told.send(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        fill(home)
        studio = Studio(home)
        try:
            measure(studio, rounds, (home / "longest").read_text())
        finally:
            studio.close()


def measure(studio: Studio, rounds: int, longest: str) -> None:
    form = {"name": "host", "password": studio.passwords["host"]}
    with httpx.Client(base_url=studio.address, timeout=300) as host:
        host.post("/login", data=form)
        host.get("/")
        while not host.get("/api/v1/status").json()["ready"]:  # torch is imported meanwhile
            time.sleep(1)
        time.sleep(5)
        context = multiprocessing.get_context("spawn")
        times, told = context.Pipe(duplex=False)
        over = context.Event()
        beside = context.Process(
            target=probe, args=(studio.address, dict(host.cookies), over, told)
        )
        beside.start()
        time.sleep(5)
        idle_until = time.monotonic()
        asked: list[tuple[str, float, float, int]] = []
        for path in GETS:
            for _ in range(rounds):
                start = time.monotonic()
                answer = host.get(path.format(chat=longest))
                assert answer.status_code == 200, (path, answer.text[:200])
                asked.append((path, start, time.monotonic(), len(answer.content)))
                time.sleep(0.2)
        for name, body in (("import of 10,000 messages", long_chat()), ("one picture", png())):
            path = "/api/v1/chats/import" if "messages" in name else "/api/v1/inputs"
            start = time.monotonic()
            answer = host.post(path, content=body)
            asked.append((name, start, time.monotonic(), len(answer.content)))
            time.sleep(0.2)
        over.set()
        probes = times.recv()
        beside.join()
    idle = statistics.median(end - start for start, end in probes if end < idle_until)
    print(f"{processor()}, {os.cpu_count()} cores; "
          f"the cheap route alone: {idle:.4f} s")  # fmt: skip
    print(f"{'route':<48}{'seconds':>9}{'kB':>9}{'stall':>9}")
    names = dict.fromkeys(path for path, *_ in asked)
    for name in names:
        rows = [row for row in asked if row[0] == name]
        stall = max(longest_beside(probes, start, end) for _, start, end, _ in rows) - idle
        seconds = statistics.median(end - start for _, start, end, _ in rows)
        mark = "" if stall <= TARGET_SECONDS else "  too long"
        print(f"{name[:46]:<48}{seconds:>9.3f}{rows[0][3] / 1000:>9.1f}{stall:>9.3f}{mark}")


def longest_beside(probes: list[tuple[float, float]], start: float, end: float) -> float:
    """The longest of the cheap answers that were awaited while a route was."""
    return max((b - a for a, b in probes if b >= start and a <= end), default=0.0)


def long_chat() -> bytes:
    turns = [
        {"role": ("user", "assistant")[number % 2], "content": "twin"} for number in range(MESSAGES)
    ]
    return json.dumps({"messages": turns}).encode()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((2000, 1500), 80).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
