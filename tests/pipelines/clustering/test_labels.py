from __future__ import annotations

import numpy as np
import pytest

from pipelines.clustering.labels import renumber


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], []),
        ([7], [0]),
        ([-1, -1], [-1, -1]),
        ([3, 3, 0, -1, 0, 9, 3], [0, 0, 1, -1, 1, 2, 0]),
        ([-1, 5, -7, 2], [-1, 0, -1, 1]),
    ],
)
def test_clusters_are_numbered_as_they_appear_and_noise_stays_noise(labels, expected):
    given = np.array(labels, dtype=np.int64)
    found = renumber(given)
    assert found.tolist() == expected
    assert found.dtype == np.int32
    assert given.tolist() == labels


def test_any_two_names_of_the_same_clusters_become_the_same():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 12, 300)
    other = np.append(rng.permutation(12), -1)[labels]
    np.testing.assert_array_equal(renumber(labels), renumber(other))
