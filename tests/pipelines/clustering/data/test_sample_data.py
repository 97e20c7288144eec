from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.neighbors import KNeighborsClassifier

from pipelines.clustering.data.sample_data import MAX_CLUSTERS, SOURCES, DatasetRequest, make
from pipelines.core.errors import BadRequest, validate

MADE = [name for name, source in SOURCES.items() if source.uses]
GROUPED = [name for name in MADE if name not in ("uniform", "s_curve")]


def make_named(name: str, **values):
    return make(DatasetRequest(name=name, **values))


@pytest.mark.parametrize("name", SOURCES)
def test_every_data_set_is_finite_float64_in_c_order_with_a_name_for_each_column(name):
    data = make_named(name, points=200)
    assert data.X.dtype == np.float64
    assert data.X.flags.c_contiguous
    assert np.isfinite(data.X).all()
    assert len(data.columns) == data.X.shape[1] == len(set(data.columns))
    if data.truth is not None:
        assert data.truth.dtype == np.int32
        assert data.truth.shape == (len(data.X),)


@pytest.mark.parametrize("name", MADE)
def test_the_same_seed_gives_the_same_points_and_another_one_others(name):
    first, again, other = (make_named(name, points=50, seed=seed) for seed in (7, 7, 8))
    assert (first.X == again.X).all()
    assert (first.X != other.X).any()


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("points", [1, 2, 3, 997])
def test_as_many_points_come_as_were_asked_for(name, points):
    data = make_named(name, points=points, clusters=5)
    assert len(data.X) == points
    assert data.X.shape[1] == (3 if name == "s_curve" else 2)


@pytest.mark.parametrize("name", ["blobs", "anisotropic", "varied", "spirals"])
@pytest.mark.parametrize("clusters", [1, 3, MAX_CLUSTERS])
def test_clusters_share_the_points_to_one_point_exactly(name, clusters):
    counts = np.bincount(make_named(name, points=1001, clusters=clusters).truth, minlength=clusters)
    assert len(counts) == clusters
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("name", MADE)
def test_what_a_data_set_says_it_uses_changes_it_and_nothing_else_does(name):
    base = {"points": 60, "noise": 0.1, "clusters": 3, "seed": 1}
    other = {"points": 61, "noise": 0.2, "clusters": 4, "seed": 2}
    X = make_named(name, **base).X
    for setting, value in other.items():
        changed = not np.array_equal(X, make_named(name, **(base | {setting: value})).X)
        assert changed == (setting in SOURCES[name].uses), setting


@pytest.mark.parametrize("name", GROUPED)
def test_groups_without_noise_are_told_apart_by_their_nearest_neighbour(name):
    learnt, asked = (make_named(name, points=800, noise=0.01, seed=seed) for seed in (3, 3))
    half = slice(0, 400), slice(400, 800)
    near = KNeighborsClassifier(1).fit(learnt.X[half[0]], learnt.truth[half[0]])
    assert near.score(asked.X[half[1]], asked.truth[half[1]]) > 0.98


def test_without_noise_circles_lie_on_their_radii():
    data = make_named("circles", points=300, noise=0)
    radius = np.linalg.norm(data.X, axis=1)
    assert np.allclose(radius, np.where(data.truth == 0, 1, 0.5))


def test_without_noise_moons_lie_on_their_half_circles():
    data = make_named("moons", points=300, noise=0)
    upper, lower = data.X[data.truth == 0] * 1.5, data.X[data.truth == 1] * 1.5
    assert np.allclose(np.hypot(upper[:, 0] + 0.5, upper[:, 1] + 0.25), 1)
    assert np.allclose(np.hypot(lower[:, 0] - 0.5, lower[:, 1] - 0.25), 1)
    assert (upper[:, 1] >= -0.25 - 1e-12).all()
    assert (lower[:, 1] <= 0.25 + 1e-12).all()


def test_noise_is_the_standard_deviation_of_a_blob():
    X = make_named("blobs", points=2000, clusters=1, noise=0.3).X
    assert X.std(axis=0) == pytest.approx([0.3, 0.3], rel=0.05)


def test_varied_density_has_the_densities_one_two_and_a_half_and_a_half():
    data = make_named("varied", points=2000, clusters=3, noise=0.1)
    spreads = [data.X[data.truth == group].std(axis=0).mean() for group in range(3)]
    assert spreads == pytest.approx([0.1, 0.25, 0.05], rel=0.08)


def test_blobs_stand_apart():
    for seed in range(20):
        X = make_named("blobs", points=5, clusters=5, noise=0, seed=seed).X
        gaps = np.linalg.norm(X[:, None] - X, axis=2) + 9 * np.eye(5)
        assert gaps.min() > 0.5


def test_iris_wine_and_digits_are_those_of_scikit_learn():
    iris = make_named("iris", points=10)
    assert (load_iris().data == iris.X).all()
    assert (iris.truth == load_iris().target).all()
    assert iris.columns[0] == "sepal length (cm)"
    assert make_named("wine").X.shape == (178, 13)
    assert make_named("digits").X.shape == (1797, 64)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"points": 0}, "Points is 0; it must be at least 1."),
        ({"points": 1_000_001}, "Points is 1000001; it must be at most 1000000."),
        ({"noise": -0.1}, "Noise is -0.1; it must be at least 0.0."),
        ({"noise": float("nan")}, "Noise is nan; it must be a number."),
        ({"clusters": 51}, "True clusters is 51; it must be at most 50."),
        ({"seed": 2**32}, "Data seed is 4294967296; it must be at most 4294967295."),
        ({"file": "/etc/passwd"}, "There is no setting called file."),
    ],
)
def test_a_value_out_of_bounds_gets_a_sentence_with_the_limit(setting, sentence):
    with pytest.raises(BadRequest) as error:
        validate(DatasetRequest, setting)
    assert str(error.value) == sentence
