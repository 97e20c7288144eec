"""PNG and JPEG files taken apart: the pixels, and what is said beside them.

Pillow refuses a whole PNG for a text that unpacks to more than 1 MB, for a large colour profile, or
for a damaged chunk that the pixels do not need. So the file is taken apart first: the decoder is
given the pixels alone, and texts, profile and EXIF are read here, each within limits of its own.

Sources: the PNG specification (third edition, 2025), sections 4 and 11; JPEG (ITU-T T.81), annex B;
ICC.1:2022, annex B (profiles in JPEG and PNG files).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.core.errors import BadRequest
from pipelines.core.pictures.colour_profiles import coded_profile, matrix_profile
from pipelines.core.pictures.hdr import ColourCoding

MAX_TEXT = 8_000_000  # bytes of one text, unpacked: workflows are large
MAX_TEXTS = 32_000_000  # of all texts of a file
MAX_KEYWORDS = 1000
MAX_PROFILE = 8_000_000  # bytes of a colour profile, unpacked; those of presses take 1 to 3 MB

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ANCILLARY = 0x20  # the bit of a chunk's first letter: pixels can be had without it
_TRANSPARENT = {0: (2, 2), 2: (6, 6), 3: (1, 256)}  # colour type → bytes of tRNS, from … to

_EXIF = b"Exif\0\0"
_TIFF = {b"II*\0", b"MM\0*"}  # an EXIF block begins with one of them
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ICC = b"ICC_PROFILE\0"
_NO_FRAMES = {0xC4, 0xC8, 0xCC}  # tables, which have numbers among those of frames
_LOSSLESS = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}  # or hierarchical
MAX_SCANS = 100  # of a JPEG; progressive ones have about ten. Each goes over the whole picture
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # behind pixels, in which FF is FF 00
XMP_TEXT = "XML:com.adobe.xmp"  # the keyword that XMP has in a PNG


@dataclass(slots=True)
class Parts:
    """A picture file taken apart.

    Attributes:
        pixels: the file without all that its pixels do not need.
        profile: ICC profile of its colours, or None where it names none.
        coding: what the file says of the coding of its colours, or None.
        exif: with ``Exif\\0\\0`` before it, or None.
        texts: keyword → text.
        left_out: keywords of texts that are too long or damaged.
        frames: how many an animated PNG says that it has.
        unusual: why this file may be good and still not be decoded here, or None.
    """

    pixels: bytes = b""
    profile: bytes | None = None
    coding: ColourCoding | None = None
    exif: bytes | None = None
    texts: dict[str, str] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    frames: int = 1
    unusual: BadRequest | None = None
    _left: int = MAX_TEXTS

    def add_text(self, keyword: bytes, read: Callable[[int], bytes | None]) -> None:
        """Adds a text of the file, or notes its keyword in ``left_out`` where it cannot be read.

        Args:
            keyword: the name of the text.
            read: called with the most bytes that may be read; returns the text, or None where
                it cannot be had.
        """
        name = text_of(keyword)[:100]
        limit = min(MAX_TEXT, self._left)
        content = read(limit) if limit > 0 and len(self.texts) < MAX_KEYWORDS else None
        if content is None:
            if len(self.left_out) < MAX_KEYWORDS:
                self.left_out.add(name)
            self._left -= limit  # so much may have been unpacked
        else:
            self.texts[name] = text_of(content)
            self._left -= len(content)


_WINDOWS = {
    code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)
}


def text_of(content: bytes) -> str:
    """Bytes of a text: UTF-8 where they are valid, else Latin-1, as PNG has it.

    Many programs write UTF-8 into chunks that are meant for Latin-1. Latin-1 beyond ASCII is hardly
    ever valid UTF-8. What would be its control characters are quotation marks, dashes and the euro
    of Windows-1252.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.translate(_WINDOWS)


# --- PNG ------------------------------------------------------------------------------------------


