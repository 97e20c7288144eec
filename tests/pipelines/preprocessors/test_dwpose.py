"""DWPose with networks made by hand that always see the same person."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from PIL import Image

from pipelines.preprocessors.dwpose import PoseNetworks, people, points_of
from pipelines.preprocessors.weights import WEIGHTS
from tests.hub import serve_hub
from tests.pipelines.preprocessors.conftest import cache_in

pytestmark = pytest.mark.openvino

SIDE = 64  # of the square that the detector reads: cells of 8, 16 and 32 pixels
WIDE, HIGH = 24, 32  # what the points are looked for in


def always(shape: list[int], *outputs: np.ndarray) -> ov.Model:
    """A network that looks at its input and answers the same to everything."""
    x = ops.parameter(shape, np.float32)
    axes = ops.constant(np.arange(len(shape)))
    nothing = ops.multiply(ops.reduce_mean(x, axes), ops.constant(np.float32(0)))
    return ov.Model([ops.add(ops.constant(out), nothing) for out in outputs], [x])


def detector() -> ov.Model:
    """A person of 24 × 32 pixels in the middle, seen by two cells, a fainter one, and a dog."""
    found = np.zeros((1, 64 + 16 + 4, 85), np.float32)
    size = np.log(np.float32([3, 4]))  # of cells of 8 pixels
    found[0, 4 * 8 + 4] = [0, 0, *size, 0.9, 0.9, *[0] * 79]
    found[0, 4 * 8 + 3] = [1, 0, *size, 0.9, 0.8, *[0] * 79]  # the same, from the cell beside it
    found[0, 0] = [0, 0, *size, 0.5, 0.5, *[0] * 79]
    found[0, 8] = [0, 0, *size, 0.9, 0, 0.9, *[0] * 78]
    return always([1, 3, SIDE, SIDE], found)


def pointer(sure: float = 0.9) -> ov.Model:
    """Shoulders at one height; all other points in the middle, not sure."""
    across = np.zeros((1, 133, 2 * WIDE), np.float32)
    down = np.zeros((1, 133, 2 * HIGH), np.float32)
    across[0, :, WIDE], down[0, :, HIGH] = 0.1, 0.1
    for point, (x, y) in {5: (30, 20), 6: (10, 20), 0: (20, 10)}.items():
        across[0, point, x], down[0, point, y] = sure, 0.95
    return always([1, 3, HIGH, WIDE], across, down)


@pytest.fixture
def networks(tmp_path) -> PoseNetworks:
    for name, model in (("people", detector()), ("points", pointer())):
        ov.save_model(model, tmp_path / f"{name}.xml", compress_to_fp16=False)
    return PoseNetworks(tmp_path / "people.xml", tmp_path / "points.xml")


def test_people_are_found_once_and_nothing_else(networks):
    boxes = people(np.zeros((512, 512, 3), np.uint8), networks.people)
    assert boxes.tolist() == [pytest.approx([160, 128, 352, 384], abs=0.5)]


def test_boxes_are_those_of_pictures_that_are_not_square(networks):
    boxes = people(np.zeros((128, 256, 3), np.uint8), networks.people)  # 1/4 of it, at the top
    assert boxes.tolist() == [pytest.approx([80, 64, 176, 192], abs=0.5)]


def test_points_lie_where_the_bars_are_highest(networks):
    box = np.float32([160, 128, 352, 384])  # with a quarter more: 240 × 320 from (136, 96)
    points, scores = points_of(np.zeros((512, 512, 3), np.uint8), box, networks.points)
    assert points.shape == (134, 2)
    assert points[5].tolist() == pytest.approx([136 + 150, 96 + 100])  # left shoulder
    assert points[2].tolist() == pytest.approx([136 + 50, 96 + 100])  # right shoulder
    assert points[1].tolist() == pytest.approx([136 + 100, 96 + 100])  # the neck, between them
    assert points[0].tolist() == pytest.approx([136 + 100, 96 + 50])  # the nose
    assert scores[[0, 1, 2, 5]].tolist() == pytest.approx([0.9] * 4)
    assert (np.delete(scores, [0, 1, 2, 5]) < 0.2).all()


def test_onnx_can_be_read():
    assert "onnx" in ov.frontend.FrontEndManager().get_available_front_ends()


def test_a_pose_is_drawn_where_the_person_is(annotate, tmp_path, monkeypatch):
    entry, contents = WEIGHTS["dwpose"], {}
    for name, model in (("people", detector()), ("points", pointer())):
        ov.save_model(model, tmp_path / f"{name}.xml", compress_to_fp16=False)
    for file in ("people.xml", "points.xml", "people.bin", "points.bin"):
        contents[file] = (tmp_path / file).read_bytes()
    known = {file: hashlib.sha256(data).hexdigest() for file, data in contents.items()}
    monkeypatch.setitem(WEIGHTS, "dwpose", replace(entry, files=known))
    picture = Image.new("RGB", (256, 256), "white")  # drawn at twice its size
    with serve_hub({entry.repo: contents}, monkeypatch):
        made = np.asarray(annotate("dwpose", picture, cache_in(tmp_path / "home")))
    assert made.shape == (256, 256, 3)
    assert tuple(made[98, (186 + 236) // 4]) == (153, 0, 0)  # neck to right shoulder
    assert tuple(made[98, (286 + 236) // 4]) == (153, 51, 0)  # neck to left shoulder
    assert made[98 + 8 :].max() == 0  # nothing that was not sure


def test_nobody_is_an_empty_map(annotate, tmp_path, monkeypatch):
    entry = WEIGHTS["dwpose"]
    folder = tmp_path / "models" / ".hub" / entry.repo.replace("/", "--")
    folder.mkdir(parents=True)
    nobody = always([1, 3, SIDE, SIDE], np.zeros((1, 84, 85), np.float32))
    ov.save_model(nobody, folder / "people.xml")
    ov.save_model(pointer(), folder / "points.xml")
    files = {"people.xml": None, "points.xml": None}
    monkeypatch.setitem(WEIGHTS, "dwpose", replace(entry, files=files))
    made = annotate("dwpose", Image.new("RGB", (40, 30), "white"))
    assert made.size == (40, 30)
    assert made.getextrema() == ((0, 0),) * 3
