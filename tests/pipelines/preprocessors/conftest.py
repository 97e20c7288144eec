"""Annotating with a cache that loads weights into a home folder of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.events import Progress
from pipelines.preprocessors import registry, weights


def cache_in(home: Path, offline: bool = False) -> ModelCache:
    """A model cache for preprocessors' weights only."""
    return ModelCache(
        lambda name, device, notes: weights.load(
            name.removeprefix(weights.CACHE_PREFIX), device, notes, offline, home
        ),
        device="cpu",
        budget_bytes=2**33,
        expected_bytes=lambda name: weights.expected_bytes(name.removeprefix(weights.CACHE_PREFIX)),
    )


@pytest.fixture
def annotate(tmp_path: Path) -> Callable[..., Image.Image]:
    """``annotate(name, picture, cache=None, **parameters)``: the map."""

    def run(
        name: str, picture: Image.Image, cache: ModelCache | None = None, **parameters: object
    ) -> Image.Image:
        cache = cache or cache_in(tmp_path, offline=True)
        events = list(registry.annotate(name, picture, parameters, cache, threading.Event()))
        assert all(isinstance(event, Progress) for event in events[:-1])
        return events[-1]

    return run


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """75 × 50 pixels: a ground that gets darker, a red ball with a light on it, some grain."""
    rows, columns = np.mgrid[0:50, 0:75].astype(np.float32)
    picture = np.empty((50, 75, 3), np.float32)
    picture[:] = (140 + rows - columns / 2)[..., None] * (0.9, 1.0, 1.1)
    away = np.hypot(rows - 24, columns - 40)
    light = np.clip(1.2 - np.hypot(rows - 18, columns - 34) / 24, 0.3, 1)
    picture[away < 15] = (light[..., None] * (220, 50, 40))[away < 15]
    picture += np.random.default_rng(0).normal(0, 3, picture.shape)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))
