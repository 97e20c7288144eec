"""Work in processes of its own: how they are started, followed and ended.

Short work is done by a :class:`LineProcess`, which is told what to do and answers line by line, and
ends with the studio.

Long work has a :class:`WorkFolder`, which is all that the process and whoever follows it share:
what to do, lines of progress, a checkpoint, a ``stop`` file while a stop is asked for, ``log.txt``,
and ``lock``, which the process holds. A crash over there leaves the studio standing, and the
process outlives a studio that is stopped hard. No torch here: the page reads such folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from pipelines.core.errors import (
    OutOfMemory,
    Stopped,
    Unavailable,
    UserError,
    reason_of,
    rebuild_error,
)
from pipelines.core.files import is_full, write_whole
from pipelines.core.messages import Message
from pipelines.core.paths import PRESETS, ROOT
from pipelines.core.sandbox import Files, clean_environment, environment_without_secrets
from pipelines.core.sizes import format_bytes

if TYPE_CHECKING:
    from pydantic import BaseModel

try:
    import fcntl
except ImportError:  # Windows: there a second process in one folder is not noticed
    fcntl = None

DONE, FAILED, TAKEN = 0, 1, 3
"""Exit codes: done or stopped as was asked; failed, the progress says why; another is at work."""

LOOK_SECONDS = 0.2  # how often the progress is read
STARTING_SECONDS = 1.0  # for which one that is still starting is asked to stop before it is ended
ENDING_SECONDS = 1.0
_ROOM_SECONDS = 0.1  # how often is looked whether lines are still read
_FULL_BYTES = 2**20  # with less free, a process that ends without a word has met the full disk
_LOG_LINES = 12  # of the log, looked at where a process ended without a word
MAX_LAST_WORDS = 300  # characters
# What stands in a log around the words of an error: Python's frames of it, and the launcher's own
# error, that its child has ended.
_AROUND = re.compile(
    r"\s|Traceback \(|(During handling of|The above exception)|.*returned non-zero"
)


class UnreadableAnswer(Exception):
    """The answer of another process cannot be read. The text is for the log, not for people."""


def unreadable_answer() -> Unavailable:
    """The error that people are shown in place of an :class:`UnreadableAnswer`."""
    return Unavailable(
        "The process that was to compute this has given an answer that cannot be read, and was "
        "ended. Try again; if that happens with this file only, do not use the file."
    )


class LineProcess:
    """A module that runs in a process of its own, reads its standard input and answers by lines.

    Its input ends when this process does, however that ended: by that it knows to end. What it says
    is read as it comes, so many lines ahead and no more, and none is longer than is allowed.

    Args:
        module: as for ``python -m``.
        arguments: of the command line.
        log: where its standard error goes; None: nowhere.
        environment: its variables; None: what is needed to compute, and no key or token.
        files: those that it may have; it may then start no program and connect to nothing, where
            the system can refuse that. None: as this process.
        longest: bytes of a line; what is longer comes in parts.
        ahead: lines that may wait to be read.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        log: IO[bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        files: Files | None = None,
        longest: int = 100_000,
        ahead: int = 1000,
    ) -> None:
        restricted = [] if files is None else ["pipelines.core.sandbox", files.to_json()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *restricted, module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if log is None else log,
            cwd=ROOT,
            env=clean_environment() if environment is None else environment,
            start_new_session=True,  # Ctrl+C is for the studio
        )
        self._longest, self._ending = longest, threading.Event()
        self._lines: queue.Queue[bytes] = queue.Queue(ahead)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Puts each line where it is waited for, and an empty one at the end."""
        line = b" "
        while line:
            line = b""
            with contextlib.suppress(ValueError, OSError):  # closed meanwhile
                line = self._process.stdout.readline(self._longest)
            while not self._ending.is_set():
                with contextlib.suppress(queue.Full):
                    self._lines.put(line, timeout=_ROOM_SECONDS)
                    break

    @property
    def id(self) -> int:
        """The number of the process in the system (PID)."""
        return self._process.pid

    @property
    def bytes_held(self) -> int:
        """The resident memory of the process in bytes; 0 once it has ended."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self._process.pid).memory_info().rss
        return 0

    @property
    def alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code; None where it has not ended within so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def write(self, data: bytes) -> bool:
        """Writes to its standard input; returns False where it has ended."""
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def end_input(self) -> None:
        """Says that no more is written."""
        with contextlib.suppress(OSError):  # it has ended
            self._process.stdin.close()

    def line(self, seconds: float | None = None) -> bytes | None:
        """What it says next, with the line's end; once ``b""`` when it says no more.

        Args:
            seconds: after which None is returned; None: waits as long as it takes.
        """
        with contextlib.suppress(queue.Empty):
            return self._lines.get(timeout=seconds)
        return None

    def end(self) -> None:
        """Kills it, whatever it does, with all that it has started."""
        self._ending.set()
        if self._process.returncode is None and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self.end_input()
        self._process.stdout.close()


