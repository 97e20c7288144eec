"""Pictures turned every way, with damaged EXIF blocks and false headers."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import warnings
import zlib

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from pipelines.core.errors import BadRequest
from pipelines.core.pictures.uploads import MAX_BYTES, open_picture
from studio.core.gallery.metadata import read_settings

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG written by hand from the standard; ``rows`` with their filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def file_of(kind: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or Image.new("RGB", (40, 24), RED)).save(buffer, format=kind, **options)
    return buffer.getvalue()


def photo(kind: str) -> bytes:
    """A picture that tells where it was taken and how to hold it."""
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    exif[Base.Make] = "Camera"
    exif.get_ifd(IFD.Exif)[Base.UserComment] = b"ASCII\0\0\0secret"
    exif.get_ifd(IFD.GPSInfo)[GPS.GPSLatitude] = (52.0, 31.0, 12.0)
    image = Image.radial_gradient("L").resize((40, 24)).convert("RGB")
    return file_of(kind, image, exif=exif)


def pixels(image: Image.Image) -> list[tuple[int, int, int]]:
    raw = image.tobytes()
    return [tuple(raw[at : at + 3]) for at in range(0, len(raw), 3)]


# Where the corner that a viewer sees at the top left lies in the stored picture, and the one at the
# top right, by the EXIF standard: a 2 × 2 picture stored as  red green / blue white.
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
        (0, [RED, GREEN, BLUE, WHITE]),
        (9, [RED, GREEN, BLUE, WHITE]),
    ],
)
def test_the_orientation_is_applied(orientation, upright):
    stored = Image.new("RGB", (2, 2))
    stored.putdata([RED, GREEN, BLUE, WHITE])
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    assert pixels(open_picture(file_of("PNG", stored, exif=exif))) == upright


def refusal(data: bytes) -> str:
    """The one sentence; reading the settings must say the same."""
    with pytest.raises(BadRequest) as painted:
        open_picture(data)
    with pytest.raises(BadRequest) as read:
        read_settings(data)
    assert str(painted.value) == str(read.value)
    return str(painted.value)


def test_large_jpeg_and_webp_headers_are_refused_too():
    jpeg = bytearray(file_of("JPEG"))
    start = jpeg.index(b"\xff\xc0") + 5  # SOF0: marker, length, depth, then height and width
    jpeg[start : start + 4] = struct.pack(">HH", 65_000, 65_000)
    assert "65000 × 65000" in refusal(bytes(jpeg))
    webp = bytearray(file_of("WEBP", lossless=True))
    start = webp.index(b"VP8L") + 9  # after name, length and the signature byte
    webp[start : start + 4] = struct.pack("<I", 16_382 | 16_382 << 14)
    assert "16383 × 16383" in refusal(bytes(webp))


def test_a_file_of_just_the_allowed_bytes_is_looked_at():
    data = file_of("JPEG")  # what follows the end of a JPEG is no part of it
    assert open_picture(data + b"\0" * (MAX_BYTES - len(data))).size == (40, 24)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
        b"\xff\xd8\xff",
        b"\xff\xd8\xff" + b"\xff" * 500,
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 50,
        png(0, 5, 8, 2, b""),
        png(5, 0, 8, 2, b""),
        png(2**31, 2**31 - 1, 8, 2, b""),
        png(4, 4, 3, 7, b""),  # no such depth, no such colour type
    ],
)
def test_a_right_beginning_does_not_make_a_picture(data):
    assert "Send the whole file." in refusal(data) or "Make it smaller" in refusal(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "block",
    [b"garbage garbage", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\0\0\xff\xff", b"II*\0\x08\0\0\0\0\0"],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_cost_the_picture(kind, block):
    data = file_of(kind, exif=b"Exif\0\0" + block)
    assert open_picture(data).size == (40, 24)
    assert read_settings(data) == {}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_bytes_changed_at_random_give_a_picture_or_a_sentence(kind):
    draw = random.Random(7)
    whole = photo(kind)
    start = max(12, whole.find(b"Exif") if kind != "PNG" else whole.find(b"eXIf"))
    for turn in range(200):
        data = bytearray(whole)
        if turn % 2 and kind != "PNG":  # in the EXIF block; a PNG's sums would refuse it at once
            for _ in range(draw.choice((1, 2, 8))):
                data[draw.randrange(start, start + 150)] = draw.randrange(256)
        else:
            data[draw.randrange(12, len(data))] = draw.randrange(256)
        for reader in (open_picture, read_settings):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(BadRequest):
                    reader(bytes(data))
