from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from pipelines.clustering import metrics as own_metrics
from pipelines.clustering.metrics import compare_with_truth, judge, silhouettes


def test_scores_worked_by_hand():
    points = np.array([[0.0], [1.0], [10.0], [50.0]])
    scores = judge(points, np.array([0, 0, 1, -1], dtype=np.int32))
    # 0: a 1, b 10; 1: a 1, b 9; 10 is alone: 0.
    assert scores.silhouette == pytest.approx((9 / 10 + 8 / 9 + 0) / 3)
    # Spreads 0.5 and 0; centres 0.5 and 10.
    assert scores.davies_bouldin == pytest.approx(0.5 / 9.5)
    # Between: 2·(0.5 − 11/3)² + (10 − 11/3)², over 1; within: 0.5, over 1.
    between = 2 * (0.5 - 11 / 3) ** 2 + (10 - 11 / 3) ** 2
    assert scores.calinski_harabasz == pytest.approx(between / 0.5)
    assert (scores.clusters, scores.sizes, scores.noise) == (2, (2, 1), 1)
    assert scores.noise_share == 0.25


def test_scores_are_scikit_learns_without_the_noise(blobs):
    points, _ = blobs
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 4, len(points)).astype(np.int32)
    inside = labels >= 0
    scores = judge(points, labels)
    known = points[inside], labels[inside]
    assert scores.silhouette == pytest.approx(metrics.silhouette_score(*known))
    assert scores.davies_bouldin == pytest.approx(metrics.davies_bouldin_score(*known))
    assert scores.calinski_harabasz == pytest.approx(metrics.calinski_harabasz_score(*known))
    assert scores.sampled is None


@pytest.mark.parametrize("labels", [[0, 0, 0], [-1, -1, -1], [0, -1, 0], [0, 1, 2], [0, 1, -1]])
def test_no_scores_for_fewer_than_two_clusters_or_only_single_points(labels):
    points = np.array([[0.0, 0], [1, 1], [2, 0]])
    scores = judge(points, np.array(labels))
    assert scores.silhouette is scores.davies_bouldin is scores.calinski_harabasz is None


def test_silhouettes_of_a_sample_hold_every_cluster_and_come_near(blobs):
    points, truth = blobs
    labels = truth.copy()
    labels[0] = 3  # a cluster of one point
    values, chosen = silhouettes(points, labels, seed=4, limit=40)
    assert len(values) == len(chosen) == 40
    assert set(labels[chosen]) == {0, 1, 2, 3}
    assert (np.diff(chosen) > 0).all()
    again = silhouettes(points, labels, seed=4, limit=40)
    assert (again[1] == chosen).all()
    assert (silhouettes(points, labels, seed=5, limit=40)[1] != chosen).any()
    whole = silhouettes(points, labels)[0].mean()
    assert values.mean() == pytest.approx(whole, abs=0.1)


def test_agreement_is_scikit_learns():
    rng = np.random.default_rng(2)
    truth, labels = rng.integers(0, 4, 80), rng.integers(-1, 3, 80)
    found = compare_with_truth(labels, truth)
    assert found.ari == pytest.approx(metrics.adjusted_rand_score(truth, labels))
    assert found.nmi == pytest.approx(metrics.normalized_mutual_info_score(truth, labels))
    assert found.homogeneity == pytest.approx(metrics.homogeneity_score(truth, labels))
    assert found.completeness == pytest.approx(metrics.completeness_score(truth, labels))
    assert found.confusion.sum() == 80


def test_points_without_a_true_label_do_not_count():
    rng = np.random.default_rng(3)
    truth, labels = rng.integers(-1, 3, 90), rng.integers(-1, 3, 90)
    known = truth >= 0
    found = compare_with_truth(labels, truth, ("ash", "oak", "elm"))
    assert found.unlabelled == 90 - known.sum() > 0
    assert found.ari == pytest.approx(metrics.adjusted_rand_score(truth[known], labels[known]))
    assert found.nmi == pytest.approx(
        metrics.normalized_mutual_info_score(truth[known], labels[known])
    )
    assert found.classes == ("ash", "oak", "elm")
    assert found.confusion.sum(axis=1).tolist() == np.bincount(truth[known]).tolist()


def test_ari_worked_by_hand():
    # Pairs together: in both 2; in the truth 2·3 = 6, in the clusters C(4,2)+C(2,2) = 7; of 15.
    found = compare_with_truth(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1]))
    expected = 6 * 7 / 15
    assert found.ari == pytest.approx((4 - expected) / ((6 + 7) / 2 - expected))


def test_the_best_matching_is_not_the_greedy_one():
    # Class a: 5 in cluster 0, 4 in 1; class b: 4 in 0, 0 in 1. Greedy gets 5, best 4 + 4.
    truth = np.array(["a"] * 9 + ["b"] * 5)
    labels = np.array([0] * 5 + [1] * 4 + [0] * 4 + [-1])
    found = compare_with_truth(labels, truth)
    assert found.classes == ("a", "b")
    assert found.matches == (1, 0)
    assert found.matched == pytest.approx(8 / 14)
    assert found.columns == (1, 0, -1)
    assert found.confusion.tolist() == [[4, 5, 0], [0, 4, 1]]


def test_of_many_clusters_the_best_matching_is_found_among_a_few(monkeypatch):
    rng = np.random.default_rng(5)
    truth, labels = rng.integers(0, 6, 4000), (rng.pareto(0.8, 4000) * 9).astype(int) % 300 - 1
    whole = compare_with_truth(labels, truth)
    monkeypatch.setattr(own_metrics, "MOST_COLUMNS", 20)
    found = compare_with_truth(labels, truth)
    assert found.matched == whole.matched > 0
    assert len(set(found.matches)) == 6
    assert found.ari == whole.ari
    assert found.confusion.shape == (6, 20)
    assert found.left_out == len(whole.columns) - 20
    by_label = dict(zip(whole.columns, whole.confusion.T.tolist(), strict=True))
    assert found.confusion.T.tolist() == [by_label[label] for label in found.columns]


def test_fewer_clusters_than_classes_and_only_noise():
    found = compare_with_truth(np.zeros(4, dtype=int), np.array([5, 6, 6, 7]))
    assert found.matches == (None, 0, None)
    assert found.matched == 0.5
    noise = compare_with_truth(np.full(4, -1), np.array([5, 6, 6, 7]))
    assert noise.matches == (None, None, None)
    assert (noise.matched, noise.columns) == (0, (-1,))
