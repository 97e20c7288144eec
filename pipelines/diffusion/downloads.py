"""Files from the Hugging Face hub: only those that are needed, with progress, resumed when cut off.

What is in the user's own hub cache already is used where it lies. Everything else goes to a folder
of the studio's, one plain diffusers folder a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers
from tqdm import tqdm

from pipelines.cache import Notes
from pipelines.catalog import ModelEntry
from pipelines.errors import Unavailable
from pipelines.messages import Message
from pipelines.sizes import in_words

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
    own = folder / entry.source.hub.replace("/", "--")
    if is_complete(own):
        return own
    if (found := find(entry.source.hub, Path(constants.HF_HUB_CACHE))) is not None:
        return found
    if offline or constants.HF_HUB_OFFLINE:
        raise Unavailable(
            "{model} is not on this machine, and Atelier was started offline. Start it once with "
            "the network on to download it ({size}), or choose a model that is here.",
            model=entry.title,
            size=in_words(entry.download_bytes),
        )
    try:
        return _download(entry, own, notes)
    except GatedRepoError as error:
        raise _gated(entry) from error
    except RepositoryNotFoundError as error:  # what the hub says of a private one, too
        raise Unavailable(
            "The hub has no model {repo}, or it is private. Check its name in presets/models.yaml.",
            repo=entry.source.hub,
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
        if isinstance(value, list)
        and value[0] is not None
        and name not in _UNUSED
        and name.isidentifier()  # it becomes a folder's name
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
    info = HfApi(endpoint=endpoint).model_info(repo, files_metadata=True)
    remote = {file.rfilename: file for file in info.siblings or []}
    headers = build_hf_headers()

    def get(file: str, bar: type[tqdm]) -> Path:
        url = hf_hub_url(repo, file, revision=info.sha, endpoint=endpoint)
        _get(url, headers, remote[file], folder / file, bar)
        return folder / file

    if "model_index.json" not in remote:
        raise Unavailable("{repo} on the hub is not a diffusers model.", repo=repo)
    folder.mkdir(parents=True, exist_ok=True)
    index = get("model_index.json", _Silent)
    files = needed_files(json.loads(index.read_text(encoding="utf-8")), remote)
    if not any(file.endswith(".safetensors") for file in files):
        raise Unavailable(
            "{repo} on the hub has no .safetensors weights; Atelier does not open pickle files.",
            repo=repo,
        )
    total = sum(remote[file].size or 0 for file in files)
    _check_disk(entry, folder, total)
    done = 0
    for file in files:
        get(file, _reporting(entry, done, total, notes))
        done += remote[file].size or 0
    for part in folder.rglob("*.part"):  # of a version that the hub no longer has
        part.unlink()
    return folder


def _get(url: str, headers: dict[str, str], file: RepoSibling, target: Path, bar: type[tqdm]):
    """Download one file, going on from the part of it that an earlier try has left.

    The hub's own client begins anew after a stop, so only its streaming is used here. What was put
    together from two tries is held against the file's hash.
    """
    if target.exists() and target.stat().st_size == file.size:
        return
    target.parent.mkdir(exist_ok=True)
    hash_ = file.lfs.sha256 if file.lfs else None
    part = target.with_name(f"{target.name}.{(hash_ or file.blob_id or '')[:16]}.part")
    with part.open("ab") as out:
        start = out.tell()
        http_get(
            url, out, resume_size=start, headers=headers, expected_size=file.size, tqdm_class=bar
        )
    if start and hash_ and _sha256(part) != hash_:
        part.unlink()
        raise ConnectionError(f"{target.name} arrived damaged")
    part.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Silent(tqdm):
    """A progress bar that draws nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})


def _reporting(entry: ModelEntry, before: int, total: int, notes: Notes) -> type[tqdm]:
    """A progress bar that tells ``notes`` the bytes of all files together."""

    class Reporting(_Silent):
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


def _check_disk(entry: ModelEntry, folder: Path, total: int) -> None:
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
