"""Photos from strangers: decoded safely, looked at, cropped.

Every file is decoded on its own and only as large as it can be of use; a zip gives its files' bytes
and nothing of their paths. What a photo shows is found without a network: where its subject is
(centre against border), how sharp it is, and what it is alike.
"""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image

from pipelines.core.errors import BadRequest, UserError
from pipelines.core.file_kinds import directory_size
from pipelines.core.pictures.uploads import Limits, open_picture
from pipelines.core.sizes import format_bytes
from pipelines.dreambooth.data.captions import Kind, kind_of

MAX_PHOTOS = 200  # of one subject
MAX_SIDE = 2048  # pixels a side are kept
MIN_SIDE = 64  # pixels: there is nothing to be learnt from less
LIMITS = Limits(bytes=30_000_000, pixels=64_000_000, enough=MAX_SIDE, gif=True)

ZIP_FILES = 1000  # in one zip
ZIP_BYTES = 1_000_000_000  # unpacked, all together
_DIRECTORY_BYTES = 1_000_000  # of a zip's list of files, which is read into memory as a whole
_END = b"PK\x05\x06"

# One at a time: a photo of 64 million pixels takes hundreds of MB for a moment.
_DECODING = threading.Lock()

_LOOK_SIDE = 512  # pixels of the longer side when a photo's sharpness is measured
_TILES = 8  # a side, in which sharpness is measured one by one
_MAP_SIDE = 64  # pixels of the longer side of the map of where the subject is
_HASH_SIDE = 16  # a fingerprint has 16 × 16 bits


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a photo's pixels.

    Attributes:
        digest: the same for the same pixels.
        fingerprint: 256 bits, hexadecimal; alike for pictures that look alike.
        sharpness: see :func:`sharpness_of`.
        focus: see :func:`focus_of`.
    """

    digest: str
    fingerprint: str
    sharpness: float
    focus: tuple[float, float]


def open_photo(data: bytes) -> Image.Image:
    """The photo in a file: RGB, upright, at most 2048 pixels a side, nothing else of the file.

    Raises:
        BadRequest: not a PNG, JPEG, WEBP or GIF, too large, too small, or damaged.
    """
    with _DECODING:
        picture = open_picture(data, LIMITS)
        if min(picture.size) < MIN_SIDE:
            raise BadRequest(
                "The photo has {width} × {height} pixels; it needs at least {limit} a side.",
                width=picture.width,
                height=picture.height,
                limit=MIN_SIDE,
            )
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return picture


def check_room(count: int) -> None:
    """Raises BadRequest when a subject of ``count`` photos can take no more."""
    if count >= MAX_PHOTOS:
        raise BadRequest(
            "A subject has at most {limit} photos; five to thirty good ones teach more.",
            limit=MAX_PHOTOS,
        )


def png_bytes(picture: Image.Image) -> bytes:
    """``picture`` as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


# --- zips -----------------------------------------------------------------------------------------


def is_zip(data: bytes) -> bool:
    """Whether a file begins as zips do."""
    return data[:4] in (b"PK\x03\x04", _END)


def names_in_zip(file: BinaryIO) -> list[str]:
    """The names of a zip's files in their order, without folders and links.

    Raises:
        BadRequest: it is no zip, or damaged.
    """
    with _open(file) as archive:
        return [entry.filename for entry in archive.infolist() if _is_file(entry)]


def files_in_zip(file: BinaryIO, kind: Kind = "photo") -> Iterator[tuple[str, bytes | UserError]]:
    """The files of a zip with their names, one by one; what cannot be read is an error instead.

    Nothing is written to the disk, and a name is only ever shown: ``../`` in it leads nowhere. No
    file is unpacked beyond what a photo may have, and all together not beyond 1 GB, whatever the
    zip says of their sizes. Folders are passed over.

    Args:
        file: the zip.
        kind: of the files that are wanted, by their names; see :func:`captions.kind_of`.

    Raises:
        BadRequest: it is no zip, damaged, or of too many files.
    """
    with _open(file) as archive:
        files = [entry for entry in archive.infolist() if _is_file(entry)]
        entries = [entry for entry in files if kind_of(entry.filename) == kind]
        if len(entries) > ZIP_FILES:
            raise _too_many(len(entries))
        left = ZIP_BYTES
        for entry in entries:
            try:
                content = _content(archive, entry, left)
            except UserError as error:
                yield entry.filename, error
                continue
            left -= len(content)
            yield entry.filename, content


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> bytes:
    if entry.flag_bits & 1:
        raise BadRequest("The file is locked with a password. Send a zip without one.")
    # The other methods unpack a whole block at once, however large it turns out.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _unusual()
    limit = min(LIMITS.bytes, left)
    try:
        with archive.open(entry) as part:
            content = part.read(limit + 1)
    except NotImplementedError as error:
        raise _unusual() from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise BadRequest("This file is damaged inside the zip. Pack it again.") from error
    if len(content) > LIMITS.bytes:
        raise BadRequest(
            "The file has more than {limit}; that is no photo.",
            limit=format_bytes(LIMITS.bytes),
        )
    if len(content) > left:
        raise BadRequest(
            "The zip unpacks to more than {limit}. Send the photos in several parts.",
            limit=format_bytes(ZIP_BYTES),
        )
    return content


def _open(file: BinaryIO) -> zipfile.ZipFile:
    _check_directory(file)
    try:
        return zipfile.ZipFile(file)
    except NotImplementedError as error:
        raise _unusual() from error
    except (zipfile.BadZipFile, ValueError, struct.error, OSError) as error:
        raise _damaged_zip() from error


def _is_file(entry: zipfile.ZipInfo) -> bool:
    link = stat.S_ISLNK(entry.external_attr >> 16)
    return not (entry.is_dir() or entry.filename.endswith(("/", "\\")) or link)


