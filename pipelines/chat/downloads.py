"""Language models from the Hugging Face hub: one GGUF file, or a transformers folder."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import constants

from pipelines.chat.entries import ChatEntry
from pipelines.core.cache import Notes
from pipelines.core.errors import Unavailable
from pipelines.models.downloads import (
    Repository,
    check_online,
    find_files,
    folder_of,
    hub_errors_as_unavailable,
    snapshot_of,
)

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
_SMALL = {".json", ".txt", ".model", ".jinja"}


def find_download(repo: str, file: str | None, folder: Path) -> Path | None:
    """The GGUF file or whole transformers folder of a hub model that is here already, or None.

    Looked for in ``folder``, where Atelier downloads to, and in the user's own hub cache.
    """
    if file is not None:
        found = find_files(repo, [file], folder)
        return found and found / file
    places = [folder_of(repo, folder), snapshot_of(repo, Path(constants.HF_HUB_CACHE))]
    return next((place for place in places if place and is_complete(place)), None)


def is_complete(folder: Path) -> bool:
    """Whether a transformers folder has its config and all of its weights."""
    if not (folder / "config.json").is_file():
        return False
    if (folder / INDEX).is_file():
        shards = list_shards(folder)
        return shards is not None and all((folder / shard).is_file() for shard in shards)
    return (folder / WHOLE).is_file()


def list_shards(folder: Path) -> set[str] | None:
    """The files of weights that a folder's index names; None where it cannot be read."""
    try:
        weights = json.loads((folder / INDEX).read_bytes())["weight_map"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    names = [*weights.values()] if isinstance(weights, dict) else []
    is_whole = names and all(isinstance(name, str) and "\0" not in name for name in names)
    return set(names) if is_whole else None


def fetch(entry: ChatEntry, folder: Path, notes: Notes, offline: bool) -> Path:
    """The local file or folder of a hub model, downloaded into ``folder`` where it is not here.

    Raises:
        Unavailable: offline, no network, no disk space, gated without a token, or no safetensors.
    """
    repo, file = entry.source.hub, entry.source.file
    if (found := find_download(repo, file, folder)) is not None:
        return found
    check_online(entry.title, entry.download_bytes, offline)
    own = folder_of(repo, folder)
    with hub_errors_as_unavailable(entry.title, repo, entry.gated):
        remote = Repository(repo)
        if file is not None:
            remote.check(file, None)
            remote.download([file], own, entry.title, notes)
            return own / file
        remote.download(_needed_files(repo, remote.files), own, entry.title, notes)
        return own


def _needed_files(repo: str, files: dict[str, object]) -> list[str]:
    """Config, tokenizer and safetensors at the top of a repository, the small files first."""
    top = [name for name in files if "/" not in name]
    small = [name for name in top if Path(name).suffix in _SMALL]
    weights = [name for name in top if name.endswith(".safetensors")]
    if not weights:
        raise Unavailable(
            "{repo} on the hub has no .safetensors weights; Atelier does not open pickle files.",
            repo=repo,
        )
    return small + sorted(weights)
