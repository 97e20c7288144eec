"""The folder of one pruning: what was cut, how healing goes on, what was measured.

``<home>/prunings/<id>/`` holds ``pruning.json`` (the request), ``cut/`` (the pruned model),
``heal.json`` (what the healing process is to do), ``healed/``, ``figures.json``, and what every
:class:`pipelines.core.child_process.WorkFolder` has. No torch here: the page reads it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pipelines.chat.pruning.requests import PruneRequest
from pipelines.core.child_process import WorkFolder, changed_settings, read_json
from pipelines.core.errors import BadRequest, validate_stored
from pipelines.core.files import size_of, write_whole

FOLDER = "prunings"
MODELS = "chat_models"  # in the home folder: what has come of them, see ModelLibrary
ABOUT = "atelier.json"  # beside the weights of each
# A pruning may go on with these changed; all others decide what its checkpoint means.
_MAY_CHANGE = ("name", "owner", "heal_minutes")


class PruneFolder(WorkFolder):
    """Paths of one pruning.

    Attributes:
        home: the home folder.
        id: 32 hexadecimal digits, made by the server.
    """

    ended_badly = "The healing ended with an error: {reason}"
    ended_silently = (
        "The healing ended at step {step} with exit code {code}. Its log ends with: {reason}."
    )
    ended_by_system = (
        "The system ended the healing at step {step} (SIGKILL), most often because memory ran out. "
        "The last checkpoint is kept: close other models and resume, or choose a smaller one."
    )

    def __init__(self, home: Path, id: str) -> None:
        super().__init__(home / FOLDER / id)
        self.home, self.id = home, id

    @property
    def cut(self) -> Path:
        """The pruned model before healing; whole whenever it is there."""
        return self.path / "cut"

    @property
    def healed(self) -> Path:
        """The model with the LoRA merged; whole whenever it is there."""
        return self.path / "healed"

    def begin(self, request: PruneRequest) -> None:
        """Writes the request, or finds that it is the one that was begun here.

        Raises:
            BadRequest: the pruning was begun with other settings.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / "pruning.json"
        if (begun := read_json(path)) is not None:
            before = validate_stored(PruneRequest, begun)
            if changed := changed_settings(before, request, _MAY_CHANGE):
                raise BadRequest(
                    "This pruning was begun with other settings ({settings}). Begin a new one to "
                    "prune with changes.",
                    settings=changed,
                )
        write_whole(path, request.model_dump_json(indent=1).encode())

    def remember(self, **facts: Any) -> None:
        """Adds to what is known of this pruning."""
        data = json.dumps(self.known | facts, indent=1)
        write_whole(self.path / "figures.json", data.encode())

    @property
    def known(self) -> dict[str, Any]:
        """What was cut and measured until now."""
        return read_json(self.path / "figures.json") or {}

    def forget_work(self) -> None:
        """Deletes models and checkpoints: the finished model lies elsewhere."""
        for path in (self.cut, self.healed, self.checkpoint):
            shutil.rmtree(path, ignore_errors=True)

    @property
    def owner(self) -> str | None:
        """Whose it is; None where nothing was begun."""
        return (read_json(self.path / "pruning.json") or {}).get("owner")

    @property
    def bytes(self) -> int:
        """What it takes on the disk, the finished model not counted."""
        return size_of(self.path)


def prunings_in(home: Path) -> list[PruneFolder]:
    """All prunings that have been begun, whosever they are."""
    files = sorted((home / FOLDER).glob("*/pruning.json"))
    return [PruneFolder(home, file.parent.name) for file in files]
