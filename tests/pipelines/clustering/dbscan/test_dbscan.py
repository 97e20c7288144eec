"""The exact DBSCAN against scikit-learn's, label by label, and its limits in memory and time."""

from __future__ import annotations

import threading
import time
import tracemalloc

import numpy as np
import pytest
from sklearn.cluster import DBSCAN
from sklearn.datasets import load_iris, make_blobs, make_moons

from pipelines.clustering.algorithms.dbscan import DBSCANParameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.dbscan import kd_tree
from pipelines.clustering.dbscan.dbscan import NOTES, dbscan
from pipelines.clustering.labels import renumber
from pipelines.core.errors import BadRequest, Stopped
from tests.patience import PROMPTLY

pytestmark = pytest.mark.usefixtures("density")

TOY = np.array([0, 2, 3, 4, 6, 8, 10], float)[:, None]


def random_set(seed: int) -> tuple[np.ndarray, float, int]:
    """Points, eps and min_samples: another kind of points and another dimension for each seed."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(20, 700)), 1 + seed % 16
    kind = seed // 16 % 3
    if kind == 0:  # many distances are eps exactly
        return rng.integers(0, 2 + 60 // d, (n, d)).astype(float), float(1 + seed % 2), 2 + d // 2
    if kind == 1:  # blobs, each point as often as it comes
        X = rng.normal(size=(4, d))[rng.integers(4, size=n)] * 3 + rng.normal(size=(n, d))
        X = X[rng.integers(n, size=n)]
    else:
        X = rng.uniform(-1, 1, size=(n, d)) * n ** (1 / d)
    distances = np.linalg.norm(X[:50, None] - X[None], axis=-1)
    return X, float(np.quantile(distances, rng.uniform(0.005, 0.1)) + 1e-3), int(rng.integers(1, 9))


def assert_equals_sklearn(X: np.ndarray, eps: float, min_samples: int) -> None:
    # Its trees compare as METHODS.md defines; above 15 columns it would multiply matrices, whose
    # distances are rounded otherwise.
    oracle = DBSCAN(eps=eps, min_samples=min_samples, algorithm="kd_tree").fit(X)
    result = dbscan(X, eps, min_samples)
    assert np.flatnonzero(result.core).tolist() == oracle.core_sample_indices_.tolist()
    assert result.labels.tolist() == renumber(oracle.labels_).tolist()
    assert result.n_clusters == oracle.labels_.max() + 1
    assert result.labels.dtype == np.int32
    assert result.core.dtype == bool


@pytest.mark.parametrize("seed", range(50))
def test_random_sets_get_the_labels_of_scikit_learn_border_ties_too(seed: int) -> None:
    assert_equals_sklearn(*random_set(seed))


def test_the_random_sets_hold_clusters_borders_and_noise() -> None:
    found = [dbscan(*random_set(seed)) for seed in range(50)]
    assert sum(result.n_clusters > 1 for result in found) > 15
    assert sum(bool((result.labels < 0).any()) for result in found) > 15
    assert sum(bool((~result.core & (result.labels >= 0)).any()) for result in found) > 15


@pytest.mark.parametrize(("min_samples", "cores"), [(2, [1, 2, 3]), (3, [2]), (4, [])])
def test_the_toy_has_the_cores_worked_by_hand(min_samples: int, cores: list[int]) -> None:
    result = dbscan(TOY, 1.0, min_samples)
    assert np.flatnonzero(result.core).tolist() == cores
    assert result.labels.tolist() == ([-1, 0, 0, 0, -1, -1, -1] if cores else [-1] * 7)


def test_a_distance_of_exactly_eps_counts_and_the_next_number_below_does_not() -> None:
    corner = np.array([[0, 0], [3, 4], [6, 8]], float)  # 5 apart, as whole numbers give exactly
    assert dbscan(corner, 5.0, 2).n_clusters == 1
    assert dbscan(corner, np.nextafter(5.0, 0), 2).n_clusters == 0
    for eps in (0.1, 0.3, 0.7):  # 0.1 + 0.2 is more than 0.3, as numbers go
        assert_equals_sklearn(np.arange(12)[:, None] * eps, eps, 2)
        assert_equals_sklearn(np.cumsum(np.full((12, 2), eps), axis=0), eps, 2)


def test_a_border_point_between_two_clusters_goes_to_the_one_that_comes_first() -> None:
    left = np.array([[-1.0], [-1.25], [-1.5]])
    border = np.array([[0.0]])
    assert_equals_sklearn(np.vstack([border, left, -left]), 1.0, 4)
    assert dbscan(np.vstack([border, left, -left]), 1.0, 4).labels.tolist() == [0] * 4 + [1] * 3
    assert dbscan(np.vstack([-left, left, border]), 1.0, 4).labels.tolist() == [0] * 3 + [1] * 3 + [
        0
    ]


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 64, 65, 1000])
def test_equal_points_are_one_cluster_or_noise(n: int) -> None:
    X = np.full((n, 3), 7.5)
    together = dbscan(X, 1e-9, n)
    assert together.core.all()
    assert not together.labels.any()
    assert (dbscan(X, 1e-9, n + 1).labels == -1).all()


@pytest.mark.parametrize("eps", [1e-140, 1e-12, 1e12, 1e140])
def test_eps_may_be_far_smaller_or_larger_than_the_data(eps: float) -> None:
    X = np.random.default_rng(0).normal(size=(500, 2))
    X[100:120] = X[99]
    assert_equals_sklearn(X, eps, 5)


def test_points_far_from_the_origin_and_far_apart_are_told_apart() -> None:
    X = np.random.default_rng(0).integers(0, 9, size=(300, 2)).astype(float)
    assert_equals_sklearn(X + 2.0**40, 1.0, 4)
    X[::50] = [[1e300, -1e300]]
    assert_equals_sklearn(X, 1.0, 4)


@pytest.mark.parametrize("min_samples", [1, 3, 200, 900, 10**12])
def test_dense_sets_whose_neighbourhoods_hold_most_points(min_samples: int) -> None:
    X = np.random.default_rng(1).normal(size=(1000, 2))
    for eps in (0.5, 2.0, 20.0):
        assert_equals_sklearn(X, eps, min_samples)


def test_moons_and_iris_are_found() -> None:
    X, halves = make_moons(1500, noise=0.05, random_state=0)
    result = dbscan(X, 0.1, 5)
    assert (renumber(halves) == result.labels).mean() > 0.99
    assert dbscan(load_iris().data, 0.5, 5).n_clusters == 2  # the documentation's known result


def test_the_input_is_not_changed_and_may_have_any_order_in_memory() -> None:
    X = np.random.default_rng(2).normal(size=(300, 4))
    before = X.copy()
    X.flags.writeable = False
    labels = dbscan(X, 1.0, 5).labels
    assert (before == X).all()
    assert (dbscan(np.asfortranarray(X), 1.0, 5).labels == labels).all()


def test_the_order_of_the_points_changes_nothing_but_their_order() -> None:
    X = make_blobs(900, centers=5, random_state=3)[0]
    shuffled = np.random.default_rng(3).permutation(len(X))
    one, other = dbscan(X, 0.4, 5), dbscan(X[shuffled], 0.4, 5)
    assert (one.core[shuffled] == other.core).all()
    core = other.core
    assert (renumber(one.labels[shuffled][core]) == renumber(other.labels[core])).all()


def test_it_stops_between_chunks_and_tells_how_far_it_is() -> None:
    X = np.random.default_rng(4).uniform(size=(2000, 2))
    told = []
    dbscan(X, 0.05, 5, notes=told.append)
    steps = [progress.step for progress in told]
    assert steps == sorted(steps)
    assert steps[-1] < told[0].total == 3 * 63  # leaves, in three passes
    assert {progress.note.template for progress in told} == set(NOTES)
    for note in NOTES:
        stop = threading.Event()

        def stop_at(progress, note=note, stop=stop) -> None:
            if progress.note.template == note:
                stop.set()

        with pytest.raises(Stopped):
            dbscan(X, 0.05, 5, stop, stop_at)


def test_a_stop_is_seen_within_a_moment_of_long_work() -> None:
    X = np.random.default_rng(5).normal(size=(100_000, 16))  # every two leaves must be compared
    stop = threading.Event()
    seen: list[float] = []

    def stopped_after_a_while() -> None:
        time.sleep(0.3)
        seen.append(time.monotonic())
        stop.set()

    threading.Thread(target=stopped_after_a_while).start()
    with pytest.raises(Stopped):
        dbscan(X, 4.0, 5, stop)
    assert time.monotonic() - seen[0] < PROMPTLY  # 0.05 s on an idle machine


def test_memory_is_as_estimated_and_has_no_neighbourhoods_in_it() -> None:
    n = 20_000
    X = np.random.default_rng(6).normal(size=(n, 2))
    dbscan(X[:100], 1.0, 5)  # compiled, imported
    peaks = []
    for eps in (0.01, 1.0, 100.0):
        tracemalloc.start()
        dbscan(X, eps, 5)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    estimate = find("dbscan").estimate(n, 2, DBSCANParameters()).bytes
    assert 0.3 * estimate < max(peaks) < estimate
    # At an eps of 100 all are neighbours of all: scikit-learn would keep n² numbers of 8 bytes.
    assert max(peaks) < 8 * n**2 / 1000


@pytest.mark.parametrize(("n", "d"), [(1, 1), (33, 2), (1_000_000, 2), (100_000, 16)])
def test_the_tree_is_as_large_as_estimated(n: int, d: int) -> None:
    depth = kd_tree.depth_for(n)
    assert n <= kd_tree.LEAF * 2**depth < 2 * n + kd_tree.LEAF
    if n < 1000:
        tree, order = kd_tree.grow(np.zeros((n, d)), lambda: None)
        kept = tree.blocks.nbytes + tree.boxes.nbytes + order.nbytes
        assert kept <= 1.1 * n * d * 8 + 4 * n + 1024


@pytest.mark.parametrize(
    ("X", "eps", "min_samples", "said"),
    [
        (np.zeros((0, 2)), 1.0, 1, "0 × 2"),
        (np.zeros((3, 0)), 1.0, 1, "3 × 0"),
        (np.zeros(3), 1.0, 1, "shape 3;"),
        (np.array([[0.0], [np.nan]]), 1.0, 1, "missing or infinite"),
        (np.array([[np.inf], [-np.inf]]), 1.0, 1, "missing or infinite"),
        (TOY, 0.0, 1, "eps is 0.0"),
        (TOY, -1.0, 1, "eps is -1.0"),
        (TOY, float("nan"), 1, "eps is nan"),
        (TOY, 1e200, 1, "at most|1e+150"),
        (TOY, 1.0, 0, "min_samples is 0"),
    ],
)
def test_what_cannot_be_clustered_is_refused(X, eps: float, min_samples: int, said: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        dbscan(X, eps, min_samples)
    assert any(part in str(refusal.value) for part in said.split("|"))
