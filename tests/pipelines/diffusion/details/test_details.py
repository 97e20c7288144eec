"""Parts of finished pictures: found, put in order, repainted by themselves, put back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import BadRequest, Stopped, validate
from pipelines.core.events import Picture, Progress
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.details import finding, fixing
from pipelines.diffusion.details.finding import Part, find_parts, find_toys
from pipelines.diffusion.details.requests import DetailFix
from pipelines.diffusion.from_picture import several
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.toybox.measure import measuring_scenes
from pipelines.toybox.render.renderer import render
from pipelines.toybox.vocabulary import FIRST_RELEASE

PARTS = [Part((8, 8, 24, 24), "red mug", 0.9), Part((30, 30, 60, 62), "blue boat", 0.5),
         Part((0, 40, 10, 50), "old hat", 0.2)]  # fmt: skip


@pytest.fixture
def same_parts(monkeypatch):
    """The finder finds the same parts in every picture."""
    monkeypatch.setitem(finding._FINDERS, "toys", lambda image: PARTS)


def order_parts(**asked) -> list[str]:
    image = Image.new("RGB", (64, 64))
    return [part.what for part in find_parts(image, DetailFix(grow=0, **asked))]


@pytest.mark.usefixtures("same_parts")
def test_parts_are_put_in_order_and_the_first_ones_taken():
    assert order_parts() == ["red mug", "blue boat"], "0.2 is less sure than 0.3"
    assert order_parts(confidence=0.6) == ["red mug"]
    assert order_parts(confidence=0, order="left") == ["old hat", "red mug", "blue boat"]
    assert order_parts(confidence=0, order="area") == ["blue boat", "red mug", "old hat"]
    assert order_parts(confidence=0, order="centre") == ["blue boat", "red mug", "old hat"]
    assert order_parts(confidence=0, order="left", most=2) == ["old hat", "red mug"]


@pytest.mark.usefixtures("same_parts")
def test_parts_grow_within_the_picture_and_shrink_to_nothing():
    image = Image.new("RGB", (64, 64))
    boxes = [part.box for part in find_parts(image, DetailFix(grow=10))]
    assert boxes == [(0, 0, 34, 34), (20, 20, 64, 64)]
    (left,) = find_parts(image, DetailFix(grow=-9))
    assert left.box == (39, 39, 51, 53), "the mug is smaller than that"


def test_prompts_of_parts_are_made_of_the_pictures():
    asked = DetailFix(prompt="[PROMPT], close [SEP] a [PART]")
    prompts = [asked.prompt_of("toys", part.what, i) for i, part in enumerate(PARTS)]
    assert prompts == ["toys, close", "a blue boat", "a old hat"]
    assert asked.negative_prompt_of("grey", "mug", 3) == "grey"


def test_prompts_that_would_fill_the_memory_are_refused_before_they_are_put_together():
    """[PROMPT] a thousand times, of a long prompt, ended the studio of everybody."""
    fix = DetailFix(prompt="fine [SEP] " + "[PROMPT]" * 1_000)
    with pytest.raises(BadRequest, match="at most 10000 are taken"):
        validate(TextToImageRequest, {"prompt": "x" * 9_000, "detail_fix": fix.model_dump()})
    with pytest.raises(BadRequest, match="at most 10000 are taken"):
        fix.prompt_of("x" * 9_000, "mug", 1)
    own = "x" * 9_500
    assert DetailFix(prompt="[PROMPT], sharp").prompt_of(own, "mug", 0) == f"{own}, sharp"
    with pytest.raises(BadRequest, match=r"Write .PROMPT. or .PART. into it less often"):
        DetailFix(negative_prompt="[PROMPT]" * 2).check_lengths("", own)


def test_the_judge_finds_toys_in_pictures_of_any_size():
    (scene,) = measuring_scenes(1, 1, FIRST_RELEASE)
    made = render(scene)
    rows, columns = np.nonzero(made.mask > 0)
    true = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    for scale in (1, 3):
        image = Image.fromarray(made.image).resize((128 * scale, 128 * scale))
        part = max(find_toys(image), key=lambda part: part.score)
        assert part.what == f"{scene.things[0].colour} {scene.things[0].kind}"
        assert abs(np.array(part.box) / scale - true).max() < 12


def events(cache, stop=None, **settings) -> list:
    fields = {"prompt": "toys", "model": "tiny-sd1", "steps": 4, "seed": 7, "width": 64,
              "height": 64, "sampler": "Euler", "detail_fix": {"mask_blur": 0}}  # fmt: skip
    request = TextToImageRequest(**fields | settings)
    return list(text_to_image.run(request, cache, stop or threading.Event()))


def pictures(cache, **settings) -> list[Picture]:
    return [each for each in events(cache, **settings) if isinstance(each, Picture)]


@pytest.mark.usefixtures("same_parts")
def test_only_the_parts_change_in_every_picture_of_a_batch(cache, catalog):
    before = pictures(cache, batch_size=2, detail_fix=None)
    after = pictures(cache, batch_size=2)
    brought = sorted((catalog.home / "inputs").glob("*")) if catalog.home else []
    for one, other in zip(before, after, strict=True):
        changed = (np.asarray(one.image) != np.asarray(other.image)).any(axis=-1)
        assert changed[4:28, 4:28].mean() > 0.5
        assert changed[26:64, 26:64].mean() > 0.5
        changed[4:28, 4:28] = changed[26:64, 26:64] = False
        assert not changed.any()
        assert other.parameters["ADetailer parts"] == "2 of 2"
        assert other.parameters["ADetailer boxes"] == "4 4 28 28, 26 26 64 64"
    (alone,) = pictures(cache, seed=8)
    assert abs(np.asarray(alone.image, int) - np.asarray(after[1].image)).max() <= 2
    assert sorted((catalog.home / "inputs").glob("*")) == brought, "nothing of it is left behind"


@pytest.mark.usefixtures("same_parts")
@pytest.mark.parametrize(
    ("change", "corner", "parts"),
    [
        ({}, (0, 0), "1 of 1"),
        ({"area": "masked", "padding": 4}, (0, 0), "1 of 1"),
        ({"invert_mask": True}, (0, 0), "2 of 2"),
        ({"outpaint": {"left": 16, "top": 8}}, (16, 8), "2 of 2"),
        ({"area": "masked", "outpaint": {"left": 16, "top": 8}}, (16, 8), "2 of 2"),
    ],
)
def test_parts_change_nothing_that_the_mask_leaves(cache, catalog, change, corner, parts):
    """The boat lies half in the mask, the mug outside it, unless the picture grows."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[40:, 30:] = 255
    stays = mask == (255 if "invert_mask" in change else 0)
    sent = [keep_input(catalog.home, "ada", Image.fromarray(each).convert("RGB"))
            for each in (pixels, mask)]  # fmt: skip
    asked = {"picture": sent[0], "mask": sent[1], "mask_blur": 0, "strength": 1, **change}
    ((made,), (plain,)) = (
        pictures(cache, from_picture=asked, steps=2, detail_fix=fix)
        for fix in ({"mask_blur": 6, "strength": 1}, None)
    )
    left, top = corner
    part = np.s_[top : top + 64, left : left + 64]
    assert np.array_equal(np.asarray(made.image)[part][stays], pixels[stays])
    assert (np.asarray(made.image) != np.asarray(plain.image)).any(), "the rest of it does change"
    assert made.parameters["ADetailer parts"] == parts


