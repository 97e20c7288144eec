"""Settings that others wrote, some of them to do harm; and saving when the disk is full."""

from __future__ import annotations

import errno
import io
import os
import random
import re
import struct
import time
import zlib

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from pipelines.diffusion.requests import TextToImageRequest
from studio.core.gallery.metadata import (
    decode_user_comment,
    format_parameters,
    parameters_of,
    parse_parameters,
    read_settings,
    save_png,
)
from studio.core.home import DiskFull
from tests.patience import PROMPTLY

# What A1111 itself reads with; the studio's own pattern must find the same.
A1111_PATTERN = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')

WRITTEN = (
    "a red mug\n"
    "Negative prompt: fog\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, "
    "Size: 512x512, Model hash: 6ce0161689, Model: v1-5"
)
READ = {
    "prompt": "a red mug",
    "negative_prompt": "fog",
    "Steps": "20",
    "Sampler": "DPM++ 2M",
    "Schedule type": "Karras",
    "CFG scale": "7",
    "Seed": "1",
    "Size": "512x512",
    "Model hash": "6ce0161689",
    "Model": "v1-5",
}
FACTS = "Steps: 20, Sampler: Euler, Seed: 1"
CHINESE = "一只红色的马克杯放在木地板上，阳光照进来，" * 12


def request(**fields) -> dict:
    settings = {
        "prompt": "a red mug",
        "negative_prompt": "fog",
        "model": "v1-5",
        "sampler": "DPM++ 2M",
        "schedule": "Karras",
        "steps": 20,
        "guidance": 7.0,
        "seed": 1,
    }
    return TextToImageRequest(**{**settings, **fields}).model_dump()


