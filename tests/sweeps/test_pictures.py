"""Odd but valid picture files, and damaged ones: right pixels or a plain sentence."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from pipelines.core.errors import UserError
from pipelines.core.pictures.colour_profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    adobe_rgb_profile,
    matrix_profile,
)
from pipelines.core.pictures.uploads import Limits, open_picture
from pipelines.dreambooth.data.photos import open_photo
from studio.core.gallery.metadata import read_settings
from tests.pipelines.core.test_colour_profiles import (
    ADOBE_MATRIX,
    GREY_LINEAR,
    P3_MATRIX,
    cmyk_profile,
    srgb_decoded,
    srgb_encoded,
)
from tests.sweeps.plain_sentences import check_sentence

pytestmark = pytest.mark.deep

CASES = 400


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def odd_chunk(draw: random.Random) -> bytes:
    """A chunk that says something beside the pixels, often wrongly."""
    noise = draw.randbytes(draw.choice((0, 1, 3, 9, 40, 5000)))
    kind = draw.choice(
        (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"pHYs", b"tIME", b"bKGD", b"hIST", b"sBIT", b"acTL",
         b"fcTL", b"fdAT", b"caBX", b"vpAg", b"prVt", b"sPLT", b"oFFs", b"dSIG")
    )  # fmt: skip
    body = draw.choice((noise, b"key\0" + noise, b"key\0\0" + zlib.compress(noise)))
    whole = chunk(kind, body)
    return whole[:-1] + bytes([whole[-1] ^ 1]) if draw.random() < 0.2 else whole


def png_bytes(pixels: np.ndarray, draw: random.Random, *colours: bytes) -> bytes:
    """A PNG written by hand: interlaced or not, of 8 or 16 bits, its pixels in several chunks."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    depth = draw.choice((8, 16))
    values = pixels if depth == 8 else pixels.astype(">u2") * 257
    rows = b"".join(b"\0" + row.astype(values.dtype).tobytes() for row in values)
    packed = zlib.compress(rows, draw.choice((0, 1, 9)))
    cut = draw.randrange(len(packed))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    before = b"".join(odd_chunk(draw) for _ in range(draw.randrange(4)))
    behind = b"".join(odd_chunk(draw) for _ in range(draw.randrange(3)))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + b"".join(colours)
        + chunk(b"IDAT", packed[:cut])
        + chunk(b"IDAT", b"") * draw.randrange(2)
        + chunk(b"IDAT", packed[cut:])
        + behind
        + chunk(b"IEND", b"")
        + draw.randbytes(draw.choice((0, 50)))
    )


PROFILES = {
    "none": (None, lambda rgb: rgb),
    "p3": (matrix_profile(DISPLAY_P3),
           lambda rgb: srgb_encoded(srgb_decoded(rgb) @ np.array(P3_MATRIX).T)),
    "adobe": (adobe_rgb_profile(),
              lambda rgb: srgb_encoded(rgb ** (563 / 256) @ np.array(ADOBE_MATRIX).T)),
    "linear": (matrix_profile(gamma=1.0), srgb_encoded),
}  # fmt: skip
TURNS = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
         5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1),
         7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a)}  # fmt: skip


