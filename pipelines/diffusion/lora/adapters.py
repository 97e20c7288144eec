"""Adapters as PEFT saves them: a folder, or a zip of one, with ``adapter_config.json`` beside it.

The configuration has what the tensors lack: alpha, and of what kind the adapter is. Strangers
upload zip files, so nothing is unpacked under a name of theirs, nor beyond a limit.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core.errors import BadRequest
from pipelines.core.file_kinds import directory_size
from pipelines.core.sizes import format_bytes
from pipelines.diffusion.lora.header import is_pickle_name, looks_like_zip, pickle_refusal

CONFIG = "adapter_config.json"
SUFFIX = ".safetensors"
UNPACKED = "unpacked"  # a folder in an unfinished entry
_MAX_CONFIG = 1_000_000  # bytes
_MAX_FILES, _MAX_DIRECTORY = 1000, 1_000_000  # files, and bytes of the list of them
_MAX_GROWTH, _FLOOR = 4, 100_000_000  # times the zip's size, and bytes that any may take
_BLOCK = 2**20


@dataclass(frozen=True)
class Adapter:
    """A file of weights and what its adapter's configuration says, if there is one."""

    weights: Path
    config: dict[str, Any] = field(default_factory=dict)


def adapter_at(path: Path, file: str) -> Adapter:
    """The weights that ``path`` is, or that lie in the folder that it is; sentences say ``file``.

    Raises:
        BadRequest: the folder has none, or several.
    """
    if not path.is_dir():
        return Adapter(path)
    inside = [each for each in sorted(path.iterdir()) if each.is_file()]
    names = [each.name for each in inside if _is_weights(each.name)]
    if len(names) != 1:
        raise _not_one(names, [each.name for each in inside], file)
    config = path / CONFIG
    return Adapter(path / names[0], _read_config(config.read_bytes()) if config.is_file() else {})


def unpack(path: Path, folder: Path, file: str) -> Path:
    """The folder of the adapter that the zip file ``path`` holds, made inside ``folder``.

    Raises:
        BadRequest: it holds no weights, or several; it is damaged, has a password or is too large.
    """
    target = folder / UNPACKED
    target.mkdir()
    limit = _MAX_GROWTH * path.stat().st_size + _FLOOR
    try:
        _check_directory(path, file)
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not _is_hidden(name)]
            weights = [name for name in names if _is_weights(name)]
            if len(weights) != 1:
                raise _not_one(weights, names, file)
            beside = weights[0].rpartition("/")[0]
            _extract(archive, weights[0], target / f"adapter{SUFFIX}", limit, file)
            config = f"{beside}/{CONFIG}" if beside else CONFIG
            if config in names:
                _extract(archive, config, target / CONFIG, _MAX_CONFIG, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise BadRequest(
            "{file} is a zip file that cannot be unpacked here: it is damaged, has a password, or "
            "is packed in an unusual way. Take the .safetensors out of it, and bring that in.",
            file=file,
        ) from None
    return target


def is_zip(path: Path) -> bool:
    """Whether a file begins as zip files do."""
    with path.open("rb") as opened:
        return looks_like_zip(opened.read(9))


def _check_directory(path: Path, file: str) -> None:
    """Refuses a zip whose list of files would take long to read, before it is read.

    Raises:
        BadRequest: it holds too many files.
        BadZipFile: it has no such list.
    """
    try:
        with path.open("rb") as opened:
            count, length = directory_size(opened)
    except ValueError as error:
        raise zipfile.BadZipFile(str(error)) from None
    if count > _MAX_FILES or length > _MAX_DIRECTORY:
        raise BadRequest(
            "{file} is a zip file of {count} files; an adapter has at most {limit}. Take the "
            ".safetensors out of it, and bring that in.",
            file=file,
            count=count,
            limit=_MAX_FILES,
        )


def _extract(archive: zipfile.ZipFile, name: str, to: Path, limit: int, file: str) -> None:
    """Writes one member; its own claim of a size is not believed."""
    written = 0
    with archive.open(name) as member, to.open("wb") as target:
        while block := member.read(_BLOCK):
            written += len(block)
            if written > limit:
                raise BadRequest(
                    "{file} is a zip file whose {member} is larger than {limit} once it is "
                    "unpacked. Take the .safetensors out of it, and bring that in.",
                    file=file,
                    member=name[-100:],
                    limit=format_bytes(limit),
                )
            target.write(block)


def _not_one(weights: list[str], names: list[str], file: str) -> BadRequest:
    """What is said of a folder or zip file that does not hold exactly one file of weights."""
    if weights:
        return BadRequest(
            "{file} holds {count} .safetensors files: {names}. Bring them in one by one.",
            file=file,
            count=len(weights),
            names=", ".join(name.rpartition("/")[2] for name in weights)[:200],
        )
    if any(is_pickle_name(name) for name in names):
        return pickle_refusal(file)
    return BadRequest("{file} holds no .safetensors file.", file=file)


def _is_weights(name: str) -> bool:
    return name.lower().endswith(SUFFIX) and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    """Folders, and what a Mac adds to its zip files."""
    return name.endswith("/") or any(
        piece.startswith((".", "__MACOSX")) for piece in name.split("/")
    )


def _read_config(text: bytes) -> dict[str, Any]:
    try:
        config = json.loads(text[:_MAX_CONFIG])
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
