from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.preprocessors.classical import ink_of_drawing
from pipelines.preprocessors.registry import PREPROCESSORS

OFFLINE = [
    preprocessor.name for preprocessor in PREPROCESSORS.values() if preprocessor.weights is None
]


def drawn_square(ink: str, ground: str, size: int = 96, width: int = 3) -> Image.Image:
    picture = Image.new("RGB", (size, size), ground)
    ImageDraw.Draw(picture).rectangle((20, 24, 70, 80), outline=ink, width=width)
    return picture


def same_channels(picture: Image.Image) -> np.ndarray:
    """The one channel of a grey RGB picture."""
    pixels = np.asarray(picture)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 37), (63, 65), (131, 77), (300, 64)])
def test_a_map_has_the_size_of_its_picture_whatever_that_is(annotate, name, size):
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    made = annotate(name, Image.fromarray(noise))
    assert (made.size, made.mode) == (size, "RGB")


@pytest.mark.parametrize("name", OFFLINE)
def test_a_large_picture_is_read_too(annotate, name):
    noise = np.random.default_rng(2).integers(0, 256, (35, 64, 3), np.uint8)
    picture = Image.fromarray(noise).resize((4096, 1100))
    assert annotate(name, picture).size == (4096, 1100)


@pytest.mark.parametrize("name", OFFLINE)
def test_the_same_picture_gives_the_same_map_and_is_left_alone(annotate, name, photo):
    before = photo.tobytes()
    assert annotate(name, photo).tobytes() == annotate(name, photo).tobytes()
    assert photo.tobytes() == before


def test_none_takes_the_picture_as_it_is(annotate, photo):
    assert annotate("none", photo).tobytes() == photo.tobytes()


@pytest.mark.parametrize(("low", "high"), [(100, 200), (20, 60), (200, 100)])
def test_canny_is_opencvs(annotate, photo, low, high):
    made = same_channels(annotate("canny", photo, low=low, high=high))
    assert (made == cv2.Canny(np.asarray(photo), low, high)).all()
    assert made.any()


@pytest.mark.parametrize(
    ("ink", "ground"),
    [("black", "white"), ("white", "black"), ("#c03", "#fff8f0"), ("yellow", "white")],
)
def test_a_scribble_keeps_the_strokes_of_a_drawing(annotate, ink, ground):
    picture = drawn_square(ink, ground)
    drawn = np.asarray(drawn_square("white", "black"))[..., 0]
    made = same_channels(annotate("scribble", picture))
    assert (made == drawn).all()


def test_a_smooth_pencil_drawing_is_taken_for_a_drawing(annotate):
    large = drawn_square("black", "white", 768, 24).resize((96, 96), Image.Resampling.LANCZOS)
    made = same_channels(annotate("scribble", large))
    assert ink_of_drawing(np.asarray(large)) is not None
    assert set(np.unique(made)) == {0, 255}
    assert made[:2].max() == 0


def test_a_photo_and_a_filled_shape_are_no_drawings(photo):
    filled = Image.new("RGB", (96, 96), "white")
    ImageDraw.Draw(filled).ellipse((20, 20, 76, 76), fill="black")
    assert ink_of_drawing(np.asarray(photo)) is None
    assert ink_of_drawing(np.asarray(filled)) is None


def test_a_scribble_of_a_photo_is_its_outlines_in_black_and_white(annotate, photo):
    made = same_channels(annotate("scribble", photo))
    rows, columns = np.mgrid[0:50, 0:75]
    edge = np.abs(np.hypot(rows - 24, columns - 40) - 15) < 4
    assert set(np.unique(made)) == {0, 255}
    assert made[~edge].mean() < 0.1 * made[edge].mean()
    assert (made > 0)[edge].mean() > 0.25


def test_scribbles_get_thicker_and_more(annotate, photo):
    thin, thick = (annotate("scribble", photo, thickness=value) for value in (1, 32))
    few, many = (annotate("scribble", photo, threshold=value) for value in (120, 10))
    assert np.asarray(thin).mean() < np.asarray(thick).mean()
    assert np.asarray(few).mean() < np.asarray(many).mean()


def test_line_art_is_soft_and_lies_at_the_edges(annotate, photo):
    made = same_channels(annotate("lineart", photo))
    rows, columns = np.mgrid[0:50, 0:75]
    edge = np.abs(np.hypot(rows - 24, columns - 40) - 15) < 4
    assert len(np.unique(made)) > 20
    assert made[edge].mean() > 5 * made[~edge].mean()


def test_line_art_of_a_drawing_is_the_drawing_in_white(annotate):
    made = same_channels(annotate("lineart", drawn_square("black", "white")))
    assert (made == np.asarray(drawn_square("white", "black"))[..., 0]).all()


def test_shuffling_goes_by_the_seed_and_keeps_the_colours(annotate, photo):
    first, again, other = (annotate("shuffle", photo, seed=seed) for seed in (5, 5, 6))
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert first.tobytes() != photo.tobytes()
    colours = np.asarray(photo).reshape(-1, 3)
    assert (np.asarray(first).min((0, 1)) >= colours.min(0)).all()
    assert (np.asarray(first).max((0, 1)) <= colours.max(0)).all()
    reddish = np.asarray(first)[..., 0].astype(int) - np.asarray(first)[..., 1] > 60
    assert reddish.any()  # the ball is still somewhere


def test_a_grid_cell_of_a_slope_has_the_slopes_mean(annotate):
    slope = np.repeat(np.arange(80, dtype=np.uint8)[None] * 3, 40, axis=0)
    made = np.asarray(annotate("grid_colour", Image.fromarray(slope).convert("RGB"), cells=4))
    cells = made.reshape(4, 10, 8, 10, 3)
    assert (cells == cells[:, :1, :, :1]).all()  # squares of one colour
    means = slope.reshape(4, 10, 8, 10).mean((1, 3))
    # A cubic filter keeps slopes; the outermost cells have nothing beyond them to look at.
    assert np.abs(cells[:, 0, 1:-1, 0, 0] - means[:, 1:-1]).max() <= 1


def test_the_default_grid_has_cells_of_64_pixels_at_512(annotate):
    patches = Image.fromarray(np.random.default_rng(3).integers(0, 256, (8, 12, 3), np.uint8))
    picture = patches.resize((768, 512), Image.Resampling.NEAREST)
    made = np.asarray(annotate("grid_colour", picture))
    cells = made.reshape(8, 64, 12, 64, 3)
    assert (cells == cells[:, :1, :, :1]).all()
    assert len(np.unique(cells[:, 0, :, 0].reshape(-1, 3), axis=0)) == 96


def test_the_grey_grid_has_no_colour(annotate, photo):
    grey = same_channels(annotate("grid_grey", photo, cells=5))
    colour = np.asarray(annotate("grid_colour", photo, cells=5)).astype(float)
    assert np.abs(grey - colour @ (0.299, 0.587, 0.114)).max() <= 2
