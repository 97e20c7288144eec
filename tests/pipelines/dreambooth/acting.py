"""What tests of a training's process share: trainers that only act, and following them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from pipelines.core.events import Progress, Result
from pipelines.dreambooth import process

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from pipelines.dreambooth.folder import TrainingFolder
folder = TrainingFolder.at(Path(sys.argv[1]))
def step(n):
    folder.report("step", step=n, loss=0.5, rate=1e-4, memory=1, at=time.time())
def until(holds):
    end = time.monotonic() + {patience}
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
with folder.hold() as mine:
    assert mine
{body}
"""


def with_steps(result: Path, steps: int) -> Path:
    """A result that says it is one of so many steps."""
    about = json.loads((result / "about.json").read_text())
    (result / "about.json").write_text(json.dumps(about | {"steps": steps}))
    return result


def follow(request, cache, stop=None, launch=None) -> list[Progress | Result]:
    return list(process.run(request, cache, stop or threading.Event(), launch))


def never(*_):
    pytest.fail("a second trainer was started")
