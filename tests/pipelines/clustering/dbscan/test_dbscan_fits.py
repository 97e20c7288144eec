"""DBSCAN as it is fitted: by scikit-learn for few points, by our own for many."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest
from sklearn.cluster import DBSCAN

from pipelines.clustering import tasks
from pipelines.clustering.algorithms.dbscan import DBSCAN_FEW, DBSCANParameters
from pipelines.clustering.algorithms.hdbscan import HDBSCANParameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.dbscan import dbscan, hdbscan
from pipelines.clustering.labels import renumber
from pipelines.clustering.running import outcome
from pipelines.clustering.tasks import run_in_thread
from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.events import Progress
from tests.patience import PROMPTLY

pytestmark = pytest.mark.usefixtures("density")


def lumps(n: int, d: int = 2) -> np.ndarray:
    rng = np.random.default_rng(1)
    X = rng.uniform(-6, 6, (8, d))[rng.integers(8, size=n)] + rng.normal(scale=0.5, size=(n, d))
    X[: n // 20] = X[n // 2]  # duplicates
    return X


@pytest.mark.parametrize("n", [DBSCAN_FEW, DBSCAN_FEW + 1])
@pytest.mark.parametrize("d", [2, 9])
def test_labels_and_cores_are_scikit_learns_on_both_sides_of_the_limit(n, d, stop):
    X = lumps(n, d)
    eps = 0.12 if d == 2 else 1.2
    ours = find("dbscan").fit(X, DBSCANParameters(eps=eps, min_samples=6), 0, stop)
    theirs = DBSCAN(eps=eps, min_samples=6).fit(X)
    assert (ours.labels == renumber(theirs.labels_)).all()
    assert 0 < ours.noise < n
    assert (ours.extra["core"] == theirs.core_sample_indices_).all()


def test_few_points_do_not_wait_for_our_own_to_be_loaded(stop, monkeypatch):
    monkeypatch.setitem(sys.modules, "pipelines.clustering.dbscan.dbscan", None)
    assert (
        len(find("dbscan").fit(lumps(DBSCAN_FEW), DBSCANParameters(), 0, stop).labels) == DBSCAN_FEW
    )


@pytest.mark.parametrize(
    ("algorithm", "params", "passes"),
    [
        ("dbscan", DBSCANParameters(eps=0.1), dbscan.NOTES),
        ("hdbscan", HDBSCANParameters(min_cluster_size=20), hdbscan.NOTES),
    ],
)
def test_a_fit_of_many_points_tells_its_three_passes(algorithm, params, passes, stop):
    X = lumps(20_000)
    events = []
    work = tasks.fit(X, algorithm=algorithm, params=params, seed=0, stop=stop)
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            fitted = end.value
            break
    said = list(dict.fromkeys(str(event.note) for event in events if event.note))
    loading = f"Loading {algorithm.upper()}; the first time it is compiled"
    assert said == [loading, *passes]
    steps = [event.step for event in events if event.total > 1]
    assert steps == sorted(steps)
    assert len(fitted.labels) == len(X)


def test_a_stop_ends_a_fit_that_would_take_seconds():
    stop = threading.Event()
    X = np.random.default_rng(0).uniform(size=(200_000, 12))
    find("dbscan").fit(lumps(DBSCAN_FEW + 1, 12), DBSCANParameters(), 0, stop)  # it is loaded now
    asked = []
    threading.Timer(0.3, lambda: (asked.append(time.monotonic()), stop.set())).start()
    with pytest.raises(Stopped):
        find("dbscan").fit(X, DBSCANParameters(eps=0.6), 0, stop)
    assert time.monotonic() - asked[0] < PROMPTLY


def test_what_is_told_comes_before_what_is_returned_and_trouble_is_raised_here():
    here = threading.get_ident()

    def work(tell):
        for step in range(3):
            tell(Progress(step, 3))
        return threading.get_ident()

    events = run_in_thread(work)
    assert [next(events).step for _ in range(3)] == [0, 1, 2]
    assert outcome(run_in_thread(work)) != here
    with pytest.raises(BadRequest, match="3 is too much"):
        outcome(run_in_thread(lambda tell: _refuse()))


def _refuse():
    raise BadRequest("{value} is too much.", value=3)


def test_who_is_not_listened_to_any_more_stops_at_the_next_word():
    ended = threading.Event()

    def work(tell):
        try:
            while True:
                tell(Progress(0, 1))
                time.sleep(0.01)
        except Stopped:
            ended.set()
            raise

    events = run_in_thread(work)
    next(events)
    events.close()
    assert ended.is_set()


def test_a_million_points_are_not_expected_to_take_more_memory_than_the_tree():
    estimate = find("dbscan").estimate(1_000_000, 2, DBSCANParameters(eps=1e9))
    assert 30e6 < estimate.bytes < 100e6
    assert find("dbscan").estimate(1000, 2, DBSCANParameters()).bytes >= 8e6  # all neighbourhoods
