from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.cluster.hierarchy import is_valid_linkage, linkage
from sklearn.cluster import AgglomerativeClustering

from pipelines.clustering.labels import renumber
from pipelines.clustering.steps import agglomerative
from tests.pipelines.clustering.steps.sets import THIRTY, assert_unchanged, random_set

HEIGHT, SIZE = 2, 3  # columns of a linkage matrix
LINKAGES = pytest.mark.parametrize("name", ["ward", "complete", "average", "single"])


def merges_of(X, name):
    *_, last = agglomerative.steps(X, name)
    return last.merges


@THIRTY
@LINKAGES
def test_labels_are_scikit_learns_for_each_number_of_clusters(number, name):
    X = random_set(number, least=8, most=16)
    for step in agglomerative.steps(X, name):
        theirs = AgglomerativeClustering(step.clusters, linkage=name).fit_predict(X)
        np.testing.assert_array_equal(renumber(step.labels), renumber(theirs))


@pytest.mark.parametrize(
    ("name", "heights"),
    [
        ("single", [1, 2, 4]),
        ("complete", [1, 3, 7]),
        ("average", [1, 2.5, 17 / 3]),
        ("ward", [1, 2.5 * np.sqrt(4 / 3), 17 / 3 * np.sqrt(1.5)]),
    ],
)
def test_worked_by_hand(name, heights):
    merges = merges_of(np.array([[0.0], [1], [3], [7]]), name)
    np.testing.assert_allclose(merges[:, HEIGHT], heights)
    assert merges[:, [0, 1, SIZE]].tolist() == [[0, 1, 2], [2, 4, 3], [3, 5, 4]]


def test_wards_heights_say_what_the_sum_of_squares_rises_by():
    X = random_set(3)
    for before, after in zip(
        steps := list(agglomerative.steps(X, "ward")), steps[1:], strict=False
    ):
        rise = sum_of_squares(X, after.labels) - sum_of_squares(X, before.labels)
        assert after.merges[-1, HEIGHT] ** 2 == pytest.approx(2 * rise)


def sum_of_squares(X, labels):
    return sum(len(X[labels == c]) * X[labels == c].var(axis=0).sum() for c in np.unique(labels))


@pytest.mark.parametrize("number", range(10))
@LINKAGES
def test_each_step_shows_the_clusters_after_its_merge(number, name):
    X = random_set(number, most=40)
    seen = list(agglomerative.steps(X, name))
    whole = seen[-1].merges
    for step in seen:
        assert len(step.merges) == step.number == len(X) - step.clusters
        np.testing.assert_array_equal(step.merges, whole[: step.number])
        assert len(set(step.labels.tolist())) == step.clusters
        np.testing.assert_array_equal(step.labels[step.labels], step.labels)  # one of its points


@LINKAGES
def test_of_two_clusters_the_larger_keeps_its_number(name):
    before = None
    for step in agglomerative.steps(random_set(4), name):
        if before is not None:
            moved = int((step.labels != before.labels).sum())
            assert 2 * moved <= step.merges[-1, SIZE]
        before = step


@pytest.mark.parametrize("times", [2, 3])
@LINKAGES
def test_duplicates_merge_first_at_height_0_and_then_as_in_scipy(times, name):
    X = np.repeat(random_set(5, most=40), times, axis=0)
    *seen, last = agglomerative.steps(X, name)
    merges = last.merges
    zeros = len(X) - len(X) // times
    assert (merges[:zeros, HEIGHT] == 0).all()
    assert (merges[zeros:, HEIGHT] > 0).all()
    np.testing.assert_allclose(merges[:, HEIGHT], linkage(X, name)[:, HEIGHT], rtol=1e-9)
    pairs = seen[zeros].labels.reshape(-1, times)
    assert (pairs == pairs[:, :1]).all()


@LINKAGES
def test_points_of_a_grid_give_a_valid_tree_that_never_falls(name):
    X = np.stack(np.meshgrid(range(7), range(6)), axis=-1).reshape(-1, 2).astype(float)
    merges = merges_of(X, name)
    assert is_valid_linkage(merges)
    assert (np.diff(merges[:, HEIGHT]) >= -1e-12).all()
    if name == "single":
        assert (merges[:, HEIGHT] == 1).all()


@LINKAGES
def test_equal_points_merge_at_height_0(name):
    merges = merges_of(np.full((9, 2), 3.7), name)
    assert is_valid_linkage(merges)
    assert merges[:, HEIGHT].tolist() == [0] * 8


@LINKAGES
def test_one_point_has_nothing_to_merge_with(name):
    (only,) = agglomerative.steps(np.array([[3.0, 4.0]]), name)
    assert only.merges.shape == (0, 4)
    assert only.labels.tolist() == [0]


@LINKAGES
def test_input_is_never_changed(name):
    assert_unchanged(random_set(1), lambda X: list(agglomerative.steps(X, name)))


def test_steps_cannot_be_written_to():
    for step in agglomerative.steps(random_set(1)):
        assert not step.merges.flags.writeable
        assert not step.labels.flags.writeable


def test_json_of_steps_adds_up_to_the_end():
    X = random_set(2)
    seen = list(agglomerative.steps(X, "average"))
    labels, merges, before = np.arange(len(X)), [], None
    for step in (seen[0], *seen[1:-1:7], seen[-1]):
        data = json.loads(json.dumps(step.to_json(before, decimals=3)))
        labels[data["labels"]["at"]] = data["labels"]["to"]
        merges += data["merges"]
        before = step
        np.testing.assert_array_equal(labels, step.labels)
    np.testing.assert_allclose(merges, seen[-1].merges, atol=0.0005001)
