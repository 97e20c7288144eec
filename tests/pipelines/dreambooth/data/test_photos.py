"""Photos from strangers: decoded safely, judged, cropped; zips give files and nothing else."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from PIL.ExifTags import IFD, Base

from pipelines.core.errors import BadRequest, UserError
from pipelines.dreambooth.data import photos
from pipelines.dreambooth.data.photos import (
    MAX_SIDE,
    ZIP_FILES,
    check_room,
    crop_box,
    facts_of,
    files_in_zip,
    focus_of,
    is_zip,
    likeness,
    open_photo,
    sharpness_of,
)

GREEN = (60, 140, 60)


def encode(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def scene(size=(480, 320), at=(240, 160), seed=0) -> Image.Image:
    """A red thing with spots on grass; ``at`` is its middle."""
    noise = np.random.default_rng(seed).integers(-14, 15, (size[1], size[0], 1))
    picture = Image.fromarray(np.clip(np.array(GREEN) + noise, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    x, y = at
    draw.ellipse((x - 60, y - 60, x + 60, y + 60), (200, 30, 40))
    for dx in (-25, 0, 25):
        draw.ellipse((x + dx - 8, y - 8, x + dx + 8, y + 8), "white")
    return picture


# --- one file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_every_kind_of_photo_becomes_rgb(form):
    photo = open_photo(encode(scene(), form))
    assert (photo.mode, photo.size) == ("RGB", (480, 320))
    assert photo.info == {}
    red, green, _ = photo.getpixel((200, 160))
    assert red > 150 > green


def test_of_an_animated_gif_the_first_frame_is_taken():
    frames = [Image.new("P", (80, 70), index) for index in range(3)]
    for frame, colour in zip(frames, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), strict=True):
        frame.putpalette([*colour] * 256)
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    photo = open_photo(data)
    assert photo.size == (80, 70)
    assert photo.getpixel((40, 40)) == (255, 0, 0)


def test_a_cmyk_jpeg_keeps_its_colours():
    photo = open_photo(encode(scene().convert("CMYK"), "JPEG", quality=95))
    assert photo.mode == "RGB"
    for have, want in zip(photo.getpixel((240, 130)), (200, 30, 40), strict=True):
        assert abs(have - want) < 30


def test_a_transparent_photo_stands_on_white():
    glass = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
    assert open_photo(encode(glass)).getpixel((5, 5)) == (255, 255, 255)


def test_where_it_was_taken_is_not_kept():
    exif = Image.Exif()
    exif[Base.Make] = "A Camera"
    exif.get_ifd(IFD.GPSInfo)[2] = (48.0, 51.0, 29.0)
    data = encode(scene(), "JPEG", exif=exif)
    assert b"A Camera" in data
    photo = open_photo(data)
    assert dict(photo.getexif()) == {}
    written = photos.png_bytes(photo)
    assert b"A Camera" not in written
    assert b"eXIf" not in written
    assert dict(Image.open(io.BytesIO(written)).getexif()) == {}


def test_the_orientation_is_applied_before_it_goes():
    exif = Image.Exif()
    exif[Base.Orientation] = 6  # to be turned clockwise
    photo = open_photo(encode(scene((480, 320), (60, 160)), "JPEG", exif=exif))
    assert photo.size == (320, 480)
    red, green, _ = photo.getpixel((160 - 20, 40))
    assert red > 150 > green


def test_large_photos_are_scaled_down_and_proportions_stay():
    photo = open_photo(encode(Image.new("RGB", (6000, 3000), "red"), "JPEG"))
    assert photo.size == (MAX_SIDE, MAX_SIDE // 2)


def test_a_large_jpeg_is_not_decoded_at_full_size():
    data = encode(Image.new("RGB", (7900, 7900), "red"), "JPEG")
    decoded = []
    original = photos.open_picture

    def spy(*arguments):
        decoded.append(original(*arguments))
        return decoded[0].copy()

    photos.open_picture = spy
    try:
        assert open_photo(data).size == (MAX_SIDE, MAX_SIDE)
    finally:
        photos.open_picture = original
    assert decoded[0].size == (3950, 3950)


def claimed_png(width, height) -> bytes:
    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0")), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def claimed_jpeg(width, height) -> bytes:
    data = bytearray(encode(Image.new("RGB", (64, 64)), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("claimed", [claimed_png, claimed_jpeg])
def test_400_million_pixels_are_refused_without_memory(claimed):
    data = claimed(20_000, 20_000)
    tracemalloc.start()
    with pytest.raises(BadRequest, match="20000 × 20000 pixels; at most 64 million"):
        open_photo(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
AVIF = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(100)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (HEIC, "HEIC or AVIF photo.*Most Compatible"),
        (AVIF, "HEIC or AVIF photo"),
        (encode(Image.new("RGB", (1, 1))), "1 × 1 pixels; it needs at least 64"),
        (encode(Image.new("RGB", (4000, 30))), "4000 × 30 pixels; it needs at least 64"),
        (encode(scene(), "JPEG")[:4000], "damaged or cut off"),
        (encode(scene(), "GIF")[:3000], "damaged or cut off"),
        (b"GIF89a", "damaged or cut off"),
        (b"", "empty"),
        (b"Dear Sir or Madam", "text file"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"\x80\x04\x95\x0c\0\0\0\0", "another kind"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30_000_000), "30.00001 MB; at most 30 MB"),
    ],
    ids=["heic", "avif", "1x1", "thin", "cut", "gif", "head", "nothing", "text", "svg", "pickle",
         "large"],
)  # fmt: skip
def test_what_is_no_photo_gets_one_sentence(data, said):
    with pytest.raises(BadRequest, match=said):
        open_photo(data)


def test_random_damage_is_always_a_sentence():
    draw = random.Random(5)
    for form in ("PNG", "JPEG", "WEBP", "GIF"):
        whole = encode(scene((100, 90), (50, 45)), form)
        for _ in range(25):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 20)):
                data[draw.randrange(4, len(data))] = draw.randrange(256)
            with contextlib.suppress(UserError):
                assert open_photo(bytes(data)).mode == "RGB"


def test_a_subject_has_room_for_200():
    check_room(199)
    with pytest.raises(BadRequest, match="at most 200 photos"):
        check_room(200)


# --- zips -----------------------------------------------------------------------------------------


def zip_files(files: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    buffer.seek(0)
    return buffer


def test_a_zip_s_files_come_out_whatever_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["../../a.png", "/etc/b.png", "C:\\c.png", "d/e/f.png", "😀🐈.png", "..", "a\0b.png"]
    file = zip_files({name: name.encode() for name in names})
    assert is_zip(file.getvalue())
    found = dict(files_in_zip(file))
    assert sorted(found.values()) == sorted(
        data for name, data in ((n, n.encode()) for n in names) if name != ".."
    )
    assert list(tmp_path.rglob("*")) == []


def test_folders_and_what_systems_add_are_passed_over():
    files = {
        "photos/": b"",
        "photos/1.jpg": b"x",
        "__MACOSX/photos/._1.jpg": b"x",
        ".DS_Store": b"x",
        "photos/Thumbs.db": b"x",
    }
    assert [name for name, _ in files_in_zip(zip_files(files))] == ["photos/1.jpg"]


def test_a_link_in_a_zip_is_not_followed():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert list(files_in_zip(file)) == []


def test_a_bomb_is_unpacked_no_further_than_a_photo_may_be_large():
    file = zip_files({"bomb.png": bytes(200_000_000), "good.png": b"good"})
    tracemalloc.start()
    found = dict(files_in_zip(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 30 MB; that is no photo" in str(found["bomb.png"])
    assert found["good.png"] == b"good"
    assert peak < 100_000_000


def test_a_zip_that_lies_about_its_sizes_is_not_believed():
    data = bytearray(zip_files({"bomb.png": bytes(40_000_000)}).getvalue())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = struct.pack("<I", 100)
    ((_, error),) = files_in_zip(io.BytesIO(bytes(data)))
    assert isinstance(error, BadRequest)


def test_all_files_together_are_bounded(monkeypatch):
    monkeypatch.setattr(photos, "ZIP_BYTES", 2500)
    file = zip_files({f"{number}.png": bytes(1000) for number in range(4)})
    found = dict(files_in_zip(file))
    assert [type(each) for each in found.values()] == [bytes, bytes, BadRequest, BadRequest]
    assert "in several parts" in str(found["3.png"])


def test_a_zip_in_a_zip_is_no_photo():
    inner = zip_files({"a.png": encode(scene())}).getvalue()
    ((_, content),) = files_in_zip(zip_files({"inner.zip": inner}))
    with pytest.raises(BadRequest, match="ZIP archive, which is not opened here"):
        open_photo(content)


def test_too_many_files_are_refused():
    file = zip_files({f"{number}.png": b"" for number in range(ZIP_FILES + 1)})
    with pytest.raises(BadRequest, match="1001 files; at most 1000"):
        list(files_in_zip(file))


def test_an_endless_list_of_files_is_refused_unread(monkeypatch):
    file = zip_files({f"{number:0200d}.png": b"" for number in range(4500)})

    def read(*_):
        raise AssertionError("the list was read")

    monkeypatch.setattr(zipfile, "ZipFile", read)
    with pytest.raises(BadRequest, match="4500 files"):
        list(files_in_zip(file))


def test_a_locked_file_is_said():
    file = zip_files({"a.png": b"x"})
    data = bytearray(file.getvalue())
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    ((_, error),) = files_in_zip(io.BytesIO(bytes(data)))
    assert "locked with a password" in str(error)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bounds_are_not_used(method):
    ((_, error),) = files_in_zip(zip_files({"a.png": bytes(1000)}, method))
    assert "packed in an unusual way" in str(error)


@pytest.mark.parametrize("keep", [0, 10, 40, 200])
def test_a_cut_zip_is_said(keep):
    data = zip_files({"a.png": encode(scene())}).getvalue()[:keep]
    with pytest.raises(BadRequest, match="zip is damaged or cut off"):
        list(files_in_zip(io.BytesIO(data)))


def test_a_small_zip64_is_read(monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 0)  # so that zipfile writes one
    file = zip_files({"a.png": b"a"})
    monkeypatch.undo()
    assert b"PK\x06\x06" in file.getvalue()
    assert list(files_in_zip(file)) == [("a.png", b"a")]
    lying = bytearray(file.getvalue())
    at = lying.index(b"PK\x06\x06")
    lying[at + 32 : at + 40] = struct.pack("<Q", 10**6)
    with pytest.raises(BadRequest, match="1000000 files; at most 1000"):
        list(files_in_zip(io.BytesIO(bytes(lying))))


def test_damage_within_a_zip_is_always_a_sentence():
    draw = random.Random(7)
    whole = zip_files({f"{n}.png": random.Random(n).randbytes(300) for n in range(3)}).getvalue()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        with contextlib.suppress(UserError):
            for _, content in files_in_zip(io.BytesIO(bytes(data))):
                assert isinstance(content, bytes | UserError)


# --- what a photo shows ---------------------------------------------------------------------------


def test_the_same_photo_in_another_file_is_alike_and_another_view_is_not():
    first = facts_of(scene())
    smaller = scene().resize((360, 240))
    again = facts_of(open_photo(encode(smaller, "JPEG", quality=60)))
    other = facts_of(scene(at=(150, 200), seed=1))
    assert first.digest != again.digest
    assert facts_of(scene()).digest == first.digest
    assert likeness(first, first) == 0
    assert likeness(first, other) > likeness(first, again)


def test_blur_lowers_sharpness_at_any_size():
    for scale in (1, 3):
        sharp = scene().resize((480 * scale, 320 * scale), Image.Resampling.NEAREST)
        soft = sharp.filter(ImageFilter.GaussianBlur(4 * scale))
        assert sharpness_of(soft) < 30 < sharpness_of(sharp)


def test_a_sharp_thing_before_a_soft_background_is_sharp():
    picture = scene().filter(ImageFilter.GaussianBlur(12))
    picture.paste(scene().crop((180, 100, 300, 220)), (180, 100))
    assert sharpness_of(picture) > 30


@pytest.mark.parametrize("size", [(64, 64), (3, 3), (1, 500), (500, 1)])
def test_odd_sizes_have_facts_too(size):
    facts = facts_of(Image.new("RGB", size, "red"))
    assert facts.sharpness == 0
    assert facts.focus == (0.5, 0.5)
    assert len(facts.fingerprint) == 64


@pytest.mark.parametrize("at", [80, 160, 240, 320, 400])
def test_the_crop_holds_the_subject_wherever_it_is(at):
    for turned in (False, True):
        picture = scene(at=(at, 160))
        if turned:
            picture = picture.transpose(Image.Transpose.TRANSPOSE)
        focus = focus_of(picture)
        left, top, right, bottom = crop_box(picture.size, 1, focus)
        low, high = (top, bottom) if turned else (left, right)
        assert low <= max(at - 60, 0) + 4
        assert high >= min(at + 60, 480) - 4


def test_without_anything_that_stands_out_the_centre_is_taken():
    assert focus_of(Image.new("RGB", (300, 200), GREEN)) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("size", "aspect", "focus", "box"),
    [
        ((300, 200), 1, (0.5, 0.5), (50, 0, 250, 200)),
        ((300, 200), 1, (0, 0), (0, 0, 200, 200)),
        ((300, 200), 1, (1, 1), (100, 0, 300, 200)),
        ((200, 300), 1, (0.5, 0.25), (0, 0, 200, 200)),
        ((300, 200), 2, (0.5, 1), (0, 50, 300, 200)),
        ((300, 200), 0.5, (0.5, 0.5), (100, 0, 200, 200)),
    ],
)
def test_crops_by_hand(size, aspect, focus, box):
    assert crop_box(size, aspect, focus) == box
