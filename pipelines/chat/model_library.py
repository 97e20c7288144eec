"""Language models that were made here: shortened ones, in the home folder, asked for by id.

``<home>/chat_models/<name>-<id>/`` is an ordinary transformers folder with an ``atelier.json``
(see :func:`pipelines.chat.pruning.model_files.publish`), which says whose it is. The id is that of
the pruning. No torch here: the page reads it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.chat.entries import OWN, ChatEntry, ChatSource
from pipelines.chat.pruning.folder import ABOUT, MODELS
from pipelines.core.child_process import read_json
from pipelines.core.errors import NotFound

_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER_BYTES = 4  # of the cache, at most: float32 on a CPU


@dataclass(frozen=True, slots=True)
class MadeModel:
    """One model of somebody's own.

    Attributes:
        id: 32 hexadecimal digits.
        owner: whose it is.
        name: as its owner calls it.
        made_from: name of the model that it was made from.
        path: its folder.
        created: seconds since 1970.
        bytes: of its weights.
        facts: what was taken out and measured; see :func:`pipelines.chat.pruning.engine.run`.
    """

    id: str
    owner: str
    name: str
    made_from: str
    path: Path
    created: float
    bytes: int
    facts: dict[str, Any]

    @property
    def model(self) -> str:
        """Under which it can be asked for."""
        return OWN + self.id

    def entry(self, base: ChatEntry | None) -> ChatEntry:
        """The model as the catalog lists models.

        Args:
            base: the model that it was made from, which says what its files do not; None: it is not
                there any more.
        """
        config = read_json(self.path / "config.json") or {}
        inherited: dict[str, Any] = {"licence": "?"}
        limits = [config.get("max_position_embeddings")]
        if base is not None:
            names = ("sampling", "system_prompt", "chat_template", "languages", "licence")
            inherited = {name: getattr(base, name) for name in (*names, "licence_url")}
            limits.append(base.context_length)
        length = min((each for each in limits if isinstance(each, int)), default=4096)
        length = max(64, length)
        return ChatEntry(
            name=self.model,
            title=self.name,
            backend="transformers",
            source=ChatSource(folder=self.path.absolute()),
            context_length=length,
            memory_bytes=self.bytes + _cache_bytes(config, length),
            **inherited,
        )


class ModelLibrary:
    """All that was made in one home folder; looked through at every call.

    Args:
        home: the home folder.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / MODELS

    def models_of(self, owner: str) -> list[MadeModel]:
        """The owner's models with what is known of them, newest first."""
        mine = [made for made in self._all() if made.owner == owner]
        return sorted(mine, key=lambda made: (-made.created, made.id))

    def by_id(self, id: str) -> MadeModel:
        """The model with this id, whosever it is.

        Raises:
            NotFound: there is none (any more).
        """
        if _ID.fullmatch(id):
            for path in self._folder.glob(f"*-{id[:8]}"):
                if (made := _read(path)) is not None and made.id == id:
                    return made
        raise NotFound("The model {id} is no longer here.", id=id[:60])

    def delete(self, owner: str, id: str) -> None:
        """Deletes the owner's model for good.

        Raises:
            NotFound: there is none, or it is another's.
        """
        made = self.by_id(id)
        if made.owner != owner:
            raise NotFound("The model {id} is no longer here.", id=id[:60])
        # Renamed first: should this be cut off, no half model is left in the library.
        gone = self._folder / f".gone-{secrets.token_hex(8)}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(made.path, gone)
        for old in self._folder.glob(".gone-*"):
            shutil.rmtree(old, ignore_errors=True)

    # --- reading ----------------------------------------------------------------------------

    def _all(self) -> Iterator[MadeModel]:
        """Those that are whole; what begins with a dot is not finished, or on its way out."""
        for path in sorted(self._folder.glob("*")):
            if not path.name.startswith(".") and (made := _read(path)) is not None:
                yield made


def _read(path: Path) -> MadeModel | None:
    """A folder as a model; None where it is none, or damaged."""
    about = read_json(path / ABOUT) if path.is_dir() else None
    if not isinstance(about, dict):
        return None
    id, *texts = (about.get(key) for key in ("pruning", "owner", "name", "made_from"))
    if not all(isinstance(text, str) and text for text in texts):
        return None
    if not isinstance(id, str) or not _ID.fullmatch(id):
        return None
    try:
        created = (path / ABOUT).stat().st_mtime
        size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    except OSError:  # deleted meanwhile
        return None
    return MadeModel(id, *texts, path=path, created=created, bytes=size, facts=about)


def _cache_bytes(config: dict[str, Any], length: int) -> int:
    """Of keys and values of a whole context; 0 where the config does not say."""
    try:
        heads = config.get("num_key_value_heads") or config["num_attention_heads"]
        width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        return 2 * config["num_hidden_layers"] * heads * width * length * _NUMBER_BYTES
    except (KeyError, TypeError, ZeroDivisionError):
        return 0
