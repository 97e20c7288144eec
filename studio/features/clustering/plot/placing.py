"""From where centres are set in the picture to where they are in the data."""

from __future__ import annotations

import numpy as np

from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.scaling import Scaling, scale
from pipelines.clustering.projecting import Method, project
from pipelines.clustering.wire import Matrix
from pipelines.core.errors import BadRequest
from studio.features.clustering.computing import compute
from studio.features.clustering.plot.plot_scene import Scene


def centres_of(owner: str, scene: Scene, data: Dataset) -> tuple[tuple[float, ...], ...]:
    """The centres that were set in a picture of ``data``, (k, d) in the units of the data.

    What the picture does not show of them is that of the mean.

    Raises:
        BadRequest: the picture is not flat, or UMAP's.
    """
    places = np.array(scene.centres, dtype=np.float64).reshape(len(scene.centres), -1)
    flat = len(data.columns) <= 2 or scene.projection != "umap"
    if not flat or scene.dims != 2:
        raise BadRequest(
            "Centres can be placed in two axes of PCA or of the first columns only. Choose these "
            "as the layout of the picture."
        )
    arguments = {
        "columns": data.columns,
        "places": places,
        "scaling": scene.scaling,
        "projection": scene.projection,
    }
    return compute(owner, _lift, data.X, arguments)


def _lift(
    X: Matrix,
    columns: tuple[str, ...],
    places: Matrix,
    scaling: Scaling,
    projection: Method,
) -> tuple[tuple[float, ...], ...]:
    scaled = scale(X, scaling, columns)
    lifted = project(scaled.X, 2, projection).lift(places, scaled.X)
    return tuple(map(tuple, scaled.back(lifted).tolist()))
