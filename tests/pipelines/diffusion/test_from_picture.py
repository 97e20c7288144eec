"""Pictures that are changed, the whole way from a request, on a tiny random Stable Diffusion."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageChops, ImageDraw

from pipelines.core.errors import BadRequest, NotFound, validate
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.pictures.fitting import crop_beyond
from pipelines.core.pictures.inputs import keep_input, open_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.from_picture.mask import box_around
from pipelines.diffusion.from_picture.repainting import PreviewFrame, Repainting, open_repainting
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.from_picture.steps import count_steps
from pipelines.diffusion.latents.coding import encode_picture
from pipelines.diffusion.requests import TextToImageRequest

SIDE = 64


@pytest.fixture(scope="module")
def home(catalog):
    return catalog.home


@pytest.fixture(scope="module")
def photo(home) -> str:
    """A picture with a different colour at each pixel, twice as wide as high."""
    rng = np.random.default_rng(1)
    return keep_input(home, "ada", Image.fromarray(rng.integers(0, 256, (60, 120, 3), np.uint8)))


def mask_with(home, box=(30, 10, 70, 40), size=(120, 60)) -> str:
    mask = Image.new("RGB", size)
    ImageDraw.Draw(mask).rectangle(box, fill="white")
    return keep_input(home, "ada", mask)


def events_of(cache, asked: dict, **settings) -> list[Progress | Picture | Result]:
    fields = {"prompt": "a red mug", "model": "tiny-sd1", "steps": 4, "seed": 7, "width": SIDE,
              "height": SIDE, "sampler": "Euler"} | settings  # fmt: skip
    request = validate(TextToImageRequest, fields | {"from_picture": asked})
    return list(text_to_image.run(request, cache, threading.Event()))


def paint(cache, asked: dict, **settings) -> list[np.ndarray]:
    events = events_of(cache, asked, **settings)
    return [np.asarray(each.image, int) for each in events if isinstance(each, Picture)]


def original(home, photo: str, fit="crop") -> np.ndarray:
    asked = FromPicture(picture=photo, fit=fit)
    return np.asarray(open_repainting(asked, (SIDE, SIDE), home).whole, int)


def test_strength_0_is_the_picture_and_runs_nothing(cache, home, photo):
    events = events_of(cache, {"picture": photo, "strength": 0}, batch_size=2)
    made = [np.asarray(each.image, int) for each in events if isinstance(each, Picture)]
    assert [np.array_equal(each, original(home, photo)) for each in made] == [True, True]
    assert not [each for each in events if isinstance(each, Progress) and each.step]


def test_what_is_masked_is_seen_on_a_red_picture_too(home):
    red = keep_input(home, "ada", Image.new("RGB", (120, 60), "red"))
    asked = FromPicture(picture=red, mask=mask_with(home), mask_blur=0, strength=0.5)
    shown = np.asarray(open_repainting(asked, (120, 60), home).preview(), int)
    inside = shown[10:41, 30:71, 1]
    assert inside.max() > 100 > inside.min()
    shown[10:41, 30:71] = (255, 0, 0)
    assert (shown == (255, 0, 0)).all()


def test_a_file_says_which_picture_was_begun_from_by_size_and_a_hash_of_its_pixels(
    cache, home, photo
):
    events = events_of(cache, {"picture": photo, "strength": 0})
    (facts,) = (each.parameters for each in events if isinstance(each, Picture))
    assert facts["Init image size"] == "120x60"
    pixels = open_input(home, photo).tobytes()
    assert facts["Init image hash"] == hashlib.md5(pixels).hexdigest()
    assert photo not in map(str, facts.values()), "an id says who has the picture"


def test_strength_1_is_text_to_image_of_the_same_seed(cache, photo):
    fields = {"prompt": "a red mug", "model": "tiny-sd1", "steps": 4, "seed": 7, "width": SIDE,
              "height": SIDE, "sampler": "Euler"}  # fmt: skip
    request = TextToImageRequest(**fields)
    (plain,) = [
        np.asarray(each.image, int)
        for each in text_to_image.run(request, cache, threading.Event())
        if isinstance(each, Picture)
    ]
    (begun,) = paint(cache, {"picture": photo, "strength": 1})
    assert np.array_equal(begun, plain)


def test_the_more_strength_the_farther_from_the_picture(cache, photo):
    """Of 20 seeds together, from the picture as the autoencoder has it."""

    def paint_at(strength: float, **asked) -> np.ndarray:
        change = {"picture": photo, "strength": strength, "all_steps": bool(asked)}
        return np.stack(
            paint(cache, change, batch_size=5, batch_count=4, **(asked or {"steps": 5}))
        )

    coded = paint_at(0.002, steps=1)
    far = [abs(paint_at(strength) - coded).mean() for strength in (0.2, 0.4, 0.6, 0.8, 1)]
    assert far == sorted(far)
    assert far[0] < 0.1 * far[-1]


def test_as_many_evaluations_are_run_as_the_strength_asks_for_and_it_is_said(cache, photo):
    events = events_of(cache, {"picture": photo, "strength": 0.5, "all_steps": False})
    steps = [each for each in events if isinstance(each, Progress) and each.preview is not None]
    assert [(each.step, each.total) for each in steps] == [(1, 2), (2, 2)]
    (note,) = events[-1].data["notes"]
    assert note["template"].startswith("{run} of {steps} steps were run")
    assert note["values"] == {"run": 2, "steps": 4, "strength": 0.5}


@pytest.mark.parametrize(
    ("change", "untouched"),
    [
        ({"area": "masked", "padding": 0}, (100, 50)),  # right of the mask
        ({"outpaint": {"right": 60, "bottom": 9}, "area": "whole"}, (10, 10)),  # padded to 64
    ],
)
def test_a_preview_shows_the_whole_picture_with_what_is_painted_in_it(
    cache, home, photo, change, untouched
):
    asked = {"picture": photo, "mask": mask_with(home), "mask_blur": 0, "strength": 0.5} | change
    if "outpaint" in change:
        del asked["mask"]
    *events, _ = events_of(cache, asked)
    (made,) = [each.image for each in events if isinstance(each, Picture)]
    shown = [each.preview for each in events if isinstance(each, Progress) and each.preview]
    assert {each.size for each in shown} == {made.size}
    assert {each.getpixel(untouched) for each in shown} == {made.getpixel(untouched)}
    assert all(ImageChops.difference(each, made).getbbox() for each in shown)


def test_a_large_pictures_preview_is_small_and_of_its_proportions():
    whole = Image.new("RGB", (2000, 1000), "blue")
    mask = np.zeros((1000, 2000), np.uint8)
    mask[500:700, 1000:1400] = 255
    base = Image.new("RGB", (64, 64))
    frame = PreviewFrame(Repainting(whole, (900, 400, 1500, 800), base, mask), 500)
    seen = frame(Image.new("RGB", (64, 64), "red"))
    assert seen.size == (500, 250)
    assert np.argwhere(np.asarray(seen)[..., 0] > 127).min(axis=0).tolist() == [125, 250]
    assert np.argwhere(np.asarray(seen)[..., 0] > 127).max(axis=0).tolist() == [174, 349]
    plain = Image.new("RGB", (64, 64))
    assert PreviewFrame(None, 500)(plain) is plain


@pytest.mark.parametrize("is_masked", [False, True])
def test_one_of_a_batch_is_the_same_alone(cache, home, photo, is_masked):
    """But for rounding: PyTorch's convolutions sum in another order when there are more rows.

    What runs through OpenVINO is computed row by row, and is equal bit for bit:
    ``test_a_row_is_the_same_alone_and_in_a_batch``; so is what decodes.
    """
    asked = {"picture": photo, "strength": 0.8}
    if is_masked:
        asked |= {"mask": mask_with(home), "masked_content": "noise"}
    together = paint(cache, asked, batch_size=3, sampler="DPM++ 2M SDE")
    alone = paint(cache, asked, seed=8, sampler="DPM++ 2M SDE")
    assert abs(together[1] - alone[0]).max() <= 2
    assert abs(together[1] - together[2]).max() > 2


@pytest.mark.parametrize(
    ("strength", "steps", "every", "counts"),
    [
        (0.75, 20, False, (20, 15)),
        (0.58, 50, False, (50, 29)),  # 50 · 0.58 is 28.999…
        (0.01, 20, False, (20, 1)),
        (1.0, 20, False, (20, 20)),
        (0.5, 20, True, (40, 20)),
        (0.3, 4, None, (13, 4)),  # few steps: spread, not left out
        (0.6, 4, None, (6, 4)),  # 3.6 of the 6, but all that were asked for are run
        (0.3, 20, None, (20, 6)),
        (0.01, 20, True, (500, 5)),  # no schedule is denser
        (0.0, 20, True, (20, 0)),
    ],
)
def test_steps_are_counted(strength, steps, every, counts):
    asked = FromPicture(picture="0" * 32, strength=strength, all_steps=every)
    assert count_steps(asked, steps, 500) == counts


def masks(home) -> Iterator[tuple[str, dict]]:
    yield "a part", {"mask": mask_with(home)}
    yield "one pixel", {"mask": mask_with(home, (60, 30, 60, 30)), "mask_blur": 0}
    yield "its rest", {"mask": mask_with(home), "invert_mask": True, "mask_blur": 9}
    yield "up to the edge", {"mask": mask_with(home, (0, 0, 50, 59)), "gradual": True}
    yield "all", {"mask": mask_with(home, (0, 0, 119, 59)), "mask_blur": 2}


@pytest.mark.parametrize("area", ["whole", "masked"])
@pytest.mark.parametrize(
    ("sampler", "content"),
    [("Euler a", "original"), ("LMS", "fill"), ("DDIM", "noise"), ("DPM++ 2M", "nothing")],
)
def test_where_the_mask_is_0_every_pixel_is_the_pictures(
    cache, home, photo, area, sampler, content
):
    for what, asked in masks(home):
        asked = {"picture": photo, "strength": 1, "area": area, "masked_content": content,
                 "padding": 5, **asked}  # fmt: skip
        part = open_repainting(FromPicture(**asked), (SIDE, SIDE), home)
        before, kept = np.asarray(part.whole, int), part.mask == 0
        after, second = paint(cache, asked, sampler=sampler, steps=2, batch_size=2)
        assert after.shape == ((60, 120, 3) if area == "masked" else (SIDE, SIDE, 3)), what
        assert np.array_equal(after[kept], before[kept]), what
        assert np.array_equal(second[kept], before[kept]), what
        assert (after[part.mask == 255] != before[part.mask == 255]).any(), what


def test_the_mask_is_blurred_by_a_gaussian_of_its_sigma(home, photo):
    asked = FromPicture(picture=photo, mask=mask_with(home), mask_blur=3, area="masked")
    made = open_repainting(asked, (SIDE, SIDE), home).mask
    hard = np.zeros((60, 120), np.uint8)
    hard[10:41, 30:71] = 255
    # 0.683 of a Gaussian lies within σ of its middle, so 0.159 beyond σ on one side.
    assert np.array_equal(made, cv2.GaussianBlur(hard, (17, 17), 3))
    assert made[25, 30 - 3] == pytest.approx(255 * 0.2, abs=12)
    assert made[25, 50] == 255
    assert made[25, 0] == 0


def test_the_painted_part_is_the_mask_with_its_padding_in_the_results_proportions():
    mask = np.zeros((60, 120), np.uint8)
    mask[20:30, 50:70] = 1  # 20 × 10
    assert box_around(mask, 0, (64, 64)) == (50, 15, 70, 35)
    assert box_around(mask, 5, (64, 64)) == (45, 10, 75, 40)
    assert box_around(mask, 0, (128, 64)) == (50, 20, 70, 30)
    mask[:] = 0
    mask[0:4, 116:120] = 1  # in a corner: pushed inside
    assert box_around(mask, 8, (64, 64)) == (108, 0, 120, 12)
    mask[:] = 1  # all: cut, not grown beyond the picture
    assert box_around(mask, 32, (64, 64)) == (0, 0, 120, 60)


def test_filling_puts_the_surroundings_colours_below_the_mask(home):
    halves = np.zeros((60, 120, 3), np.uint8)
    halves[:, :60], halves[:, 60:] = (200, 10, 10), (10, 10, 200)
    halves[20:40, 10:30] = (0, 255, 0)
    picture = keep_input(home, "ada", Image.fromarray(halves))
    mask = mask_with(home, (10, 20, 29, 39))
    asked = FromPicture(picture=picture, mask=mask, masked_content="fill", mask_blur=0,
                        area="masked", padding=2)  # fmt: skip
    base = np.asarray(open_repainting(asked, (24, 24), home).base, int)
    assert abs(base - (200, 10, 10)).max() < 30, "no green is left, and hardly any blue has come"


def test_at_full_strength_nothing_of_what_lay_below_the_mask_is_left(home, photo):
    fields = {"picture": photo, "mask": mask_with(home), "mask_blur": 0}

    def base(**changes) -> np.ndarray:
        asked = FromPicture(**fields, **changes)
        return np.asarray(open_repainting(asked, (SIDE, SIDE), home).base, int)

    surroundings = base(strength=0.9, masked_content="fill")
    assert np.array_equal(base(strength=1), surroundings)
    assert not np.array_equal(base(strength=0.9), surroundings)
    # Where the model is told to change what it sees, it sees it.
    assert np.array_equal(base(strength=1, edit=True), base(strength=0.9))
    assert np.array_equal(base(strength=1, mask_weight=0.5), base(strength=0.9))


@pytest.mark.parametrize("content", ["original", "noise", "nothing"])
def test_what_is_kept_in_soft_edges_is_the_picture_whatever_lies_below(cache, home, photo, content):
    asked = FromPicture(picture=photo, mask=mask_with(home), mask_blur=6, masked_content=content)
    part = open_repainting(asked, (SIDE, SIDE), home)
    with cache.lease("tiny-sd1") as model:
        noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        begun = text_to_image._make_beginning(model, asked, part, 3, noise)
        assert torch.equal(begun.latents, encode_picture(model, part.base))
    assert torch.equal(begun.below, begun.latents) == (content == "original")


def test_a_mask_larger_than_the_picture_is_brought_to_its_size(home, photo):
    asked = {"picture": photo, "mask_blur": 0, "area": "masked", "padding": 0}
    own, twice = (
        open_repainting(FromPicture(**asked, mask=mask), (SIDE, SIDE), home).mask
        for mask in (
            mask_with(home, (30, 10, 69, 39)),
            mask_with(home, (60, 20, 139, 79), size=(240, 120)),
        )
    )
    assert np.array_equal(own, twice)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_pictures_of_other_proportions_fit(home, photo, fit):
    made = original(home, photo, fit)
    assert made.shape == (SIDE, SIDE, 3)
    if fit == "pad":  # 120 × 60 → 64 × 32 in the middle, its edge rows repeated
        assert np.array_equal(made[0], made[15])
        assert not np.array_equal(made[16], made[17])


def test_what_cannot_be_done_is_said(cache, home, photo):
    empty = keep_input(home, "ada", Image.new("RGB", (120, 60)))
    with pytest.raises(BadRequest, match="The mask is empty"):
        paint(cache, {"picture": photo, "mask": empty})
    other = mask_with(home, size=(60, 120))
    with pytest.raises(BadRequest, match="60×120 pixels and the picture 120×60"):
        paint(cache, {"picture": photo, "mask": other})
    aside = mask_with(home, (0, 0, 10, 59))
    with pytest.raises(BadRequest, match="cropping to 64×64"):
        paint(cache, {"picture": photo, "mask": aside, "fit": "crop"})
    with pytest.raises(NotFound, match="no longer here"):
        paint(cache, {"picture": "0" * 32})
    point = mask_with(home, (60, 30, 60, 30))
    for area in ("whole", "masked"):
        with pytest.raises(BadRequest, match="a mask blur of 20 pixels leaves nothing"):
            paint(cache, {"picture": photo, "mask": point, "mask_blur": 20, "area": area})
    with pytest.raises(BadRequest, match="240×240 pixels and the picture 120×60"):
        paint(cache, {"picture": photo, "mask": mask_with(home, size=(240, 240))})
    # A canvas shows large pictures smaller.
    half = mask_with(home, (15, 5, 35, 20), (60, 30))
    assert len(paint(cache, {"picture": photo, "mask": half})) == 1


# --- outpainting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides", "size", "corner"),
    [
        ({"left": 24, "right": 10}, (154, 60), (24, 0)),
        ({"top": 25, "bottom": 50, "unit": "percent"}, (120, 105), (0, 15)),
        ({"left": 1, "top": 2, "right": 3, "bottom": 4}, (124, 66), (1, 2)),
    ],
)
@pytest.mark.parametrize("area", ["whole", "masked"])
def test_a_picture_grows_at_several_sides_and_stays_what_it_was(
    cache, home, photo, sides, size, corner, area
):
    asked = {"picture": photo, "strength": 1, "outpaint": sides, "mask_blur": 2, "area": area}
    (made,) = paint(cache, asked, steps=2)
    assert made.shape == (size[1], size[0], 3)
    left, top = corner
    before = np.asarray(open_input(home, photo), int)
    inside = made[top : top + 60, left : left + 120]
    # Blurred by 2, old and new go into one another within twice 5 pixels of each side that grows.
    near = np.zeros((60, 120), bool)
    added = [sides.get(side, 0) for side in ("left", "top", "right", "bottom")]
    near[:, : 10 * bool(added[0])] = near[: 10 * bool(added[1])] = True
    near[:, 120 - 10 * bool(added[2]) :] = near[60 - 10 * bool(added[3]) :] = True
    assert np.array_equal(inside[~near], before[~near])
    assert (inside[near] != before[near]).any()


def test_what_is_added_begins_with_the_edge_s_colours_and_is_all_painted(home, photo):
    asked = FromPicture(picture=photo, outpaint={"right": 40}, mask_blur=3)
    part = open_repainting(asked, (160, 64), home)
    assert (part.whole.size, part.base.size, part.padded) == ((160, 60), (160, 64), True)
    assert (part.mask[:, 120:] == 255).all()
    change = part.change(8)[0, 0]
    assert change.shape == (8, 20)
    assert (change[:, 15:] == 1).all()
    assert (change[:, :12] == 0).all(), "the band ends 16 pixels left of the edge"
    flat = keep_input(home, "ada", Image.new("RGB", (64, 64), (200, 40, 90)))
    grown = open_repainting(FromPicture(picture=flat, outpaint={"top": 64}), (64, 128), home)
    assert abs(np.asarray(grown.base, int) - (200, 40, 90)).max() <= 1


def test_a_unit_that_follows_the_picture_follows_what_is_added(home, photo):
    asked = FromPicture(picture=photo, outpaint={"left": 8, "bottom": 4})
    assert open_repainting(asked, (128, 64), home).painted_box == (-8, 0, 120, 64)
    grown = np.asarray(crop_beyond(open_input(home, photo), (-8, 0, 120, 64)))
    before = np.asarray(open_input(home, photo))
    assert np.array_equal(grown[:60, 8:], before)
    assert (grown[:60, :8] == before[:, :1]).all()


def test_what_grows_too_large_is_refused_with_the_numbers(cache, photo):
    with pytest.raises(BadRequest, match="of 120×60 would have 2100×60 pixels; at most 2048"):
        paint(cache, {"picture": photo, "outpaint": {"left": 1000, "right": 980}})
    sides = {"top": 2048, "bottom": 2048, "unit": "percent"}
    with pytest.raises(BadRequest, match="would have 120×2518 pixels"):
        paint(cache, {"picture": photo, "outpaint": sides, "area": "masked"})
    assert FromPicture(picture=photo, outpaint={"unit": "percent"}).outpaint is None
