from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from pipelines.clustering import model_selection
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.curves import MOST, SilhouetteSamples, plan, to_chart
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.engine import run
from pipelines.clustering.metrics import silhouettes
from pipelines.clustering.requests import CurveRequest
from pipelines.clustering.running import outcome
from pipelines.core.errors import BadRequest, NotFound, validate
from pipelines.core.events import Result

pytestmark = pytest.mark.filterwarnings("ignore:::sklearn")


class Nowhere:
    home = None


def curve(X: np.ndarray, stop, **values) -> dict:
    """What the engine answers to a request of a curve of X."""
    request = validate(CurveRequest, {"data": "mine", **values})
    points = Dataset(X, None, ("",) * X.shape[1], "")
    *_, result = run(request, Nowhere(), stop, find_data=lambda name: points, results=Nowhere)
    assert isinstance(result, Result)
    json.dumps(result.data, allow_nan=False)
    return result.data["curve"]


def test_each_curve_has_the_fields_that_its_dataclass_has(blobs, stop):
    X = blobs[0]
    settings = {"least": 1, "most": 5, "seeds": 3, "parameters": {"clusters": 3}}
    elbow = curve(X, stop, curve="elbow", **settings)
    assert elbow["ks"] == [1, 2, 3, 4, 5]
    assert elbow["knee"] == 3
    assert list(elbow["inertia"]) == sorted(elbow["inertia"], reverse=True)
    mean = curve(X, stop, curve="silhouette", **settings)
    assert (mean["best"], mean["means"][0], mean["sampled"]) == (3, None, None)
    gap = curve(X, stop, curve="gap", **settings)
    assert gap["best"] == 3
    assert len(gap["gap"]) == len(gap["s"]) == 5
    information = curve(X, stop, curve="information", **settings)
    assert np.shape(information["bic"]) == np.shape(information["aic"]) == (4, 5)
    assert information["best_bic"][0] == 3
    stability = curve(X, stop, curve="stability", seed=2**32 - 1, **settings)
    assert stability["seeds"] == [2**32 - 1, 0, 1]  # through zero
    assert stability["pairwise"] == [[1.0] * 3] * 3
    assert (stability["mean"], stability["clusters"]) == (1.0, [3, 3, 3])


def test_k_distances_are_sorted_and_thinned_evenly(stop):
    X = np.random.default_rng(0).normal(size=(3 * MOST, 2))
    here = curve(X, stop, curve="k_distance", min_samples=4)
    whole = outcome(model_selection.k_distance(X, min_samples=4, seed=0, stop=stop)).distances
    assert len(here["distances"]) == MOST
    assert here["of"] == len(whole)
    assert here["distances"] == pytest.approx(whole[1::3], rel=1e-5)  # the middles of threes
    assert curve(X[:50], stop, curve="k_distance")["of"] is None


