"""Files from the Hugging Face hub: only those that are needed, with progress, resumed when cut off.

What is in the user's own hub cache already is used where it lies. Everything else goes to a folder
of the studio's, in the hub's cache layout.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from tqdm.auto import tqdm

from pipelines.cache import Notes
from pipelines.catalog import ModelEntry
from pipelines.errors import Unavailable
from pipelines.messages import Message
from pipelines.sizes import in_words

# The hub's Xet transfer reports from a thread of its own, where stopping it is not possible.
constants.HF_HUB_DISABLE_XET = True

_PLAIN = re.compile(r"[A-Za-z_]+(-\d{5}-of-\d{5})?\.safetensors")
_VARIANTS = ("fp16", "bf16")
_SMALL = {".json", ".txt", ".model", ".jinja"}
_UNUSED = {"safety_checker"}


def fetch(entry: ModelEntry, folder: Path, notes: Notes, offline: bool) -> Path:
    """The local diffusers folder of a hub model, downloaded into ``folder`` where it is not here.

    The hub's address is ``HF_ENDPOINT``'s, a token (gated models only) ``HF_TOKEN``'s.

    Args:
        notes: told the bytes done; may raise to stop, and the next call goes on from there.

    Raises:
        Unavailable: offline, no network, no disk space, gated without a token, or no safetensors.
    """
    repo = entry.source.hub
    for cache in (folder, Path(constants.HF_HUB_CACHE)):
        if (found := find(repo, cache)) is not None:
            return found
    if offline or constants.HF_HUB_OFFLINE:
        raise Unavailable(
            "{model} is not on this machine, and Atelier was started offline. Start it once with "
            "the network on to download it ({size}), or choose a model that is here.",
            model=entry.title,
            size=in_words(entry.download_bytes),
        )
    try:
        return _download(entry, folder, notes)
    except GatedRepoError as error:
        raise _gated(entry) from error
    except RepositoryNotFoundError as error:  # what the hub says of a private one, too
        raise Unavailable(
            "The hub has no model {repo}, or it is private. Check its name in presets/models.yaml.",
            repo=repo,
        ) from error
    except HfHubHTTPError as error:
        if entry.gated and error.response.status_code in (401, 403):
            raise _gated(entry) from error
        raise _broken_off(entry, error) from error
    except (httpx2.HTTPError, ConnectionError, TimeoutError) as error:
        raise _broken_off(entry, error) from error


def find(repo: str, cache: Path) -> Path | None:
    """The complete snapshot of ``repo`` in a hub cache, or None."""
    storage = cache / f"models--{repo.replace('/', '--')}"
    ref = storage / "refs" / constants.DEFAULT_REVISION
    if not ref.is_file():
        return None
    snapshot = storage / "snapshots" / ref.read_text().strip()
    return snapshot if is_complete(snapshot) else None


def is_complete(folder: Path) -> bool:
    """Whether every part named in ``model_index.json`` is there with all of its weights."""
    index = folder / "model_index.json"
    if not index.is_file():
        return False
    return all(_part_complete(folder / part) for part in _parts(json.loads(index.read_text())))


def needed_files(index: dict[str, Any], files: Iterable[str]) -> list[str]:
    """Which of a repository's files the pipeline in ``index`` is made of, the small ones first.

    One set of safetensors a part: half precision where it is offered, never the other variants
    (``non_ema`` …), never pickles, never what the index does not name.
    """
    small, weights = ["model_index.json"], []
    paths = [PurePosixPath(file) for file in files]
    for part in _parts(index):
        inside = [path for path in paths if path.parts[0] == part and len(path.parts) == 2]
        small += [str(path) for path in inside if path.suffix in _SMALL]
        tensors = [path for path in inside if path.suffix == ".safetensors"]
        half = [[path for path in tensors if f".{name}" in path.name] for name in _VARIANTS]
        plain = [path for path in tensors if _PLAIN.fullmatch(path.name)]
        weights += map(str, next(filter(None, [*half, plain]), []))
    return small + weights


def variant_of(folder: Path) -> str | None:
    """The file variant that a folder's weights have: ``"fp16"``, ``"bf16"`` or None (plain)."""
    return next((name for name in _VARIANTS if any(folder.glob(f"*/*.{name}*.safetensors"))), None)


