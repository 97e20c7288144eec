"""Prompts that choose among LoRAs."""

from __future__ import annotations

from pipelines.core.events import Picture
from pipelines.diffusion.lora.tags import uses_in_template
from pipelines.diffusion.requests import TextToImageRequest
from tests.pipelines.diffusion.lora import files
from tests.pipelines.diffusion.lora.conftest import ANN
from tests.pipelines.diffusion.lora.painting import difference, paint


def _pictures(cache, **settings) -> list[Picture]:
    return [event for event in paint(cache, **settings) if isinstance(event, Picture)]


def test_choices_among_loras_give_each_picture_its_own(lora_cache, library, halves):
    prompt = "a mug {<lora:clay:0.8>|<lora:wool:0.8>}"
    (clay, wool) = uses_in_template(TextToImageRequest(prompt=prompt))
    assert (clay.name, clay.weight, wool.name, wool.weight) == ("clay", 0, "wool", 0)
    loras = [
        {"name": use.name, "weight": 0, "id": library.add(ANN, use.name, files.kohya(halves, a)).id}
        for use, a in ((clay, 2.0), (wool, 4.0))
    ]
    made = _pictures(lora_cache, prompt=prompt, batch_size=6, loras=loras)
    assert {each.request.prompt for each in made} == {
        "a mug <lora:clay:0.8>",
        "a mug <lora:wool:0.8>",
    }
    for picture in made[:3]:
        (name,) = (use.name for use in picture.request.loras)
        assert name in picture.request.prompt
        assert picture.parameters["Lora hashes"].startswith(f"{name}: ")
        assert picture.parameters["Template"] == prompt
        (alone,) = _pictures(lora_cache, **picture.request.model_dump())
        assert difference(alone.image, picture.image) <= 1
