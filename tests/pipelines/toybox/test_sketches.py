"""Drawings made of renders: bright lines on black, near the outlines, many kinds of them."""

import cv2
import numpy as np
import pytest

from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import held_out_scene
from pipelines.toybox.train.render_shards import inverse_depth
from pipelines.toybox.train.sketches import edges, rough_depth, sketch, strokes
from pipelines.toybox.vocabulary import FIRST_RELEASE

pytestmark = pytest.mark.usefixtures("renderer")


@pytest.fixture(scope="module")
def scene():
    made = render(held_out_scene(5, FIRST_RELEASE, 1))
    return made.image, inverse_depth(made.depth), made.mask


def test_the_same_seed_draws_the_same(scene):
    image, depth, _ = scene
    drawings = [sketch(image, depth, np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(*drawings)


def test_drawings_are_lines_on_black_and_differ(scene):
    image, depth, _ = scene
    drawings = [sketch(image, depth, np.random.default_rng(seed)) for seed in range(40)]
    for drawing in drawings:
        assert drawing.dtype == np.uint8
        assert drawing.shape == image.shape[:2]
        assert np.mean(drawing > 64) < 0.5, "lines, not areas"
    assert len({drawing.tobytes() for drawing in drawings}) == 40
    assert sum(drawing.max() > 128 for drawing in drawings) >= 36


@pytest.mark.parametrize("draw", [lambda i, d, r: edges(i, r), strokes])
def test_most_of_the_outline_is_drawn(scene, draw):
    image, depth, mask = scene
    outline = cv2.Canny((mask > 0).astype(np.uint8) * 255, 50, 100) > 0
    found = []
    for seed in range(20):
        drawing = draw(image, depth, np.random.default_rng(seed)) > 64
        near = cv2.dilate(drawing.astype(np.uint8), np.ones((5, 5))) > 0
        found.append(np.mean(near[outline]))
    assert np.median(found) > 0.5


def test_a_rough_depth_map_is_still_that_of_the_scene(scene):
    _, depth, _ = scene
    for seed in range(20):
        rough = rough_depth(depth, np.random.default_rng(seed))
        assert np.corrcoef(rough.ravel(), depth.ravel())[0, 1] > 0.9
