from __future__ import annotations

from threading import Event

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score

from pipelines.clustering import model_selection
from pipelines.clustering.algorithms.dbscan import DBSCANParameters
from pipelines.clustering.algorithms.kmeans import KMeansParameters
from pipelines.clustering.algorithms.mixture import MixtureParameters
from pipelines.clustering.algorithms.optics import OPTICSParameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.running import outcome
from pipelines.core.errors import BadRequest, Stopped

pytestmark = pytest.mark.filterwarnings("ignore:::sklearn")  # k above what there is to find


@pytest.mark.parametrize(
    ("y", "index"),
    [
        ([10, 2, 1, 0.5, 0], 1),  # falls: an elbow
        ([0, 0.1, 0.2, 0.5, 6], 3),  # rises: a k-distance plot
        ([3, 2, 1, 0], None),  # a line has none
        ([0, 5, 8, 9], None),  # concave
        ([1, 1, 1], None),
        ([2, 1], None),
    ],
)
def test_the_knee_is_farthest_below_the_line_between_the_ends(y, index):
    assert model_selection.knee(range(len(y)), y) == index
    scaled = [1e6 * value + 7 for value in y]
    assert model_selection.knee([3 * x for x in range(len(y))], scaled) == index


def test_elbow_silhouette_gap_and_bic_find_three_blobs(blobs, stop):
    points, _ = blobs
    before = points.copy()
    ks = range(1, 8)
    elbow = outcome(model_selection.elbow(points, ks=ks, seed=0, stop=stop))
    assert elbow.knee == 3
    assert elbow.ks == tuple(ks)
    assert (np.diff(elbow.inertia) < 0).all()
    assert elbow.inertia[0] == pytest.approx(((points - points.mean(axis=0)) ** 2).sum())
    curve = outcome(model_selection.silhouette_curve(points, ks=ks, seed=0, stop=stop))
    assert curve.best == 3
    assert curve.means[0] is None
    gap = outcome(model_selection.gap(points, ks=range(1, 6), seed=0, stop=stop))
    assert gap.best == 3
    information = outcome(model_selection.information(points, ks=range(1, 6), seed=0, stop=stop))
    assert information.best_bic[0] == 3
    assert information.bic.shape == information.aic.shape == (4, 5)
    one = MixtureParameters(clusters=3, covariance="tied", starts=3)
    assert information.bic[1, 2] == find("mixture").fit(points, one, 0, stop).model["bic"]
    assert (points == before).all()


def test_the_gap_finds_no_clusters_where_there_are_none(stop):
    points = np.random.default_rng(3).uniform([0, 0], [4, 1], (150, 2))
    gap = outcome(model_selection.gap(points, ks=range(1, 5), seed=1, stop=stop))
    assert gap.best == 1


def test_the_gap_is_made_as_the_paper_says(stop):
    points = np.random.default_rng(0).normal(size=(40, 2))
    gap = outcome(model_selection.gap(points, ks=[1, 3], seed=5, stop=stop, references=4))
    assert gap.ks == (1, 2, 3)
    rng = np.random.default_rng(5)
    # k = 1 needs no K-Means: W is the sum of squares about the mean.
    log_w = []
    for number in range(5):
        drawn = points if number == 0 else rng.uniform(points.min(0), points.max(0), points.shape)
        log_w.append(np.log(((drawn - drawn.mean(0)) ** 2).sum()))
    assert gap.log_w[0] == pytest.approx(log_w[0])
    assert gap.gap[0] == pytest.approx(np.mean(log_w[1:]) - log_w[0])
    assert gap.s[0] == pytest.approx(np.std(log_w[1:]) * np.sqrt(1 + 1 / 4))
    for index, k in enumerate(gap.ks[:-1]):
        if gap.gap[index] >= gap.gap[index + 1] - gap.s[index + 1]:
            assert gap.best == k
            break


def test_the_gap_refuses_more_clusters_than_different_points(stop):
    with pytest.raises(BadRequest, match="more than 3 different points"):
        outcome(model_selection.gap(np.ones((9, 1)), ks=[1, 2, 3], seed=0, stop=stop))


