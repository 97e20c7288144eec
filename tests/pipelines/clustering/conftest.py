"""Points that several tests cluster."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest

from tests.compiling import density

__all__ = ["density"]


@pytest.fixture
def stop() -> Event:
    return Event()


@pytest.fixture(scope="session")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Three groups of 40 points each, ten standard deviations apart, in turn; who is in which."""
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 9.0]])
    truth = np.arange(120) % 3
    points = centres[truth] + np.random.default_rng(7).normal(size=(120, 2))
    points.setflags(write=False)
    return points, truth.astype(np.int32)
