from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from pipelines.clustering.data.pictures import (
    centres_of,
    lab_of,
    nearest,
    pixels_of,
    points_of,
    recolour,
    rgb_of,
)
from pipelines.core.errors import BadRequest, Stopped


@pytest.fixture
def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1000, 3)).astype(np.uint8)


def test_lab_is_that_of_scikit_image(colours):
    # whose 7.787 and 0.008856 are the line's 841/108 and 216/24389, rounded
    assert lab_of(colours) == pytest.approx(rgb2lab(colours / 255), abs=2e-4)


def test_white_black_and_red_have_their_known_lab():
    known = lab_of(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    assert known == pytest.approx(
        np.array([[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]), abs=0.01
    )


def test_colours_come_back_from_lab(colours):
    back = rgb_of(lab_of(colours)).astype(int)
    assert (back == colours).all()
    theirs = np.rint(255 * lab2rgb(lab_of(colours)))
    assert np.abs(back - theirs).max() <= 1


def test_lab_beyond_the_screen_is_cut():
    assert rgb_of(np.array([[150.0, 0, 0], [-5, 0, 0]])).tolist() == [[255] * 3, [0] * 3]


def halves(left=(200, 30, 30), right=(20, 40, 220), width=20) -> Image.Image:
    picture = Image.new("RGB", (width, 10), left)
    picture.paste(right, (width // 4, 0, width, 10))
    return picture


def test_a_picture_of_two_colours_comes_back_with_its_palette_shares_and_hex():
    pixels = pixels_of(halves())
    lab = lab_of(pixels.colours)
    assert lab.shape == (200, 3)
    labels = (lab[:, 2] < 0).astype(np.int32)
    picture, palette = recolour(pixels, labels, centres_of(lab, labels))
    assert picture.tobytes() == halves().tobytes()
    assert [(swatch.label, swatch.pixels, swatch.share) for swatch in palette] == [
        (1, 150, 0.75), (0, 50, 0.25)
    ]  # fmt: skip
    assert [swatch.hex for swatch in palette] == ["#1428dc", "#c81e1e"]


def test_pixels_are_in_the_order_of_reading():
    pixels = pixels_of(halves())
    red = pixels.colours.reshape(10, 20, 3)[..., 0] == 200
    assert red[:, :5].all()
    assert not red[:, 5:].any()


def test_transparent_pixels_do_not_count_and_stay_as_they_were():
    picture = halves().convert("RGBA")
    picture.putpixel((0, 0), (1, 2, 3, 0))
    picture.putpixel((1, 0), (200, 30, 30, 200))
    pixels = pixels_of(picture)
    assert len(pixels.colours) == 199
    result, palette = recolour(pixels, np.zeros(199, np.int32), np.array([[50.0, 0, 0]]))
    assert result.mode == "RGBA"
    assert result.getpixel((0, 0)) == (1, 2, 3, 0)
    assert result.getpixel((1, 0)) == (119, 119, 119, 200)
    assert palette[0].pixels == 199
    assert palette[0].share == 1


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK", "I;16"])
def test_pictures_of_other_modes_are_taken(mode):
    picture = Image.new(mode, (4, 3)) if mode == "I;16" else halves(width=4).convert(mode)
    pixels = pixels_of(picture)
    result, _ = recolour(
        pixels, np.zeros(len(pixels.colours), np.int32), lab_of(pixels.colours[:1])
    )
    assert result.size == picture.size


def test_a_picture_that_is_transparent_all_over_is_refused():
    with pytest.raises(BadRequest) as error:
        pixels_of(Image.new("RGBA", (3, 3), (255, 0, 0, 0)))
    assert str(error.value) == (
        "The picture is transparent all over; it has no colours to cluster."
    )


def test_pixels_of_noise_keep_their_own_colour_and_are_counted_last():
    pixels = pixels_of(halves())
    labels = np.where(pixels.colours[:, 0] == 20, -1, 0).astype(np.int32)
    result, palette = recolour(pixels, labels, np.array([[0.0, 0, 0]]))
    assert result.getpixel((19, 0)) == (20, 40, 220)
    assert result.getpixel((0, 0)) == (0, 0, 0)
    assert [(swatch.label, swatch.share) for swatch in palette] == [(0, 0.25), (-1, 0.75)]
    assert palette[1].hex == "#1428dc"


def test_a_cluster_without_pixels_is_no_swatch():
    pixels = pixels_of(halves())
    _, palette = recolour(pixels, np.ones(200, np.int32), np.array([[0.0, 0, 0], [50, 0, 0]]))
    assert [swatch.label for swatch in palette] == [1]


def test_the_points_of_a_fit_are_drawn_by_the_seed():
    pixels = pixels_of(halves())
    data, rows = points_of(pixels, 60, seed=4)
    assert (lab_of(pixels.colours[rows]) == data.X).all()
    assert len(set(rows)) == 60
    assert (points_of(pixels, 60, seed=4)[1] == rows).all()
    assert (points_of(pixels, 60, seed=5)[1] != rows).any()
    assert len(points_of(pixels, 500)[1]) == 200


def test_each_pixel_goes_to_the_nearest_colour(colours, monkeypatch):
    monkeypatch.setattr("pipelines.clustering.data.pictures._BLOCK", 64)
    lab = lab_of(colours)
    centres = lab[:7] + 0.25
    distances = ((lab[:, None] - centres) ** 2).sum(axis=2)
    assert (nearest(colours, centres) == distances.argmin(axis=1)).all()


def test_the_mean_colour_of_each_cluster_is_its_centre(colours):
    lab = lab_of(colours)
    labels = np.arange(1000, dtype=np.int32) % 4 - 1
    expected = np.array([lab[labels == label].mean(axis=0) for label in range(3)])
    assert centres_of(lab, labels) == pytest.approx(expected)


def test_where_all_is_noise_a_sentence_says_what_to_do(colours):
    centres = centres_of(lab_of(colours), np.full(1000, -1, np.int32))
    with pytest.raises(BadRequest, match=r"all of the pixels are noise\. Raise eps"):
        nearest(colours, centres)


def test_assigning_stops_when_told(colours):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        nearest(colours, np.zeros((1, 3)), stop)


def test_the_picture_is_not_changed():
    picture = halves().convert("RGBA")
    before = picture.tobytes()
    pixels = pixels_of(picture)
    recolour(pixels, np.zeros(200, np.int32), np.array([[50.0, 0, 0]]))
    assert picture.tobytes() == before
    assert pixels.rgb.tobytes() == halves().tobytes()
