"""What is asked for when the details of a picture of the gallery are to be fixed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from pipelines.core.events import Picture
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.details import finding
from pipelines.diffusion.details.finding import Part
from pipelines.diffusion.requests import ChangeRequest
from studio.features.from_picture.fixing import fix_fields


@pytest.mark.parametrize("size", [(64, 64), (75, 90)])
def test_only_the_parts_of_the_picture_change(cache, catalog, monkeypatch, size):
    monkeypatch.setitem(finding._FINDERS, "toys", lambda _: [Part((10, 10, 30, 30), "mug", 0.9)])
    home = catalog.home
    pixels = np.random.default_rng(2).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture = keep_input(home, "ada", Image.fromarray(pixels))
    painted = {"prompt": "a mug", "model": "tiny-sd1", "steps": 4, "seed": 3, "units": [],
               "sampler": "Euler", "batch_count": 2, "variation": {"seed": 1, "strength": 0.5},
               "width": 128, "height": 128}  # fmt: skip

    def whole(size):
        return keep_input(home, "ada", Image.new("RGB", size, "white"))

    fields = fix_fields(painted, picture, size, whole)
    events = text_to_image.run(ChangeRequest(**fields), cache, threading.Event())
    (made,) = [np.asarray(each.image) for each in events if isinstance(each, Picture)]
    assert made.shape == pixels.shape
    changed = (made != pixels).any(axis=-1)
    assert changed[12:28, 12:28].mean() > 0.5
    reach = 4 + 10  # grown, and blurred
    changed[: 30 + reach, : 30 + reach] = False
    assert not changed.any()


def test_a_size_that_the_model_does_not_paint_is_fixed_below_a_mask():
    fields = fix_fields({"prompt": "a mug"}, "0" * 32, (72, 64), lambda size: "1" * 32, step=16)
    assert fields["from_picture"]["mask"] == "1" * 32
    assert "width" not in fields
    painted = fix_fields({"prompt": "a mug"}, "0" * 32, (80, 64), lambda size: "1" * 32, step=16)
    assert (painted["width"], painted["height"]) == (80, 64)
