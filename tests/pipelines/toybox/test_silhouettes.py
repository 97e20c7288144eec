"""Silhouettes drawn by hand, and the segmenter's maps made by hand."""

import cv2
import numpy as np
import pytest

from pipelines.toybox.render import silhouettes
from pipelines.toybox.render.renderer import render, silhouette
from pipelines.toybox.render.silhouettes import (
    Shape,
    best_pose,
    measure,
    normalise,
    roughness,
    together,
    worst,
)
from pipelines.toybox.scenes import Scene, Thing, sample_scene
from pipelines.toybox.segmenter import Segmenter, best_order, separate
from pipelines.toybox.train.segmenter import describe

pytestmark = pytest.mark.usefixtures("renderer")


def _disc(x=64.0, y=64.0, radius=30.0, dents=0, depth=0.0) -> np.ndarray:
    """A disc (128, 128) with a soft rim whose radius swings ``dents`` times by ``depth``."""
    ys, xs = np.mgrid[:128, :128] - np.array([y, x])[:, None, None]
    rim = radius + depth * np.cos(dents * np.arctan2(ys, xs))
    return np.clip(rim - np.hypot(xs, ys) + 0.5, 0, 1).astype(np.float32)


def _rectangle(width: int, height: int) -> np.ndarray:
    out = np.zeros((128, 128), np.float32)
    out[20 : 20 + height, 10 : 10 + width] = 1
    return out


def test_a_silhouette_is_the_mask_of_the_render():
    scene = sample_scene(5, things=1)
    np.testing.assert_array_equal(silhouette(scene, 64, 64), render(scene, 64, 64).mask > 0)


def test_place_and_size_are_nothing_to_a_normalised_silhouette_but_its_proportions_are():
    one, other = normalise(_rectangle(40, 20)), normalise(np.roll(_rectangle(60, 30), 25, (0, 1)))
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert (one > 0.5).sum() == 64 * 32
    assert (normalise(_rectangle(40, 30)) > 0.5).sum() == 64 * 48
    assert normalise(np.zeros((20, 20))).sum() == 0


def test_the_best_pose_of_a_kind_is_its_own(monkeypatch):
    true, wrong = pytest.approx, silhouettes.pose("table", 3)
    assert best_pose(silhouette(silhouettes.pose("car", 4)), "car", 12) == (true(1), 4)
    assert best_pose(silhouette(wrong), "car", 12)[0] < 0.7
    assert best_pose(np.zeros((128, 128)), "car", 12)[0] == 0


def test_a_dented_toy_fits_its_poses_worse_and_its_outline_is_rougher():
    dented = [_disc(dents=11, depth=depth) for depth in (0, 1, 2, 4)]
    fits = [best_pose(each, "ball", 12)[0] for each in dented]
    assert fits[0] > 0.95
    assert fits == sorted(fits, reverse=True)
    rough = [roughness(each) for each in dented]
    assert rough == sorted(rough)
    assert rough[1] > 2 * rough[0]
    assert rough[3] > 5 * rough[0]


def test_roughness_depends_little_on_place_and_size():
    rough = [roughness(_disc(*where)) for where in ((64, 64, 30), (60.3, 65.7, 30), (64, 64, 45))]
    assert max(rough) < 1.5 * min(rough)
    square = [roughness(_rectangle(side, side)) for side in (32, 64)]
    assert max(square) < 1.1 * min(square)
    assert np.isnan(roughness(np.zeros((128, 128))))


def test_a_hole_has_an_outline_too():
    ring = _disc() - _disc(radius=12)
    frayed = _disc() - _disc(radius=12, dents=7, depth=3)
    assert roughness(frayed) > 1.2 * roughness(ring)


def _offsets(*middles: tuple[int, int]) -> np.ndarray:
    """Offsets (2, 128, 128) to the nearest of ``middles`` by x."""
    ys, xs = np.mgrid[:128, :128].astype(np.float32)
    nearest = np.abs(xs[None] - np.array([x for x, _ in middles])[:, None, None]).argmin(0)
    return np.array(middles)[nearest].transpose(2, 0, 1) - np.stack([xs, ys])


