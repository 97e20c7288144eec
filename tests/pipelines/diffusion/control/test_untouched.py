"""Where nothing is to change, every pixel of the picture stays: with random requests of all kinds.

What must stay is worked out here from the mask that was sent, without the engine's own: each pixel
that no white one of the mask is nearer to than the blur reaches.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import BadRequest, validate
from pipelines.core.events import Picture
from pipelines.core.pictures.inputs import keep_input, open_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.control import paint
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.from_picture.repainting import open_repainting
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import Samplers

ADA = "ada"


def blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 (H, W) of 0 and 255: a few strokes, a half, a line, a point, all or nearly all."""
    mask = np.zeros((height, width), np.uint8)
    match rng.integers(6):
        case 0:
            mask[:, : width // 2] = 255
        case 1:
            mask[rng.integers(height)] = 255
        case 2:
            mask[rng.integers(height), rng.integers(width)] = 255
        case 3:
            mask[:] = 255
            mask[: height // 3, : width // 3] = 0
        case _:
            for _ in range(3):
                a, b = (tuple(int(rng.integers(side)) for side in (width, height)) for _ in "ab")
                cv2.line(mask, a, b, 255, int(rng.integers(1, 12)))
    return mask


def random_request(seed: int, home) -> tuple[dict, bool, np.ndarray, np.ndarray]:
    """Fields of a request, whether it has units, what must stay (H, W) and the picture."""
    rng = np.random.default_rng(seed)
    whole = bool(rng.random() < 0.4)
    height, width = (int(side) * 8 if whole else int(side) * 5 for side in rng.integers(8, 13, 2))
    id = keep_input(home, ADA, Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)))
    mask = blob(rng, height, width)
    inverted = bool(rng.random() < 0.3)
    sent = keep_input(home, ADA, Image.fromarray(255 - mask if inverted else mask).convert("RGB"))
    blur = int(rng.choice([0, 0, 1, 3, 8, 20]))
    asked = {
        "picture": id, "mask": sent, "invert_mask": inverted, "mask_blur": blur,
        "strength": float(rng.choice([0.3, 0.7, 1.0])), "gradual": bool(rng.random() < 0.5),
        "masked_content": str(rng.choice(["original", "fill", "noise", "nothing"])),
        "area": "whole" if whole else "masked", "padding": int(rng.integers(0, 40)),
        "fit": str(rng.choice(["crop", "pad", "stretch"])), "all_steps": None,
    }  # fmt: skip
    near = mask
    added = (0, 0, 0, 0)
    if rng.random() < 0.3:
        added = tuple(int(side) for side in rng.choice([0, 7, 24], 4))
        asked["outpaint"] = dict(zip(("left", "top", "right", "bottom"), added, strict=True))
    left, top, right, bottom = added
    reach = int(2.5 * blur + 0.5)
    far = cv2.copyMakeBorder(near, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
    changes = dilate(far, reach)
    if any(added):
        new = np.full(far.shape, 255, np.uint8)
        new[top : top + height, left : left + width] = 0
        changes |= dilate(new, 2 * reach)
    stays = changes[top : top + height, left : left + width] == 0
    size = {"width": width, "height": height} if whole else {"width": 72, "height": 64}
    fields = {
        "prompt": "a red mug", "model": "tiny-sd1", "steps": int(rng.integers(1, 4)),
        "seed": seed, "batch_size": int(rng.integers(1, 3)), "from_picture": asked, **size,
        "sampler": str(rng.choice([each.name for each in Samplers()])), "schedule": "Uniform",
    }  # fmt: skip
    has_units = bool(rng.random() < 0.4)
    if has_units:
        fields["units"] = [{"picture": id, "preprocessor": "canny", "model": "net-a"}]
    return fields, has_units, stays, (left, top)


def dilate(mask: np.ndarray, by: int) -> np.ndarray:
    return cv2.dilate(mask, np.ones((2 * by + 1, 2 * by + 1), np.uint8))


def assert_untouched(seed: int, home, cache) -> bool:
    """Paints one random request; whether some pixel had to stay."""
    fields, has_units, stays, (left, top) = random_request(seed, home)
    engine, kind = (paint, ControlRequest) if has_units else (text_to_image, TextToImageRequest)
    request = validate(kind, fields)
    try:
        events = list(engine.run(request, cache, threading.Event()))
    except BadRequest as error:  # a point that the blur has dissolved, or a crop without the mask
        if "leaves nothing of it" in str(error) or "Nothing of the mask" in str(error):
            return False
        raise
    made = [np.asarray(each.image) for each in events if isinstance(each, Picture)]
    before = np.asarray(open_input(home, fields["from_picture"]["picture"]))
    height, width = before.shape[:2]
    assert len(made) == fields["batch_size"]
    for picture in made:
        part = picture[top : top + height, left : left + width]
        assert np.array_equal(part[stays], before[stays]), fields
    return bool(stays.any())


def test_untouched_means_untouched(home, control_cache):
    """A few requests of all kinds; the deep version below paints many."""
    assert sum(assert_untouched(seed, home, control_cache) for seed in range(8)) >= 4


@pytest.mark.deep
def test_untouched_means_untouched_in_many_requests(home, control_cache):
    assert sum(assert_untouched(seed, home, control_cache) for seed in range(12, 400)) >= 200


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ({"area": "masked", "padding": 4}, (36, 6, 74, 44)),
        ({"area": "whole"}, None),
        ({"outpaint": {"left": 8, "bottom": 4}}, (-8, 0, 120, 64)),
    ],
)
def test_a_unit_reads_the_part_of_its_picture_that_is_painted(home, monkeypatch, change, read):
    """One that follows another picture reads all of that."""
    ids = [keep_input(home, ADA, Image.new("RGB", (120, 60), colour)) for colour in ("red", "tan")]
    mask = np.zeros((60, 120), np.uint8)
    mask[10:40, 40:70] = 255
    sent = keep_input(home, ADA, Image.fromarray(mask).convert("RGB"))
    asked = {"picture": ids[0], "mask": sent, "mask_blur": 0, **change}
    units = [{"picture": id, "preprocessor": "canny", "model": "net-a"} for id in ids]
    request = ControlRequest(prompt="", width=64, height=64, from_picture=asked, units=units)
    boxes = []

    def look(unit, size, home, cache, stop, box=None, whole=None):
        boxes.append(box)
        yield Image.new("RGB", size)

    monkeypatch.setattr(paint, "condition_map", look)
    list(paint._maps(request, 8, home, None, threading.Event()))
    assert boxes == [read, None]


