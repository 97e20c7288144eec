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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers
from tqdm import tqdm

from pipelines.core.cache import Notes
from pipelines.core.errors import Unavailable, words_of
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from pipelines.models.catalog import ModelEntry

_PLAIN = re.compile(r"[A-Za-z_]+(-\d{5}-of-\d{5})?\.safetensors")
_VARIANTS = ("fp16", "bf16")
_SMALL = {".json", ".txt", ".model", ".jinja"}
_UNUSED = {"safety_checker"}


def check_online(title: str, nbytes: int, offline: bool) -> None:
    """Raises Unavailable where a model would have to be downloaded, and nothing may be."""
    if offline or constants.HF_HUB_OFFLINE:
        raise Unavailable(
            "{model} is not on this machine, and Atelier was started offline. Start it once with "
            "the network on to download it ({size}), or choose a model that is here.",
            model=title,
            size=format_bytes(nbytes),
        )


def fetch(entry: ModelEntry, folder: Path, notes: Notes, offline: bool) -> Path:
    """The local diffusers folder of a hub model, downloaded into ``folder`` where it is not here.

    The hub's address is ``HF_ENDPOINT``'s, a token (gated models only) ``HF_TOKEN``'s.

    Args:
        notes: told the bytes done; may raise to stop, and the next call goes on from there.

    Raises:
        Unavailable: offline, no network, no disk space, gated without a token, or no safetensors.
    """
    if (found := find_model(entry.source.hub, folder)) is not None:
        return found
    check_online(entry.title, entry.download_bytes, offline)
    with hub_errors_as_unavailable(entry.title, entry.source.hub, entry.gated):
        return _download(entry, folder_of(entry.source.hub, folder), notes)


def fetch_files(
    repo: str,
    files: Mapping[str, str | None],
    title: str,
    nbytes: int,
    folder: Path,
    notes: Notes,
    offline: bool,
) -> Path:
    """The local folder that has these files of a repository, downloaded where they are not here.

    Args:
        repo: on the hub, ``"owner/name"``.
        files: path in the repository → its SHA-256, or None where that is not known.
        title: what they are called in sentences.
        nbytes: about what the hub sends.
        folder: downloads lie in a folder of the repository's name in it.
        notes, offline: as :func:`fetch` takes them.

    Raises:
        Unavailable: offline, no network, no disk space, or another file under that name.
    """
    if (found := find_files(repo, files, folder)) is not None:
        return found
    if offline or constants.HF_HUB_OFFLINE:
        raise Unavailable(
            "{model} is not on this machine, and Atelier was started offline. Start it once with "
            "the network on to download it ({size}), or choose another that is here.",
            model=title,
            size=format_bytes(nbytes),
        )
    own = folder_of(repo, folder)
    with hub_errors_as_unavailable(title, repo):
        remote = Repository(repo)
        for name, sha256 in files.items():
            remote.check(name, sha256)
        remote.download(list(files), own, title, notes, verified=True)
    return own


def find_files(repo: str, files: Iterable[str], folder: Path) -> Path | None:
    """The folder that has all of these files, in ``folder`` or in the user's own hub cache."""
    places = [folder_of(repo, folder), snapshot_of(repo, Path(constants.HF_HUB_CACHE))]
    names = list(files)
    return next((p for p in places if p and all((p / name).is_file() for name in names)), None)


def find_model(repo: str, folder: Path) -> Path | None:
    """The complete model in ``folder``, or else in the user's own hub cache; None without one."""
    own = folder_of(repo, folder)
    return own if is_complete(own) else find(repo, Path(constants.HF_HUB_CACHE))


def find(repo: str, cache: Path) -> Path | None:
    """The complete snapshot of ``repo`` in a hub cache, or None."""
    snapshot = snapshot_of(repo, cache)
    return snapshot if snapshot and is_complete(snapshot) else None


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


def folder_of(repo: str, folder: Path) -> Path:
    """Where the files of ``repo`` lie in a folder of downloads."""
    return folder / repo.replace("/", "--")


def snapshot_of(repo: str, cache: Path) -> Path | None:
    """Where the current snapshot of ``repo`` lies in a hub cache, whole or not."""
    storage = cache / f"models--{repo.replace('/', '--')}"
    ref = storage / "refs" / constants.DEFAULT_REVISION
    return storage / "snapshots" / ref.read_text().strip() if ref.is_file() else None


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
    repo = entry.source.hub
    remote = Repository(repo)
    if "model_index.json" not in remote.files:
        raise Unavailable("{repo} on the hub is not a diffusers model.", repo=repo)
    index = remote.get("model_index.json", folder, _Silent)
    files = needed_files(json.loads(index.read_text(encoding="utf-8")), remote.files)
    if not any(file.endswith(".safetensors") for file in files):
        raise Unavailable(
            "{repo} on the hub has no .safetensors weights; Atelier does not open pickle files.",
            repo=repo,
        )
    remote.download(files, folder, entry.title, notes)
    for part in folder.rglob("*.part"):  # of a version that the hub no longer has
        part.unlink()
    return folder


