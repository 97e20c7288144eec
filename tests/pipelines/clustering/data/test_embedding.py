"""Pictures as points, by the starter's judge."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.clustering.data.embedding import BATCH, COLUMNS, MODEL, embed
from pipelines.core.errors import Stopped
from pipelines.preprocessors import weights


class Cache:
    """As much of a model cache as is asked, with the judge that ships."""

    def __init__(self):
        self.networks = weights.load("toybox_judge", "cpu", lambda *_: None, True, Path())

    @contextmanager
    def lease(self, name):
        assert name == MODEL
        yield self.networks


@pytest.fixture(scope="module")
def cache():
    return Cache()


def picture(colour, x, size=(256, 256), shape="ellipse"):
    image = Image.new("RGB", size, (200, 190, 170))
    width, height = size
    box = (x * width, 0.4 * height, (x + 0.3) * width, 0.8 * height)
    getattr(ImageDraw.Draw(image), shape)(box, fill=colour)
    return image


def points(pictures, cache):
    return np.concatenate(list(embed(iter(pictures), cache)))


def test_a_picture_s_point_does_not_depend_on_the_others(cache):
    pictures = [picture(c, x) for c in ("red", "blue", "green") for x in np.linspace(0, 0.7, 7)]
    assert len(pictures) > BATCH
    X = points(pictures, cache)
    assert X.shape == (len(pictures), len(COLUMNS))
    assert X.dtype == np.float64
    assert np.isfinite(X).all()
    alone = np.concatenate([points([each], cache) for each in (pictures[0], pictures[-1])])
    assert np.allclose(alone, X[[0, -1]], atol=1e-3)


def test_what_looks_alike_lies_close_together(cache):
    red, moved, small, blue = points(
        [
            picture("red", 0.2),
            picture("red", 0.5),
            picture("red", 0.2, (120, 90)),
            picture("blue", 0.2),
        ],
        cache,
    )
    far = np.linalg.norm(red - blue)
    assert np.linalg.norm(red - moved) < 0.7 * far
    assert np.linalg.norm(red - small) < 0.7 * far


def test_neither_part_outweighs_the_other(cache):
    pictures = [
        picture(colour, x, shape=shape)
        for colour in ("red", "blue", "gold", "black")
        for x in (0.1, 0.6)
        for shape in ("ellipse", "rectangle")
    ]
    X = points(pictures, cache)
    spread = X.std(axis=0).reshape(2, -1)
    means, maxima = np.sqrt((spread**2).mean(axis=1))
    assert 1 / 4 < means / maxima < 4


def test_a_stop_ends_the_looking(cache):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        next(embed(iter([picture("red", 0.2)]), cache, stop))
