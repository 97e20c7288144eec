from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from sklearn.cluster import KMeans

from pipelines.clustering.labels import renumber
from pipelines.clustering.steps import kmeans
from pipelines.core.errors import BadRequest
from tests.pipelines.clustering.steps.sets import THIRTY, assert_unchanged, random_set

SLOW = np.random.default_rng(0).uniform(size=(300, 2))  # takes many rounds


def assert_ends_like_scikit_learn(X, k, seed=0, tol=1e-4, max_rounds=300, start="k-means++"):
    *_, last = kmeans.steps(X, k, start, seed, tol, max_rounds)
    theirs = KMeans(k, init=start, n_init=1, random_state=seed, tol=tol, max_iter=max_rounds)
    theirs.fit(X)
    np.testing.assert_array_equal(last.labels, theirs.labels_)
    np.testing.assert_allclose(last.centres, theirs.cluster_centers_, rtol=1e-9, atol=1e-9)
    assert last.inertia == pytest.approx(theirs.inertia_, rel=1e-9, abs=1e-9)
    assert last.round - (last.end != "nothing moved") == theirs.n_iter_
    return last


@THIRTY
@pytest.mark.parametrize("start", ["k-means++", "random"])
def test_same_seed_ends_as_scikit_learn_does(number, start):
    X = random_set(number)
    assert_ends_like_scikit_learn(X, 1 + number % 8, seed=number, start=start)


@THIRTY
def test_own_centres_end_as_scikit_learn_does(number):
    X = random_set(number)
    k = 2 + number % 6
    rng = np.random.default_rng(number)
    start = rng.uniform(X.min(axis=0), X.max(axis=0), (k, X.shape[1]))
    assert_ends_like_scikit_learn(X, k, start=start, tol=0)


@THIRTY
def test_centres_without_points_are_put_where_scikit_learn_puts_them(number):
    X = random_set(number)
    start = np.concatenate([X[:2], np.full((1 + number % 3, X.shape[1]), 1000.0)])
    relocated = [step.relocated.tolist() for step in kmeans.steps(X, len(start), start)]
    assert relocated[2] == list(range(2, len(start)))
    assert_ends_like_scikit_learn(X, len(start), start=start)


@THIRTY
def test_wild_starts_end_with_scikit_learns_clusters_if_not_its_numbers(number):
    rng = np.random.default_rng(number)
    X = rng.normal(size=(12, 2)) * 3
    start = rng.uniform(-30, 30, (7, 2))  # most lose all points, some twice
    *_, last = kmeans.steps(X, 7, start)
    theirs = KMeans(7, init=start, n_init=1).fit(X)
    np.testing.assert_array_equal(renumber(last.labels), renumber(theirs.labels_))
    assert last.inertia == pytest.approx(theirs.inertia_, rel=1e-9, abs=1e-12)


@THIRTY
def test_inertia_never_rises(number):
    X = random_set(number)
    far = np.concatenate([X[:1], np.full((2, X.shape[1]), 1000.0)])
    for start in ("k-means++", "random", far):
        inertia = [step.inertia for step in kmeans.steps(X, 3, start, number)]
        assert all(b <= a * (1 + 1e-12) for a, b in pairwise(inertia))


@pytest.mark.parametrize("max_rounds", [1, 2, 3])
def test_last_round_ends_with_labels_that_fit_the_centres(max_rounds):
    last = assert_ends_like_scikit_learn(SLOW, 8, seed=1, tol=0, max_rounds=max_rounds)
    assert last.end == "last round"


def test_wide_tolerance_ends_early_as_in_scikit_learn():
    last = assert_ends_like_scikit_learn(SLOW, 8, seed=1, tol=0.01)
    assert last.end == "within tolerance"


def test_worked_by_hand():
    X = np.array([[0.0], [2.0], [3.0], [10.0]])
    start = np.array([[0.0], [2.0]])
    seen = [
        (s.phase, s.round, s.labels.tolist(), s.centres[:, 0].tolist(), s.inertia, s.end)
        for s in kmeans.steps(X, 2, start)
    ]
    assert seen == [
        ("start", 0, [-1, -1, -1, -1], [0, 2], 65, None),
        ("assign", 1, [0, 1, 1, 1], [0, 2], 65, None),
        ("move", 1, [0, 1, 1, 1], [0, 5], 38, None),
        ("assign", 2, [0, 0, 1, 1], [0, 5], 33, None),
        ("move", 2, [0, 0, 1, 1], [1, 6.5], 26.5, None),
        ("assign", 3, [0, 0, 0, 1], [1, 6.5], 18.25, None),
        ("move", 3, [0, 0, 0, 1], [5 / 3, 10], pytest.approx(14 / 3), None),
        ("assign", 4, [0, 0, 0, 1], [5 / 3, 10], pytest.approx(14 / 3), "nothing moved"),
    ]