def _check_directory(file: BinaryIO) -> None:
    """Refuses a list of files that would take long to read, before it is read."""
    try:
        count, length = directory_size(file)
    except ValueError:
        raise _damaged_zip() from None
    if count > 4 * ZIP_FILES or length > _DIRECTORY_BYTES:
        raise _too_many(count)


def _too_many(count: int) -> BadRequest:
    return BadRequest(
        "The zip has {count} files; at most {limit} are taken. Send the best photos alone.",
        count=count,
        limit=ZIP_FILES,
    )


def _damaged_zip() -> BadRequest:
    return BadRequest(
        "The zip is damaged or cut off: its list of files cannot be read. Send it again."
    )


def _unusual() -> BadRequest:
    return BadRequest("The zip is packed in an unusual way. Send an ordinary zip, or the files.")


# --- what a photo shows ---------------------------------------------------------------------------


def facts_of(picture: Image.Image) -> Facts:
    """All that is kept of ``picture`` (RGB) besides its pixels."""
    digest = hashlib.sha256(f"{picture.size}\0".encode())
    digest.update(picture.tobytes())
    return Facts(
        digest=digest.hexdigest()[:32],
        fingerprint=fingerprint_of(picture),
        sharpness=round(sharpness_of(picture), 2),
        focus=focus_of(picture),
    )


def fingerprint_of(picture: Image.Image) -> str:
    """The difference hash: for 16 × 16 places, whether it is brighter to the right of each.

    It stays nearly the same when a photo is scaled, compressed again or made brighter.
    """
    size = (_HASH_SIDE + 1, _HASH_SIDE)
    small = np.asarray(picture.convert("L").resize(size, Image.Resampling.BOX), np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def likeness(one: Facts, other: Facts) -> int:
    """How many of the 256 bits of two fingerprints differ."""
    return (int(one.fingerprint, 16) ^ int(other.fingerprint, 16)).bit_count()


def sharpness_of(picture: Image.Image) -> float:
    """The variance of the Laplacian in the sharpest of 8 × 8 tiles, at 512 pixels a side.

    In the sharpest, for a subject in focus before a soft background is what a photo should be.
    Grey levels squared; Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000.
    """
    grey = picture.convert("L")
    grey.thumbnail((_LOOK_SIDE, _LOOK_SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, np.float32)
    laplacian = (
        values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    ) - 4 * values[1:-1, 1:-1]
    tiles = (
        tile
        for rows in np.array_split(laplacian, _TILES)
        for tile in np.array_split(rows, _TILES, axis=1)
    )
    return float(max((tile.var() for tile in tiles if tile.size), default=0.0))


def focus_of(picture: Image.Image) -> tuple[float, float]:
    """Where the subject is: the middle of the largest square that holds most of what stands out.

    What stands out differs in colour from all four borders; where nothing does, it is the centre.
    (x, y) as fractions of width and height.
    """
    width, height = picture.size
    salient = saliency_of(picture)
    rows, columns = salient.shape
    if width == height or float(salient.sum()) < 1e-6:
        return 0.5, 0.5
    # Only along the longer side is there anything to choose.
    along = salient.sum(0 if columns > rows else 1)
    side, length = min(rows, columns), max(rows, columns)
    sums = np.convolve(along, np.ones(side), "valid")
    # Of squares that hold as much, the one nearest to the centre of what they hold.
    centre = float((along * (np.arange(length) + 0.5)).sum() / along.sum())
    best = np.flatnonzero(sums >= sums.max() * 0.995)
    start = best[np.argmin(np.abs(best + side / 2 - centre))]
    at = round(float((start + side / 2) / length), 4)
    return (at, 0.5) if columns > rows else (0.5, at)


def saliency_of(picture: Image.Image) -> np.ndarray:
    """How far each place's colour is from those along the borders.

    Returns:
        (H, W) float32 from 0 to 1, the longer side 64.
    """
    small = picture.copy()
    small.thumbnail((_MAP_SIDE, _MAP_SIDE), Image.Resampling.BOX)
    lab = np.asarray(small.convert("LAB"), np.float32)
    lab[..., 1:] = (lab[..., 1:] + 128) % 256 - 128  # Pillow keeps a and b as signed bytes
    edge = max(1, min(lab.shape[:2]) // 16)
    sides = [lab[:edge], lab[-edge:], lab[:, :edge], lab[:, -edge:]]
    # Each side in four parts: a horizon crosses two of them.
    parts = [
        part.reshape(-1, 3).mean(0)
        for side in sides
        for part in np.array_split(side, 4, axis=int(side.shape[1] > side.shape[0]))
        if part.size
    ]
    distance = np.linalg.norm(lab[:, :, None] - np.stack(parts)[None, None], axis=-1).min(-1)
    low, high = np.percentile(distance, 50), float(distance.max())
    if high - low < 4:  # less than the eye sees at once
        return np.zeros_like(distance)
    return np.clip((distance - low) / (high - low), 0, 1)


# --- crops ----------------------------------------------------------------------------------------


def crop_box(
    size: tuple[int, int], aspect: float, focus: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The largest box of a shape within a picture, its middle as near to the focus as may be.

    Args:
        size: of the picture, pixels.
        aspect: width ÷ height of the box.
        focus: fractions of width and height.

    Returns:
        left, top, right, bottom in pixels, not rounded.
    """
    width, height = size
    box_width, box_height = min(width, height * aspect), min(height, width / aspect)
    left = min(max(focus[0] * width - box_width / 2, 0), width - box_width)
    top = min(max(focus[1] * height - box_height / 2, 0), height - box_height)
    return left, top, left + box_width, top + box_height
