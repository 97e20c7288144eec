"""The process in which tables are read and points are clustered.

:mod:`pipelines.clustering.worker_pool` starts ``python -m pipelines.clustering.worker`` and writes
a line of JSON to its standard input for each piece of work: ``function``, as ``module:name``;
``folder``, which holds its arguments as ``task`` (:mod:`pipelines.clustering.wire` has the format);
``allowed``, how many bytes it may take beyond what it has; and ``prepare``, modules that are
imported before that is counted. The worker answers with lines of JSON, lists of one object:
``begun``, then ``step``, ``total`` and ``note`` for each step of progress, and ``ended``; then
``answer`` in the folder has what was found, see :func:`outcome_of`. It ends when its standard input
does, that is with the studio, however that ended, and takes the folder with it; and after five
minutes without work.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import os
import queue
import shutil
import sys
import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.clustering import wire
from pipelines.core.errors import UserError, reason_of
from pipelines.core.files import is_full
from pipelines.core.messages import Message

try:
    import resource
except ImportError:  # Windows: there the pool alone looks at the memory
    resource = None

DISK_FULL = 28  # what it ends with where there is no room for the outcome
IDLE_SECONDS = 45.0  # 0.2 GB are held meanwhile, of a process that starts in a second
MAX_WORDS = 500  # characters of what a library says
_FOR_A_THREAD = 20_000_000  # bytes that libraries reserve for the threads of each core

_Words = Annotated[str, Field(max_length=MAX_WORDS)]
Trouble = (
    tuple[Literal["memory"]]
    | tuple[Literal["system"], int | None, _Words]
    | tuple[Literal["refused"], _Words, Message]
    | tuple[Literal["failed"], _Words]
)
"""Why there is no result: no memory; an OSError's number and words; a :class:`UserError`'s class
and sentence; the words of a fault in the program."""


def outcome_of(result: Any) -> Any:
    """The type of an answer: ``("done", value)`` with a value of the type ``result``, or
    :data:`Trouble`."""
    return tuple[Literal["done"], result] | Trouble


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
            _do(command["function"], folder, answers)
        gc.collect()
        _answer(answers, ended=True)


def _do(name: str, folder: Path, answers: Any) -> None:
    target = folder / "answer"
    try:
        module, _, inside = name.partition(":")
        function = getattr(import_module(module), inside)
        arguments, result = wire.types_of(function)
        given = wire.read(folder / "task", arguments, sys.maxsize)
        found = _call(function, given, answers)
        del given
        _write(target, tuple[Literal["done"], result], ("done", found))
    except MemoryError:
        _write(target, Trouble, ("memory",))
    except UserError as error:
        _write(target, Trouble, ("refused", type(error).__name__, error.message))
    except OSError as error:  # a full disk, say: whoever asked knows which
        _write(target, Trouble, ("system", error.errno, str(error)[:MAX_WORDS]))
    except Exception as error:
        words = reason_of(error, MAX_WORDS)
        _write(target, Trouble, ("failed", words.encode("utf-8", "replace").decode()))


def _write(target: Path, kind: Any, outcome: tuple[Any, ...]) -> None:
    try:
        wire.write(target, kind, outcome)
    except OSError as error:
        if is_full(error):
            os._exit(DISK_FULL)
        raise


def _call(function: Callable[..., Any], given: dict[str, Any], answers: Any) -> Any:
    if not inspect.isgeneratorfunction(function):
        _answer(answers, step=0, total=1, note=None)
        return function(**given)
    events = function(**given, stop=threading.Event())
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        note = event.note.to_json() if event.note else None
        _answer(answers, step=event.step, total=event.total, note=note)


def _answer(answers: Any, **line: Any) -> None:
    try:
        print(json.dumps([line]), file=answers, flush=True)
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


def status_bytes(what: str) -> int | None:
    """A line of ``/proc/self/status`` in bytes, such as ``VmRSS``; None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    return None


if __name__ == "__main__":
    main()
