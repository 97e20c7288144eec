"""kill -9 amid clustering or making data: nothing half is shown, nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipelines.clustering.engine import RESULTS
from studio.app import open_studio
from studio.core.accounts.accounts import Owner
from studio.core.services import Options
from tests.patience import PATIENCE, wait_until
from tests.studio.live import ENDED

ROOT = Path(__file__).parents[4]
ADA = Owner("ada", "ada", is_host=False)
MOONS = {"kind": "made", "name": "moons", "points": 900}

START = """
import sys, time
from pathlib import Path
from studio.core.accounts.accounts import Owner
from studio.app import open_studio
from studio.core.services import Options
ada = Owner("ada", "ada", is_host=False)
moons = {"kind": "made", "name": "moons", "points": 900}
studio = open_studio(Options(Path(sys.argv[1]), device="cpu", offline=True))
"""
CLUSTERING = """
data = studio.cluster_data.make(ada, moons).id
studio.submissions.submit(ada, "cluster", {"data": data, "algorithm": "optics"})
studio.jobs.start()
time.sleep(3600)
"""
MAKING = """
import numpy as np
whole = np.savez
def half(file, **arrays):
    whole(file, **arrays)
    file.truncate(file.tell() // 2)
    file.flush()
    print("half", flush=True)
    time.sleep(3600)
np.savez = half
studio.cluster_data.make(ada, moons)
"""


@pytest.fixture
def options(tmp_path) -> Options:
    return Options(tmp_path / "home", device="cpu", offline=True)


def start_program(program: str, home: Path, temporary: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", START + program, str(home)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
    )


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [each for each in children if "pipelines.clustering.worker" in " ".join(each.cmdline())]


def test_a_clustering_that_was_killed_runs_again_and_its_process_and_files_are_gone(
    options, tmp_path
):
    with tempfile.TemporaryDirectory(dir=tmp_path) as temporary:
        process = start_program(CLUSTERING, options.home, Path(temporary))
        try:
            workers = wait_until(lambda: workers_of(process))
            wait_until(lambda: list(Path(temporary).glob("atelier-*/task")))
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert psutil.wait_procs(workers, timeout=PATIENCE)[1] == []
        assert list(Path(temporary).glob("atelier-*")) == []
    studio = open_studio(options)
    try:
        (job,) = studio.jobs.list("ada")
        assert not list((options.home / RESULTS).glob("*"))
        studio.jobs.start()
        wait_until(lambda: studio.jobs.get("ada", job.id).state in ENDED)
        found = studio.clusterings.of("ada", job.id)
        assert found.labels().shape == (900,)
    finally:
        studio.close()


@pytest.mark.deep
def test_data_that_were_half_written_are_not_there_and_are_made_again(options, tmp_path):
    process = start_program(MAKING, options.home, tmp_path)
    try:
        assert process.stdout.readline() == b"half\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert len(list((options.home / "cluster_data").iterdir())) == 1
    studio = open_studio(options)
    try:
        assert list((options.home / "cluster_data").iterdir()) == []
        assert studio.cluster_data.list("ada") == []
        known = studio.cluster_data.make(ADA, MOONS)
        assert np.isfinite(studio.cluster_data.dataset("ada", known.id).X).all()
        assert [path.stem for path in (options.home / "cluster_data").iterdir()] == [known.id]
    finally:
        studio.close()
