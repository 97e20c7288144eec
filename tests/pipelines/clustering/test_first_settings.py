"""The settings that an algorithm begins with, where they can be seen from the points."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from pipelines.clustering.comparing import first_eps
from pipelines.clustering.data.sample_data import DatasetRequest, make


def eps_of(X: np.ndarray) -> float | None:
    return first_eps(X, 0, threading.Event())


@pytest.mark.parametrize("name", ["blobs", "anisotropic", "varied", "moons", "circles", "smiley"])
def test_the_first_radius_finds_the_groups_that_there_are(name):
    data = make(DatasetRequest(name=name))
    labels = DBSCAN(eps=eps_of(data.X)).fit_predict(data.X)
    assert adjusted_rand_score(data.truth, labels) > 0.95


def test_it_makes_98_percent_of_the_points_core():
    X = np.random.default_rng(0).normal(size=(500, 2))
    found = DBSCAN(eps=eps_of(X), min_samples=5).fit(X)
    assert len(found.core_sample_indices_) == pytest.approx(490, abs=3)


@pytest.mark.parametrize("X", [np.zeros((9, 2)), np.eye(4)], ids=["equal points", "four points"])
def test_there_is_none_where_nothing_can_be_told(X):
    assert eps_of(X) is None
