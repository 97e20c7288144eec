from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from pipelines.clustering.data.scaling import scale
from pipelines.core.errors import BadRequest

THEIRS = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}


@pytest.fixture
def X() -> np.ndarray:
    random = np.random.default_rng(0)
    return random.standard_normal((101, 4)) * [1, 1e-6, 1e4, 3] + [0, 5, -1e5, 1]


NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize("how", THEIRS)
def test_each_scaling_equals_scikit_learns(X, how):
    assert pytest.approx(THEIRS[how]().fit_transform(X), abs=1e-9) == scale(X, how, NAMES).X


@pytest.mark.parametrize("how", THEIRS)
def test_a_constant_column_becomes_zero_as_in_scikit_learn_and_is_named(X, how):
    X[:, 1] = 0.1  # whose mean is not exactly 0.1
    scaled = scale(X, how, NAMES)
    assert (scaled.X[:, 1] == 0).all()
    assert pytest.approx(THEIRS[how]().fit_transform(X), abs=1e-9) == scaled.X
    assert str(scaled.notes[0]) == "'b' have one value only and tell no points apart."


def test_constant_columns_are_named_without_scaling_too(X):
    X[:, 3] = 2
    (note,) = scale(X, "none", NAMES).notes
    assert "'d' have one value only" in str(note)


def test_a_column_whose_middle_half_is_flat_is_centred_as_in_scikit_learn_and_named(X):
    X[:80, 2] = 7
    scaled = scale(X, "robust", NAMES)
    assert pytest.approx(RobustScaler().fit_transform(X), abs=1e-9) == scaled.X
    (note,) = scaled.notes
    assert "the values of 'c' are the same" in str(note)


@pytest.mark.parametrize("how", [*THEIRS, "none"])
def test_the_way_back_leads_to_where_points_came_from(X, how):
    scaled = scale(X, how, NAMES)
    assert scaled.back(scaled.X) == pytest.approx(X, rel=1e-9)


@pytest.mark.parametrize("how", [*THEIRS, "none"])
def test_points_are_not_changed_and_stay_in_c_order(X, how):
    before = X.copy()
    X.flags.writeable = False
    scaled = scale(X, how, NAMES)
    assert (before == X).all()
    assert scaled.X.flags.c_contiguous
    assert scaled.X.dtype == np.float64


def test_one_point_is_constant_in_all_columns():
    scaled = scale(np.array([[1.0, 2.0]]), "standard", ("a", "b"))
    (note,) = scaled.notes
    assert "'a', 'b' have one value only" in str(note)
    assert scaled.X.tolist() == [[0, 0]]


def test_another_scaling_is_refused():
    with pytest.raises(BadRequest) as error:
        scale(np.zeros((1, 1)), "log", ("a",))
    assert str(error.value) == (
        "There is no scaling 'log'; there are none, standard, minmax, robust."
    )


@pytest.mark.parametrize(
    ("column", "how", "sentence"),
    [
        ([0, 0, 1e-200, 2e-200, 1], "robust", "divides the column 'b' by 2.0e-200"),
        ([-1e308, 0, 1e-310, 0, 1e308], "robust", "beyond 1e+150"),
        ([0, 1, 2e150, 3, 4], "none", "has values up to 2.0e+150"),
        ([0, 1, np.inf, 3, 4], "none", "has values up to inf"),
        ([1e-200, 2e-200, 3e-200, 4e-200, 0], "none", "within 4.0e-200 of one another"),
    ],
)
def test_what_no_distance_can_be_computed_of_is_refused_after_scaling(column, how, sentence):
    with pytest.raises(BadRequest, match=re.escape(sentence)):
        scale(np.column_stack([np.zeros(5), column]), how, ("a", "b"))


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e140, 1e300])
@pytest.mark.parametrize("how", ["standard", "minmax", "robust"])
def test_scaling_is_the_same_whatever_the_data_are_measured_in(size, how):
    near = np.array([[1.0], [2.0], [4.0], [7.0]])
    assert np.allclose(scale(near * size, how).X, scale(near, how).X)
    assert scale(near * size, how).notes == ()