def changed_settings(begun: BaseModel, asked: BaseModel, may_change: Collection[str]) -> str | None:
    """The titles of the fields in which two requests of one kind differ, or None.

    Args:
        may_change: fields that do not count: work may go on with other values of these.
    """
    before, now = begun.model_dump(), asked.model_dump()
    changed = [
        type(begun).model_fields[name].title or name
        for name in before
        if before[name] != now[name] and name not in may_change
    ]
    return ", ".join(changed) or None


class WorkFolder:
    """Progress, flags and the lock of one piece of work.

    Attributes:
        path: the folder; need not exist yet.
        ended_badly: what is said where a bug has ended it.
        ended_silently: likewise, where its process ended without saying why.
        ended_by_system: likewise, where the system has ended it.
    """

    ended_badly = "The training ended with an error: {reason}"
    ended_silently = (
        "The trainer ended at step {step} with exit code {code}. Its log ends with: {reason}."
    )
    ended_by_system = (
        "The system ended the trainer at step {step} (SIGKILL), most often because memory ran out. "
        "The last checkpoint is kept: resume, or duplicate with a smaller batch."
    )

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def progress_path(self) -> Path:
        return self.path / "progress.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    # --- progress ---------------------------------------------------------------------------

    def report(self, event: str, **values: Any) -> None:
        """Appends a line to the progress: ``{"event": …, "time": …, **values}``."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **values})
        with self.progress_path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def report_error(self, error: Exception) -> None:
        """Appends why it failed; a bug's own words are its cause."""
        if not isinstance(error, UserError):
            said = UserError(self.ended_badly, reason=reason_of(error))
            error = self.full_disk() if is_full(error) else said
        try:
            self.report("error", kind=type(error).__name__, message=error.message.to_json())
        except OSError:  # the disk is full: the log has it, if there is room there
            print(f"{type(error).__name__}: {error}", file=sys.stderr)

    def full_disk(self) -> Unavailable:
        """What is said where the work has ended for want of room."""
        there = self.path if self.path.exists() else self.path.parent
        return Unavailable(
            "The disk is full: {free} are free, so the work has ended. What was saved until then "
            "is kept. Make room and resume.",
            free=format_bytes(shutil.disk_usage(there).free),
        )

    def progress(self, start: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The lines from byte ``start`` on, and where the next ones begin.

        A line that is just being written is left for next time.
        """
        try:
            with self.progress_path.open("rb") as file:
                if start > os.fstat(file.fileno()).st_size:  # it was shortened by a resume
                    start = 0
                file.seek(start)
                data = file.read()
        except FileNotFoundError:
            return [], 0
        whole = data[: data.rfind(b"\n") + 1]
        found = []
        for text in whole.splitlines():
            with contextlib.suppress(ValueError, RecursionError):  # torn by a full disk or a kill
                line = json.loads(text)
                if isinstance(line, dict) and isinstance(line.get("event"), str):
                    found.append(line)
        return found, start + len(whole)

    def forget_after(self, step: int) -> None:
        """Takes lines of steps beyond ``step`` out: they are about to be done again."""
        lines, _ = self.progress()
        kept = [line for line in lines if line.get("step", 0) <= step and line["event"] != "error"]
        data = "".join(json.dumps(line) + "\n" for line in kept).encode()
        write_whole(self.progress_path, data)

    def forget_errors(self) -> None:
        """Takes out why earlier runs have failed; not while a process is at work here."""
        lines, _ = self.progress()
        if any(line["event"] == "error" for line in lines):
            self.forget_after(sys.maxsize)

    # --- stopping ---------------------------------------------------------------------------

    def ask_to_stop(self) -> None:
        """Has the process finish its step, keep what there is, and end."""
        (self.path / "stop").touch()

    def go_on(self) -> None:
        """Takes an earlier wish to stop back."""
        (self.path / "stop").unlink(missing_ok=True)

    @property
    def is_stopping(self) -> bool:
        return (self.path / "stop").exists()

    # --- one process at a time --------------------------------------------------------------

    @contextlib.contextmanager
    def hold(self, patience: float = 2.0) -> Iterator[bool]:
        """Holds the folder for this process; yields whether nobody else holds it already.

        Args:
            patience: seconds; who only looks whether it is held, holds it for a moment too.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as lock:
            until = time.monotonic() + patience
            while not (mine := _lock(lock)) and time.monotonic() < until:
                time.sleep(0.05)
            yield mine

    @property
    def is_running(self) -> bool:
        """Whether a process is at work here, whoever started it."""
        if not (self.path / "lock").exists():  # looking makes one, which would look like new work
            return False
        with self.hold(patience=0) as free:
            return not free


def launch_command(
    module: str, folder: WorkFolder, device: str, offline: bool, processes: int = 1
) -> list[str]:
    """``accelerate launch … -m <module> <folder>`` as a list of arguments; no shell reads it."""
    kind, _, index = device.partition(":")
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(PRESETS / "accelerate.yaml")),  # not the user's for other programs
        *("--num_processes", str(processes)),
        *("--num_machines", "1", "--dynamo_backend", "no", "--mixed_precision", "no"),
    ]
    if kind == "cpu":
        command.append("--cpu")
    if processes > 1:
        command.append("--multi_gpu")
    elif index:
        command += ["--gpu_ids", index]
    command += ["-m", module, str(folder.path), "--device", kind]
    return command + (["--offline"] if offline else [])