def picture_file(kind: str, comment: bytes | None = None, **options) -> bytes:
    if comment is not None:
        exif = Image.Exif()
        exif.get_ifd(IFD.Exif)[Base.UserComment] = comment
        options["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(buffer, format=kind, **options)
    return buffer.getvalue()


def test_eta_zero_is_said_because_a_sampler_may_have_another_default():
    # TCD's eta is 0.3 when nothing is said: a picture made with 0 could not be made again.
    parameters = parameters_of(request(sampler="TCD", eta=0.0), (64, 64))
    assert parse_parameters(format_parameters(parameters))["Eta DDIM"] == "0"
    assert "Eta DDIM" not in parameters_of(request(), (64, 64))


@pytest.mark.parametrize(
    ("last", "facts"),
    [
        ("Steps: 20, Sampler: Euler", 0),
        ("Steps: 20, Sampler: Euler, Seed: 1", 3),
        ("light: soft, mood: calm", 0),
        ("S: 20, T: Euler, U: 1", 0),  # a name has two characters or more
        ("Steps:20,Sampler:Euler,Seed:1,", 3),
        ("", 0),
        ("a mug", 0),
    ],
)
def test_the_last_line_counts_as_parameters_from_three_matches_on(last, facts):
    parameters = parse_parameters(f"a mug\n{last}")
    assert len(parameters) == 2 + facts
    assert parameters["prompt"] == ("a mug" if facts else f"a mug\n{last}".strip())


def test_a_forge_text_with_json_in_it_is_read():
    read = parse_parameters(
        "a house\nSteps: 4, Sampler: Euler, Schedule type: Simple, Seed: 5, "
        'Hashes: "{\\"model\\": \\"ab\\", \\"vae\\": \\"cd\\"}", Module 1: ae, '
        'ControlNet 0: "Module: depth_anything_v2, Weight: 0.6, Resize Mode: Crop and Resize"'
    )
    assert read["Hashes"] == '{"model": "ab", "vae": "cd"}'
    assert read["Module 1"] == "ae"
    assert read["ControlNet 0"].startswith("Module: depth_anything_v2, Weight: 0.6")


def test_the_pattern_finds_what_that_of_a1111_finds():
    from studio.core.gallery import metadata

    pieces = ["a", "bc", "S", " ", "  ", "-", "/", ":", ",", '"', "\\", '\\"', "é", "红", "!", "\t"]
    draw = random.Random(0)
    for _ in range(5000):
        text = "".join(draw.choices(pieces, k=draw.randrange(24)))
        found = [pair for pair in metadata._PARAMETER.findall(text) if pair[0]]
        assert found == A1111_PATTERN.findall(text), text


@pytest.mark.parametrize("piece", ["a", " ", "a ", 'aa:"\\", ', '"', "aa: ", "-", '\\"', "Ab:\t"])
def test_reading_takes_time_in_proportion_to_the_text(piece):
    # A1111's pattern takes hours for some of these, in the one process that serves everybody.
    text = piece * (300_000 // len(piece)) + "!"
    start = time.perf_counter()
    parse_parameters(text)
    assert time.perf_counter() - start < PROMPTLY


def test_a_png_carries_it_in_text_chunks_of_any_kind():
    for adder in (
        lambda info: info.add_text("parameters", WRITTEN),
        lambda info: info.add_text("parameters", WRITTEN, zip=True),
        lambda info: info.add_itxt("parameters", WRITTEN),
        lambda info: info.add_itxt("parameters", WRITTEN, zip=True),
    ):
        info = PngInfo()
        adder(info)
        assert read_settings(picture_file("PNG", pnginfo=info)) == READ


def test_text_behind_the_pixels_is_found():
    plain = picture_file("PNG")
    content = b"tEXt" + b"parameters\0" + WRITTEN.encode()
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    assert read_settings(plain[:-12] + chunk + plain[-12:]) == READ


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + WRITTEN.encode("utf-16-be"),
        b"UNICODE\0" + WRITTEN.encode("utf-16-le"),
        b"UNICODE\0" + b"\xfe\xff" + WRITTEN.encode("utf-16-be"),
        b"UNICODE\0" + b"\xff\xfe" + WRITTEN.encode("utf-16-le"),
        b"UNICODE\0" + WRITTEN.encode(),
        b"ASCII\0\0\0" + WRITTEN.encode(),
        b"\0" * 8 + WRITTEN.encode() + b"\0",
        WRITTEN.encode(),
    ],
    ids=["be", "le", "be-bom", "le-bom", "utf-8", "ascii", "undefined", "bare"],
)
def test_a_user_comment_is_read_in_every_encoding(kind, comment):
    assert read_settings(picture_file(kind, comment)) == READ


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-8"])
def test_a_long_chinese_prompt_is_not_read_in_the_wrong_byte_order(encoding):
    text = f"{CHINESE}\n{FACTS}"
    assert decode_user_comment(b"UNICODE\0" + text.encode(encoding)) == text


@pytest.mark.parametrize(
    "comment", [b"", b"\0", b"UNICODE\0", b"UNICODE\0\0", b"Steps", b"\xff" * 9]
)
def test_a_comment_of_almost_nothing_is_no_error(comment):
    assert isinstance(decode_user_comment(comment), str)
    read_settings(picture_file("JPEG", comment or None))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_said_and_leaves_no_file(tmp_path, monkeypatch, call, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, full)
    path = tmp_path / "outputs" / "today" / "picture.png"
    image = Image.new("RGB", (8, 6), "red")
    with pytest.raises(DiskFull) as caught:
        save_png(image, path, WRITTEN)
    assert re.fullmatch(
        r"The disk is full: \d+ B are needed and [\d.]+ \w+ are free\. "
        r"Free some space, then try again\.",
        str(caught.value),
    )
    assert list(path.parent.iterdir()) == []


def test_another_error_while_saving_is_not_called_a_full_disk(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="broken") as caught:
        save_png(Image.new("RGB", (8, 6)), tmp_path / "a.png", None)
    assert caught.value.errno == errno.EIO
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_older_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_png(Image.new("RGB", (8, 6), "red"), path, WRITTEN)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskFull):
        save_png(Image.new("RGB", (9, 9), "blue"), path, None)
    assert path.read_bytes() == before
