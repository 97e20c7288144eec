"""Settings of algorithms whose clusters have centres: K-Means and its kin, mixtures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.clustering.algorithms.fields import (
    MAX_CLUSTERS,
    Clusters,
    Coordinate,
    Covariance,
    Iterations,
    Parameters,
    Starts,
    Tolerance,
)
from pipelines.core.errors import BadRequest

DrawnStart = Annotated[
    Literal["k-means++", "random"],
    Field(
        title="Starting centres",
        description="k-means++: centres far apart. Random: any points.",
    ),
]


class KMeansParameters(Parameters):
    clusters: Clusters = 3
    start: Annotated[
        Literal["k-means++", "random", "own"],
        Field(
            title="Starting centres",
            description="k-means++: centres far apart. Random: any points. Own: the centres that "
            "you have set; their number is k.",
        ),
    ] = "k-means++"
    centres: Annotated[
        tuple[tuple[Coordinate, ...], ...] | None,
        Field(
            min_length=1,
            max_length=MAX_CLUSTERS,
            title="Own centres",
            description="One row each, in the units of the data, before scaling.",
        ),
    ] = None
    starts: Starts = 10
    iterations: Iterations = 300
    tolerance: Tolerance = 1e-4

    @model_validator(mode="after")
    def _own_centres(self) -> KMeansParameters:
        if self.start != "own":
            return self
        if self.centres is None:
            raise BadRequest("Own centres are missing: set at least one, or choose another start.")
        widths = {len(row) for row in self.centres}
        if len(widths) > 1:
            raise BadRequest(
                "The own centres have {least} to {most} values; each must have as many as a point.",
                least=min(widths),
                most=max(widths),
            )
        return self

    @property
    def k(self) -> int:
        return len(self.centres) if self.start == "own" and self.centres else self.clusters


class MiniBatchParameters(Parameters):
    clusters: Clusters = 3
    start: DrawnStart = "k-means++"
    batch: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            title="Batch",
            description="So many points, drawn at random, move the centres at a time.",
        ),
    ] = 1024
    starts: Starts = 3
    iterations: Iterations = 100


class BisectingParameters(Parameters):
    clusters: Clusters = 3
    start: DrawnStart = "k-means++"
    split: Annotated[
        Literal["biggest_inertia", "largest_cluster"],
        Field(
            title="Which to split",
            description="biggest_inertia: the cluster with the largest sum of squares. "
            "largest_cluster: the one with the most points.",
        ),
    ] = "biggest_inertia"
    starts: Starts = 3
    iterations: Iterations = 300
    tolerance: Tolerance = 1e-4


class MixtureParameters(Parameters):
    clusters: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_CLUSTERS,
            title="Components (k)",
            description="How many normal distributions are mixed.",
        ),
    ] = 3
    covariance: Annotated[
        Covariance,
        Field(
            title="Covariance",
            description="Full: any ellipse each. Tied: one ellipse for all. Diag: ellipses along "
            "the axes. Spherical: circles.",
        ),
    ] = "full"
    starts: Starts = 1
    iterations: Iterations = 100
    tolerance: Tolerance = 1e-3
    regularisation: Annotated[
        float,
        Field(
            ge=0,
            le=1e6,
            allow_inf_nan=False,
            title="Regularisation",
            description="Added to the variances, so that no ellipse shrinks to a line or a point.",
        ),
    ] = 1e-6
