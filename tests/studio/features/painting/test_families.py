"""Every family's twin as far as its file: what was asked can be read back from the picture."""

from __future__ import annotations

import shutil
import threading

import pytest

from pipelines.core.events import Picture
from pipelines.diffusion import text_to_image
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import UNET_FAMILIES, Samplers
from pipelines.models.catalog import Catalog
from studio.core.gallery.metadata import format_parameters, parameters_of, read_settings, save_png
from studio.core.gallery.reuse import fields_of
from tests.twins import PAINTING_TWINS as TWINS

ASKED = {
    "prompt": "a red mug, “温暖的光”",
    "negative_prompt": "fog: none",
    "model": "twin",
    "steps": 2,
    "guidance": 4.5,
    "guidance_rescale": 0.7,
    "clip_skip": 2,
    "width": 96,
    "height": 64,
    "seed": 2**32 - 1,
}


@pytest.mark.parametrize("family", TWINS)
def test_a_saved_picture_tells_what_made_it_and_nothing_else(family, twin_folder, tmp_path):
    shutil.copytree(twin_folder(family), tmp_path / "models" / "twin")
    model = load(Catalog(tmp_path).get("twin"), "cpu", lambda *note: None, True, tmp_path)
    asked = dict(ASKED)
    if family == "sd2":  # its text encoder ends where others skip to
        del asked["clip_skip"]
    settings = resolve(TextToImageRequest(**asked), model.entry, Samplers())
    (picture,) = [
        event
        for event in text_to_image.paint(model, settings, threading.Event())
        if isinstance(event, Picture)
    ]
    request = picture.request.model_dump(mode="json")
    parameters = parameters_of(request, picture.image.size, picture.parameters)
    save_png(picture.image, tmp_path / "saved.png", format_parameters(parameters))
    read = read_settings((tmp_path / "saved.png").read_bytes())
    if family not in UNET_FAMILIES:  # without effect there
        del asked["guidance_rescale"], asked["clip_skip"]
    fields = fields_of(read)
    assert {name: fields.get(name) for name in asked} == asked
    assert fields.keys() - asked.keys() <= {"sampler", "schedule"}
    assert (fields.get("sampler"), fields.get("schedule")) == (settings.sampler, settings.schedule)
    assert read["Model hash"] == model.hash is not None
