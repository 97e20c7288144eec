from __future__ import annotations

import json
import warnings
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from pipelines.clustering.algorithms.fields import COVARIANCES
from pipelines.clustering.steps import gmm, kmeans
from pipelines.clustering.steps.gaussians import (
    Mixture,
    ellipses,
    fit_gaussians,
    log_densities,
)
from pipelines.core.errors import BadRequest
from tests.pipelines.clustering.steps.sets import THIRTY, assert_unchanged, random_set

TYPES = pytest.mark.parametrize("kind", COVARIANCES)


def assert_ends_like(theirs: GaussianMixture, X, seen):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = theirs.fit_predict(X)
    last = seen[-1]
    np.testing.assert_allclose(last.mixture.weights, theirs.weights_, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(last.mixture.means, theirs.means_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(last.mixture.covariances, theirs.covariances_, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(last.labels, labels)
    np.testing.assert_allclose(last.responsibilities, theirs.predict_proba(X), atol=1e-6)
    likelihoods = [step.log_likelihood for step in seen if step.phase == "E"][:-1]
    np.testing.assert_allclose(likelihoods, theirs.lower_bounds_, rtol=1e-8)
    assert (last.end == "within tolerance") == theirs.converged_


@THIRTY
@TYPES
def test_same_seed_ends_as_scikit_learn_does(number, kind):
    X = random_set(number, least=40)
    k = 1 + number % 5
    seen = list(gmm.steps(X, k, kind, seed=number, reg_covar=1e-4))
    assert_ends_like(GaussianMixture(k, covariance_type=kind, reg_covar=1e-4, random_state=number),
                     X, seen)  # fmt: skip


@THIRTY
@TYPES
def test_log_likelihood_never_falls_without_regularisation(number, kind):
    X = random_set(number, least=80)
    likelihoods = [
        step.log_likelihood for step in gmm.steps(X, 1 + number % 3, kind, reg_covar=0, tol=1e-9)
    ]
    assert all(after >= before - 1e-10 for before, after in pairwise(likelihoods))


@THIRTY
@TYPES
def test_log_likelihood_falls_by_no_more_than_the_usual_regularisation_explains(number, kind):
    X = random_set(number, least=40)
    likelihoods = [step.log_likelihood for step in gmm.steps(X, 1 + number % 4, kind, tol=1e-9)]
    assert all(after >= before - 1e-6 for before, after in pairwise(likelihoods))


def test_e_step_worked_by_hand():
    X = np.array([[0.0], [1.0], [2.0]])
    start = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [4.0]]), np.ones(2), "spherical")
    responsibilities, log_likelihood = gmm.expect(X, start, 0)
    # N(1 | 0, 1) : N(1 | 4, 1) = e^(−1/2) : e^(−9/2) = 1 : e^(−4), and so on
    share = [1 / (1 + np.exp(-8)), 1 / (1 + np.exp(-4)), 0.5]
    np.testing.assert_allclose(responsibilities[:, 0], share)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1)
    density = [(np.exp(-x * x / 2) + np.exp(-((x - 4) ** 2) / 2)) / 2 for x in (0, 1, 2)]
    expected = np.mean(np.log(density)) - 0.5 * np.log(2 * np.pi)
    assert log_likelihood == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "covariances"),
    [
        ("full", [[[1, 1], [1, 1]], [[0, 0], [0, 4]]]),
        ("tied", [[0.5, 0.5], [0.5, 2.5]]),
        ("diag", [[1, 1], [0, 4]]),
        ("spherical", [1, 2]),
    ],
)
def test_m_step_worked_by_hand(kind, covariances):
    X = np.array([[0.0, 0], [2, 2], [5, 1], [5, 5]])
    found = fit_gaussians(X, np.repeat(np.eye(2), 2, axis=0), kind, reg_covar=0)
    np.testing.assert_allclose(found.weights, [0.5, 0.5])
    np.testing.assert_allclose(found.means, [[1, 1], [5, 3]])
    np.testing.assert_allclose(found.covariances, covariances, atol=1e-14)


@pytest.mark.parametrize("number", range(8))
@TYPES
def test_densities_are_scipys(number, kind):
    X = random_set(number)
    *_, last = gmm.steps(X, 3, kind, reg_covar=1e-3)
    theirs = [
        multivariate_normal(mean, covariance).logpdf(X)
        for mean, covariance in zip(last.mixture.means, last.mixture.matrices(), strict=True)
    ]
    np.testing.assert_allclose(log_densities(X, last.mixture, 0), np.transpose(theirs), rtol=1e-8)


def test_start_is_k_means_clusters_and_phases_take_turns():
    X = random_set(4)
    *_, clusters = kmeans.steps(X, 3, seed=5)
    seen = list(gmm.steps(X, 3, seed=5))
    np.testing.assert_array_equal(seen[0].labels, clusters.labels)
    np.testing.assert_array_equal(seen[0].responsibilities, np.eye(3)[clusters.labels])
    np.testing.assert_allclose(seen[0].mixture.means, clusters.centres, rtol=1e-9)
    assert [step.number for step in seen] == list(range(len(seen)))
    turns = ["EM"[number % 2] for number in range(len(seen) - 1)]
    assert [step.phase for step in seen] == ["start", *turns]
    assert seen[-1].phase == "E"
    assert [bool(step.end) for step in seen] == [False] * (len(seen) - 1) + [True]


