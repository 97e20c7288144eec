from __future__ import annotations

import numpy as np

from pipelines.clustering.labels import appearing, count_clusters, renumber


def test_clusters_are_numbered_as_their_first_points_come():
    labels = np.array([7, -1, 2, 7, 0, 2, -5])
    assert renumber(labels).tolist() == [0, -1, 1, 0, 2, 1, -1]
    assert renumber(labels).dtype == np.int32
    assert labels.tolist() == [7, -1, 2, 7, 0, 2, -5]


def test_labels_of_noise_and_of_nothing_stay_so():
    assert renumber(np.array([-1, -1])).tolist() == [-1, -1]
    assert renumber(np.empty(0, dtype=int)).tolist() == []


def test_rows_of_centres_can_follow_the_labels():
    labels = np.array([3, 1, 3, -1])
    assert appearing(labels, 5).tolist() == [3, 1, 0, 2, 4]
    assert count_clusters(labels) == 2
