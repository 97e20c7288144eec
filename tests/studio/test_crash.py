"""kill -9 while painting or training, with jobs queued behind: nothing is lost or half there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pipelines.core.checkpoint import FILE
from pipelines.dreambooth.folder import TrainingFolder
from studio.app import open_studio
from studio.core.home import HomeLock
from tests.patience import PATIENCE, wait_until
from tests.pipelines.dreambooth.data.test_photos import encode, scene
from tests.studio.core.jobs.test_jobs import Desk
from tests.studio.live import options_for

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from tests.studio.core.jobs.test_jobs import Desk
desk = Desk(Path(sys.argv[1]))
desk.submit(prompt="interrupted", pictures=4, steps=40, seconds=0.01)
for name in "abc":
    desk.submit(prompt=name)
desk.jobs.start()
print("painting", flush=True)
time.sleep(3600)
"""


def test_after_kill_9_the_queue_runs_on_and_every_picture_is_whole(tmp_path):
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home)], cwd=ROOT, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    wait_until(lambda: len(list((home / "outputs").rglob("*.png"))) >= 2)
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
            assert desk.wait_for_end(job).state == "done"
        rows = desk.gallery.search("ann")
        assert len(rows) == 4 + 3
        assert before <= {row.id for row in rows}, "what was there is still there"
        for row in rows:
            with Image.open(desk.gallery.path("ann", row.id)) as image:
                image.load()
        files = [path for path in (home / "outputs").rglob("*") if path.is_file()]
        assert len(files) == len(rows)
    desk.close()


TEACHING = """
import sys, time
from pathlib import Path
from studio.core.accounts.accounts import Owner
from studio.app import open_studio
from studio.core.services import Options
studio = open_studio(Options(Path(sys.argv[1]), device="cpu", offline=True))
for number, name in enumerate(("ann", "ben")):
    studio.submissions.submit(Owner(name, name, is_host=False), "dreambooth", {
        "subject": sys.argv[2 + number], "model": "tiny-sd1", "name": name + "'s cat",
        "identifier": "sks", "class_word": "cat", "rank": 2, "batch_size": 2,
        "steps": 60 if name == "ann" else 2, "save_every": 5, "mixed_precision": "no",
    })
studio.jobs.start()
time.sleep(3600)
"""


@pytest.mark.deep
def test_after_a_power_cut_a_training_goes_on_and_another_persons_runs_too(tmp_path, twin_home):
    """Studio and trainer are killed at some step, with another person's training queued."""
    home = tmp_path / "home"
    options = options_for(home, twin_home)
    studio, ids = open_studio(options), []
    for owner in ("ann", "ben"):
        subject = studio.subjects.create(owner, "cat", "sks", "cat")
        photos = [(f"{seed}.png", encode(scene(seed=seed))) for seed in range(3)]
        assert len(list(studio.subjects.add(owner, subject.id, photos))) == 3
        ids.append(subject.id)
    studio.close()
    process = subprocess.Popen([sys.executable, "-c", TEACHING, str(home), *ids], cwd=ROOT)
    everybody = psutil.Process(process.pid)
    try:
        (checkpoint,) = wait_until(lambda: list(home.glob(f"trainings/*/checkpoint/{FILE}")))
    finally:
        processes = [*everybody.children(recursive=True), everybody]
        for each in processes:
            each.kill()
        psutil.wait_procs(processes, timeout=PATIENCE)
    folder = TrainingFolder.at(checkpoint.parents[1])
    assert not folder.is_running

    studio = open_studio(options)
    try:
        jobs = {owner: studio.jobs.list(owner)[0] for owner in ("ann", "ben")}
        assert {owner: job.state for owner, job in jobs.items()} == {
            "ann": "running",
            "ben": "queued",
        }
        studio.jobs.start()

        def find_ended() -> dict | None:
            now = {owner: studio.jobs.get(owner, job.id) for owner, job in jobs.items()}
            return now if all(job.ended for job in now.values()) else None

        done = wait_until(find_ended, every=0.1)
        assert [(job.state, job.error) for job in done.values()] == [("done", None)] * 2
        assert done["ben"].finished <= done["ann"].started, "it is his turn"
        lines, _ = folder.progress()
        notes = [line["message"]["template"] for line in lines if line["event"] == "note"]
        assert "Going on from step {step}" in notes
        assert [line["step"] for line in lines if line["event"] == "step"] == list(range(1, 61))
        for owner, job in done.items():
            (record,) = studio.library.own(owner)
            assert (record.id, record.owner) == (job.result["lora"], owner)
    finally:
        studio.close()