def take_apart_png(data: bytes) -> Parts:
    """The parts of a PNG. Of an animated one, its still picture.

    Damage to what the pixels need is left for the decoder to find.
    """
    parts, kept = Parts(), [PNG_SIGNATURE]
    colours: dict[bytes, bytes] = {}
    colour_type, at = None, len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start, end = at + 8, at + 12 + length
        if not kind[0] & _ANCILLARY or not kind.isalpha():
            if kind == b"IHDR" and length >= 10 and start + 10 <= len(data):
                colour_type = data[start + 9]
            kept.append(data[at:end])
            if kind == b"IEND":
                break
        elif _is_whole(data, at, end):
            body = data[start : end - 4]
            low, high = _TRANSPARENT.get(colour_type, (1, 0))
            if kind == b"tRNS" and low <= length <= high:
                kept.append(data[at:end])
            elif kind in _COLOURS:
                colours.setdefault(kind, body)  # there may be one only; readers take the first
            elif kind == b"eXIf":
                block = body.removeprefix(_EXIF)
                if parts.exif is None and block[:4] in _TIFF:
                    parts.exif = _EXIF + block
            elif kind == b"acTL" and length == 8:
                parts.frames = int.from_bytes(body[:4])
            elif kind in _TEXTS:
                _TEXTS[kind](parts, body)
        at = end
    parts.pixels = b"".join(kept)
    parts.profile = _profile(colours)
    if len(code := colours.get(b"cICP", b"")) == 4:
        parts.coding = ColourCoding(code[0], code[1], bool(code[3]))
    if data[12:16] == b"CgBI":
        parts.unusual = BadRequest(
            "This PNG has the form of pictures inside iPhone apps, which is not read here. Open it "
            "in an image editor and save it as PNG."
        )
    return parts


def _is_whole(data: bytes, at: int, end: int) -> bool:
    """Whether a chunk is there to its end and its checksum is right."""
    if end > len(data):
        return False
    return zlib.crc32(memoryview(data)[at + 4 : end - 4]) == struct.unpack_from(
        ">I", data, end - 4
    )[0]  # fmt: skip


def _plain_text(parts: Parts, body: bytes) -> None:
    """tEXt: keyword, zero, text."""
    keyword, zero, content = body.partition(b"\0")
    if zero:
        parts.add_text(keyword, lambda limit: content if len(content) <= limit else None)


def _packed_text(parts: Parts, body: bytes) -> None:
    """zTXt: keyword, zero, method, packed text."""
    keyword, zero, rest = body.partition(b"\0")
    if zero:
        parts.add_text(keyword, lambda limit: _unpack(rest[1:], limit))


def _international_text(parts: Parts, body: bytes) -> None:
    """iTXt: keyword, zero, whether it is packed, method, language, zero, keyword, zero, text."""
    keyword, zero, rest = body.partition(b"\0")
    fields = rest[2:].split(b"\0", 2)
    if not zero or len(fields) < 3:
        return
    content = fields[2]
    if rest[0]:
        parts.add_text(keyword, lambda limit: _unpack(content, limit))
    else:
        parts.add_text(keyword, lambda limit: content if len(content) <= limit else None)


def _unpack(content: bytes, limit: int) -> bytes | None:
    """Zlib's content unpacked; None where it is damaged or has more than ``limit`` bytes."""
    try:
        unpacked = zlib.decompressobj().decompress(content, limit + 1)
    except zlib.error:
        return None
    return unpacked if len(unpacked) <= limit else None


def _profile(colours: dict[bytes, bytes]) -> bytes | None:
    """The profile that a PNG's chunks tell of, in the order of the specification, 4.3."""
    code = colours.get(b"cICP", b"")
    if len(code) == 4 and (profile := coded_profile(code[0], code[1])):
        return profile
    if packed := colours.get(b"iCCP"):
        _, _, rest = packed.partition(b"\0")
        if profile := _unpack(rest[1:], MAX_PROFILE):
            return profile
    gamma, primaries = colours.get(b"gAMA", b""), colours.get(b"cHRM", b"")
    if b"sRGB" in colours or len(gamma) != 4:
        return None
    exponent = struct.unpack(">I", gamma)[0] / 100_000
    if not 0.1 <= exponent <= 10:
        return None
    if len(primaries) == 32:
        white, *rgb = (
            (x / 100_000, y / 100_000) for x, y in struct.iter_unpack(">II", primaries)
        )  # fmt: skip
        return matrix_profile(rgb, white, 1 / exponent)
    return matrix_profile(gamma=1 / exponent)


