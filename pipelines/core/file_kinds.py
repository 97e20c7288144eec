"""What files turn out to be that were meant to be weights, told by their first bytes.

Downloads fail quietly: what lies on the disk is then the page that asks for a login, a server's
answer, or the few lines that Git LFS keeps in the place of a large file.
"""

from __future__ import annotations

import json

from pipelines.core.messages import Message

START = 4096  # bytes that tell

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
