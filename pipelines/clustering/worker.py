"""The process in which tables are read and points are clustered.

:mod:`pipelines.clustering.worker_pool` starts ``python -m pipelines.clustering.worker`` and writes
a line of JSON to its standard input for each piece of work: ``folder``, which holds ``points.npy``
and ``work.pickle``; ``allowed``, how many bytes it may take beyond what it has; and ``prepare``,
modules that are imported before that is counted. The worker answers with lines of JSON:
``begun``, then ``step``, ``total`` and ``note`` for each step of progress, and ``ended`` with the
bytes that it holds then; ``outcome.pickle`` in the folder has what was found. It ends when its
standard input does, that is with the studio, however that ended, and takes the folder with it; and
after five minutes without work.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import queue
import shutil
import sys
import threading
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.clustering.peaks import status_bytes
from pipelines.errors import UserError, reason_of
from pipelines.files import is_full

try:
    import resource
except ImportError:  # Windows: there the pool alone looks at the memory
    resource = None

DISK_FULL = 28  # what it ends with where there is no room for the outcome
IDLE_SECONDS = 300.0
_FOR_A_THREAD = 20_000_000  # bytes that libraries reserve for the threads of each core


def main() -> None:
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    at_work = [Path(each) for each in sys.argv[1:]]  # should the studio end before it says more
    threading.Thread(target=_listen, args=(commands, at_work), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what others print goes to the log
    warnings.simplefilter("ignore")  # what matters of them is among a fit's notes
    while True:
        try:
            command = commands.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return
        folder = Path(command["folder"])
        _answer(answers, begun=True)
        for name in command["prepare"]:
            with contextlib.suppress(ImportError):  # the work says what is missing
                import_module(name)
        with _memory_limit(command["allowed"]):
            _do(folder, answers)
        gc.collect()
        _answer(answers, ended=status_bytes("VmRSS") or 0)


def _do(folder: Path, answers: Any) -> None:
    try:
        work, arguments = pickle.loads((folder / "work.pickle").read_bytes())
        X = np.load(folder / "points.npy", allow_pickle=False)
        found = ("done", _follow(work(X, stop=threading.Event(), **arguments), answers))
        del X
        _write_outcome(folder, found)
    except MemoryError:
        _write_outcome(folder, ("memory", None))
    except UserError as error:
        _write_outcome(folder, ("error", error))
    except OSError as error:  # a full disk, say: whoever asked knows which
        _write_outcome(folder, ("system", (error.errno, str(error)[:500])))
    except Exception as error:
        _write_outcome(folder, ("error", reason_of(error)))


def _write_outcome(folder: Path, found: tuple[str, Any]) -> None:
    part = folder / "outcome.part"
    try:
        with part.open("wb") as file:
            pickle.dump(found, file, protocol=pickle.HIGHEST_PROTOCOL)
    except OSError as error:
        if is_full(error):
            os._exit(DISK_FULL)
        raise
    part.replace(folder / "outcome.pickle")


def _follow(events: Any, answers: Any) -> Any:
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        note = event.note.to_json() if event.note else None
        _answer(answers, step=event.step, total=event.total, note=note)


def _answer(answers: Any, **line: Any) -> None:
    try:
        print(json.dumps(line), file=answers, flush=True)
    except OSError:  # the studio was killed: who listens to it cleans up and ends all
        threading.Event().wait()


def _listen(commands: queue.SimpleQueue, at_work: list[Path]) -> None:
    for line in sys.stdin.buffer:
        command = json.loads(line)
        at_work[:] = [Path(command["folder"])]
        commands.put(command)
    for folder in at_work:
        shutil.rmtree(folder, ignore_errors=True)  # nobody else does where the studio was killed
    os._exit(1)


@contextlib.contextmanager
def _memory_limit(allowed: int):
    """Lets this process take ``allowed`` bytes more than it has; beyond, allocations fail."""
    held = status_bytes("VmData")
    if resource is None or held is None or sys.platform != "linux":  # elsewhere it limits nothing
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + allowed + _FOR_A_THREAD * (os.cpu_count() or 1)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


if __name__ == "__main__":
    main()