@pytest.mark.usefixtures("same_parts")
def test_parts_outside_the_mask_take_no_place_of_others():
    allowed = Image.new("L", (64, 64))
    allowed.putpixel((59, 61), 1)
    (part,) = find_parts(Image.new("RGB", (64, 64)), DetailFix(grow=0, most=1), allowed)
    assert part.what == "blue boat"


def test_slivers_that_the_blur_dissolves_are_no_parts_that_fail(monkeypatch):
    monkeypatch.setitem(finding._FINDERS, "toys", lambda image: [Part((0, 0, 30, 64), "", 0.9)])
    allowed = Image.new("L", (64, 64))
    allowed.paste(255, (29, 32, 64, 33))  # of the part a single pixel may change
    for blur, count in ((4, 1), (64, 0)):
        asked = DetailFix(grow=0, mask_blur=blur)
        assert len(find_parts(Image.new("RGB", (64, 64)), asked, allowed)) == count


@pytest.mark.usefixtures("same_parts")
def test_what_is_said_of_the_steps_counts_none_twice(cache):
    said = [str(each.words) for each in events(cache) if isinstance(each, Progress) and each.words]
    assert [words for words in said if words.startswith("Step")] == [
        f"Step {step} of 4" for step in range(1, 5)
    ]
    assert said[-1].startswith("Part 2 of 2, blue boat: step ")


