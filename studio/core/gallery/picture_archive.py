"""A ZIP of pictures that is written while it is sent: neither the disk nor the memory holds it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK = 1 << 20  # bytes
LEFT_OUT = "left out.txt"  # a name a line


class _Sent(io.RawIOBase):
    """A file that cannot be sought in; what is written to it can be taken out once."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def archive(files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """The bytes of a ZIP of ``files``: names inside it, and paths.

    The pictures are stored as they are: a PNG is compressed already. What cannot be opened is left
    out, and :data:`LEFT_OUT` in the ZIP names it.
    """
    sent = _Sent()
    left_out = []
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_STORED, strict_timestamps=False) as whole:
        for name, path in files:
            try:
                source = path.open("rb")
            except OSError:  # deleted meanwhile, or on a disk that is away
                left_out.append(name)
                continue
            with source:
                entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
                with whole.open(entry, "w") as target:
                    while chunk := source.read(CHUNK):
                        target.write(chunk)
                        yield sent.take()
        if left_out:
            whole.writestr(LEFT_OUT, "".join(f"{name}\n" for name in left_out))
    yield sent.take()
