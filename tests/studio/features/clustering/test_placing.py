"""Centres that are clicked in a picture start where they were clicked."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.scaling import SCALINGS, scale
from pipelines.clustering.projecting import project
from pipelines.core.errors import BadRequest
from studio.features.clustering.plot.placing import centres_of
from studio.features.clustering.plot.plot_scene import Scene


def make_points(columns: int) -> Dataset:
    X = np.random.default_rng(3).normal(size=(200, columns)) * 10.0 ** np.arange(columns) + 7
    return Dataset(X, None, tuple(f"x{at}" for at in range(columns)), "Points")


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("projection", ["pca", "none"])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_a_centre_is_in_the_data_where_the_picture_has_it(columns, projection, scaling):
    data = make_points(columns)
    scaled = scale(data.X, scaling)
    seen = project(scaled.X, 2, projection)
    clicked = seen.points[[4, 90]] + 0.25 * (np.arange(2) < columns)
    scene = Scene(
        scaling=scaling, projection=projection, centres=tuple(map(tuple, clicked.tolist()))
    )
    centres = np.array(centres_of("ada", scene, data))
    assert centres.shape == (2, columns)
    assert np.allclose(seen.place(scaled.there(centres)), clicked)


def test_of_two_columns_a_clicked_point_is_that_point_whatever_the_scaling():
    data = make_points(2)
    places = scale(data.X, "standard").X[:3]
    scene = Scene(scaling="standard", centres=tuple(map(tuple, places.tolist())))
    assert np.allclose(centres_of("ada", scene, data), data.X[:3])


@pytest.mark.parametrize("layout", [{"projection": "umap"}, {"dims": 3}])
def test_no_centre_is_placed_where_there_is_no_way_back(layout):
    with pytest.raises(BadRequest, match="two axes of PCA"):
        centres_of("ada", Scene(centres=((0.0, 0.0),), **layout), make_points(5))