def start(command: list[str], folder: WorkFolder) -> subprocess.Popen:
    """Starts a process; what it prints goes to the folder's log."""
    with folder.log.open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment_without_secrets(),
            # Ctrl-C at the studio's terminal asks the studio to stop, which asks the process.
            start_new_session=True,
        )


def follow(
    folder: WorkFolder, process: subprocess.Popen | None, stop: threading.Event, heard: int
) -> Iterator[dict[str, Any]]:
    """The lines of progress as they come, until the process has ended; passes a stop on to it.

    Where it has passed it on, it yields ``{"event": "stopping"}``. A process that has not come to
    its first step by then looks for no stop, and has nothing to lose: it is ended, and
    ``{"event": "ended"}`` is yielded.

    Args:
        process: None: it was found at work.
        heard: bytes of progress that are known already.
    """
    asked: float | None = None
    stepping = False
    while True:
        # A launcher that was killed may leave its process at work.
        over = (process is None or process.poll() is not None) and not folder.is_running
        lines, heard = folder.progress(heard)
        stepping = stepping or any(line["event"] == "step" for line in lines)
        yield from lines
        if over:
            return
        if stop.is_set() and asked is None:
            folder.ask_to_stop()
            asked = time.monotonic()
            yield {"event": "stopping"}
        late = asked is not None and time.monotonic() - asked > STARTING_SECONDS
        if late and process is not None and not stepping:
            end(process)
            yield {"event": "ended"}
            return
        if not lines:
            time.sleep(LOOK_SECONDS)


def end(process: subprocess.Popen) -> None:
    """Ends a process that :func:`start` has started, with all that it has started itself."""
    for number in ("SIGTERM", "SIGKILL"):
        if not hasattr(os, "killpg"):  # Windows
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, getattr(signal, number))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING_SECONDS)
    # What the launcher had started may have outlived it for a moment.


def error_of(line: dict[str, Any]) -> UserError:
    """What the process said in a line whose event is ``error``."""
    return rebuild_error(str(line.get("kind")), note_of(line))


def note_of(line: dict[str, Any]) -> Message:
    """The sentence in a line of progress.

    Raises:
        UnreadableAnswer: there is none; the process reads strangers' photos, and may say anything.
    """
    try:
        return Message.from_untrusted_json(line.get("message"))
    except ValueError as error:
        raise UnreadableAnswer(str(error)) from None


def report_outcome(folder: WorkFolder, work: Callable[[], object], device: str, what: str) -> int:
    """Does the work of a process; what ends it is told in the folder's progress.

    Args:
        device: where it computes.
        what: takes the memory, should there be too little.

    Returns:
        The process' exit code.
    """
    from pipelines.core.devices import is_out_of_memory, out_of_memory

    try:
        work()
    except Stopped:
        folder.report("stopped")
    except Exception as error:
        traceback.print_exc()
        folder.report_error(
            out_of_memory(error, device, what) if is_out_of_memory(error) else error
        )
        return FAILED
    return DONE


def silent_end(folder: WorkFolder, process: subprocess.Popen | None, step: int) -> UserError:
    """The sentence for a process that ended without saying why.

    Args:
        step: that it had come to.
    """
    lines = last_lines(folder.log)
    if was_killed(process, lines):
        return OutOfMemory(folder.ended_by_system, step=step)
    if shutil.disk_usage(folder.path).free < _FULL_BYTES:  # it had no room to say so
        return folder.full_disk()
    return UserError(
        folder.ended_silently,
        step=step,
        code="?" if process is None else process.returncode,
        reason=last_words(lines) or "–",
    )


def was_killed(process: subprocess.Popen | None, lines: str) -> bool:
    """Whether the system has ended it (SIGKILL), most often because memory ran out.

    Args:
        lines: the last ones of its log; the launcher survives its child and tells of the signal
            there.
    """
    killed = -signal.SIGKILL
    code = process.returncode if process else None
    return code == killed or "SIGKILL" in lines or f"exit status {killed}" in lines


def last_lines(path: Path) -> str:
    """The last lines of a log file; "" if there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-_LOG_LINES:])


def last_words(lines: str) -> str:
    """The last line of a log, lines around an exception left out; "" if there is none.

    Args:
        lines: the last lines of the log, as :func:`last_lines` gives them.
    """
    said = (line for line in reversed(lines.splitlines()) if line and not _AROUND.match(line))
    return next(said, "").rstrip(" .")[:MAX_LAST_WORDS]


def read_json(path: Path) -> dict[str, Any] | None:
    """A small JSON file, or None where it is not there or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _lock(file: IO[str]) -> bool:
    """Whether the lock could be taken; it goes with the file, or with the process."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
