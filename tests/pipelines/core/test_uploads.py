"""Pictures from strangers: what is taken comes out plain, what is not gets one sentence."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from pipelines.core.errors import BadRequest
from pipelines.core.pictures.picture_files import MAX_SCANS
from pipelines.core.pictures.uploads import MAX_BYTES, Limits, open_picture, open_upload


def encode(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(width=40, height=30):
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png_header(width, height):
    """A PNG that claims a size and has one byte of pixels."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_pixels_come_through_unchanged(form, options):
    picture = noise()
    opened = open_picture(encode(picture, form, **options))
    assert opened.mode == "RGB"
    assert opened.tobytes() == picture.tobytes()


def test_a_jpeg_is_taken():
    opened = open_picture(encode(Image.new("RGB", (16, 8), (200, 30, 30)), "JPEG"))
    assert opened.size == (16, 8)
    assert np.abs(np.array(opened, int) - (200, 30, 30)).max() <= 3


def test_nothing_but_pixels_is_left_of_the_file():
    exif = Image.Exif()
    exif[Base.Make] = "Camera"
    exif.get_ifd(IFD.GPSInfo)[1] = "N"
    info = PngInfo()
    info.add_text("comment", "at home")
    for data in (
        encode(noise(), "JPEG", exif=exif, icc_profile=b"profile", comment=b"at home"),
        encode(noise(), "PNG", exif=exif, pnginfo=info),
        encode(noise(), "WEBP", exif=exif),
    ):
        opened = open_picture(data)
        assert opened.info == {}
        assert len(opened.getexif()) == 0
        again = encode(opened, "JPEG")
        assert b"Camera" not in again
        assert b"at home" not in again


def test_a_photo_taken_sideways_is_turned_upright():
    exif = Image.Exif()
    exif[Base.Orientation] = 6  # to be turned a quarter clockwise
    sideways = Image.new("RGB", (20, 10), "black")
    sideways.paste((255, 255, 255), (0, 0, 10, 10))  # white on the left: on top once upright
    upright = open_picture(encode(sideways, "PNG", exif=exif))
    assert upright.size == (10, 20)
    assert upright.getpixel((5, 2)) == (255, 255, 255)
    assert upright.getpixel((5, 17)) == (0, 0, 0)


def test_transparent_parts_become_white():
    glass = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    glass.putpixel((1, 1), (200, 0, 0, 255))
    opened = open_picture(encode(glass, "PNG"))
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 1)) == (200, 0, 0)


def test_sixteen_bits_are_scaled_not_clipped():
    deep = Image.fromarray(np.array([[0, 32896, 65535]], np.uint16))
    opened = open_picture(encode(deep, "PNG"))
    assert [opened.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_mode_becomes_rgb(mode):
    assert open_picture(encode(noise().convert(mode), "PNG")).mode == "RGB"


def test_a_cmyk_jpeg_becomes_rgb():
    assert open_picture(encode(noise().convert("CMYK"), "JPEG")).mode == "RGB"


def test_a_huge_picture_is_refused_by_its_header():
    data = png_header(30000, 30000)
    tracemalloc.start()
    with pytest.raises(BadRequest, match="30000 × 30000 pixels; at most 40 million"):
        open_picture(data)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_the_pixel_limit_holds_for_every_type(form):
    with pytest.raises(BadRequest, match="40 × 30 pixels"):
        open_picture(encode(noise(), form), Limits(pixels=1199))


def test_a_large_file_is_refused_unread():
    with pytest.raises(BadRequest, match=r"20\.00001 MB; at most 20 MB"):
        open_picture(b"\x89PNG\r\n\x1a\n" + bytes(MAX_BYTES))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.15, 0.5, 0.95])
def test_a_file_cut_off_anywhere_is_said_to_be_damaged(form, part):
    whole = encode(noise(200, 200), form)
    with pytest.raises(BadRequest, match="damaged or cut off"):
        open_picture(whole[: int(len(whole) * part)])


