"""kill -9 while painting, with jobs queued behind: nothing is lost, nothing is half there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from studio.home import HomeLock
from tests.studio.test_jobs import Desk

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from tests.studio.test_jobs import Desk
desk = Desk(Path(sys.argv[1]))
desk.submit(prompt="interrupted", pictures=4, steps=40, seconds=0.01)
for name in "abc":
    desk.submit(prompt=name)
desk.jobs.start()
print("painting", flush=True)
time.sleep(60)
"""


def test_after_kill_9_the_queue_runs_on_and_every_picture_is_whole(tmp_path):
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home)], cwd=ROOT, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    end = time.monotonic() + 20
    while len(list((home / "outputs").rglob("*.png"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    desk = Desk(home)
    with HomeLock(home):
        states = {job.request["prompt"]: job.state for job in desk.jobs.list("ann")}
        assert states == {"interrupted": "running", "a": "queued", "b": "queued", "c": "queued"}
        before = {row.id for row in desk.gallery.search("ann")}
        assert before, "the first picture was saved before the kill"
        desk.jobs.start()
        for job in desk.jobs.list("ann"):
            assert desk.ended(job).state == "done"
        rows = desk.gallery.search("ann")
        assert len(rows) == 4 + 3
        assert before <= {row.id for row in rows}, "what was there is still there"
        for row in rows:
            with Image.open(desk.gallery.path("ann", row.id)) as image:
                image.load()
        files = [path for path in (home / "outputs").rglob("*") if path.is_file()]
        assert len(files) == len(rows)
    desk.close()