def test_of_many_bars_the_highest_of_neighbours_are_kept():
    n = 5 * MOST
    heights = np.random.default_rng(0).uniform(size=n)
    heights[0] = np.inf
    labels = np.repeat([0, -1, 1, 2], n // 4).astype(np.int32)
    here = to_chart(model_selection.Reachability(np.arange(n)[::-1], heights, labels))
    assert here["reachability"][0] is None
    highest = heights.reshape(MOST, 5).argmax(axis=1) + 5 * np.arange(MOST)
    assert here["reachability"][1:] == pytest.approx(heights[highest][1:], rel=1e-5)
    assert here["ordering"] == (n - 1 - highest).tolist()
    assert Counter(here["labels"]) == {-1: MOST // 4, 0: MOST // 4, 1: MOST // 4, 2: MOST // 4}
    assert (here["points"], here["of"]) == (n, n)


def test_a_reachability_plot_is_optics_own(blobs, stop):
    here = curve(blobs[0], stop, curve="reachability", parameters={"min_samples": 4})
    fitted = find("optics").fit(blobs[0], find("optics").parameters(min_samples=4), 0, stop)
    assert here["ordering"] == fitted.extra["ordering"].tolist()
    assert here["labels"] == fitted.labels[here["ordering"]].tolist()
    assert here["of"] is None


def test_silhouettes_are_those_of_the_clusters_sorted_within_each(blobs, stop):
    X = blobs[0]
    here = curve(X, stop, curve="silhouettes", algorithm="kmeans", parameters={"clusters": 3})
    labels = find("kmeans").fit(X, find("kmeans").parameters(clusters=3), 0, stop).labels
    values, _ = silhouettes(X, labels)
    assert here["mean"] == pytest.approx(values.mean())
    for cluster in range(3):
        own = [v for v, c in zip(here["values"], here["labels"], strict=True) if c == cluster]
        assert own == pytest.approx(sorted(values[labels == cluster], reverse=True), rel=1e-5)


def test_of_many_silhouettes_each_cluster_keeps_its_share_and_the_mean_is_of_all():
    labels = np.array([0] * 9 + [1] * 3000 + [2] * 5991, dtype=np.int32)
    values = np.random.default_rng(0).uniform(-1, 1, len(labels))
    here = to_chart(SilhouetteSamples(values, labels, 0.25, 3, None))
    counted = Counter(here["labels"])
    assert counted[0] == 2
    assert counted[1] == pytest.approx(MOST / 3, abs=1)
    assert len(here["values"]) <= MOST
    assert (here["mean"], here["of"]) == (0.25, 9000)


def test_noise_has_no_silhouette_and_one_cluster_has_none_at_all(blobs, stop):
    X = np.vstack([blobs[0], [[100.0, 100.0]]])
    dbscan = {"algorithm": "dbscan", "parameters": {"eps": 2.5, "min_samples": 3}}
    here = curve(X, stop, curve="silhouettes", **dbscan)
    assert len(here["values"]) < len(X)
    with pytest.raises(BadRequest, match="K-Means finds 1 clusters of 121 points"):
        curve(X, stop, curve="silhouettes", parameters={"clusters": 1})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"curve": "knee"}, "Curve cannot be knee"),
        ({"curve": "elbow", "least": 6, "most": 5}, "begin at k = 6 and end at k = 5"),
        ({"curve": "elbow", "most": 51}, "Largest k is 51; it must be at most 50"),
        ({"curve": "stability", "seeds": 1}, "Seeds is 1; it must be at least 2"),
        ({"curve": "stability", "algorithm": "kmean"}, "Did you mean kmeans"),
        ({"curve": "silhouettes", "parameters": {"eps": 1}}, "no setting called eps"),
        ({"curve": "reachability", "parameters": {"clusters": 3}}, "no setting called clusters"),
        ({"curve": "elbow", "data": "../x"}, "Data cannot be"),
    ],
)
def test_requests_that_cannot_work_say_why(values, sentence):
    with pytest.raises((BadRequest, NotFound), match=sentence):
        validate(CurveRequest, {"data": "mine", **values})


def test_what_a_curve_has_no_use_for_is_ignored():
    request = CurveRequest(data="mine", curve="elbow", algorithm="optics", parameters={"k": 3})
    assert request.curve == "elbow"


def test_more_clusters_than_points_and_too_many_points_are_refused_before_any_work(stop):
    with pytest.raises(BadRequest, match="asked were 1 – 10"):
        curve(np.eye(5), stop, curve="elbow")
    many = np.zeros((50_001, 1))
    params = find("optics").parameters()
    with pytest.raises(BadRequest, match="at most 50000 points"):
        plan(CurveRequest(data="mine", curve="reachability"), many, params)


def test_gaps_and_seeds_are_estimated_to_take_as_often_as_they_are_fitted():
    X = np.random.default_rng(0).normal(size=(5000, 2))
    elbow, gap = (
        plan(CurveRequest(data="mine", curve=name), X, None).estimate.seconds
        for name in ("elbow", "gap")
    )
    assert gap == pytest.approx(11 * elbow)
    params = find("kmeans").parameters()
    few, many = (
        plan(CurveRequest(data="mine", curve="stability", seeds=n), X, params).estimate.seconds
        for n in (2, 20)
    )
    assert many == pytest.approx(10 * few)
