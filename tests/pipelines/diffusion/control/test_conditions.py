"""From a picture to the map of the result's size."""

from __future__ import annotations

import errno
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.core.errors import BadRequest, NotFound, validate
from pipelines.core.pictures.fitting import fit
from pipelines.core.pictures.inputs import keep_input, open_input
from pipelines.diffusion.control import conditions
from pipelines.diffusion.control.conditions import condition_map
from pipelines.diffusion.control.requests import ConditionRequest, ControlRequest, ControlUnit
from pipelines.diffusion.from_picture.sizes import size_like
from pipelines.preprocessors import registry
from tests.pipelines.diffusion.control.conftest import scribble


@pytest.fixture
def map_of(tmp_path):
    """``map_of(picture, size, …)``: the condition map, RGB."""

    def make(picture, size=(64, 64), **fields):
        request = ConditionRequest(picture=keep_input(tmp_path, "local", picture), **fields)
        *_, condition = condition_map(request, size, tmp_path, None, threading.Event())
        return condition

    return make


def halves(width: int, height: int) -> Image.Image:
    """Left half red, right half blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels)


def test_stretch_uses_all_of_the_picture(map_of):
    made = np.asarray(map_of(halves(128, 32), resize_mode="stretch"))
    assert made.shape == (64, 64, 3)
    assert (made[:, :28, 0] > 200).all()
    assert (made[:, 36:, 2] > 200).all()


def test_crop_keeps_proportions_and_the_middle(map_of):
    picture = Image.new("RGB", (192, 64), "white")
    picture.paste(halves(64, 64), (64, 0))
    made = np.asarray(map_of(picture, resize_mode="crop"))
    assert np.array_equal(made, np.asarray(halves(64, 64)))


def test_pad_keeps_all_of_the_picture_and_fills_with_nothing(map_of):
    made = np.asarray(map_of(halves(128, 64), resize_mode="pad"))
    assert (made[:16] == 0).all()
    assert (made[48:] == 0).all()
    assert (made[16:48, :28, 0] > 200).all()


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (3, 4000), (4000, 3), (64, 64), (37, 91)])
@pytest.mark.parametrize("target", [(64, 64), (64, 128), (136, 72)])
def test_any_size_fits_any_other(mode, size, target):
    fitted, (x, y) = fit(Image.new("RGB", size), target, mode)
    assert 0 <= x <= target[0] - fitted.width
    assert 0 <= y <= target[1] - fitted.height
    if mode != "pad":
        assert fitted.size == target


@pytest.mark.parametrize("colour", ["white", "black", (3, 4, 5)])
def test_an_empty_canvas_is_refused_with_a_hint(map_of, colour):
    with pytest.raises(BadRequest, match="Nothing is drawn"):
        map_of(Image.new("RGB", (64, 64), colour))


def test_a_single_pixel_is_an_empty_canvas(map_of):
    with pytest.raises(BadRequest, match="Nothing is drawn"):
        map_of(Image.new("RGB", (1, 1), "red"))


def at_the_edge() -> Image.Image:
    """A wide white canvas with all lines in its left quarter."""
    canvas = Image.new("RGB", (256, 64), "white")
    ImageDraw.Draw(canvas).ellipse((5, 5, 55, 55), outline="black", width=3)
    return canvas


@pytest.mark.parametrize("preprocessor", ["none", "scribble", "grid_grey"])
def test_a_drawing_that_cropping_takes_away_is_refused_and_padding_keeps_it(map_of, preprocessor):
    with pytest.raises(BadRequest, match=r"cropping to 64×64 leaves.*Pad or Stretch"):
        map_of(at_the_edge(), preprocessor=preprocessor)
    made = np.asarray(map_of(at_the_edge(), preprocessor=preprocessor, resize_mode="pad"))
    assert made.std() > 5


@pytest.mark.parametrize("preprocessor", ["canny", "scribble", "lineart"])
def test_a_picture_without_lines_is_refused_by_what_looks_for_them(map_of, preprocessor, tmp_path):
    gentle = Image.linear_gradient("L").convert("RGB").resize((64, 64))
    with pytest.raises(BadRequest, match=r"finds no lines in the picture at 64×64"):
        map_of(gentle, preprocessor=preprocessor)
    assert not list(tmp_path.rglob(f"{conditions.MAPS}/*.png")), "an empty map is not kept"
    map_of(gentle, preprocessor="none")
    map_of(gentle, preprocessor="grid_grey")


@pytest.mark.parametrize(
    ("picture", "native", "size"),
    [
        ((512, 512), 512, (512, 512)),
        ((3000, 2000), 512, (624, 416)),
        ((1080, 1920), 1024, (768, 1368)),
        ((96, 64), 128, (160, 104)),
        ((96, 64), 64, (96, 64)),  # not below the least side
        ((100, 5000), 512, (72, 2048)),
        ((1, 5000), 128, (64, 2048)),
    ],
)
def test_a_size_has_the_pictures_proportions_and_the_models_area(picture, native, size):
    assert size_like(picture, native) == size


def test_a_map_is_read_once_and_found_again(map_of, monkeypatch):
    calls = []
    annotate = registry.annotate

    def record(*arguments):
        calls.append(arguments[0])
        return annotate(*arguments)

    monkeypatch.setattr(registry, "annotate", record)
    first = map_of(scribble(), preprocessor="canny")
    again = map_of(scribble(), preprocessor="canny")
    assert calls == ["canny"]
    assert np.array_equal(first, again)
    map_of(scribble(), preprocessor="canny", parameters={"low": 10})
    map_of(scribble(), size=(64, 96), preprocessor="canny")
    assert len(calls) == 3


def test_default_parameters_left_out_or_written_out_are_the_same_map(map_of, monkeypatch):
    first = map_of(scribble(), preprocessor="canny")
    monkeypatch.setattr(registry, "annotate", None)
    defaults = registry.get("canny").parameters().model_dump()
    assert np.array_equal(first, map_of(scribble(), preprocessor="canny", parameters=defaults))


def test_the_longest_unused_maps_go(map_of, monkeypatch, tmp_path):
    monkeypatch.setattr(conditions, "KEPT_MAPS", 3)
    for side in (64, 72, 80, 88, 96):
        map_of(scribble(), size=(side, 64))
    assert len(list((tmp_path / "inputs" / conditions.MAPS).glob("*.png"))) == 3


def test_a_wrong_parameter_is_named_with_its_bound(map_of):
    with pytest.raises(BadRequest, match="at most"):
        map_of(scribble(), preprocessor="canny", parameters={"low": 100_000})
    with pytest.raises(BadRequest, match="no setting called mud"):
        map_of(scribble(), preprocessor="canny", parameters={"mud": 1})


def test_an_unknown_preprocessor_is_not_found(map_of):
    with pytest.raises(NotFound, match="canny"):
        map_of(scribble(), preprocessor="cany")


# --- brought-in pictures --------------------------------------------------------------------------


def test_a_picture_is_kept_once_an_owner_and_comes_back_whole(tmp_path):
    ids = [keep_input(tmp_path, owner, scribble()) for owner in ("anna", "anna", "ben")]
    assert ids[0] == ids[1] != ids[2]
    assert np.array_equal(open_input(tmp_path, ids[0]), scribble())
    assert len(list((tmp_path / "inputs").iterdir())) == 2


@pytest.mark.parametrize(
    "id", ["../../etc/passwd", "a" * 31, "A" * 32, "a" * 33, "", "a" * 31 + "/"]
)
def test_only_ids_are_taken_as_ids(id):
    with pytest.raises(BadRequest):
        validate(ConditionRequest, {"picture": id})


# --- bounds of the request ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"weight": 2.5}, "Weight"),
        ({"weight": float("nan")}, "Weight"),
        ({"start": -0.1}, "Start"),
        ({"end": 1.1}, "End"),
        ({"start": 0.6, "end": 0.4}, "starts at 0.6 and ends at 0.4"),
        ({"resize_mode": "zoom"}, "Resize"),
        ({"control_mode": "loud"}, "Balance"),
    ],
)
def test_a_unit_out_of_bounds_is_named(fields, sentence):
    unit = {"picture": "0" * 32, "model": "net-a", **fields}
    with pytest.raises(BadRequest, match=sentence):
        validate(ControlUnit, unit)


def test_one_to_three_units():
    unit = {"picture": "0" * 32, "model": "net-a"}
    for count in (0, 4):
        with pytest.raises(BadRequest, match="Units"):
            validate(ControlRequest, {"prompt": "x", "units": [unit] * count})


def test_a_map_that_was_damaged_is_made_again(map_of, tmp_path):
    whole = map_of(halves(64, 64))
    (kept,) = (tmp_path / "inputs" / conditions.MAPS).iterdir()
    kept.write_bytes(kept.read_bytes()[:70])
    assert map_of(halves(64, 64)).tobytes() == whole.tobytes()
    assert Image.open(kept).convert("RGB").tobytes() == whole.tobytes()


def test_a_map_that_cannot_be_kept_serves_all_the_same(map_of, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    keep_input(tmp_path, "local", picture := halves(64, 64))
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.diffusion.control.conditions.os.replace", full)
        made = map_of(picture)
    assert list((tmp_path / "inputs" / conditions.MAPS).iterdir()) == []
    assert map_of(picture).tobytes() == made.tobytes()
