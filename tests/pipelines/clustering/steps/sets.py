"""Random data for tests of clustering steps."""

from __future__ import annotations

import numpy as np
import pytest

# Of each number of columns two sets at once, five or six more in the long sweeps.
THIRTY = pytest.mark.parametrize(
    "number", [*range(8), *(pytest.param(each, marks=pytest.mark.deep) for each in range(8, 30))]
)


def random_set(number: int, least: int = 20, most: int = 150) -> np.ndarray:
    """(n, d) float64: blobs of several spreads and some noise, 1 to 4 columns, far from 0."""
    rng = np.random.default_rng(number)
    columns = 1 + number % 4
    blobs = rng.integers(1, 6)
    middles = rng.uniform(-5, 5, (blobs, columns))
    points = int(rng.integers(least, most + 1))
    spread = rng.uniform(0.2, 1.5, blobs)
    which = rng.integers(blobs, size=points)
    noise = rng.normal(size=(points, columns)) * spread[which, None]
    return middles[which] + noise + rng.uniform(-20, 20, columns)


def assert_unchanged(X: np.ndarray, run) -> None:
    """``run(X)`` changes nothing in X, and works where X cannot be written to."""
    before = X.copy()
    run(X)
    assert np.array_equal(X, before)
    X.setflags(write=False)
    run(X)