_TEXTS = {b"tEXt": _plain_text, b"zTXt": _packed_text, b"iTXt": _international_text}
_COLOURS = {b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"}


# --- JPEG -----------------------------------------------------------------------------------------


def take_apart_jpeg(data: bytes) -> Parts:
    """The parts of a JPEG: its first picture without application segments and comments.

    Those that say how the colours are coded (JFIF, Adobe) stay.
    """
    parts, kept, profile, exif = Parts(), [data[:2]], [], []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        length = struct.unpack_from(">H", data, at + 2)[0]
        end = at + 2 + length
        if marker in (0x00, 0x01, 0xD9, 0xDA, 0xFF) or 0xD0 <= marker <= 0xD8:
            break  # the pixels, or something odd, which the decoder judges
        if length < 2 or end > len(data):
            break
        body = data[at + 4 : end]
        if 0xE0 <= marker <= 0xEF:
            if (marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 12) or (
                marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12
            ):
                kept.append(data[at:end])
            elif marker == 0xE1 and body.startswith(_EXIF):
                exif.append(body[len(_EXIF) :])  # a block may be cut into several
            elif marker == 0xE1 and body.startswith(_XMP):
                parts.texts[XMP_TEXT] = text_of(body[len(_XMP) :])
            elif marker == 0xE2 and body.startswith(_ICC) and len(body) > 14:
                profile.append(body)
        elif marker == 0xFE:
            parts.texts["comment"] = text_of(body)
        else:
            kept.append(data[at:end])
            if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES and len(body) >= 6:
                parts.unusual = _unusual_frame(marker, body[0], body[5])
        at = end
    parts.pixels = b"".join([*kept, data[at:]])
    if parts.unusual is None and count_scans(data, at) > MAX_SCANS:
        parts.unusual = BadRequest(
            "This JPEG goes over its pixels in more than {limit} scans, which takes too long. Save "
            "it again as an ordinary JPEG.",
            limit=MAX_SCANS,
        )
    if exif:
        parts.exif = b"".join([_EXIF, *exif])
    pieces: dict[int, bytes] = {}  # by their numbers; what some tools write twice counts once
    for body in profile:
        pieces.setdefault(body[12], body)
    # A count of 0 is written of profiles in one piece.
    if pieces and (profile[0][13] or 1) == len(pieces):
        parts.profile = b"".join(pieces[number][14:] for number in sorted(pieces))
    return parts


def count_scans(data: bytes, start: int) -> int:
    """How many scans a JPEG has from ``start`` on, as libjpeg finds them; none is counted beyond
    one more than :data:`MAX_SCANS`. A hundred bytes of a scan take as long as all pixels."""
    count, at = 0, start
    while count <= MAX_SCANS and (found := _MARKER.search(data, at)) is not None:
        at, marker = found.end(), data[found.end() - 1]
        if marker == 0xD9:
            break
        count += marker == 0xDA
        if marker not in (0x01, 0xD8) and at + 2 <= len(data):
            at += struct.unpack_from(">H", data, at)[0]
    return count


def _unusual_frame(marker: int, bits: int, channels: int) -> BadRequest | None:
    if marker in _LOSSLESS:
        return BadRequest(
            "This is a lossless JPEG, which is not read here. "
            "Save it as PNG, or as an ordinary JPEG."
        )
    if bits != 8 or channels not in (1, 3, 4):
        return BadRequest(
            "This JPEG has {channels} channels of {bits} bits; 1, 3 or 4 of 8 bits are read here. "
            "Save it as PNG, or as an ordinary JPEG.",
            channels=channels,
            bits=bits,
        )
    return None
