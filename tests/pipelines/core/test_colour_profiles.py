"""Colours of other spaces come out in sRGB; what surrounds the pixels costs no picture."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base, Interop

from pipelines.core.errors import BadRequest
from pipelines.core.pictures.colour_profiles import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    DISPLAY_P3,
    adobe_rgb_profile,
    coded_profile,
    matrix_profile,
)
from pipelines.core.pictures.picture_files import text_of
from pipelines.core.pictures.uploads import open_picture, open_upload

PROPHOTO = matrix_profile(
    ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585), 1.8
)

# Linear light to linear sRGB, from CSS Color 4, section 17 ("Sample code").
P3_MATRIX = [[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09827]]
ADOBE_MATRIX = [[1.39836, -0.39836, 0], [0, 1, 0], [0, -0.04293, 1.04293]]
PROPHOTO_MATRIX = [
    [2.03429, -0.72757, -0.30672], [-0.22883, 1.23173, -0.00290], [-0.00856, -0.15328, 1.16184],
]  # fmt: skip

COLOURS = np.array([[200, 80, 40], [60, 160, 90], [128, 128, 128], [90, 100, 180], [255, 255, 255]])


def srgb_decoded(values):
    return np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)


def srgb_encoded(values):
    values = np.clip(values, 0, 1)
    return np.where(values > 0.0031308, 1.055 * values ** (1 / 2.4) - 0.055, 12.92 * values)


def expected_colours(decode, matrix):
    return np.rint(255 * srgb_encoded(decode(COLOURS / 255) @ np.array(matrix).T)).astype(int)


SPACES = {
    "display p3": (matrix_profile(DISPLAY_P3), expected_colours(srgb_decoded, P3_MATRIX)),
    "adobe rgb": (adobe_rgb_profile(), expected_colours(lambda v: v**ADOBE_GAMMA, ADOBE_MATRIX)),
    "prophoto": (PROPHOTO, expected_colours(lambda v: v**1.8, PROPHOTO_MATRIX)),
}


def patches(colours=COLOURS, mode="RGB"):
    """One patch of 16 × 16 pixels a colour, so that JPEG keeps them apart."""
    picture = Image.new(mode, (16 * len(colours), 16))
    for number, colour in enumerate(colours):
        colour = tuple(int(each) for each in colour) if len(colour) > 1 else int(colour[0])
        picture.paste(colour, (16 * number, 0, 16 * number + 16, 16))
    return picture


def encode(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def colours_of(picture):
    return np.asarray(picture, int)[8, 8::16]


def icc(space: bytes, kind: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of version 2.4 with these tags, written by hand."""
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\x02x\0" + bytes(78), **tags}
    at, table, contents = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, at, len(content))
        contents, at = contents + content, at + len(content)
    header = struct.pack(">I4sI4s4s4s", at, bytes(4), 0x02400000, kind, space, pcs)
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + contents


def cmyk_profile() -> bytes:
    """Ink by ink to Lab: paper L 100, black L 0, cyan L 50 a −40 b −40, the others no colour."""
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    corners = bytearray()
    for corner in range(16):  # cyan counts eight, black one
        lab = (100, 0, 0) if not corner else (50, -40, -40) if corner == 8 else (0, 0, 0)
        corners += bytes([round(lab[0] * 2.55), lab[1] + 128, lab[2] + 128])
    lut = b"mft1\0\0\0\0\x04\x03\x02\0" + identity + bytes(range(256)) * 4
    lut += bytes(corners) + bytes(range(256)) * 3
    return icc(b"CMYK", b"prtr", b"Lab ", {b"A2B0": lut, b"A2B1": lut, b"A2B2": lut})


