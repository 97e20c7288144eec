"""The renderer against geometry worked out by hand."""

import numpy as np
import pytest

from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import FIELD_OF_VIEW, Scene, Thing, mirror, sample_scene
from pipelines.toybox.shapes import shape_of
from pipelines.toybox.vocabulary import COLOURS, KINDS, PLACES

pytestmark = pytest.mark.usefixtures("renderer")


def _ball(place="grass", **scene) -> Scene:
    return Scene(place=place, things=(Thing("ball", "red"),), distance=3.0, pitch=0, **scene)


def test_a_scene_has_one_picture():
    scene = sample_scene(7)
    first, second = render(scene, 64, 64), render(scene, 64, 64)
    for name in ("image", "depth", "mask", "boxes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_depth_of_the_ground_is_the_distance_to_the_plane():
    scene = Scene(place="grass", things=(Thing("ball", "red", x=50.0),), distance=3.0, pitch=20)
    depth = render(scene, 65, 65).depth
    pitch = np.radians(20)
    height = scene.look_at + 3.0 * np.sin(pitch)
    for row in (40, 50, 64):
        # Rays of the middle column: below the optical axis by the row's angle.
        tilt = np.arctan(((row + 0.5) / 65 * 2 - 1) * np.tan(np.radians(FIELD_OF_VIEW / 2)))
        assert depth[row, 32] == pytest.approx(height / np.sin(pitch + tilt), rel=1e-3)


def test_depth_of_a_ball_is_the_distance_to_the_sphere():
    radius = float(shape_of("ball").sizes[0, 0])
    depth = render(_ball(look_at=radius), 65, 65).depth
    assert depth[32, 32] == pytest.approx(3.0 - radius, abs=2e-3)


def test_the_sky_is_infinitely_far_and_belongs_to_no_toy():
    picture = render(_ball(), 64, 64)
    assert np.isinf(picture.depth[0]).all()
    assert (picture.mask[0] == 0).all()


def test_a_ball_is_as_wide_as_perspective_makes_it():
    radius = float(shape_of("ball").sizes[0, 0])
    size = 128
    x0, _, x1, _ = render(_ball(look_at=radius), size, size).boxes[0]
    half_angle = np.arcsin(radius / 3.0)
    half_width = np.tan(half_angle) / np.tan(np.radians(FIELD_OF_VIEW / 2)) * size / 2
    assert x1 - x0 == pytest.approx(2 * half_width, abs=2)
    assert (x0 + x1) / 2 == pytest.approx(size / 2, abs=1)


def test_boxes_hold_exactly_the_mask():
    picture = render(sample_scene(11, things=2), 96, 96)
    for index, (x0, y0, x1, y1) in enumerate(picture.boxes.astype(int)):
        ys, xs = np.nonzero(picture.mask == index + 1)
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x0, y0, x1, y1)


def test_the_nearer_toy_hides_the_farther_one():
    near, far = Thing("cube", "red", z=0.8), Thing("cube", "blue", z=-0.8)
    mask = render(Scene("studio", (near, far), distance=4.0, pitch=0), 64, 64).mask
    assert mask[40, 32] == 1


def test_a_mirrored_scene_is_the_flipped_picture():
    scene = Scene(
        "studio",
        (Thing("cat", "green", x=-0.5, yaw=20), Thing("cone", "red", x=0.6)),
        relation="left of",
        distance=4.0,
        azimuth=5,
    )
    flipped = render(mirror(scene), 64, 64).mask
    original = render(scene, 64, 64).mask[:, ::-1]
    # A cat's tail is on one side; all else is symmetric.
    assert (flipped != original).mean() < 0.03
    assert mirror(scene).relation == "right of"
    assert mirror(mirror(scene)) == scene


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_stands_on_the_ground_inside_the_frame(kind):
    picture = render(Scene("grass", (Thing(kind, "red"),), distance=2.9), 64, 64)
    x0, y0, x1, y1 = picture.boxes[0]
    assert 0 < x0 < x1 < 64, f"{kind} is cut off at a side"
    assert 0 < y0 < y1 < 64, f"{kind} is cut off above or below"
    assert (picture.mask == 1).mean() > 0.03, f"{kind} can hardly be seen"


@pytest.mark.parametrize("place", PLACES)
def test_colours_can_be_told_apart_in_every_place(place):
    means = []
    for colour in COLOURS:
        scene = Scene(place, (Thing("cube", colour),), distance=2.9)
        picture = render(scene, 32, 32)
        means.append(picture.image[picture.mask == 1].mean(0))
    means = np.array(means)
    gaps = np.linalg.norm(means[:, None] - means[None], axis=2) + 1e9 * np.eye(len(means))
    pair = np.unravel_index(gaps.argmin(), gaps.shape)
    assert gaps.min() > 14, [list(COLOURS)[i] for i in pair]


def test_an_unknown_word_is_refused_by_name():
    with pytest.raises(ValueError, match="'zebra'"):
        Scene("grass", (Thing("zebra", "red"),))
    with pytest.raises(ValueError, match="'moon'"):
        Scene("moon", (Thing("ball", "red"),))
