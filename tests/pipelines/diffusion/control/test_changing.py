"""Pictures that are changed and follow units besides: one request, for one or for several."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from pipelines.core.engine import Use
from pipelines.core.errors import validate
from pipelines.core.events import Picture
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.control import changing, paint
from pipelines.diffusion.control.requests import ControlRequest, SteeredChangesRequest
from pipelines.diffusion.requests import ChangeRequest

STEERED = {"preprocessor": "canny", "model": "net-a"}


@pytest.fixture
def pictures(home) -> list[str]:
    rng = np.random.default_rng(3)
    sizes = ((64, 96), (96, 64), (64, 64))
    return [
        keep_input(home, "ada", Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)))
        for size in sizes
    ]


def request_for(pictures: list[str], *followed: str) -> SteeredChangesRequest:
    first, *rest = pictures
    fields = {
        "prompt": "a red mug", "model": "tiny-sd1", "steps": 2, "sampler": "Euler", "seed": 4,
        "width": 64, "height": 64, "from_picture": {"picture": first, "strength": 0.5},
        "pictures": rest, "units": [{"picture": id, **STEERED} for id in followed],
    }  # fmt: skip
    return validate(SteeredChangesRequest, fields)


def pictures_of(request, engine, cache) -> list[Picture]:
    return [
        each for each in engine.run(request, cache, threading.Event()) if isinstance(each, Picture)
    ]


def test_a_unit_of_the_picture_follows_each_of_several_and_another_s_stays(pictures):
    *changed, other = pictures
    request = request_for(changed, changed[0], other)
    alone = request.alone(changed[1], (96, 64))
    assert isinstance(alone, ControlRequest)
    assert [unit.picture for unit in alone.units] == [changed[1], other]
    assert (alone.from_picture.picture, alone.width, alone.height) == (changed[1], 96, 64)
    assert alone.seed == 4
    assert type(request_for(changed).alone(changed[1])) is ChangeRequest
    assert {Use("input", id) for id in pictures} == {*request.uses()}


def test_each_picture_is_what_its_own_steered_request_makes(home, control_cache, pictures):
    found = pictures_of(request_for(pictures[:2], pictures[0]), changing, control_cache)
    assert [each.image.size for each in found] == [(96, 64), (64, 96)]
    assert [each.request.units[0].picture for each in found] == pictures[:2]
    (alone,) = pictures_of(found[1].request, paint, control_cache)
    assert np.array_equal(np.asarray(alone.image), np.asarray(found[1].image))
    fields = {name: value for name, value in dict(found[1].request).items() if name != "units"}
    (free,) = pictures_of(ChangeRequest(**fields), text_to_image, control_cache)
    assert not np.array_equal(np.asarray(free.image), np.asarray(alone.image))