GREY_LINEAR = icc(
    b"GRAY",
    b"mntr",
    b"XYZ ",
    {
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"kTRC": b"curv\0\0\0\0\0\0\0\x01\x01\0",
    },
)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with further chunks before its pixels."""
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("JPEG", {"quality": 95, "subsampling": 0}), ("WEBP", {"lossless": True})],
)
def test_colours_come_out_in_srgb(form, options, space):
    profile, expected = SPACES[space]
    opened = open_picture(encode(patches(), form, icc_profile=profile, **options))
    # The error of a JPEG itself grows with the matrix.
    assert np.abs(colours_of(opened) - expected).max() <= (12 if form == "JPEG" else 1)
    assert opened.info == {}


def test_a_profile_of_srgb_changes_nothing():
    buffer = io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    noise = np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8)
    for profile in (buffer.getvalue(), matrix_profile()):
        data = encode(Image.fromarray(noise), icc_profile=profile)
        assert open_picture(data).tobytes() == noise.tobytes()


def test_transparency_and_orientation_go_with_a_profile():
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    glass = patches().convert("RGBA")
    glass.paste((9, 9, 9, 0), (16, 0, 32, 16))
    profile, expected = SPACES["display p3"]
    opened = open_picture(encode(glass, icc_profile=profile, exif=exif))
    assert opened.size == (16, 80), "turned upright"
    upright = np.asarray(opened, int)[8::16, 8]
    assert np.abs(upright[[0, 2, 3]] - expected[[0, 2, 3]]).max() <= 1
    assert upright[1].tolist() == [255, 255, 255], "what is transparent becomes white"


def test_colours_of_palettes_and_of_16_bits_are_converted():
    profile, expected = SPACES["adobe rgb"]
    opened = open_picture(encode(patches().quantize(16), icc_profile=profile))
    assert np.abs(colours_of(opened) - expected).max() <= 1
    deep = COLOURS.astype(">u2") * 257
    rows = b"\0" + deep.tobytes()
    header = struct.pack(">IIBBBBB", len(deep), 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"iCCP", b"a\0\0" + zlib.compress(profile))
    data += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.abs(np.asarray(open_picture(data), int)[0] - expected).max() <= 1


def test_greys_of_a_linear_profile_are_brightened_in_8_and_16_bits():
    greys = np.array([[0], [64], [128], [255]])
    expected = np.rint(255 * srgb_encoded(greys / 255)).astype(int)
    eight = open_picture(encode(patches(greys, "L"), icc_profile=GREY_LINEAR))
    assert np.abs(colours_of(eight) - expected).max() <= 1
    sixteen = Image.fromarray((greys * 257).astype(np.uint16))
    opened = open_picture(encode(sixteen, icc_profile=GREY_LINEAR))
    assert np.abs(np.asarray(opened, int)[:, 0] - expected).max() <= 1
    translucent = patches(greys, "L").convert("LA")
    opened = open_picture(encode(translucent, icc_profile=GREY_LINEAR))
    assert np.abs(colours_of(opened) - expected).max() <= 1


def test_grey_photos_follow_a_profile_for_rgb():
    profile = matrix_profile(gamma=1.0)
    opened = open_picture(encode(patches([[64]], "L"), "JPEG", icc_profile=profile))
    assert abs(int(colours_of(opened)[0, 0]) - 137) <= 1


def test_inks_are_converted_by_their_profile():
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255)]
    picture = patches(inks, "CMYK")
    data = encode(picture, "JPEG", icc_profile=cmyk_profile(), quality=95)
    paper, cyan, black = colours_of(open_picture(data)).tolist()
    assert min(paper) >= 250
    assert max(black) <= 5
    # L 50, a −40, b −40 in sRGB: a red out of range, green about 138, blue about 187.
    assert cyan[0] <= 5
    assert abs(cyan[1] - 138) <= 6
    assert abs(cyan[2] - 187) <= 6
    plain = colours_of(open_picture(encode(picture, "JPEG", quality=95))).tolist()
    assert plain[1][2] >= 250, "without a profile, cyan is the complement of red"


@pytest.mark.parametrize(
    "profile",
    [
        b"profile",
        b"",
        adobe_rgb_profile()[:200],
        adobe_rgb_profile().replace(b"rXYZ", b"none"),
        cmyk_profile(),  # in a picture of red, green and blue
        GREY_LINEAR,
        icc(b"RGB ", b"mntr", b"XYZ ", {}),
    ],
    ids=["words", "empty", "cut off", "no red", "of inks", "of greys", "no tags"],
)
def test_a_profile_that_cannot_be_followed_leaves_the_colours_as_they_are(profile):
    for form, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        opened = open_picture(encode(patches(), form, icc_profile=profile, **options))
        assert colours_of(opened).tolist() == COLOURS.tolist()


def test_a_large_profile_is_followed_and_a_flood_is_not():
    profile, expected = SPACES["display p3"]
    large = profile + np.random.default_rng(0).bytes(3_000_000)
    large = struct.pack(">I", len(large)) + large[4:]
    opened = open_picture(encode(patches(), icc_profile=large))
    assert np.abs(colours_of(opened) - expected).max() <= 1
    flood = with_chunks(
        encode(patches()), chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(30_000_000)))
    )
    tracemalloc.start()
    assert colours_of(open_picture(flood)).tolist() == COLOURS.tolist()
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_colours_of_the_older_and_of_the_newest_chunks_are_converted():
    plain = encode(patches())
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))  # linear light
    linear = open_picture(with_chunks(plain, gamma))
    expected = np.rint(255 * srgb_encoded(COLOURS / 255)).astype(int)
    assert np.abs(colours_of(linear) - expected).max() <= 1
    corners = [31270, 32900, *(round(100_000 * each) for point in ADOBE_RGB for each in point)]
    chromaticities = chunk(b"cHRM", struct.pack(">8I", *corners))
    adobe = chunk(b"gAMA", struct.pack(">I", 45471))
    _, expected = SPACES["adobe rgb"]
    opened = open_picture(with_chunks(plain, adobe, chromaticities))
    assert np.abs(colours_of(opened) - expected).max() <= 1
    same = with_chunks(plain, adobe, chromaticities, chunk(b"sRGB", b"\0"))
    assert colours_of(open_picture(same)).tolist() == COLOURS.tolist()
    _, expected = SPACES["display p3"]
    coded = with_chunks(plain, chunk(b"cICP", bytes([12, 13, 0, 1])))
    assert np.abs(colours_of(open_picture(coded)) - expected).max() <= 1
    assert coded_profile(9, 16) is None, "HDR"


def test_a_camera_names_adobe_rgb_in_exif():
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.ColorSpace] = 0xFFFF
    exif.get_ifd(IFD.Exif)[IFD.Interop] = {Interop.InteropIndex: "R03"}
    _, expected = SPACES["adobe rgb"]
    data = encode(patches(), "JPEG", exif=exif, quality=95, subsampling=0)
    assert np.abs(colours_of(open_picture(data)) - expected).max() <= 6
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.ColorSpace] = 1
    data = encode(patches(), "JPEG", exif=exif, quality=95, subsampling=0)
    assert np.abs(colours_of(open_picture(data)) - COLOURS).max() <= 3


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * 3_000_000)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 20_000_000)),
        chunk(b"zTXt", b"a\0\7not zlib"),
        chunk(b"iTXt", b"a"),
        chunk(b"tEXt", b"no zero"),
        chunk(b"tEXt", b"a\0b")[:-1] + b"?",
        chunk(b"iCCP", b"a"),
        chunk(b"iCCP", b"a\0\7" + zlib.compress(b"x")),
        chunk(b"gAMA", b""),
        chunk(b"gAMA", bytes(4)),
        chunk(b"gAMA", b"\0\0\xb1\x8f") + chunk(b"cHRM", bytes(32)),
        chunk(b"cHRM", b"\0"),
        chunk(b"sRGB", b""),
        chunk(b"pHYs", b"\1"),
        chunk(b"tRNS", b"\1"),
        chunk(b"acTL", b"\0\0"),
        chunk(b"acTL", struct.pack(">II", 3, 0)),
        chunk(b"fcTL", bytes(26)),
        chunk(b"eXIf", b"nothing of the kind"),
        chunk(b"caBX", bytes(100_000)),
        chunk(b"vpAg", b"") * 2000,
        chunk(b"cICP", b"\xff\xff\xff\xff"),
    ],
)  # fmt: skip
def test_odd_chunks_cost_a_png_nothing(odd):
    plain = encode(patches())
    behind = plain[:-12] + odd + plain[-12:]
    for data in (with_chunks(plain, odd), behind):
        assert colours_of(open_picture(data)).tolist() == COLOURS.tolist()


@pytest.mark.parametrize(
    "chunks",
    [
        b"".join(chunk(b"tEXt", b"k%d\0x" % number) for number in range(60_000)),
        chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(9_000_000), 9)) * 300,
        chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(7_000_000), 9)) * 300,
        chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(9_000_000), 9)) * 300,
        b"".join(chunk(b"eXIf", b"II*\0") for _ in range(60_000)),
    ],
)
def test_thousands_of_texts_take_no_longer_than_a_few(chunks):
    data = with_chunks(encode(patches()), chunks)
    start = time.thread_time()
    assert len(open_upload(data).info) <= 1010
    assert time.thread_time() - start < 30, "each would be unpacked, or all added up for each"


def test_an_animated_png_gives_its_still_picture():
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    data = encode(frames[0], save_all=True, append_images=frames[1:], default_image=True)
    assert open_picture(data).getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe0\0\x07JFIF\0",
        b"\xff\xee\0\x07Adobe",
        b"\xff\xe2\0\x09MPF\0II*",
        b"\xff\xe1\0\x0eExif\0\0nothing"[:16],
        b"\xff\xe2\0\x10ICC_PROFILE\0\1\2",
        b"\xff\xed\0\x1cPhotoshop 3.0\x008BIM\3\xed\0\0\0\0\0\1"[:30].ljust(30, b"\0"),
        b"\xff\xfe\xff\xff" + bytes(65_533),
        b"\xff\xeb\0\x04\0\0" * 500,
    ],
)
def test_odd_segments_cost_a_jpeg_nothing(segment):
    plain = encode(patches(), "JPEG", quality=95, subsampling=0)
    opened = open_picture(plain[:2] + segment + plain[2:])
    assert opened.tobytes() == open_picture(plain).tobytes()


@pytest.mark.parametrize("numbers", [b"\1\1 \1\1", b"\1\0", b"\0\1", b"\1\1"])
def test_a_profile_that_is_written_twice_or_counted_oddly_is_followed(numbers):
    plain = encode(patches(), "JPEG", quality=95, subsampling=0)
    profile = matrix_profile(DISPLAY_P3)
    segments = b""
    for number in numbers.split(b" "):
        body = b"ICC_PROFILE\0" + number + profile
        segments += b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body
    wanted = encode(patches(), "JPEG", quality=95, subsampling=0, icc_profile=profile)
    opened = open_picture(plain[:2] + segments + plain[2:])
    assert opened.tobytes() == open_picture(wanted).tobytes()
    assert opened.tobytes() != open_picture(plain).tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_thousands_of_segments_take_no_longer_than_a_few():
    plain = encode(patches(), "JPEG")
    exif = b"\xff\xe1\0\x0cExif\0\0MM\0*" * 60_000
    start = time.thread_time()
    assert open_picture(plain[:2] + exif + plain[2:]).size == (80, 16)
    assert time.thread_time() - start < 30


def test_what_is_not_damaged_is_not_called_so():
    data = bytearray(encode(patches(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 4] = 12
    with pytest.raises(BadRequest, match="3 channels of 12 bits; 1, 3 or 4 of 8 bits are read"):
        open_picture(bytes(data))
    data[frame + 1] = 0xC3
    with pytest.raises(BadRequest, match="a lossless JPEG"):
        open_picture(bytes(data))
    apple = encode(patches())
    apple = apple[:8] + chunk(b"CgBI", bytes(4)) + apple[8:]
    with pytest.raises(BadRequest, match="inside iPhone apps"):
        open_picture(apple)


def test_texts_in_utf_8_are_read_as_such():
    plain = encode(patches())
    words = "café 杯子 🦊"
    data = with_chunks(plain, chunk(b"tEXt", b"parameters\0" + words.encode()))
    assert open_upload(data).info["parameters"] == words
    assert text_of("café".encode("latin-1")) == "café"
