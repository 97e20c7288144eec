"""The folder of one training: what was asked, how far it is, what it has made.

``<home>/trainings/<id>/`` holds ``training.json`` (the request), ``progress.jsonl`` (a line for
all that happens), ``samples/``, ``checkpoint/``, ``tensorboard/``, ``result/``, ``log.txt``, a
``stop`` file while a stop is asked for, and ``lock``, which the running trainer holds. No torch
here: the page reads it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pipelines.core.child_process import WorkFolder, changed_settings, read_json
from pipelines.core.errors import BadRequest, NotFound, validate_stored
from pipelines.core.files import size_of, write_whole
from pipelines.dreambooth.requests import TrainingRequest

FOLDER, ABOUT = "trainings", "about.json"
# A training may go on with these changed; all others decide what its checkpoint means.
_MAY_CHANGE = ("name", "sample_every", "sample_prompts", "save_every", "owner")


class TrainingFolder(WorkFolder):
    """Paths, progress and flags of one training.

    Attributes:
        home: the home folder.
        id: 32 hexadecimal digits, made by the server.
    """

    def __init__(self, home: Path, id: str) -> None:
        super().__init__(home / FOLDER / id)
        self.home, self.id = home, id

    @classmethod
    def at(cls, path: Path) -> TrainingFolder:
        """The training whose folder is ``path``."""
        path = path.resolve()
        return cls(path.parent.parent, path.name)

    @property
    def request_path(self) -> Path:
        return self.path / "training.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def result(self) -> Path:
        """What the training has made: ``about.json`` and weights, or a whole model."""
        return self.path / "result"

    def begin(self, request: TrainingRequest) -> None:
        """Writes the request, or finds that it is the one that was begun here.

        Raises:
            BadRequest: the training was begun with other settings.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        begun = self.request() if self.request_path.is_file() else request
        if changed := changed_settings(begun, request, _MAY_CHANGE):
            raise BadRequest(
                "This training was begun with other settings ({settings}). Duplicate it to "
                "train with changes.",
                settings=changed,
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
        return validate_stored(TrainingRequest, data)

    @property
    def subject(self) -> str | None:
        """Whose photos are learnt, be the rest of the request from another version."""
        return self._request_value("subject")

    @property
    def owner(self) -> str | None:
        """Whose the training is, as for :attr:`subject`."""
        return self._request_value("owner")

    def _request_value(self, name: str) -> str | None:
        asked = read_json(self.request_path)
        value = asked.get(name) if isinstance(asked, dict) else None
        return value if isinstance(value, str) else None

    # --- results ----------------------------------------------------------------------------

    @property
    def about_result(self) -> dict[str, Any] | None:
        """What the trainer says of what it has made, or None."""
        return read_json(self.result / ABOUT)

    def forget_result(self) -> None:
        """Lets an earlier result no longer count as this run's; the library has its own copy."""
        (self.result / ABOUT).unlink(missing_ok=True)

    @property
    def library_id(self) -> str | None:
        """Under which id the result lies in the library."""
        return (read_json(self.path / "shelf.json") or {}).get("id")

    @property
    def steps_in_library(self) -> int:
        """How many steps are in what lies in the library; 0 where that is not known."""
        return (read_json(self.path / "shelf.json") or {}).get("steps", 0)

    def remember_library_id(self, id: str, steps: int = 0) -> None:
        """Notes under which id the result lies in the library, and how many steps are in it."""
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
        """Deletes what the library has a copy of; where the training is ``done``, also what only
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
