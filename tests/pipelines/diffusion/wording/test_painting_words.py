"""Pictures whose prompts have choices: each has words of its own, alone and in a batch."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pipelines.core.errors import validate
from pipelines.core.events import Picture, Progress
from pipelines.diffusion import text_to_image
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.wording.dynamic_prompts import Template
from pipelines.diffusion.wording.wildcards import Wildcards

TEMPLATE = "a {red|blue|green} {mug|boat}"


def paint(cache, **settings) -> list:
    base = {"prompt": TEMPLATE, "model": "tiny-sd1", "steps": 2, "seed": 7, "sampler": "Euler"}
    request = validate(TextToImageRequest, base | settings)
    return list(text_to_image.run(request, cache, threading.Event()))


def pictures(events) -> list[Picture]:
    return [event for event in events if isinstance(event, Picture)]


def same(one: Picture, other: Picture) -> bool:
    pixels = [np.asarray(each.image, int) for each in (one, other)]
    return np.abs(pixels[0] - pixels[1]).max() <= 1


@pytest.mark.parametrize(
    "prompt", [TEMPLATE, "{a|" + "many words, " * 60 + "} {red|blue} mug", "{a|b BREAK c} mug"]
)
def test_each_picture_of_a_batch_has_the_words_of_its_seed_and_is_the_one_it_is_alone(
    prompt, cache
):
    made = pictures(paint(cache, prompt=prompt, batch_size=4, negative_prompt="{fog|rain}"))
    template = Template(prompt, Wildcards(None))
    assert [each.request.prompt for each in made] == [template.resolve(s) for s in range(7, 11)]
    assert len({each.request.prompt for each in made}) > 1
    for picture in made:
        assert picture.parameters["Template"] == prompt
        assert picture.parameters["Negative Template"] == "{fog|rain}"
        # By its template and seed, and by its own words.
        asked = {"prompt": prompt, "negative_prompt": "{fog|rain}", "seed": picture.request.seed}
        for request in (asked, picture.request.model_dump()):
            (alone,) = pictures(paint(cache, **request))
            assert alone.request == picture.request
            assert same(alone, picture)
            alone_facts = "Template" in alone.parameters
            assert alone_facts == (request is asked)
    assert not same(made[0], made[1])


def test_progress_of_pictures_with_words_of_their_own_rises_to_its_end(cache):
    prompt = "{a|" + "many words, " * 60 + "} mug"
    events = paint(cache, prompt=prompt, batch_size=4, batch_count=2)
    steps = [(e.step, e.total) for e in events if isinstance(e, Progress) and e.note is None]
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
