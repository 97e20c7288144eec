"""The same change of several pictures: each as alone, and one that fails stops no other.

What users of img2img batches complain about: one size for all, one bad file that stops the rest
(AUTOMATIC1111#2292, #6277, #8074).
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from pipelines.core.engine import Use
from pipelines.core.errors import BadRequest, NotFound, Stopped, validate
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.core.pictures.inputs import input_path, keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.from_picture import several
from pipelines.diffusion.from_picture.sizes import change_of, scaled_size, size_like
from pipelines.diffusion.requests import ChangePicturesRequest


@pytest.fixture
def pictures(catalog) -> list[str]:
    """One that is wide, one that is high and one that is square."""
    rng = np.random.default_rng(3)
    sizes = ((60, 120), (120, 60), (90, 90))
    return [
        keep_input(catalog.home, "ada", Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)))
        for size in sizes
    ]


def request_for(pictures: list[str], **changes) -> ChangePicturesRequest:
    first, *rest = pictures
    fields = {"prompt": "a red mug", "model": "tiny-sd1", "steps": 2, "sampler": "Euler",
              "width": 64, "height": 64, "from_picture": {"picture": first, "strength": 0.5},
              "pictures": rest} | changes  # fmt: skip
    return validate(ChangePicturesRequest, fields)


def paint(request, cache, stop=None) -> tuple[list[Picture], list[Progress], Result | None]:
    events = list(several.run(request, cache, stop or threading.Event()))
    pictures = [each for each in events if isinstance(each, Picture)]
    return pictures, [each for each in events if isinstance(each, Progress)], events[-1]


def test_each_picture_is_what_its_own_request_makes_in_its_own_proportions(cache, pictures):
    found, steps, result = paint(request_for(pictures), cache)
    assert [each.image.size for each in found] == [(128, 64), (64, 128), (64, 64)] == [
        size_like(size, 64) for size in ((120, 60), (60, 120), (90, 90))
    ]  # fmt: skip
    assert [each.request.from_picture.picture for each in found] == pictures
    assert len({each.request.seed for each in found}) == 1  # drawn once
    (alone,) = [
        each
        for each in text_to_image.run(found[1].request, cache, threading.Event())
        if isinstance(each, Picture)
    ]
    assert np.array_equal(np.asarray(alone.image), np.asarray(found[1].image))
    assert [*dict.fromkeys(each.part for each in steps if each.part)] == [(1, 3), (2, 3), (3, 3)]
    counted = [each.step for each in steps if each.part]
    assert counted == sorted(counted)
    assert (counted[-1], steps[-1].total) == (6, 6)
    assert [each["pictures"] for each in result.data["changed"]] == [1, 1, 1]
    one_size, _, _ = paint(request_for(pictures, own_sizes=False), cache)
    assert {each.image.size for each in one_size} == {(64, 64)}


def test_a_picture_that_is_gone_says_so_and_the_others_are_changed(cache, pictures, catalog):
    input_path(catalog.home, pictures[1]).unlink()
    found, _, result = paint(request_for(pictures), cache)
    assert [each.request.from_picture.picture for each in found] == [pictures[0], pictures[2]]
    assert result.data["pictures"] == 2
    (failed,) = [each for each in result.data["changed"] if "error" in each]
    assert (failed["picture"], failed["pictures"]) == (pictures[1], 0)
    said = [str(Message.from_json(each)) for each in result.data["notes"]]
    assert [each for each in said if each.startswith("Picture 2 could not be changed: ")]
    for each in (pictures[0], pictures[2]):
        input_path(catalog.home, each).unlink()
    with pytest.raises(NotFound):
        paint(request_for(pictures), cache)


def test_it_stops_within_a_step_in_any_of_them(cache, pictures):
    stop, found = threading.Event(), []
    events = several.run(request_for(pictures), cache, stop)

    def run_on():
        for event in events:
            found.extend([event] if isinstance(event, Picture) else [])
            if isinstance(event, Progress) and event.part == (2, 3) and event.step > 2:
                stop.set()

    with pytest.raises(Stopped):
        run_on()
    assert len(found) == 1


def test_what_is_asked_is_bounded_and_names_all_it_uses(pictures):
    request = request_for(pictures, batch_count=2)
    assert {Use("input", id) for id in pictures} <= {*request.uses()}
    with pytest.raises(BadRequest, match="3 pictures with 128 results each are 384; at most 200"):
        request_for(pictures, batch_count=16, batch_size=8)
    with pytest.raises(BadRequest, match="More pictures has 100 entries; at most 99"):
        request_for([pictures[0]] * 101)


def test_one_picture_alone_keeps_the_size_that_was_asked_for(cache, pictures):
    (one,), _, _ = paint(request_for(pictures[:1]), cache)
    assert one.image.size == (64, 64)
    assert "pictures" not in one.request.model_dump()


@pytest.mark.parametrize(("family", "size"), [("sd1", (144, 72)), ("flux", (128, 64))])
def test_sizes_suit_the_family(catalog, pictures, family, size):
    entry = catalog.get("tiny-sd1").model_copy(update={"family": family})
    own = change_of(
        request_for(pictures, width=96, height=104), pictures[0], lambda id: (120, 60), entry
    )
    assert (own.width, own.height) == size


def test_a_damaged_picture_is_left_out_as_one_that_is_gone_and_the_others_keep_their_places(
    cache, pictures, catalog
):
    """Run again after a crash, what is saved already is known by its place in the job."""
    damaged = input_path(catalog.home, pictures[1])
    damaged.write_bytes(damaged.read_bytes()[:200])
    found, _, result = paint(request_for(pictures, batch_count=2), cache)
    assert [each.place for each in found] == [0, 1, 4, 5]
    said = [str(Message.from_json(each)) for each in result.data["notes"]]
    (why,) = [each for each in said if "Picture 2" in each]
    assert "is damaged or cannot be read. Bring it in again." in why


@pytest.mark.parametrize(
    ("picture", "scale", "step", "size", "bounded"),
    [
        ((640, 480), 1, 8, (640, 480), False),
        ((640, 480), 0.25, 8, (160, 120), False),
        ((101, 67), 4, 8, (400, 272), False),  # 404 and 268, rounded
        ((1000, 500), 4, 32, (2048, 1024), True),
        ((4000, 3000), 1, 8, (2048, 1536), True),
        ((200, 100), 0.05, 8, (128, 64), True),
        ((6000, 100), 1, 8, (2048, 64), True),  # as far as both bounds let it
    ],
)
def test_a_result_is_so_many_times_as_large_as_its_picture(picture, scale, step, size, bounded):
    assert scaled_size(picture, scale, step) == (size, bounded)