def _parts(index: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in index.items()
        if isinstance(value, list) and value[0] is not None and name not in _UNUSED
    ]


def _part_complete(part: Path) -> bool:
    if not part.is_dir() or not any(part.iterdir()):
        return False
    if not (part / "config.json").is_file():
        return True  # tokenizers and schedulers have no weights, and come before them
    tensors = {path.name for path in part.glob("*.safetensors")}
    indices = [path for path in part.glob("*.index*.json") if "safetensors" in path.name]
    if not indices:
        return bool(tensors)
    shards = [set(json.loads(path.read_text())["weight_map"].values()) for path in indices]
    return any(each <= tensors for each in shards) or any("-of-" not in name for name in tensors)


def _download(entry: ModelEntry, folder: Path, notes: Notes) -> Path:
    repo, endpoint = entry.source.hub, os.environ.get("HF_ENDPOINT", constants.ENDPOINT)
    api = HfApi(endpoint=endpoint)
    info = api.model_info(repo, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}

    def get(file: str, bar: type[tqdm] | None = None) -> Path:
        return Path(
            hf_hub_download(
                repo, file, revision=info.sha, cache_dir=folder, endpoint=endpoint, tqdm_class=bar
            )
        )

    if "model_index.json" not in sizes:
        raise Unavailable("{repo} on the hub is not a diffusers model.", repo=repo)
    index = get("model_index.json", _silent())
    files = needed_files(json.loads(index.read_text()), sizes)
    if not any(file.endswith(".safetensors") for file in files):
        raise Unavailable(
            "{repo} on the hub has no .safetensors weights; Atelier does not open pickle files.",
            repo=repo,
        )
    total = sum(sizes[file] for file in files)
    _check_disk(entry, folder, total)
    done = 0
    for file in files:
        get(file, _reporting(entry, done, total, notes))
        done += sizes[file]
    # Written last and by us: with a commit id the hub's client leaves the branch's name alone.
    ref = index.parents[2] / "refs" / constants.DEFAULT_REVISION
    ref.parent.mkdir(exist_ok=True)
    ref.write_text(info.sha)
    return index.parent


def _reporting(entry: ModelEntry, before: int, total: int, notes: Notes) -> type[tqdm]:
    """A progress bar that draws nothing and tells ``notes`` the bytes of all files together."""

    class Reporting(_silent()):
        def __init__(self, *args: Any, initial: int = 0, **kwargs: Any) -> None:
            super().__init__(*args, initial=initial, **kwargs)
            self.received = initial

        def update(self, n: float | None = 1) -> None:
            self.received += int(n or 0)
            done = before + self.received
            notes(
                Message(
                    "Downloading {model}: {done} of {total}",
                    model=entry.title,
                    done=in_words(done),
                    total=in_words(total),
                ),
                done / total if total else None,
            )

    return Reporting


def _silent() -> type[tqdm]:
    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("disable", None)
            super().__init__(*args, disable=True, **kwargs)

    return Silent


def _check_disk(entry: ModelEntry, folder: Path, total: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < total:
        raise Unavailable(
            "{model} takes {size} on the disk, but {free} are free in the home folder. Free some, "
            "or start with another --home.",
            model=entry.title,
            size=in_words(total),
            free=in_words(free),
        )


def _gated(entry: ModelEntry) -> Unavailable:
    return Unavailable(
        "{model} asks you to accept its licence first: sign in at https://huggingface.co/{repo}, "
        "accept it, make a token at https://huggingface.co/settings/tokens, and start Atelier with "
        "HF_TOKEN set to it.",
        model=entry.title,
        repo=entry.source.hub,
    )


def _broken_off(entry: ModelEntry, error: Exception) -> Unavailable:
    return Unavailable(
        "{model} could not be downloaded from the hub ({reason}). Check the network and send the "
        "request again; what has arrived is kept.",
        model=entry.title,
        reason=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
    )
