"""OPTICS: Ankerst, Breunig, Kriegel and Sander 1999."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipelines.clustering.algorithms.base import FLOAT_BYTES, Algorithm, Call, Estimate
from pipelines.clustering.algorithms.fields import MAX_DISTANCE, Eps, Parameters


class OPTICSParameters(Parameters):
    min_samples: Annotated[
        int,
        Field(
            ge=2,
            le=10_000,
            title="Neighbours (min_samples)",
            description="The distance to so many points, itself included, is how dense it is here.",
        ),
    ] = 5
    max_eps: Annotated[
        float | None,
        Field(
            gt=0,
            le=MAX_DISTANCE,
            title="Radius at most",
            description="Farther points are not looked at. Empty: no limit.",
        ),
    ] = None
    method: Annotated[
        Literal["xi", "dbscan"],
        Field(
            title="How it is cut",
            description="xi: at steep slopes of the reachability plot. dbscan: at one height, eps.",
        ),
    ] = "xi"
    xi: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            title="Steepness (xi)",
            description="How much reachability must fall from one point to the next to begin a "
            "cluster: 0.05 is 5 %.",
        ),
    ] = 0.05
    eps: Eps = 0.5
    min_cluster_size: Annotated[
        int | None,
        Field(
            ge=2,
            le=100_000,
            title="Smallest cluster",
            description="With xi. Empty: as the neighbours (min_samples).",
        ),
    ] = None


class OPTICS(Algorithm[OPTICSParameters]):
    name = "optics"
    place = 60
    title = "OPTICS"
    description = "Orders points so that clusters are valleys of the reachability plot."
    assumes = "Clusters are denser than what surrounds them, each in its own way."
    cost = "O(n²·d) time, O(n·d) memory."
    fails = "Gentle slopes between clusters hide where one ends; slow."
    parameters = OPTICSParameters
    most = 50_000
    makes_noise = True
    all_noise = "Every point is noise: lower the smallest cluster, or the neighbours."

    def call(self, params: OPTICSParameters, seed: int) -> Call:
        arguments: dict[str, Any] = {
            "min_samples": params.min_samples,
            "max_eps": float("inf") if params.max_eps is None else params.max_eps,
            "cluster_method": params.method,
        }
        if params.method == "xi":
            arguments |= {"xi": params.xi, "min_cluster_size": params.min_cluster_size}
        else:  # a height above the largest radius finds nothing that is not known at that radius
            arguments["eps"] = min(params.eps, arguments["max_eps"])
        return Call("sklearn.cluster", "OPTICS", arguments)

    def least(self, params: OPTICSParameters) -> int:
        return max(2, params.min_samples, params.min_cluster_size or 0)

    def estimate(self, n: int, d: int, params: OPTICSParameters) -> Estimate:
        """A step of Python for each point, and a query of a tree that sees ever more of them."""
        seconds = n * 1.8e-3 + n * n * (d + 10) * 2e-9
        size = n * (FLOAT_BYTES * d + 20 * FLOAT_BYTES + params.min_samples * 16)
        return Estimate(seconds, size)

    def details(self, estimator: Any, X: np.ndarray) -> dict[str, Any]:
        return {
            "ordering": estimator.ordering_,
            "reachability": estimator.reachability_,
            "core_distances": estimator.core_distances_,
        }