def tiff(orientation: int) -> bytes:
    return struct.pack(">2sHI", b"MM", 42, 8) + struct.pack(
        ">HHHIHHI", 1, Base.Orientation, 3, 1, orientation, 0, 0
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_valid_pngs_give_the_pixels_that_they_hold(profile):
    draw, numbers = random.Random(profile), np.random.default_rng(3)
    icc, convert = PROFILES[profile]
    for case in range(CASES):
        width, height, channels = draw.randrange(1, 40), draw.randrange(1, 40), draw.randrange(1, 5)
        pixels = numbers.integers(0, 256, (height, width, channels), np.uint8)
        orientation = draw.randrange(1, 9)
        colours = [chunk(b"eXIf", tiff(orientation))]
        if icc is not None:
            colours.append(chunk(b"iCCP", b"name\0\0" + zlib.compress(icc)))
        elif draw.random() < 0.3:
            colours.append(chunk(b"sRGB", b"\0") + chunk(b"gAMA", b"\0\1\x86\xa0"))
        data = png_bytes(pixels, draw, *draw.sample(colours, len(colours)))
        rgb = pixels[..., :3] if channels > 2 else pixels[..., :1].repeat(3, -1)
        wanted = convert(rgb / 255)
        if channels in (2, 4):
            alpha = pixels[..., -1:] / 255
            wanted = np.clip(np.rint(255 * wanted), 0, 255) / 255 * alpha + 1 - alpha
        wanted = np.rint(255 * np.clip(TURNS[orientation](wanted), 0, 1))
        opened = np.asarray(open_picture(data), float)
        assert opened.shape == wanted.shape, case
        assert np.abs(opened - wanted).max() <= 3, (case, channels, orientation)


def strange_file(draw: random.Random) -> bytes:
    """A file of any form, mode and profile, as cameras, scanners and editors write them."""
    form = draw.choice(("PNG", "JPEG", "WEBP"))
    modes = {"PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "JPEG": ("L", "RGB", "CMYK"),
             "WEBP": ("RGB", "RGBA")}  # fmt: skip
    mode = draw.choice(modes[form])
    size = draw.randrange(1, 60), draw.randrange(1, 60)
    noise = Image.effect_noise(size, 80)
    picture = Image.new("I;16", size, 999) if mode == "I;16" else noise.convert(mode)
    exif = Image.Exif()
    exif[Base.Orientation] = draw.choice((0, 1, 3, 6, 8, 9, 65535))
    exif[Base.Software] = draw.choice(("", "x" * 500, "é"))
    exif.get_ifd(IFD.Exif)[Base.UserComment] = draw.randbytes(draw.randrange(60))
    exif.get_ifd(IFD.Exif)[Base.ColorSpace] = draw.choice((1, 2, 65535))
    options = {"exif": exif} if mode != "I;16" else {}
    profile = draw.choice(
        (None, b"", b"junk", adobe_rgb_profile(), matrix_profile(ADOBE_RGB), GREY_LINEAR,
         cmyk_profile(), adobe_rgb_profile()[: draw.randrange(1, 370)])
    )  # fmt: skip
    if profile is not None:
        options["icc_profile"] = profile
    if form == "JPEG":
        options |= {"progressive": draw.random() < 0.5, "comment": draw.randbytes(9)}
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def test_files_of_all_forms_are_taken_and_damaged_ones_get_a_sentence():
    draw = random.Random(11)
    for case in range(6 * CASES):
        data = strange_file(draw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if case % 3 == 0:
                assert open_picture(data).mode == "RGB"
                continue
            damaged = bytearray(data[: draw.randrange(len(data))] if case % 3 == 1 else data)
            for _ in range(draw.choice((0, 1, 3, 20))):
                if damaged:
                    damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            for reader in (open_picture, read_settings, open_photo):
                try:
                    reader(bytes(damaged))
                except UserError as error:
                    check_sentence(error)


def test_pngs_of_hostile_chunks_are_pictures_or_sentences_within_their_limits():
    draw = random.Random(12)
    limits = Limits(bytes=2_000_000, pixels=10_000)
    for _ in range(2 * CASES):
        kinds = (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"iCCP", b"cICP", b"gAMA", b"cHRM", b"eXIf",
                 b"tEXt", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT", b"IEND", b"CgBI", b"aaaa",
                 b"????")  # fmt: skip
        body = b"\x89PNG\r\n\x1a\n"
        if draw.random() < 0.8:
            sides = draw.choice((0, 1, 7, 300, 2**31)), draw.choice((1, 7, 300, 2**31 - 1))
            depth, colour = draw.choice((1, 2, 4, 8, 16)), draw.choice((0, 2, 3, 4, 6, 7))
            interlaced = draw.randrange(2)
            body += chunk(b"IHDR", struct.pack(">IIBBBBB", *sides, depth, colour, 0, 0, interlaced))
        for _ in range(draw.randrange(12)):
            content = draw.randbytes(draw.choice((0, 1, 4, 32, 300)))
            content = draw.choice((content, b"k\0\0" + zlib.compress(content * 5)))
            body += chunk(draw.choice(kinds), content)
        for reader in (lambda data: open_picture(data, limits), read_settings):
            try:
                reader(body)
            except UserError as error:
                check_sentence(error)
