"""HDR pictures come out in sRGB: what is no highlight as it was, highlights below white."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from pipelines.core.pictures.colour_profiles import coded_profile, matrix_profile
from pipelines.core.pictures.hdr import ColourCoding, coding_of_profile
from pipelines.core.pictures.uploads import is_hdr, open_picture, open_upload
from tests.pipelines.core.test_colour_profiles import (
    COLOURS,
    chunk,
    colours_of,
    encode,
    expected_colours,
    patches,
    srgb_decoded,
    with_chunks,
)

# Linear BT.2020 to linear sRGB: BT.2087, section 2.
BT_2020_MATRIX = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)


def pq(light):
    """The PQ code, 0 to 255, of cd/m²; SMPTE ST 2084, section 5."""
    power = (np.asarray(light, float) / 10_000) ** 0.1593017578125
    return 255 * ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(scene):
    """The HLG code, 0 to 255, of the light of a scene; BT.2100, table 5."""
    scene = np.asarray(scene, float)
    log = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return 255 * np.where(scene <= 1 / 12, np.sqrt(3 * scene), log)


def png(codes, *coding) -> bytes:
    picture = Image.fromarray(np.rint(codes).astype(np.uint8).reshape(1, -1, 3), "RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return with_chunks(buffer.getvalue(), chunk(b"cICP", bytes(coding)))


def decode(codes, *coding) -> np.ndarray:
    return np.asarray(open_picture(png(codes, *coding)), int).reshape(-1, 3)


def test_what_is_no_highlight_comes_out_as_it_went_in():
    in_2020 = srgb_decoded(COLOURS / 255) @ np.linalg.inv(BT_2020_MATRIX).T
    codes = pq(203 * np.maximum(in_2020, 0))
    # One code of PQ is up to 3 of sRGB around these colours, more in their darkest channel.
    assert np.abs(decode(codes, 9, 16, 0, 1) - COLOURS).max() <= 4


def test_highlights_come_below_white_in_their_order_and_keep_their_hue():
    greys = np.repeat([[20], [100], [203], [400], [1000], [4000]], 3, axis=1)
    shown = decode(pq(greys), 9, 16, 0, 1)[:, 0]
    assert shown[-1] >= 254
    assert (np.diff(shown) > 0).all()
    assert shown[0] == pytest.approx(255 * 0.3478, abs=3)  # 20 / 203 of white, far below the knee
    red, half = decode(pq([[1500, 300, 300], [750, 150, 150]]), 1, 16, 0, 1)
    for colour in (red, half):
        linear = srgb_decoded(colour / 255)
        assert linear[0] / linear[1] == pytest.approx(5, rel=0.15)


def test_hlg_has_its_white_at_three_quarters():
    white = decode(np.full((2, 3), 0.75 * 255), 9, 18, 0, 1)
    assert white.min() >= 253
    greys = hlg(np.repeat(np.linspace(0, 1, 12)[:, None], 3, axis=1))
    shown = decode(greys, 9, 18, 0, 1)[:, 0]
    assert (shown[0], shown[-1]) == (0, 255)
    assert (np.diff(shown[:9]) > 0).all()
    assert (np.diff(shown) >= 0).all()
    # BT.2100: the light of the screen is the scene's to the power of 1.2, times 1,000 cd/m².
    dark = decode(hlg([[0.02, 0.02, 0.02]]), 9, 18, 0, 1)[0, 0]
    assert srgb_decoded(dark / 255) == pytest.approx(1000 * 0.02**1.2 / 203, rel=0.06)


def test_codes_of_narrow_range_are_stretched():
    full = pq(np.repeat([[5], [50], [203]], 3, axis=1))
    narrow = 16 + full * 219 / 255
    difference = decode(narrow, 9, 16, 0, 0) - decode(full, 9, 16, 0, 1)
    assert np.abs(difference).max() <= 4
    sdr = decode([[16, 16, 16], [235, 235, 235], [126, 126, 126]], 1, 1, 0, 0)
    assert sdr[:, 0].tolist() == [0, 255, 128]


@pytest.mark.parametrize("transfer", [1, 6, 13, 14, 15])
def test_sdr_in_wide_primaries_is_converted(transfer):
    expected = expected_colours(srgb_decoded, BT_2020_MATRIX)
    data = with_chunks(encode(patches()), chunk(b"cICP", bytes([9, transfer, 0, 1])))
    assert np.abs(colours_of(open_picture(data)) - expected).max() <= 2
    assert not is_hdr(open_upload(data))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_profile_that_names_the_coding_is_followed_in_each_kind_of_file(form):
    profile = matrix_profile()
    tags = int.from_bytes(profile[128:132], "big")
    cicp = b"cicp\0\0\0\0" + bytes([9, 16, 0, 1])
    entry = b"cicp" + (len(profile) + 12).to_bytes(4, "big") + (12).to_bytes(4, "big")
    moved = b"".join(
        profile[at : at + 4]
        + (int.from_bytes(profile[at + 4 : at + 8], "big") + 12).to_bytes(4, "big")
        + profile[at + 8 : at + 12]
        for at in range(132, 132 + 12 * tags, 12)
    )
    made = (
        profile[:128] + (tags + 1).to_bytes(4, "big") + moved + entry
        + profile[132 + 12 * tags :] + cicp
    )  # fmt: skip
    made = len(made).to_bytes(4, "big") + made[4:]
    assert coding_of_profile(made) == ColourCoding(9, 16, True)
    options = {"quality": 100} if form != "PNG" else {}
    grey = Image.new("RGB", (32, 32), (148, 148, 148))  # of 203 cd/m²
    buffer = io.BytesIO()
    grey.save(buffer, form, icc_profile=made, **options)
    data = buffer.getvalue()
    assert is_hdr(open_upload(data))
    assert np.asarray(open_picture(data)).min() >= 250


@pytest.mark.parametrize("profile", [b"", b"x" * 200, bytes(132), b"\xff" * 400])
def test_odd_profiles_name_no_coding(profile):
    assert coding_of_profile(profile) is None


def test_transparent_and_turned_hdr_pictures_are_converted_too():
    codes = np.full((4, 8, 4), 148, np.uint8)
    codes[:, :4, 3] = 0
    buffer = io.BytesIO()
    Image.fromarray(codes, "RGBA").save(buffer, "PNG")
    picture = open_picture(with_chunks(buffer.getvalue(), chunk(b"cICP", bytes([9, 16, 0, 1]))))
    assert np.asarray(picture).min() >= 252
    assert coded_profile(9, 16) is None


def test_a_large_hdr_picture_takes_a_moment_only():
    codes = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    data = png(codes, 9, 18, 0, 1)
    before = time.thread_time()
    open_picture(data)
    assert time.thread_time() - before < 5