def test_trail_holds_every_place_a_centre_has_been():
    X = random_set(2)
    centres = []
    for step in kmeans.steps(X, 4, "random"):
        if step.phase != "assign":
            centres.append(step.centres)
        np.testing.assert_array_equal(step.trail, centres)
    assert len(centres) > 2


def test_equally_near_centres_give_the_point_to_the_first():
    first = next(s for s in kmeans.steps(np.array([[1.0], [0], [2]]), 2, np.array([[0.0], [2]]))
                 if s.phase == "assign")  # fmt: skip
    assert first.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("start", ["k-means++", "random"])
def test_equal_points_are_one_cluster_and_end_at_once(start):
    seen = list(kmeans.steps(np.full((9, 2), 3.7), 3, start))
    assert {step.inertia for step in seen} == {0}
    assert seen[-1].labels.tolist() == [0] * 9
    assert seen[-1].end
    assert len(seen) == 4
    assert (seen[-1].trail == 3.7).all()


def test_duplicates_end_as_in_scikit_learn_and_together():
    X = np.repeat(random_set(1, most=40), 3, axis=0)
    last = assert_ends_like_scikit_learn(X, 5, seed=2)
    assert (last.labels.reshape(-1, 3) == last.labels[::3, None]).all()


def test_one_point_is_its_own_centre():
    *_, last = kmeans.steps(np.array([[3.0, 4.0]]), 1)
    assert last.labels.tolist() == [0]
    assert last.centres.tolist() == [[3.0, 4.0]]
    assert last.inertia == 0


def test_as_many_clusters_as_points_leaves_none_over():
    X = random_set(1)
    *_, last = kmeans.steps(X, len(X))
    assert sorted(last.labels) == list(range(len(X)))
    assert last.inertia == 0


def test_input_is_never_changed():
    start = random_set(1)[:3].copy()
    assert_unchanged(random_set(1), lambda X: list(kmeans.steps(X, 3, start)))
    np.testing.assert_array_equal(start, random_set(1)[:3])


def test_same_seed_gives_the_same_labels_and_another_another_start():
    X = random_set(6)
    once, again, other = (list(kmeans.steps(X, 5, seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a.labels, b.labels) for a, b in zip(once, again, strict=True))
    assert not np.array_equal(once[0].centres, other[0].centres)


def test_steps_cannot_be_written_to():
    for step in kmeans.steps(random_set(1), 3):
        for array in (step.labels, step.centres, step.trail, step.relocated):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


@pytest.mark.parametrize(
    ("X", "clusters", "start", "said"),
    [
        (np.zeros((2, 2)), 3, "random", "2 points cannot make 3 clusters; choose at most 2."),
        (np.zeros((2, 2)), 0, "random", "Clusters is 0; it must be at least 1."),
        (np.zeros((0, 2)), 1, "random", "0 rows and 2 columns"),
        (np.zeros((2, 0)), 1, "random", "2 rows and 0 columns"),
        (np.array([[1.0], [np.nan], [np.inf]]), 1, "random", "2 values are missing or infinite"),
        (np.zeros((4, 2)), 2, np.zeros((3, 2)), "are 3 × 2; 2 × 2 are needed"),
        (np.zeros((4, 2)), 1, np.array([[0, np.nan]]), "1 values are missing"),
    ],
)
def test_what_cannot_be_used_is_said(X, clusters, start, said):
    with pytest.raises(BadRequest, match=said):
        next(kmeans.steps(X, clusters, start))


def test_rounds_are_at_least_one():
    with pytest.raises(BadRequest, match="Rounds is 0; it must be at least 1"):
        next(kmeans.steps(np.zeros((4, 2)), 1, max_rounds=0))


def test_json_of_steps_adds_up_to_the_end():
    X = random_set(2)
    labels, trail, before = np.full(len(X), -1), [], None
    for step in kmeans.steps(X, 4, "random", seed=3):
        data = json.loads(json.dumps(step.to_json(before, decimals=3)))
        labels[data["labels"]["at"]] = data["labels"]["to"]
        trail += data["trail"]
        before = step
    np.testing.assert_array_equal(labels, step.labels)
    np.testing.assert_allclose(trail, step.trail, atol=0.0005001)
    assert data["end"] == step.end
    assert data["inertia"] == pytest.approx(step.inertia)
