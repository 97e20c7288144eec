"""Python scripts in processes that need not import what trainers need: it is there already."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

# Forked from a process that has done nothing but import; a fork of the tests' own has the locks
# that other threads held in that moment, and may wait for ever.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "pipelines.dreambooth.folder"])


def _run(script: str, argument: str, log: str) -> None:
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [script, argument]
    runpy.run_path(script, run_name="__main__")


class Forked:
    """A process that runs a script, with as much of :class:`subprocess.Popen` as is asked of it."""

    def __init__(self, script: Path, argument: Path, log: Path) -> None:
        # A daemon ends with the tests, should one fail before it has let it go.
        self._process = CONTEXT.Process(
            target=_run, args=(str(script), str(argument), str(log)), daemon=True
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return self.returncode