def test_a_palette_that_is_missing_is_said_to_be_damage():
    """Its pixels can be read, but nobody knows which colours they are."""
    whole = encode(noise().convert("P"), "PNG")
    start = whole.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(whole[start : start + 4], "big")
    for file in (whole[:start] + whole[end:], whole.replace(b"PLTE", b"plTE")):
        with pytest.raises(BadRequest, match="damaged or cut off"):
            open_picture(file)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_damaged_bytes_give_a_picture_or_a_sentence_and_nothing_else(form):
    draw = np.random.default_rng(8)
    whole = np.frombuffer(encode(noise(), form), np.uint8)
    for _ in range(150):
        damaged = whole.copy()
        damaged[draw.integers(12, len(whole), 4)] = draw.integers(0, 256, 4)
        try:
            assert open_picture(damaged.tobytes()).mode == "RGB"
        except BadRequest:
            continue


def test_a_text_chunk_that_unpacks_to_a_flood_costs_neither_the_pixels_nor_memory():
    info = PngInfo()
    for _ in range(3):
        info.add_text("parameters", "a" * 20_000_000, zip=True)
    info.add_text("comment", "short")
    data = encode(noise(), "PNG", pnginfo=info)
    tracemalloc.start()
    opened = open_upload(data)
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()
    assert opened.tobytes() == noise().tobytes()
    assert opened.info == {"comment": "short"}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "The file is empty"),
        (b'<?xml version="1.0"?><SVG onload="alert(1)"/>', "an SVG drawing"),
        (b"\n<!DOCTYPE html><html><svg></svg>Not found</html>", "a web page, not a picture"),
        (b"just words in a file named a.png", "a text file"),
        ("一些文字".encode() * 2000, "a text file"),
        (b"\x89PNG", "of another kind"),
        (b"\x89abc\0", "of another kind"),
        (encode(Image.new("RGB", (4, 4)), "GIF"), "This is a GIF file, which is not read here"),
        (encode(Image.new("RGB", (4, 4)), "TIFF"), "a TIFF or camera raw file"),
        (encode(Image.new("RGB", (4, 4)), "BMP"), "a BMP file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL file"),
        (b"\0\0\0\x18ftypmp42\0", "a video file"),
        (b"\0\0\0\x18ftyphevx\0", "a HEIC or AVIF photo"),
        (b"%PDF-1.7\n\xff\xfe\0", "a PDF file"),
        (encode(Image.new("RGB", (4, 4)), "PNG").replace(b"\r\n", b"\n"), "as if it were a text"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
        (png_header(9, 9)[:20], "damaged or cut off"),
        (b"RIFF\x10\0\0\0WEBP", "damaged or cut off"),
        (b"\xff\xd8\xff", "damaged or cut off"),
    ],
)
def test_what_is_no_picture_gets_a_sentence_of_its_own(data, sentence):
    with pytest.raises(BadRequest, match=sentence):
        open_picture(data)


def jpeg_of_scans(count: int, between: bytes = b"", before: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan comes several times."""
    buffer = io.BytesIO()
    Image.new("L", (64, 48), 90).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    first, last = data.index(b"\xff\xda"), data.rindex(b"\xff\xda")
    scans = count - data.count(b"\xff\xda")
    return data[:first] + before + data[first:-2] + (between + data[last:-2]) * scans + data[-2:]


@pytest.mark.parametrize(
    ("between", "before"),
    # Tables and comments between scans, one with what looks like the end; fill bytes.
    [
        (b"", b""),
        (b"\xff\xfe\x00\x04\xff\xd9", b""),
        (b"\xff\xff", b"\xff"),
        (b"\x00?", b"\xff\xff"),
    ],
)
def test_a_jpeg_whose_pixels_are_gone_over_without_end_is_refused(between: bytes, before: bytes):
    assert open_picture(jpeg_of_scans(MAX_SCANS, between, before)).size == (64, 48)
    with pytest.raises(BadRequest, match="more than 100 scans"):
        open_picture(jpeg_of_scans(MAX_SCANS + 1, between, before))


def test_what_stands_behind_a_jpeg_s_end_is_not_counted():
    """As phones put further pictures and films there."""
    assert open_picture(jpeg_of_scans(6) + jpeg_of_scans(2 * MAX_SCANS)).size == (64, 48)