class Repository:
    """One revision of a repository on the hub.

    Attributes:
        files: what is in it, by path.
    """

    def __init__(self, repo: str) -> None:
        self._endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT)
        info = HfApi(endpoint=self._endpoint).model_info(repo, files_metadata=True)
        self._repo, self._revision = repo, info.sha
        self._headers = build_hf_headers()
        self.files = {file.rfilename: file for file in info.siblings or []}

    def check(self, name: str, sha256: str | None) -> None:
        """Raises Unavailable when there is no such file, or another one than is known."""
        file = self.files.get(name)
        if file is None:
            raise Unavailable("{repo} on the hub has no {file}.", repo=self._repo, file=name)
        if sha256 and (file.lfs is None or file.lfs.sha256 != sha256):
            raise Unavailable(
                "{file} in {repo} on the hub is not the file that Atelier knows, so it is not "
                "loaded. Look for a newer Atelier.",
                file=name,
                repo=self._repo,
            )

    def get(self, name: str, folder: Path, bar: type[tqdm], verified: bool = False) -> Path:
        url = hf_hub_url(self._repo, name, revision=self._revision, endpoint=self._endpoint)
        _get(url, self._headers, self.files[name], folder / name, bar, verified)
        return folder / name

    def download(
        self, names: list[str], folder: Path, title: str, notes: Notes, verified: bool = False
    ) -> None:
        """Bring these files to ``folder``; ``notes`` is told the bytes of all together.

        ``verified`` holds each large file against its hash, which takes seconds for gigabytes.
        """
        total = sum(self.files[name].size or 0 for name in names)
        folder.mkdir(parents=True, exist_ok=True)
        here = sum(_bytes_here(self.files[name], folder / name) for name in names)
        _check_disk(title, folder, total - here)
        done = 0
        for name in names:
            self.get(name, folder, _progress_bar_class(title, done, total, notes), verified)
            done += self.files[name].size or 0


def _get(
    url: str,
    headers: dict[str, str],
    file: RepoSibling,
    target: Path,
    bar: type[tqdm],
    verified: bool,
) -> None:
    """Download one file, going on from the part of it that an earlier try has left.

    The hub's own client begins anew after a stop, so only its streaming is used here. What was put
    together from two tries is held against the file's hash, as all is when ``verified`` is set.
    """
    if target.exists() and target.stat().st_size == file.size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    hash_ = file.lfs.sha256 if file.lfs else None
    part = _part_of(file, target)
    with part.open("ab") as out:
        start = out.tell()
        http_get(
            url, out, resume_size=start, headers=headers, expected_size=file.size, tqdm_class=bar
        )
    if (start or verified) and hash_ and _sha256(part) != hash_:
        part.unlink()
        raise ConnectionError(f"{target.name} arrived damaged")
    part.replace(target)


def _part_of(file: RepoSibling, target: Path) -> Path:
    """Where a file lies until it is whole; named after its content, which may change on the hub."""
    content = (file.lfs.sha256 if file.lfs else None) or file.blob_id or ""
    return target.with_name(f"{target.name}.{content[:16]}.part")


def _bytes_here(file: RepoSibling, target: Path) -> int:
    """How much of a file earlier tries have brought."""
    found = next((path for path in (target, _part_of(file, target)) if path.exists()), None)
    return found.stat().st_size if found else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Silent(tqdm):
    """A progress bar that draws nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})


def _progress_bar_class(title: str, before: int, total: int, notes: Notes) -> type[tqdm]:
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
                    model=title,
                    done=format_bytes(done),
                    total=format_bytes(total),
                ),
                done / total if total else None,
            )

    return Reporting


def _check_disk(title: str, folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise Unavailable(
            "{model} takes {size} on the disk, but {free} are free in the home folder. Free some, "
            "or start with another --home.",
            model=title,
            size=format_bytes(missing),
            free=format_bytes(free),
        )


@contextmanager
def hub_errors_as_unavailable(title: str, repo: str, gated: bool = False) -> Iterator[None]:
    """Turns what the hub's client raises into :class:`Unavailable`."""
    try:
        yield
    except GatedRepoError as error:
        raise _gated_repo(title, repo) from error
    except RepositoryNotFoundError as error:  # what the hub says of a private one, too
        raise Unavailable(
            "The hub has no model {repo}, or it is private. Check its name in presets/models.yaml.",
            repo=repo,
        ) from error
    except HfHubHTTPError as error:
        if gated and error.response.status_code in (401, 403):
            raise _gated_repo(title, repo) from error
        raise _interruption_error(title, error) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ConnectionError, TimeoutError) as error:
        raise _interruption_error(title, error) from error


def _gated_repo(title: str, repo: str) -> Unavailable:
    return Unavailable(
        "{model} asks you to accept its licence first: sign in at https://huggingface.co/{repo}, "
        "accept it, make a token at https://huggingface.co/settings/tokens, and start Atelier with "
        "HF_TOKEN set to it.",
        model=title,
        repo=repo,
    )


def _interruption_error(title: str, error: Exception) -> Unavailable:
    return Unavailable(
        "{model} could not be downloaded from the hub ({reason}). Check the network and send the "
        "request again; what has arrived is kept.",
        model=title,
        reason=words_of(error),
    )