@pytest.mark.parametrize("deviations", [1.0, 2.5])
def test_ellipses_are_the_points_at_so_many_standard_deviations(deviations):
    covariance = np.array([[2.0, 0.8], [0.8, 1.0]])
    mixture = Mixture(np.ones(1), np.array([[3.0, -4.0]]), covariance[None], "full")
    (ellipse,) = ellipses(mixture, deviations)
    turn = np.radians(ellipse.angle)
    along, across = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    around = np.linspace(0, 2 * np.pi, 40)[:, None]
    rim = (np.cos(around) * along * ellipse.width + np.sin(around) * across * ellipse.height) / 2
    distance = np.einsum("ni,ij,nj->n", rim, np.linalg.inv(covariance), rim)
    np.testing.assert_allclose(np.sqrt(distance), deviations)
    assert ellipse.centre == (3, -4)
    assert ellipse.width > ellipse.height
    assert 0 < ellipse.angle < 90  # the columns grow together


@pytest.mark.parametrize(
    ("kind", "covariances", "sizes"),
    [
        ("full", [[[9, 0], [0, 4]], [[1, 0], [0, 16]]], [(6, 4, 0), (8, 2, 90)]),
        ("tied", [[9, 0], [0, 4]], [(6, 4, 0), (6, 4, 0)]),
        ("diag", [[9, 4], [1, 16]], [(6, 4, 0), (8, 2, 90)]),
        ("spherical", [9, 4], [(6, 6, None), (4, 4, None)]),
    ],
)
def test_each_kind_of_covariance_has_its_ellipses(kind, covariances, sizes):
    mixture = Mixture(np.full(2, 0.5), np.zeros((2, 2)), np.array(covariances, float), kind)
    for ellipse, (width, height, angle) in zip(ellipses(mixture, 1), sizes, strict=True):
        assert (ellipse.width, ellipse.height) == (width, height)
        assert angle is None or ellipse.angle == angle


@TYPES
def test_equal_points_have_a_component_of_the_regularisation_alone(kind):
    X = np.full((9, 2), 3.7)
    *_, last = gmm.steps(X, 2, kind)
    assert set(last.labels) == {0}
    np.testing.assert_allclose(last.mixture.means[0], 3.7)
    np.testing.assert_allclose(last.mixture.matrices()[0], 1e-6 * np.eye(2), atol=1e-12)
    assert_ends_like(GaussianMixture(2, covariance_type=kind, random_state=0), X,
                     list(gmm.steps(X, 2, kind)))  # fmt: skip


@TYPES
def test_equal_points_without_regularisation_collapse_and_that_is_said(kind):
    with pytest.raises(BadRequest, match=r"collapsed.*reg_covar is 0; raise it"):
        list(gmm.steps(np.full((9, 2), 3.7), 1, kind, reg_covar=0))


@TYPES
def test_duplicates_count_twice_and_change_nothing_else(kind):
    X = random_set(2)
    *_, last = gmm.steps(X, 3, kind)
    shares = last.responsibilities
    once, twice = (
        fit_gaussians(np.repeat(X, times, axis=0), np.repeat(shares, times, axis=0), kind, 1e-6)
        for times in (1, 2)
    )
    np.testing.assert_allclose(twice.means, once.means, rtol=1e-8)
    np.testing.assert_allclose(twice.weights, once.weights, rtol=1e-8)
    np.testing.assert_allclose(twice.covariances, once.covariances, rtol=1e-6)


def test_one_point_is_the_mean():
    *_, last = gmm.steps(np.array([[3.0, 4.0]]), 1)
    assert last.mixture.means.tolist() == [[3, 4]]
    assert last.labels.tolist() == [0]


def test_input_is_never_changed():
    assert_unchanged(random_set(1), lambda X: list(gmm.steps(X, 3)))


def test_same_seed_gives_the_same_labels():
    X = random_set(6)
    once, again = (list(gmm.steps(X, 4, seed=3)) for _ in range(2))
    assert all(np.array_equal(a.labels, b.labels) for a, b in zip(once, again, strict=True))


def test_steps_cannot_be_written_to():
    for step in gmm.steps(random_set(1), 2):
        mixture = step.mixture
        for array in (step.labels, step.responsibilities, mixture.weights, mixture.means,
                      mixture.covariances):  # fmt: skip
            assert not array.flags.writeable


@pytest.mark.parametrize(
    ("components", "more", "said"),
    [
        (5, {}, "4 points cannot make 5 clusters"),
        (0, {}, "Clusters is 0; it must be at least 1"),
        (1, {"max_rounds": 0}, "Rounds is 0; it must be at least 1"),
        (1, {"reg_covar": -1}, "reg_covar is -1; it must be at least 0"),
    ],
)
def test_what_cannot_be_used_is_said(components, more, said):
    with pytest.raises(BadRequest, match=said):
        next(gmm.steps(random_set(1)[:4], components, **more))


def test_json_of_steps_adds_up_to_the_end():
    X = random_set(1)
    labels, parts, before = np.full(len(X), -1), np.zeros((len(X), 4)), None
    for step in gmm.steps(X, 4):
        data = json.loads(json.dumps(step.to_json(before, decimals=3)))
        labels[data["labels"]["at"]] = data["labels"]["to"]
        if data["memberships"]["at"]:
            parts[data["memberships"]["at"]] = data["memberships"]["to"]
        before = step
        np.testing.assert_array_equal(labels, step.labels)
        np.testing.assert_allclose(parts / 20, step.responsibilities, atol=0.025001)
        np.testing.assert_allclose(data["means"], step.mixture.means, atol=0.0005001)
        each = ellipses(step.mixture, 2)[0]
        np.testing.assert_allclose(data["ellipses"][0],
                                   [*each.centre, each.width, each.height, each.angle],
                                   atol=0.0501)  # fmt: skip
