"""Files that are whole whenever they are there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipelines.core.messages import Message

if TYPE_CHECKING:
    import numpy as np

_TEMPORARY = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException) -> bool:
    """Whether something could not be written for want of space, or because of a quota.

    Writers of weights say so in words alone (safetensors' are no OSErrors), and shutil of many
    files keeps only what was said of each.
    """
    number = getattr(error, "errno", None)
    if number is not None:
        return number in _FULL
    said = str(error)
    return any(os.strerror(each) in said for each in _FULL)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file that is either whole or as it was before, on the disk when this returns.

    A process killed at any moment leaves at most a hidden file beside it (:func:`is_temporary`).
    """
    # Not made of its name, which may be as long as a name can be.
    temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that :func:`write_whole` gives to what is not whole yet."""
    return name.startswith(".") and name.endswith(_TEMPORARY)


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut; Windows does so by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array as an NPY file.

    ``numpy.save`` itself raises an OSError without an errno when the disk is full.

    Raises:
        OSError: the file cannot be written; ``errno`` says why.
    """
    import numpy as np

    with path.open("wb") as file:
        np.save(UnbufferedFile(file), array, allow_pickle=False)


class UnbufferedFile:
    """A file that numpy must write to block by block, so that its errors have an errno.

    To a file with a descriptor numpy writes by ``tofile``, whose errors have none.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


def decode_text(data: bytes) -> str | None:
    """A small file's text, without a byte order mark; None where it is neither UTF-8 nor UTF-16."""
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        # Of Latin words in UTF-16 without a mark every other byte is 0.
        if 3 * data[:2000].count(0) > len(data[:2000]):
            return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def read_yaml(path: Path) -> Any:
    """What a YAML file of Atelier's own holds, by libyaml where it is there: ten times as fast."""
    import yaml

    with path.open(encoding="utf-8") as file:
        return yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def temporary_root() -> Path:
    """The folder for temporary files, made again where somebody has cleaned it away."""
    folder = Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def readable_name(path: Path) -> str:
    """The last part of a path for people; what is not written in UTF-8 in it becomes "�"."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def refused_name(path: Path) -> Message | None:
    """Why a file or folder cannot be asked for by its name, or None.

    Names are bytes to the file system: archives and drives of older machines bring other encodings,
    which no JSON, page or database can hold.
    """
    name = readable_name(path)
    if name == path.name:
        return None
    return Message("The name {file} is not written in UTF-8. Rename it.", file=name)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all below a folder; those that go meanwhile do not count."""
    total = 0
    for each in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):
            total += each.stat().st_size if each.is_file() else 0
    return total
