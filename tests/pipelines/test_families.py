"""Every family, as its tiny twin, through the engine that paints the real ones."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest

from pipelines.cache import ModelCache
from pipelines.catalog import Catalog
from pipelines.diffusion import text_to_image
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.errors import Stopped
from pipelines.events import Picture, Progress
from tests.twins import TWINS

# Their latents are packed in ways of their own, which the cheap preview does not unpack.
WITHOUT_PREVIEW = {"flux2", "qwenimage"}


@pytest.fixture
def painted(twin_folder, tmp_path):
    """``painted(family, stop_at=…, **settings)``: the events of a run on the family's twin."""

    def run(family, stop_at=None, **settings):
        name = f"twin {family}"
        folder = tmp_path / "models" / name
        if not folder.exists():
            shutil.copytree(twin_folder(family), folder)
        catalog = Catalog(tmp_path)
        cache = ModelCache(
            lambda name, device, notes: load(
                catalog.get(name), device, notes, offline=True, home=tmp_path
            ),
            device="cpu",
            budget_bytes=2**30,
        )
        request = TextToImageRequest(
            **{"prompt": "a red mug", "model": name, "width": 64, "height": 64, "steps": 2}
            | settings
        )
        stop = threading.Event()
        for event in text_to_image.run(request, cache, stop):
            if isinstance(event, Progress) and event.note is None and event.step == stop_at:
                stop.set()
            yield event

    return run


@pytest.mark.parametrize("family", TWINS)
def test_a_picture_is_the_same_alone_and_in_a_batch_and_every_step_shows(painted, family):
    events = list(painted(family, seed=3, batch_size=2))
    pictures = [event for event in events if isinstance(event, Picture)]
    steps = [event for event in events if isinstance(event, Progress) and event.note is None]
    assert [picture.image.size for picture in pictures] == [(64, 64)] * 2
    assert steps[-1].step == steps[-1].total >= 2
    assert all((step.preview is None) is (family in WITHOUT_PREVIEW) for step in steps)
    second = pictures[1].request.model_dump(exclude_none=True)
    (alone,) = [event for event in painted(family, **second) if isinstance(event, Picture)]
    difference = np.abs(np.asarray(alone.image, int) - np.asarray(pictures[1].image, int))
    assert difference.max() <= 1


@pytest.mark.parametrize("family", TWINS)
def test_stopping_takes_effect_within_one_step(painted, family):
    reported = []

    def follow():
        for event in painted(family, stop_at=1, steps=9):
            if isinstance(event, Progress) and event.note is None:
                reported.append(event.step)

    with pytest.raises(Stopped):
        follow()
    assert reported == [1]
