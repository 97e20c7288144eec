from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.cluster import DBSCAN

from pipelines.clustering.steps import dbscan
from pipelines.clustering.steps.dbscan import BORDER, CORE, NOT_DENSE, REACHED, UNSEEN
from pipelines.core.errors import BadRequest
from tests.pipelines.clustering.steps.sets import THIRTY, assert_unchanged, random_set

TOY = np.array([[0.0], [2], [3], [4], [6], [8], [10]])


def assert_ends_like_scikit_learn(X, eps, min_samples):
    *_, last = dbscan.steps(X, eps, min_samples)
    theirs = DBSCAN(eps=eps, min_samples=min_samples).fit(X)
    np.testing.assert_array_equal(last.labels, theirs.labels_)
    np.testing.assert_array_equal(np.flatnonzero(last.kinds == CORE), theirs.core_sample_indices_)
    np.testing.assert_array_equal(last.kinds == NOT_DENSE, theirs.labels_ == -1)
    assert set(last.kinds) <= {CORE, BORDER, NOT_DENSE}
    return last


@THIRTY
def test_ends_as_scikit_learn_does(number):
    X = random_set(number)
    rng = np.random.default_rng(number)
    for share in (0.02, 0.05, 0.1, 0.3):
        eps = share * float(np.ptp(X, axis=0).max()) * rng.uniform(0.5, 1.5)
        assert_ends_like_scikit_learn(X, eps, int(rng.integers(1, 9)))


@THIRTY
def test_distances_of_exactly_eps_duplicates_and_border_ties_end_as_in_scikit_learn(number):
    rng = np.random.default_rng(number)
    X = rng.integers(0, 14, (int(rng.integers(20, 150)), 1 + number % 3)).astype(float)
    assert_ends_like_scikit_learn(X, float(rng.integers(1, 4)), int(rng.integers(2, 8)))


@pytest.mark.parametrize(
    ("min_samples", "cores", "labels"),
    [
        (2, [1, 2, 3], [-1, 0, 0, 0, -1, -1, -1]),
        (3, [2], [-1, 0, 0, 0, -1, -1, -1]),
        (4, [], [-1] * 7),
    ],
)
def test_toy(min_samples, cores, labels):
    *_, last = dbscan.steps(TOY, 1, min_samples)
    assert np.flatnonzero(last.kinds == CORE).tolist() == cores
    assert last.labels.tolist() == labels


def test_toy_step_by_step():
    seen = [
        (s.visited, s.neighbours.tolist(), s.cluster, s.kinds.tolist(), s.waiting.tolist())
        for s in dbscan.steps(TOY[:4], 1, 3)
    ]
    assert seen == [
        (-1, [], -1, [UNSEEN] * 4, []),
        (0, [0], -1, [NOT_DENSE, UNSEEN, UNSEEN, UNSEEN], []),
        (1, [1, 2], -1, [NOT_DENSE, NOT_DENSE, UNSEEN, UNSEEN], []),
        (2, [1, 2, 3], 0, [NOT_DENSE, BORDER, CORE, REACHED], [3]),
        (3, [2, 3], 0, [NOT_DENSE, BORDER, CORE, BORDER], []),
    ]


def test_border_of_two_clusters_goes_to_the_one_with_the_lower_number():
    X = np.array([[0.0], [0.5], [1], [2], [3], [3.5], [4]])  # 2.0 is within 1 of both 1 and 3
    last = assert_ends_like_scikit_learn(X, 1, 4)
    assert last.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert last.kinds[3] == BORDER


@pytest.mark.parametrize("number", range(10))
def test_every_point_is_visited_once_and_what_is_core_stays_core(number):
    X = random_set(number)
    eps = 0.1 * float(np.ptp(X, axis=0).max())
    start, *seen = dbscan.steps(X, eps, 4)
    assert sorted(step.visited for step in seen) == list(range(len(X)))
    assert [step.number for step in seen] == list(range(1, len(X) + 1))
    before = start
    for step in seen:
        inside = np.linalg.norm(X - X[step.visited], axis=1) <= eps
        np.testing.assert_array_equal(step.neighbours, np.flatnonzero(inside))
        settled = before.labels >= 0
        np.testing.assert_array_equal(step.labels[settled], before.labels[settled])
        known = np.isin(before.kinds, (CORE, BORDER))
        np.testing.assert_array_equal(step.kinds[known], before.kinds[known])
        before = step


@pytest.mark.parametrize(("min_samples", "label"), [(9, 0), (10, -1)])
def test_equal_points_are_one_cluster_when_they_are_enough(min_samples, label):
    last = assert_ends_like_scikit_learn(np.full((9, 2), 3.7), 1e-9, min_samples)
    assert last.labels.tolist() == [label] * 9


@pytest.mark.parametrize(("min_samples", "label"), [(1, 0), (2, -1)])
def test_one_point(min_samples, label):
    last = assert_ends_like_scikit_learn(np.array([[3.0, 4.0]]), 1, min_samples)
    assert last.labels.tolist() == [label]


def test_input_is_never_changed():
    assert_unchanged(random_set(1), lambda X: list(dbscan.steps(X, 0.5, 3)))


def test_steps_cannot_be_written_to():
    for step in dbscan.steps(TOY, 1, 2):
        for array in (step.neighbours, step.kinds, step.labels, step.waiting):
            assert not array.flags.writeable


@pytest.mark.parametrize(
    ("eps", "min_samples", "said"),
    [
        (0, 2, "eps is 0; it must be more than 0"),
        (-1, 2, "eps is -1"),
        (float("nan"), 2, "eps is nan"),
        (1, 0, "min_samples is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_used_is_said(eps, min_samples, said):
    with pytest.raises(BadRequest, match=said):
        next(dbscan.steps(TOY, eps, min_samples))


def test_json_of_steps_adds_up_to_the_end():
    X = random_set(2)
    labels, kinds, before = np.full(len(X), -1), np.zeros(len(X)), None
    for step in dbscan.steps(X, 0.8, 4):
        data = json.loads(json.dumps(step.to_json(before)))
        labels[data["labels"]["at"]] = data["labels"]["to"]
        kinds[data["kinds"]["at"]] = data["kinds"]["to"]
        assert data["neighbours"] == step.neighbours.tolist()
        before = step
    np.testing.assert_array_equal(labels, step.labels)
    np.testing.assert_array_equal(kinds, step.kinds)
