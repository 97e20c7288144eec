"""What files turn out to be that were meant to be weights, told by their first bytes.

Downloads fail quietly: what lies on the disk is then the page that asks for a login, a server's
answer, or the few lines that Git LFS keeps in the place of a large file. And how long a zip's list
of its files is, known before the list is read.
"""

from __future__ import annotations

import io
import json
import struct
from typing import BinaryIO

from pipelines.core.messages import Message

START = 4096  # bytes that tell

_END = b"PK\x05\x06"
_END64 = b"PK\x06\x07"  # says where the record of a Zip64 is
_RECORD64 = b"PK\x06\x06"
_LONGEST_END = 65_557  # bytes: the record itself and the longest comment

_LFS = b"version https://git-lfs.github.com/spec/"
ARCHIVES = {
    b"PK\x03\x04": "ZIP",
    b"Rar!\x1a\x07": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x8b\x08": "GZIP",
    b"\xfd7zXZ\x00": "XZ",
    b"BZh": "BZIP2",
}
_KINDS = {
    b"GGUF": "GGUF",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"RIFF": "WEBP",
    b"%PDF-": "PDF",
    b"\x89HDF\r\n\x1a\n": "HDF5",
} | {start: kind for start, kind in ARCHIVES.items() if kind != "ZIP"}


def archive_kind(data: bytes) -> str | None:
    """What kind of archive ``data`` begins as, or None."""
    return next((kind for start, kind in ARCHIVES.items() if data.startswith(start)), None)


def is_web_page(start: bytes) -> bool:
    """Whether a file begins as web pages do."""
    lower = start[:START].lower()
    return lower.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<!doctype html", b"<html"))


def no_weights(start: bytes, file: str, wanted: str = ".safetensors") -> Message | None:
    """What a file is instead of weights, as a sentence; None where its beginning does not tell.

    Args:
        start: its first bytes, :data:`START` of them.
        file: what sentences call it.
        wanted: the kind of file that it should be.
    """
    if not start:
        return Message("{file} is empty: its download has failed. Get it again.", file=file)
    if is_web_page(start):
        return Message(
            "{file} is a web page, not a {wanted} file: its download has failed, perhaps because "
            "the site wants a login. Download it in a browser.",
            file=file,
            wanted=wanted,
        )
    if start.startswith(_LFS):
        return Message(
            "{file} is only a pointer of Git LFS to the real file. Get that one with git lfs pull, "
            "or from the site where it lies.",
            file=file,
        )
    if (said := _answer(start)) is not None:
        return Message(
            "{file} is the answer of a server, not a {wanted} file: “{said}”. Its download has "
            "failed; download it in a browser.",
            file=file,
            wanted=wanted,
            said=said,
        )
    for mark, kind in _KINDS.items():
        if start.startswith(mark) and kind != wanted.removeprefix(".").upper():
            return Message(
                "{file} is a {kind} file, whatever it is called; a {wanted} file is needed here.",
                file=file,
                kind=kind,
                wanted=wanted,
            )
    return None


def _answer(start: bytes) -> str | None:
    """What a server has answered in JSON instead of sending a file."""
    if start[:1] != b"{" or len(start) >= START:
        return None
    try:
        answer = json.loads(start)
    except (ValueError, RecursionError):
        return None
    words = (answer.get(key) for key in ("message", "error", "detail"))
    said = next((each for each in words if isinstance(each, str) and each.strip()), None)
    return None if said is None else "".join(c for c in said if c.isprintable())[:200]


def directory_size(file: BinaryIO) -> tuple[int, int]:
    """How many files a zip says that it holds, and the bytes of its list of them.

    Python's ``zipfile`` reads the whole list into memory when it opens a file: a zip of a gigabyte
    may hold nothing else.

    Raises:
        ValueError: it has no such list, or is cut off.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _LONGEST_END))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise ValueError("no end of a central directory")
    count, length = struct.unpack_from("<HL", tail, at + 10)
    if at >= 20 and tail[at - 20 : at - 16] == _END64:  # programs write it for small zips too
        (place,) = struct.unpack_from("<Q", tail, at - 12)
        file.seek(min(place, size))
        record = file.read(56)
        file.seek(0)
        if len(record) < 56 or record[:4] != _RECORD64:
            raise ValueError("no record of a Zip64")
        count, length = struct.unpack_from("<QQ", record, 32)
    return count, length
