"""The HDBSCAN of many points against scikit-learn's: labels and probabilities, bit by bit."""

from __future__ import annotations

import threading
import time
import tracemalloc

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN

from pipelines.clustering.algorithms.hdbscan import HDBSCAN_FEW, HDBSCANParameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.dbscan.hdbscan import NOTES, HDBSCANResult, hdbscan
from pipelines.clustering.labels import renumber
from pipelines.core.errors import BadRequest, Stopped
from tests.patience import PROMPTLY

pytestmark = pytest.mark.usefixtures("density")


def random_set(seed: int) -> tuple[np.ndarray, dict]:
    """Points of continuous values, another kind and dimension for each seed, and settings."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(60, 900)), 1 + seed % 9
    kind = seed % 3
    if kind == 0:
        X = rng.uniform(size=(n, d))
    elif kind == 1:
        X = rng.normal(size=(5, d))[rng.integers(5, size=n)] * 4 + rng.normal(size=(n, d))
    else:  # blobs of different density in noise
        widths = np.array([0.05, 0.3, 1.0])[rng.integers(3, size=n), None]
        X = np.round(widths * 20) + widths * rng.normal(size=(n, d))
        X[: n // 5] = rng.uniform(-3, 25, size=(n // 5, d))
    size = int(rng.integers(2, 25))
    settings = {
        "min_cluster_size": size,
        "min_samples": int(rng.integers(1, 20)) if seed % 4 else size,
        "leaf": seed % 5 == 1,
        "single": seed % 5 == 2,
    }
    return X, settings


def sklearn_of(X: np.ndarray, settings: dict) -> HDBSCAN:
    return HDBSCAN(
        min_cluster_size=settings["min_cluster_size"],
        min_samples=settings["min_samples"],
        cluster_selection_method="leaf" if settings.get("leaf") else "eom",
        cluster_selection_epsilon=settings.get("merge_below", 0.0),
        allow_single_cluster=settings.get("single", False),
        algorithm="kd_tree",
        copy=True,
    ).fit(X)


def assert_equals_sklearn(X: np.ndarray, settings: dict) -> HDBSCANResult:
    oracle = sklearn_of(X, settings)
    found = hdbscan(X, **settings)
    assert found.labels.tolist() == oracle.labels_.tolist()
    assert found.probabilities.tolist() == oracle.probabilities_.tolist()
    return found


@pytest.mark.parametrize("seed", range(50))
def test_random_sets_get_the_labels_and_probabilities_of_scikit_learn(seed: int) -> None:
    assert_equals_sklearn(*random_set(seed))


def test_the_random_sets_hold_clusters_and_noise() -> None:
    labels = [hdbscan(X, **settings).labels for X, settings in map(random_set, range(50))]
    assert sum(each.max() > 1 for each in labels) > 20
    assert sum((each < 0).any() and (each >= 0).any() for each in labels) > 30
    assert sum(each.max() == 0 for each in labels) > 2


def test_points_repeated_more_often_than_neighbours_are_asked_for() -> None:
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(40, 2)), 4, axis=0)[rng.permutation(160)]
    found = assert_equals_sklearn(X, {"min_cluster_size": 4, "min_samples": 3})
    assert found.labels.max() > 0
    # With each point as far as the neighbour that counts, all that stands at one place is together.
    places = np.unique(X, axis=0, return_inverse=True)[1]
    assert all(len(set(found.labels[places == place])) == 1 for place in range(40))


def test_of_rounded_values_the_heights_of_the_spanning_tree_are_those_of_scikit_learn() -> None:
    from sklearn.cluster._hdbscan.hdbscan import _hdbscan_prims

    from pipelines.clustering.dbscan.chunks import Chunks
    from pipelines.clustering.dbscan.spanning_tree import spanning_edges

    X = np.random.default_rng(1).normal(size=(700, 2)).round(1)  # a grid: ties everywhere
    heights = spanning_edges(X, 6, Chunks(NOTES, None, None))[1]
    oracle = _hdbscan_prims(X, "kd_tree", min_samples=6)["value"]
    assert np.sort(heights).tolist() == np.sort(oracle).tolist()


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("leaf", [False, True])
def test_all_points_equal(leaf: bool, single: bool) -> None:
    X = np.full((300, 2), 1.5)
    settings = {"min_cluster_size": 5, "min_samples": 5, "leaf": leaf, "single": single}
    assert_equals_sklearn(X, settings)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("n", [2, 3, 7, 33])
def test_as_few_points_as_the_smallest_cluster_has(n: int, single: bool) -> None:
    X = np.random.default_rng(n).normal(size=(n, 2))
    for size in (n, n + 1):
        assert_equals_sklearn(X, {"min_cluster_size": size, "min_samples": n, "single": single})


def test_nothing_is_parted_below_a_distance() -> None:
    """Two pairs of clusters: 1 apart within a pair, 50 between the pairs."""
    rng = np.random.default_rng(3)
    X = np.concatenate([c + rng.uniform(0, 0.1, (60, 1)) for c in (0.0, 1.0, 50.0, 51.0)])
    pairs, places = np.repeat([0, 1], 120), np.repeat([0, 1, 2, 3], 60)
    for leaf in (False, True):
        base = {"min_cluster_size": 30, "min_samples": 3, "leaf": leaf}
        assert renumber(hdbscan(X, **base, merge_below=0.5).labels).tolist() == places.tolist()
        assert renumber(hdbscan(X, **base, merge_below=5.0).labels).tolist() == pairs.tolist()
        # The root is no cluster unless it may be one: what is below it stays.
        assert renumber(hdbscan(X, **base, merge_below=90.0).labels).tolist() == pairs.tolist()
        whole = hdbscan(X, **base, merge_below=90.0, single=True)
        assert (whole.labels == 0).all()


def test_a_fit_of_few_points_merges_below_a_distance_too() -> None:
    rng = np.random.default_rng(3)
    X = np.concatenate([c + rng.uniform(0, 0.1, (60, 1)) for c in (0.0, 1.0, 50.0, 51.0)])
    params = HDBSCANParameters(min_cluster_size=30, min_samples=3, merge_below=5.0)
    assert (
        find("hdbscan").fit(X, params, 0, threading.Event()).labels.tolist()
        == [0] * 120 + [1] * 120
    )


def test_a_fit_of_many_points_is_scikit_learns_and_leaves_them_as_they_are() -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(4, 2))[rng.integers(4, size=2500)] * 9 + rng.normal(size=(2500, 2))
    assert len(X) > HDBSCAN_FEW
    before = X.copy()
    told = []
    params = HDBSCANParameters(min_cluster_size=12)
    found = find("hdbscan").fit(X, params, 0, threading.Event(), told.append)
    assert np.array_equal(X, before)
    oracle = sklearn_of(X, {"min_cluster_size": 12, "min_samples": 12})
    assert found.labels.tolist() == renumber(oracle.labels_).tolist()
    assert found.extra["probabilities"].tolist() == oracle.probabilities_.tolist()
    assert list(dict.fromkeys(str(p.note) for p in told[1:])) == list(NOTES)
    steps = [progress.step for progress in told[1:]]
    assert steps == sorted(steps)
    assert all(progress.step <= progress.total for progress in told[1:])


def test_what_cannot_be_used_is_refused() -> None:
    for X, least in ((np.zeros((1, 2)), 1), (np.zeros((5, 2)), 6), (np.zeros((5, 0)), 2)):
        with pytest.raises(BadRequest, match=f"min_samples {least} takes"):
            hdbscan(X, 5, least)
    for value in (np.nan, np.inf):
        with pytest.raises(BadRequest, match="missing or infinite"):
            hdbscan(np.array([[0.0], [1.0], [value]]), 2, 2)
    with pytest.raises(BadRequest, match=r"as far apart as 2e\+200; at most 1e\+150"):
        hdbscan(np.array([[0.0], [2e200], [1e200]]), 2, 2)


def test_stop_ends_it() -> None:
    hdbscan(np.random.default_rng(0).uniform(size=(500, 2)), 5, 5)  # compiled
    X = np.random.default_rng(0).uniform(size=(300_000, 2))
    stop = threading.Event()
    began = []

    def note(progress) -> None:
        if str(progress.note) == NOTES[1]:
            stop.set()
            began.append(time.monotonic())

    with pytest.raises(Stopped):
        hdbscan(X, 5, 5, stop=stop, notes=note)
    assert time.monotonic() - began[0] < PROMPTLY


def test_memory_stays_within_the_estimate() -> None:
    hdbscan(np.random.default_rng(0).uniform(size=(500, 3)), 5, 5)
    X = np.random.default_rng(0).uniform(size=(60_000, 3))
    tracemalloc.start()
    hdbscan(X, 20, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    estimate = find("hdbscan").estimate(*X.shape, HDBSCANParameters(min_samples=20)).bytes
    assert 0.3 * estimate < peak < estimate