@pytest.mark.parametrize(
    "change",
    [
        {"padding": 4},
        {"padding": 100},  # the whole picture, which is stretched to the size
        {"padding": 3, "outpaint": {"left": 20}},
        {"area": "whole", "outpaint": {"left": 8, "bottom": 4}},
    ],
)
def test_a_unit_s_map_lies_over_what_is_painted_pixel_by_pixel(home, change):
    rng = np.random.default_rng(2)
    id = keep_input(home, ADA, Image.fromarray(rng.integers(0, 256, (60, 120, 3), np.uint8)))
    mask = np.zeros((60, 120), np.uint8)
    mask[10:40, 4:90] = 255
    sent = keep_input(home, ADA, Image.fromarray(mask).convert("RGB"))
    asked = {"picture": id, "mask": sent, "mask_blur": 0, "area": "masked", **change}
    unit = {"picture": id, "preprocessor": "none", "model": "net-a"}
    request = ControlRequest(prompt="", width=64, height=64, from_picture=asked, units=[unit])
    *_, maps = finish(paint._maps(request, 8, home, None, threading.Event()))
    ((size, (made,)),) = maps.items()
    part = open_repainting(request.from_picture, size, home)
    left, top, right, bottom = part.painted_box
    # What is added begins with other colours than the edge's, and Lanczos reads 3 pixels of it.
    beyond = np.full((bottom - top, right - left), 255, np.uint8)
    beyond[max(0, -top) : 60 - top, max(0, -left) : 120 - left] = 0
    same = dilate(np.asarray(Image.fromarray(beyond).resize(size, Image.Resampling.BOX)), 3) == 0
    assert same.mean() > 0.5
    assert np.abs(np.asarray(made, int) - np.asarray(part.base))[same].max() <= 1


