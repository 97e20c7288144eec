"""How long a newcomer waits for the first picture: a fresh clone, an empty home, two cores.

    python -m benchmarks.studio.first_picture [--runs 3] [--against COMMIT]

The repository is cloned anew for each side, so that nothing is there that its first start makes.
In every run the studio starts with an empty home, the page is fetched, and some time later a
picture is asked for as the button Paint does: at once, when the studio knows its device (torch is
loaded), and when the page is warm, which is when the studio is at rest. Counted are the seconds
until the picture's file has been fetched, and those that the studio computed meanwhile, which other
work on the machine changes less. Beside them: what the process takes before, and how long the
page's status took to answer meanwhile, at worst. ``--against`` measures another commit in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.common.machine import processor
from benchmarks.studio.startup import LIMIT_SECONDS, ROOT, free_port

PROMPT = "a red mug on a wooden floor"
WAITS = ("at once", "device known", "when warm")
AT_REST, REST_SECONDS = 0.1, 3.0  # of a core; for so long
PAUSE_SECONDS = 0.25


class Measured(NamedTuple):
    """One first picture.

    Attributes:
        seconds: from asking to the file.
        computed: seconds of the process on all cores meanwhile.
        resident: bytes of the process before it was asked for.
        slowest: seconds that the status took to answer before, at worst.
        picture: the file.
    """

    seconds: float
    computed: float
    resident: int
    slowest: float
    picture: bytes


def first_picture(checkout: Path, wait: str) -> Measured:
    """Starts ``checkout`` with an empty home and asks for a picture when ``wait`` is over.

    Raises:
        RuntimeError: the studio ended, or the picture was not painted.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "app.py", "--port", str(port), "--home", home, "--offline",
                   "--device", "cpu"]  # fmt: skip
        process = subprocess.Popen(
            command,
            cwd=checkout,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            _wait_for_page(process, address)
            studio = psutil.Process(process.pid)
            slowest = _wait(studio, address, wait)
            resident = studio.memory_info().rss
            started, computed = time.perf_counter(), _cpu_seconds(studio)
            picture = _paint(address)
            seconds = time.perf_counter() - started
            return Measured(seconds, _cpu_seconds(studio) - computed, resident, slowest, picture)
        finally:
            process.terminate()
            process.wait()


def _wait_for_page(process: subprocess.Popen, address: str) -> None:
    started = time.perf_counter()
    while time.perf_counter() - started < LIMIT_SECONDS and process.poll() is None:
        try:
            _get(f"{address}/")
            return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"the page did not answer; exit code {process.poll()}")


def _wait(studio: psutil.Process, address: str, wait: str) -> float:
    """Waits as a person does whose page asks for the status; the slowest answer's seconds."""
    slowest, busy_at = 0.0, time.perf_counter()
    computed = _cpu_seconds(studio)
    while wait != WAITS[0]:
        started = time.perf_counter()
        ready = json.loads(_get(f"{address}/api/v1/status"))["ready"]
        slowest = max(slowest, time.perf_counter() - started)
        now, before, computed = time.perf_counter(), computed, _cpu_seconds(studio)
        if computed - before > AT_REST * (now - started + PAUSE_SECONDS):
            busy_at = now
        if ready and (wait == WAITS[1] or now - busy_at > REST_SECONDS):
            break
        time.sleep(PAUSE_SECONDS)
    return slowest


def _cpu_seconds(studio: psutil.Process) -> float:
    times = studio.cpu_times()
    return times.user + times.system


def _paint(address: str) -> bytes:
    body = json.dumps({"prompt": PROMPT, "seed": 1}).encode()
    request = urllib.request.Request(
        f"{address}/api/v1/jobs/text_to_image", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as answer:
        job = json.load(answer)
    events = _get(f"{address}/api/v1/jobs/{job['id']}/events").splitlines()
    lines = [line for line in events if line.startswith(b"data:")]
    job = json.loads(lines[-1].removeprefix(b"data:"))
    if job["state"] != "done":
        raise RuntimeError(f"the first picture was not painted: {job}")
    return _get(f"{address}/{job['pictures'][0]['url']}")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=LIMIT_SECONDS) as answer:
        return answer.read()


def clone(commit: str, folder: Path) -> Path:
    """A fresh clone of this repository at ``commit``."""
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["git", "clone", "--no-checkout", str(ROOT), str(folder)], **quiet)
    subprocess.run(["git", "checkout", "--detach", commit], cwd=folder, **quiet)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--against", help="another commit, measured in turn")
    options = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    here = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    commits = [here.stdout.strip(), *([options.against] if options.against else [])]
    with tempfile.TemporaryDirectory() as folder:
        sides = {commit: clone(commit, Path(folder, commit)) for commit in commits}
        taken: dict[tuple[str, str], list[Measured]] = {}
        for _ in range(options.runs):
            for wait in WAITS:
                for commit, checkout in sides.items():
                    measured = first_picture(checkout, wait)
                    taken.setdefault((commit, wait), []).append(measured)
    print(f"{'first picture, seconds':<34}{'median':>8}{'min':>8}{'max':>8}"
          f"{'computed':>10}{'MB before':>11}{'slowest status':>16}")  # fmt: skip
    for (commit, wait), each in taken.items():
        seconds = [one.seconds for one in each]
        name = f"{commit[:10]}, asked {wait}"
        resident = statistics.median(one.resident for one in each) / 1e6
        computed = statistics.median(one.computed for one in each)
        slowest = max(one.slowest for one in each)
        median = statistics.median(seconds)
        print(f"{name:<34}{median:>8.1f}{min(seconds):>8.1f}{max(seconds):>8.1f}"
              f"{computed:>10.1f}{resident:>11.0f}{slowest:>14.2f} s")  # fmt: skip
    pixels = {_pixels(one.picture) for each in taken.values() for one in each}
    print(f"different pictures of one seed: {len(pixels)}  (target 1)")
    print(f"load at the end: {os.getloadavg()[0]:.1f}; target ≤ 6 s when warm")


def _pixels(file: bytes) -> bytes:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(file)) as picture:
        return picture.tobytes()


if __name__ == "__main__":
    main()
