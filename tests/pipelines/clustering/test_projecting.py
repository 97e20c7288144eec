from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA

from pipelines.clustering import projecting
from pipelines.clustering.projecting import choose_rows, project
from pipelines.core.errors import BadRequest, Unavailable


@pytest.fixture
def X() -> np.ndarray:
    return load_wine().data


@pytest.mark.parametrize("dims", [2, 3])
def test_pca_equals_scikit_learns_up_to_the_sign_of_axes(X, dims):
    ours, theirs = project(X, dims), PCA(dims).fit(X)
    signs = np.sign((ours.axes * theirs.components_).sum(axis=1))
    assert ours.points == pytest.approx(theirs.transform(X) * signs, abs=1e-6)
    assert ours.explained == pytest.approx(theirs.explained_variance_ratio_)
    assert str(ours.note).startswith(f"The picture shows {dims} axes with 100 % of the variance")


def test_pca_is_the_same_each_time_and_its_axes_point_to_their_largest_entry(X):
    first, again = project(X), project(X)
    assert (first.points == again.points).all()
    assert (first.axes[[0, 1], np.abs(first.axes).argmax(axis=1)] > 0).all()


def test_other_points_are_placed_as_those_of_the_picture(X):
    projection = project(X, 3)
    assert projection.place(X[:5]) == pytest.approx(projection.points[:5])


@pytest.mark.parametrize(("columns", "dims"), [(1, 2), (2, 2), (2, 3), (3, 3)])
def test_few_columns_stay_where_they_are_with_zeros_for_the_rest(X, columns, dims):
    projection = project(X[:, :columns], dims)
    assert projection.method == "none"
    assert (projection.points[:, :columns] == X[:, :columns]).all()
    assert (projection.points[:, columns:] == 0).all()
    assert projection.points.shape == (len(X), dims)
    assert projection.note is None


def test_without_a_projection_the_picture_says_that_it_shows_the_first_columns_only(X):
    projection = project(X, 2, "none")
    assert (projection.points == X[:, :2]).all()
    assert str(projection.note).startswith("The picture shows the first 2 of 13 columns")


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_or_equal_points_have_a_picture(rows):
    projection = project(np.ones((rows, 4)), 3)
    assert (projection.points == 0).all()
    assert (projection.explained == 0).all()


def test_points_are_not_changed(X):
    before = X.copy()
    X.flags.writeable = False
    project(X)
    assert (before == X).all()


def test_other_numbers_of_axes_and_other_methods_are_refused(X):
    with pytest.raises(BadRequest, match="A picture has 2 or 3 axes, not 4"):
        project(X, 4)
    with pytest.raises(BadRequest, match="There is no projection 'tsne'; there are pca and umap"):
        project(X, 2, "tsne")


def test_without_umap_learn_a_sentence_says_so(X, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(Unavailable) as error:
        project(X, 2, "umap")
    assert str(error.value) == (
        "UMAP is done by umap-learn, which is not installed here (pip install umap-learn). "
        "Choose PCA."
    )


class Asked:
    """Stands for umap.UMAP: notes what it is asked for; lays out by the first columns."""

    def __init__(self, **settings):
        Asked.settings = settings

    def fit_transform(self, X):
        return X[:, : Asked.settings["n_components"]].astype(np.float32)


@pytest.fixture
def umap(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Asked))


@pytest.mark.usefixtures("umap")
def test_of_many_points_umap_lays_out_those_that_the_seed_draws_and_says_so(X, monkeypatch):
    monkeypatch.setattr(projecting, "SHOWN_ROWS", 50)
    first, again, other = (project(X, 2, "umap", seed) for seed in (1, 1, 2))
    assert len(set(first.rows)) == 50
    assert (first.rows == again.rows).all()
    assert (first.rows != other.rows).any()
    assert first.points == pytest.approx(X[first.rows, :2], rel=1e-6)
    assert str(first.note).startswith("The picture shows 50 of 178 points laid out by UMAP")
    assert first.place(X) is None
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Asked))
    whole = str(project(X, 2, "umap").note)
    assert whole.startswith("The picture shows all points laid out by UMAP")


@pytest.mark.usefixtures("umap")
def test_umap_works_in_one_thread_from_the_seed_with_no_more_neighbours_than_there_are(X):
    project(X[:9], 2, "umap", seed=7)
    settings = {"n_components": 2, "n_neighbors": 8, "random_state": 7, "n_jobs": 1}
    assert Asked.settings == settings
    with pytest.raises(BadRequest, match="UMAP needs at least 5 points; there are 4"):
        project(X[:4], 2, "umap")


def test_of_few_points_a_picture_shows_all_and_of_many_the_same_ones_each_time():
    assert choose_rows(7).tolist() == list(range(7))
    rows = choose_rows(1_000_000)
    assert len(set(rows)) == len(rows) == 20_000
    assert (np.diff(rows) > 0).all()
    assert rows[-1] < 1_000_000
    assert (rows == choose_rows(1_000_000)).all()
    halves = (rows < 500_000).mean()
    assert halves == pytest.approx(0.5, abs=0.02)  # drawn from everywhere


@pytest.mark.parametrize("size", [1e-140, 1e150])
def test_axes_do_not_depend_on_what_the_data_are_measured_in(size):
    X = np.random.default_rng(1).normal(size=(30, 5)) * [1, 2, 3, 0.5, 1]
    near, far = project(X), project(X * size)
    assert np.allclose(far.points / size, near.points)
    assert np.allclose(far.explained, near.explained)
