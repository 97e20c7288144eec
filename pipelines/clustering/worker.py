"""The process in which long clustering is done; :mod:`pipelines.clustering.running` starts it.

``python -m pipelines.clustering.worker <folder>`` reads ``points.npy`` and ``work.pickle`` there,
prints a line of JSON for each step of progress and leaves ``outcome.pickle``. It ends when its
standard input does, that is with the studio, however that ended, and takes the folder with it.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.files import is_full

DISK_FULL = 28  # what it ends with where there is no room for the outcome


def main(folder: Path) -> None:
    threading.Thread(target=_end_with_the_studio, args=(folder,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what others print goes to the log
    warnings.simplefilter("ignore")  # what matters of them is among a fit's notes
    import sklearn.cluster
    import sklearn.mixture  # noqa: F401  before the memory is looked at: these take 100 MB

    work, arguments = pickle.loads((folder / "work.pickle").read_bytes())
    X = np.load(folder / "points.npy", allow_pickle=False)
    before = _lower_peak()
    try:
        value = _follow(work(X, stop=threading.Event(), **arguments), answers)
        found: tuple[str, Any, int | None] = ("done", value, _peak(before))
    except MemoryError:
        found = ("memory", None, None)
    except UserError as error:
        found = ("error", error, None)
    except Exception as error:
        found = ("error", f"{type(error).__name__}: {error}"[:500], None)
    part = folder / "outcome.part"
    try:
        with part.open("wb") as file:
            pickle.dump(found, file, protocol=pickle.HIGHEST_PROTOCOL)
    except OSError as error:
        if is_full(error):
            os._exit(DISK_FULL)
        raise
    part.replace(folder / "outcome.pickle")
    answers.close()


def _follow(events: Any, answers: Any) -> Any:
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        note = event.note.to_json() if event.note else None
        line = json.dumps({"step": event.step, "total": event.total, "note": note})
        print(line, file=answers, flush=True)


def _end_with_the_studio(folder: Path) -> None:
    while sys.stdin.buffer.read(1):
        pass
    shutil.rmtree(folder, ignore_errors=True)  # nobody else does where the studio was killed
    os._exit(1)


def _lower_peak() -> int | None:
    """Sets the peak of this process' memory to what it takes now, where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _resident("VmHWM")


def _peak(before: int | None) -> int | None:
    """Bytes at the peak beyond ``before``."""
    return None if before is None else max(0, (_resident("VmHWM") or 0) - before)


def _resident(what: str) -> int | None:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
