"""Which picture of the points a request asks for; points and labels are asked for alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query

from pipelines.clustering.data.scaling import Scaling
from pipelines.clustering.projecting import Method


@dataclass(frozen=True, slots=True)
class View:
    """The axes of a picture.

    Attributes:
        dims: 2 or 3.
        projection: what makes so many axes of the columns.
        scaling: of the columns, before that.
    """

    dims: int
    projection: Method
    scaling: Scaling


async def requested_view(
    dims: Annotated[int, Query(ge=2, le=3)] = 2,
    projection: Method = "pca",
    scaling: Scaling = "none",
) -> View:
    """The view that a request's query names."""
    return View(dims, projection, scaling)


async def requested_algorithm(
    algorithm: Annotated[str | None, Query(max_length=40)] = None,
) -> str | None:
    """Which algorithm of a comparison a request's query names; None: the first."""
    return algorithm


CurrentView = Annotated[View, Depends(requested_view)]
CurrentAlgorithm = Annotated[str | None, Depends(requested_algorithm)]