@pytest.mark.usefixtures("same_parts")
def test_each_part_is_painted_at_the_models_size_with_its_words_and_the_next_seed(
    cache, monkeypatch
):
    asked, batch = [], text_to_image.unet_batch

    def record(model, settings, seeds, **further):
        asked.append((settings.prompt, settings.width, seeds, settings.from_picture))
        return batch(model, settings, seeds, **further)

    monkeypatch.setattr(text_to_image, "unet_batch", record)
    fix = {"prompt": "a [PART] of [PROMPT]", "strength": 0.5}
    steps = [each for each in events(cache, width=128, detail_fix=fix)
             if isinstance(each, Progress) and each.note]  # fmt: skip
    assert [each[:3] for each in asked] == [
        ("toys", 128, [7]), ("a red mug of toys", 64, [7]), ("a blue boat of toys", 64, [8]),
    ]  # fmt: skip
    assert asked[1][3].strength == 0.5
    assert [str(each.note) for each in steps[-2:]] == [
        "Repainting part 1 of 2: red mug", "Repainting part 2 of 2: blue boat",
    ]  # fmt: skip


@pytest.mark.usefixtures("same_parts")
def test_a_part_that_fails_leaves_the_picture_and_the_others(cache, monkeypatch):
    repaint = fixing._repaint

    def fails_once(model, request, image, part, *further):
        if part.what == "red mug":
            raise BadRequest("The numbers overflowed.")
        return (yield from repaint(model, request, image, part, *further))

    monkeypatch.setattr(fixing, "_repaint", fails_once)
    (before,), (after,) = pictures(cache, detail_fix=None), pictures(cache)
    changed = (np.asarray(before.image) != np.asarray(after.image)).any(axis=-1)
    assert not changed[:26, :26].any()
    assert changed[30:, 30:].any()
    assert after.parameters["ADetailer parts"] == "1 of 2"
    assert after.parameters["ADetailer parts that failed"] == "1"


@pytest.mark.usefixtures("same_parts")
@pytest.mark.parametrize("changes", [{"batch_count": 2, "batch_size": 2}, {"strength": 0.0}])
def test_the_bar_never_falls_back(cache, catalog, changes):
    if "strength" in changes:  # nothing is painted but the parts
        picture = keep_input(catalog.home, "ada", Image.new("RGB", (64, 64)))
        changes = {"from_picture": {"picture": picture, **changes}}
    seen = [each for each in events(cache, **changes) if isinstance(each, Progress)
            and (each.note is None or "Repainting" in str(each.note))]  # fmt: skip
    shares = [each.step / each.total for each in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len({each.total for each in seen}) == 1, "another count would begin a new bar"
    assert len(set(shares)) >= 4


@pytest.mark.usefixtures("same_parts")
def test_the_bar_of_several_pictures_never_falls_back(cache, catalog):
    ids = [keep_input(catalog.home, "ada", Image.new("RGB", (64, 64), colour))
           for colour in ("red", "tan")]  # fmt: skip
    request = several.ChangePicturesRequest(
        prompt="toys", model="tiny-sd1", steps=4, width=64, height=64, detail_fix={},
        from_picture={"picture": ids[0], "strength": 1}, pictures=ids[1:],
    )  # fmt: skip
    seen = [each for each in several.run(request, cache, threading.Event())
            if isinstance(each, Progress) and each.part]  # fmt: skip
    steps = [each.step for each in seen]
    assert steps == sorted(steps)
    assert len(set(steps)) >= 6


@pytest.mark.usefixtures("same_parts")
def test_stopping_takes_effect_within_one_step_of_a_part(cache):
    stop, seen = threading.Event(), []
    request = TextToImageRequest(prompt="toys", model="tiny-sd1", steps=4, seed=7, width=64,
                                 height=64, detail_fix={"strength": 1})  # fmt: skip

    def watch():
        for event in text_to_image.run(request, cache, stop):
            seen.append(event)
            if isinstance(event, Progress) and event.note and "Repainting" in str(event.note):
                stop.set()

    with pytest.raises(Stopped):
        watch()
    assert not [each for each in seen if isinstance(each, Picture)]


def test_a_picture_without_parts_stays_as_it_is(cache):
    (before,) = pictures(cache, detail_fix=None)
    (after,) = pictures(cache, detail_fix={"confidence": 1})
    assert np.array_equal(np.asarray(before.image), np.asarray(after.image))
    assert after.parameters["ADetailer parts"] == "0 of 0"