def ramps(width: int, height: int, blue: int = 0) -> Image.Image:
    """Red tells how far to the right a pixel lies, green how far down: 0 to 255."""
    across, down = np.meshgrid(*((np.arange(side) + 0.5) / side for side in (width, height)))
    return Image.fromarray(np.uint8(np.stack([across, down, 0 * down + blue], 2) * 255))


@pytest.mark.parametrize(
    ("along", "other", "of_the_part"),
    [
        (None, None, True),
        (True, None, True),
        (False, None, False),
        (None, (120, 60), False),
        (False, (120, 60), False),
        (True, (120, 60), True),
        (True, (301, 150), True),  # two and a half times as large, a side rounded
        (True, (40, 20), True),  # whose pixels the part's edges fall between
    ],
)
def test_a_unit_is_cropped_along_where_its_picture_is_the_painted_one_or_by_choice(
    home, along, other, of_the_part
):
    """Of another picture too each pixel of the map shows the place that is painted there."""
    id = keep_input(home, ADA, ramps(120, 60))
    mask = np.zeros((60, 120), np.uint8)
    mask[20:40, 40:65] = 255
    sent = keep_input(home, ADA, Image.fromarray(mask).convert("RGB"))
    asked = {"picture": id, "mask": sent, "mask_blur": 0, "area": "masked", "padding": 4}
    picture = keep_input(home, ADA, ramps(*other, blue=1)) if other else id
    unit = {"picture": picture, "preprocessor": "none", "model": "net-a", "crop_along": along}
    unit |= {"resize_mode": "stretch"}
    request = ControlRequest(prompt="", width=64, height=64, from_picture=asked, units=[unit])
    *_, maps = finish(paint._maps(request, 8, home, None, threading.Event()))
    ((made,),) = maps.values()
    # With 4 around it the mask has 33 by 28 pixels, from 36 and 16; it grows to 33 by 33, from 13.
    left, top, width, height = (36, 13, 33, 33) if of_the_part else (0, 0, 120, 60)
    steps = (np.arange(64) + 0.5) / 64
    across, down = np.meshgrid((left + steps * width) / 120, (top + steps * height) / 60)
    off = np.abs(np.asarray(made, float)[..., :2] - np.stack([across, down], 2) * 255)
    assert off[4:-4, 4:-4].max() < 2


@pytest.mark.parametrize("laid", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_unit_of_the_whole_picture_is_fitted_as_that_is(home, laid, masked):
    """Its own way to be fitted, of the same picture, would shift what it says."""
    id = keep_input(home, ADA, ramps(120, 60))
    sent = keep_input(home, ADA, Image.new("RGB", (120, 60), "white")) if masked else None
    asked = {"picture": id, "fit": laid, "mask": sent, "mask_blur": 0, "masked_content": "original"}
    own = "crop" if laid != "crop" else "pad"
    unit = {"picture": id, "preprocessor": "none", "model": "net-a", "resize_mode": own}
    request = ControlRequest(prompt="", width=64, height=64, from_picture=asked, units=[unit])
    *_, maps = finish(paint._maps(request, 8, home, None, threading.Event()))
    ((size, (made,)),) = maps.items()
    base = open_repainting(request.from_picture, size, home).base
    rows = np.s_[16:48] if laid == "pad" else np.s_[:]  # beyond there is nothing to follow
    assert np.array_equal(np.asarray(made)[rows], np.asarray(base)[rows])
    assert laid != "pad" or not np.asarray(made)[:16].any()


def test_a_picture_of_other_proportions_is_not_cropped_along(home):
    ids = [keep_input(home, ADA, ramps(*size)) for size in ((120, 60), (60, 60))]
    asked = {"picture": ids[0], "outpaint": {"left": 8}}
    unit = {"picture": ids[1], "preprocessor": "none", "model": "net-a", "crop_along": True}
    request = ControlRequest(prompt="", width=64, height=64, from_picture=asked, units=[unit])
    with pytest.raises(BadRequest, match="follow has 60×60 pixels and the painted one 120×60"):
        finish(paint._maps(request, 8, home, None, threading.Event()))


def finish(steps) -> list:
    """All that a generator yields, and last what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return [*seen, end.value]