def test_k_distances_are_to_the_other_points_and_count_the_cores(blobs, stop):
    points, truth = blobs
    found = outcome(model_selection.k_distance(points, min_samples=4, seed=0, stop=stop))
    by_hand = np.sort(np.sort(cdist(points, points), axis=1)[:, 3])  # column 0: itself
    assert np.allclose(found.distances, by_hand)
    assert found.sampled is None
    assert found.distances[0] < found.eps < found.distances[-1]
    params = DBSCANParameters(eps=found.eps, min_samples=4)
    fitted = find("dbscan").fit(points, params, 0, stop)
    assert len(fitted.extra["core"]) == (found.distances <= found.eps).sum()
    core = fitted.extra["core"]
    assert adjusted_rand_score(truth[core], fitted.labels[core]) > 0.9


def test_the_eps_at_the_knee_parts_a_dense_group_from_strays(stop):
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 0.1, (90, 2)), rng.uniform(-20, 20, (10, 2))])
    found = outcome(model_selection.k_distance(points, min_samples=5, seed=0, stop=stop))
    fitted = find("dbscan").fit(points, DBSCANParameters(eps=found.eps), 0, stop)
    assert fitted.labels[:90].max() == 0
    assert (fitted.labels[:90] == 0).mean() > 0.9
    assert (fitted.labels[90:] == -1).sum() >= 9


def test_k_distances_of_a_sample_are_to_all_points(stop):
    points = np.arange(100.0)[:, None]
    found = outcome(model_selection.k_distance(points, min_samples=2, seed=0, stop=stop, limit=30))
    assert found.distances.tolist() == [1.0] * 30
    assert found.sampled == 30
    assert found.eps is None  # flat: no knee
    for wrong in (1, 101):
        with pytest.raises(BadRequest, match=f"min_samples is {wrong}, and there are 100"):
            outcome(model_selection.k_distance(points, min_samples=wrong, seed=0, stop=stop))


def test_reachability_is_low_within_and_high_between(blobs, stop):
    points, truth = blobs
    plot = outcome(model_selection.reachability(points, params=OPTICSParameters(), stop=stop))
    assert sorted(plot.ordering) == list(range(120))
    groups = truth[plot.ordering]
    jumps = np.flatnonzero(np.diff(groups)) + 1
    assert len(jumps) == 2  # group after group
    within = np.delete(plot.reachability, [0, *jumps])
    assert plot.reachability[jumps].min() > within.max()


def test_stability_is_one_where_all_seeds_agree_and_less_where_not(blobs, stop):
    points, _ = blobs
    params = KMeansParameters(clusters=3, starts=5)
    seeds = [0, 1, 2]
    steady = outcome(
        model_selection.stability(points, algorithm="kmeans", params=params, seeds=seeds, stop=stop)
    )
    assert steady.mean == 1
    assert steady.clusters == (3, 3, 3)
    noise = np.random.default_rng(0).uniform(size=(120, 2))
    params = KMeansParameters(clusters=7, starts=1)
    loose = outcome(
        model_selection.stability(noise, algorithm="kmeans", params=params, seeds=seeds, stop=stop)
    )
    assert loose.mean < 0.95
    off = [loose.pairwise[0, 1], loose.pairwise[0, 2], loose.pairwise[1, 2]]
    assert loose.mean == pytest.approx(np.mean(off))
    with pytest.raises(BadRequest, match="at least two seeds"):
        outcome(
            model_selection.stability(
                noise, algorithm="kmeans", params=params, seeds=[1], stop=stop
            )
        )


def test_curves_stop_between_fits_and_tell_how_far_they_are(blobs):
    stop = Event()
    events = model_selection.elbow(blobs[0], ks=range(1, 6), seed=0, stop=stop)
    first, second = next(events), next(events)
    assert (first.step, second.step, second.total) == (0, 1, 5)
    stop.set()
    with pytest.raises(Stopped):
        next(events)


@pytest.mark.parametrize("ks", [[], [0, 1], [1, 121]])
def test_ks_out_of_bounds_are_refused(ks, blobs, stop):
    with pytest.raises(BadRequest, match="from 1 to the number of points, 120"):
        outcome(model_selection.elbow(blobs[0], ks=ks, seed=0, stop=stop))