def test_toys_that_touch_are_cut_apart_where_their_middles_say():
    left, right = _disc(x=40, radius=26), _disc(x=90, radius=26)
    found = separate(np.maximum(left, right), _offsets((40, 64), (90, 64)), 2)
    for each, wanted in zip(found, (left, right), strict=True):
        overlap = np.minimum(each, wanted).sum() / np.maximum(each, wanted).sum()
        assert overlap > 0.97
    assert all((each == 0).all() for each in separate(np.zeros((128, 128)), _offsets((0, 0)), 2))


def test_a_speck_is_no_part_of_a_toy_but_a_piece_that_came_off_is():
    toy, offsets = _disc(), _offsets((64, 64))
    (found,) = separate(np.maximum(toy, _disc(x=110, radius=1.5)), offsets, 1)
    np.testing.assert_allclose(found[:, :100], toy[:, :100] * (toy[:, :100] > 0.05), atol=0.06)
    assert found[:, 104:].sum() == 0
    (found,) = separate(np.maximum(toy, _disc(x=110, radius=8)), offsets, 1)
    assert found[:, 104:].sum() > 50


def test_what_the_segmenter_should_say_of_a_mask_gives_the_toys_back():
    picture = render(
        Scene("snow", (Thing("cube", "red", x=-0.6), Thing("ball", "blue", x=0.6))), 256, 256
    )
    coverage, *offsets = describe(picture.mask)
    found = separate(coverage, 32 * np.stack(offsets), 2)
    for i, each in enumerate(found, start=1):
        wanted = cv2.resize(
            (picture.mask == i).astype(np.float32), (128, 128), None, 0, 0, cv2.INTER_AREA
        )
        np.testing.assert_allclose(each[wanted > 0.1], wanted[wanted > 0.1], atol=0.01)
        assert each[wanted == 0].sum() == 0


def test_silhouettes_belong_to_the_asked_toys_in_the_order_that_fits_best():
    assert best_order(np.array([[0.2, 0.9], [0.8, 0.3]])) == (1, 0)
    assert best_order(np.array([[0.9, 0.8], [0.8, 0.1]])) == (1, 0)
    assert best_order(np.array([[0.9, 0.1], [0.1, 0.2]])) == (0, 1)


def _soft(kind: str, number: int) -> np.ndarray:
    """A pose as a render of 512 pixels shows it, brought to 128."""
    fine = silhouette(silhouettes.pose(kind, number), 512, 512).astype(np.float32)
    return cv2.resize(fine, (128, 128), None, 0, 0, cv2.INTER_AREA)


def test_true_silhouettes_reach_the_top_whatever_their_order():
    ball, car = _soft("ball", 4), _soft("car", 4)

    class Cutter:
        def cut(self, image, count):
            return [car, ball][:count]

    pair = Scene("snow", (Thing("ball", "red"), Thing("car", "blue")), relation="left of")
    shapes = measure(Cutter(), [pair], [None], 12)
    assert all(shape.iou > 0.97 for shape in shapes.values())
    assert all(0.9 < shape.roughness < 1.1 for shape in shapes.values())
    wrong = measure(Cutter(), [Scene("snow", (Thing("ball", "red"),))], [None], 12)
    assert wrong["ball"].iou < 0.7
    assert wrong["ball"].roughness > 1.3


def test_means_and_the_worst_kinds():
    shapes = {
        "ball": Shape([0.9, 0.7], [0.1, 0.3], [0.1, 0.1]),
        "car": Shape([0.5], [float("nan")], [0.2]),
    }
    floor = {"ball": Shape([0.95], [0.1], [0.1]), "car": Shape([0.6], [0.1], [0.1])}
    assert together(shapes).iou == pytest.approx(0.7)
    assert together(shapes).roughness == pytest.approx(2)
    assert np.isnan(shapes["car"].roughness)
    assert list(worst(shapes, floor)) == ["ball", "car"]
    assert list(worst(shapes, floor, 1)) == ["ball"]


def test_a_larger_picture_is_read_at_the_size_of_the_training():
    segmenter = Segmenter(widths=(8, 8, 8)).eval()
    image = np.zeros((256, 256, 3), np.uint8)
    small, large = segmenter.cut(image[:128, :128], 1), segmenter.cut(image, 1)
    np.testing.assert_allclose(small, large)
    assert large[0].shape == (128, 128)
