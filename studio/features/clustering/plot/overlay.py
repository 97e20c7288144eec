"""What a plot of a data set lays over its points: their clusters, centres and ellipses.

An answer is, little-endian as that of :mod:`studio.features.clustering.plot.points`: the length
of the header as uint32; the header, JSON in UTF-8 with spaces at its end up to a multiple of 4
bytes; and a label for each point that is shown there, in the same order, as int16, or as int32
where the header's ``dtype`` says so. −1 is noise.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.clustering.data.pictures import centres_of, rgb_of
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.scaling import Scaling, scale
from pipelines.clustering.projecting import Method, choose_rows, project
from pipelines.clustering.steps.arrays import round_to_lists
from pipelines.clustering.steps.frames import decimals_for
from pipelines.clustering.steps.gaussians import Mixture, ellipses
from pipelines.clustering.steps.gmm import DEVIATIONS
from pipelines.clustering.wire import Array, Matrix
from studio.features.clustering.computing import compute
from studio.features.clustering.results.results import Clustering

MAX_TOLD = 1000
"""Clusters whose sizes, centres and ellipses are told: the first ones."""


def overlay(
    found: Clustering,
    data: Callable[[], Dataset],
    dims: int = 2,
    projection: Method = "pca",
    scaling: str = "none",
    algorithm: str | None = None,
) -> bytes:
    """The bytes for a picture of the data with these axes.

    The header has ``algorithm``, ``points`` (n), ``shown`` (m), ``clusters``, ``noise`` (points of
    none), ``sizes`` (of all points, by label), ``dtype`` and, in the picture's coordinates, which
    go with the scaling of the picture and not of the fit, ``centres`` (k lists) and ``ellipses``
    (k times [x, y, width, height, degrees], of two standard deviations); both null where there are
    none or the picture is UMAP's, ellipses also in 3-D. Where the points are the colours of a
    picture, ``inks`` are the clusters' mean colours, as "#rrggbb"; else it is null.

    Args:
        data: the points; they are only read where there are centres to be placed among them, or
            where they are colours.
        algorithm: which of a comparison's; None: the first.

    Raises:
        NotFound: it has no labels of this algorithm, or they are gone.
    """
    labels = found.labels(algorithm)
    inside = labels[labels >= 0]
    sizes = np.bincount(inside)
    centres = rings = None
    if found.centres is not None and (projection != "umap" or len(found.known.columns) <= dims):
        centres, rings = _ellipses(found, data(), dims, projection, scaling)
    shown = choose_rows(len(labels))
    small = len(sizes) <= np.iinfo(np.int16).max
    header = {
        "algorithm": algorithm or found.algorithms[0],
        "points": len(labels),
        "shown": len(shown),
        "clusters": int(np.count_nonzero(sizes)),
        "noise": len(labels) - len(inside),
        "sizes": sizes[:MAX_TOLD].tolist(),
        "dtype": "int16" if small else "int32",
        "centres": centres,
        "ellipses": rings,
        "inks": _inks(data(), labels) if found.known.kind == "picture" else None,
    }
    return pack(header, labels[shown].astype("<i2" if small else "<i4"))


def _inks(colours: Dataset, labels: np.ndarray) -> list[str]:
    means = rgb_of(centres_of(colours.X, labels)[:MAX_TOLD])
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in means.tolist()]


def pack(header: dict[str, Any], *arrays: np.ndarray) -> bytes:
    """A header and arrays as one answer."""
    text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    text += b" " * (-len(text) % 4)
    return b"".join((len(text).to_bytes(4, "little"), text, *(each.tobytes() for each in arrays)))


def _ellipses(
    found: Clustering, data: Dataset, dims: int, projection: Method, scaling: str
) -> tuple[list[list[float]], list[list[float]] | None]:
    covariances = found.extra.get("covariances") if dims == 2 else None
    arguments = {
        "columns": data.columns,
        "centres": found.centres[:MAX_TOLD],
        "covariances": None if covariances is None else covariances[:MAX_TOLD],
        "fit_scaling": found.request.scaling,
        "dims": dims,
        "projection": projection,
        "scaling": scaling,
    }
    return compute(found.job.owner, _place, data.X, arguments)


def _place(
    X: Matrix,
    columns: tuple[str, ...],
    centres: Matrix,
    covariances: Array | None,
    fit_scaling: Scaling,
    dims: int,
    projection: Method,
    scaling: Scaling,
) -> tuple[list[list[float]], list[list[float]] | None]:
    """Centres and ellipses where the picture has them."""
    shown = scale(X, scaling, columns)
    seen = project(shown.X, dims, projection)
    decimals = decimals_for(seen.points)
    centres = seen.place(shown.there(centres))
    if covariances is None:
        return round_to_lists(centres, decimals), None
    fitted = scale(X, fit_scaling, columns)
    stretch = fitted.spread / shown.spread  # from the fit's scale to the picture's
    turned = seen.turn(covariances, stretch)
    mixture = Mixture(np.ones(len(centres)), centres, turned, "full")
    rings = []
    for each in ellipses(mixture, DEVIATIONS):
        lengths = np.array([*each.centre, each.width, each.height])
        rings.append([*round_to_lists(lengths, decimals), round(each.angle, 1)])
    return round_to_lists(centres, decimals), rings
