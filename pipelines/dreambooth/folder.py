"""The folder of one training: what was asked, how far it is, what it has made.

``<home>/trainings/<id>/`` holds ``training.json`` (the request), ``progress.jsonl`` (a line for
all that happens), ``samples/``, ``checkpoint/``, ``tensorboard/``, ``result/``, ``log.txt``, a
``stop`` file while a stop is asked for, and ``lock``, which the running trainer holds. No torch
here: the page reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pipelines.dreambooth.requests import TrainingRequest
from pipelines.errors import BadRequest, NotFound, stored
from pipelines.files import write_whole

try:
    import fcntl
except ImportError:  # Windows: there a second trainer of one folder is not noticed
    fcntl = None

FOLDER, ABOUT = "trainings", "about.json"
# A training may go on with these changed; all others decide what its checkpoint means.
_MAY_CHANGE = ("name", "sample_every", "sample_prompts", "save_every", "owner")


class TrainingFolder:
    """Paths, progress and flags of one training.

    Attributes:
        home: the home folder.
        id: 32 hexadecimal digits, made by the server.
    """

    def __init__(self, home: Path, id: str) -> None:
        self.home, self.id = home, id
        self.path = home / FOLDER / id

    @classmethod
    def at(cls, path: Path) -> TrainingFolder:
        """The training whose folder is ``path``."""
        path = path.resolve()
        return cls(path.parent.parent, path.name)

    @property
    def request_path(self) -> Path:
        return self.path / "training.json"

    @property
    def progress_path(self) -> Path:
        return self.path / "progress.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def result(self) -> Path:
        """What the training has made: ``about.json`` and weights, or a whole model."""
        return self.path / "result"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def begin(self, request: TrainingRequest) -> None:
        """Writes the request, or finds that it is the one that was begun here.

        Raises:
            BadRequest: the training was begun with other settings.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self.request_path.is_file():
            begun, asked = self.request().model_dump(), request.model_dump()
            changed = [
                TrainingRequest.model_fields[name].title or name
                for name in begun
                if begun[name] != asked[name] and name not in _MAY_CHANGE
            ]
            if changed:
                raise BadRequest(
                    "This training was begun with other settings ({settings}). Duplicate it to "
                    "train with changes.",
                    settings=", ".join(changed),
                )
        write_whole(self.request_path, request.model_dump_json(indent=1).encode())

    def request(self) -> TrainingRequest:
        """What was asked.

        Raises:
            NotFound: there is no such training (any more).
        """
        try:
            data = json.loads(self.request_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotFound("There is no training {id}.", id=self.id) from None
        return stored(TrainingRequest, data)

    @property
    def subject(self) -> str | None:
        """Whose photos are learnt, be the rest of the request from another version."""
        return self._asked("subject")

    @property
    def owner(self) -> str | None:
        """Whose the training is, as for :attr:`subject`."""
        return self._asked("owner")

    def _asked(self, name: str) -> str | None:
        asked = _read(self.request_path)
        value = asked.get(name) if isinstance(asked, dict) else None
        return value if isinstance(value, str) else None

    # --- progress ---------------------------------------------------------------------------

    def report(self, event: str, **values: Any) -> None:
        """Appends a line to the progress: ``{"event": …, "time": …, **values}``."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **values})
        with self.progress_path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

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
        lines = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):  # torn by a full disk or a kill
                lines.append(json.loads(line))
        return lines, start + len(whole)

    def forget_after(self, step: int) -> None:
        """Takes lines of steps beyond ``step`` out: they are about to be done again."""
        lines, _ = self.progress()
        kept = [line for line in lines if line.get("step", 0) <= step and line["event"] != "error"]
        data = "".join(json.dumps(line) + "\n" for line in kept).encode()
        write_whole(self.progress_path, data)

    def forget_errors(self) -> None:
        """Takes out why earlier runs have failed; not while a trainer is at work here."""
        lines, _ = self.progress()
        if any(line["event"] == "error" for line in lines):
            self.forget_after(sys.maxsize)

    # --- stopping ---------------------------------------------------------------------------

    def ask_to_stop(self) -> None:
        """Has the trainer finish its step, keep what there is, and end."""
        (self.path / "stop").touch()

    def go_on(self) -> None:
        """Takes an earlier wish to stop back."""
        (self.path / "stop").unlink(missing_ok=True)

    @property
    def stopping(self) -> bool:
        return (self.path / "stop").exists()

    # --- one trainer at a time --------------------------------------------------------------

    @contextlib.contextmanager
    def held(self, patience: float = 2.0) -> Iterator[bool]:
        """Holds the folder for this process; yields whether nobody else holds it already.

        Args:
            patience: seconds; who only looks whether it is held, holds it for a moment too.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as lock:
            until = time.monotonic() + patience
            while not (mine := _locked(lock)) and time.monotonic() < until:
                time.sleep(0.05)
            yield mine

    @property
    def running(self) -> bool:
        """Whether a trainer is at work here, whoever started it."""
        if not self.path.is_dir():
            return False
        with self.held(patience=0) as free:
            return not free

    # --- results ----------------------------------------------------------------------------

    @property
    def about_result(self) -> dict[str, Any] | None:
        """What the trainer says of what it has made, or None."""
        return _read(self.result / ABOUT)

    def forget_result(self) -> None:
        """Lets an earlier result no longer count as this run's; the shelf has its own copy."""
        (self.result / ABOUT).unlink(missing_ok=True)

    @property
    def shelf_id(self) -> str | None:
        """Under which id the result lies on the shelf."""
        return (_read(self.path / "shelf.json") or {}).get("id")

    @property
    def steps_on_shelf(self) -> int:
        """How many steps are in what lies on the shelf; 0 where that is not known."""
        return (_read(self.path / "shelf.json") or {}).get("steps", 0)

    def remember_shelf_id(self, id: str, steps: int = 0) -> None:
        """Notes under which id the result lies on the shelf, and how many steps are in it."""
        write_whole(self.path / "shelf.json", json.dumps({"id": id, "steps": steps}).encode())

    # --- the room it takes ------------------------------------------------------------------

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return size_of(self.path)

    @property
    def spare_bytes(self) -> int:
        """What :meth:`forget_weights` frees of a training that is done."""
        return size_of(self.checkpoint) + sum(map(size_of, self._weights))

    def forget_weights(self, done: bool) -> None:
        """Deletes what the shelf has a copy of; where the training is ``done``, also what only
        going on needs: with a whole model and its optimiser, that is most of all."""
        for path in (*self._weights, self.checkpoint) if done else self._weights:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @property
    def _weights(self) -> list[Path]:
        return [path for path in self.result.glob("*") if path.name != ABOUT]


def trainings_in(home: Path) -> list[TrainingFolder]:
    """All trainings that have been begun, whosever they are."""
    files = sorted((home / FOLDER).glob("*/training.json"))
    return [TrainingFolder(home, file.parent.name) for file in files]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all below a folder; those that go meanwhile do not count."""
    total = 0
    for each in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):
            total += each.stat().st_size if each.is_file() else 0
    return total


def _locked(file: IO[str]) -> bool:
    """Whether the lock could be taken; it goes with the file, or with the process."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
