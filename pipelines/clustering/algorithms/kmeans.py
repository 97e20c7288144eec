"""K-Means: Lloyd 1982, begun as Arthur and Vassilvitskii 2007 do."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from pipelines.clustering.algorithms.base import (
    FLOAT_BYTES,
    MOST_POINTS,
    Algorithm,
    Call,
    Code,
    Estimate,
)
from pipelines.clustering.algorithms.fields import (
    MAX_CLUSTERS,
    Clusters,
    Coordinate,
    Iterations,
    Parameters,
    Starts,
    Tolerance,
)
from pipelines.clustering.data.scaling import Scaled, check_size
from pipelines.core.errors import BadRequest

ROUNDS = 15.0
"""Iterations of Lloyd's until it settles on blobs."""


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

    def in_scale(self, scaled: Scaled, columns: int) -> KMeansParameters:
        if self.start != "own" or len(self.centres[0]) != columns:
            return self  # where the columns differ, the algorithm's check says so
        centres = scaled.there(np.array(self.centres, dtype=np.float64))
        check_size(centres, tuple(f"x{number + 1}" for number in range(columns)))
        return self.model_copy(update={"centres": tuple(map(tuple, centres.tolist()))})


class KMeans(Algorithm[KMeansParameters]):
    name = "kmeans"
    place = 10
    title = "K-Means"
    description = "Moves k centres until each is the mean of the points nearest to it."
    assumes = "Clusters are round, about equally wide and equally large."
    cost = "O(n·k·d) time for each iteration, O(n·d) memory."
    fails = "Long, bent or very unequal clusters are cut; a far-off point pulls a centre."
    parameters = KMeansParameters
    most = MOST_POINTS
    makes_centres = True
    labels_new = True
    settles = True

    def call(self, params: KMeansParameters, seed: int) -> Call:
        own = params.start == "own"
        arguments = {
            "n_clusters": params.k,
            "init": [list(row) for row in params.centres] if own else params.start,
            "n_init": 1 if own else params.starts,
            "max_iter": params.iterations,
            "tol": params.tolerance,
            "random_state": seed,
        }
        return Call("sklearn.cluster", "KMeans", arguments)

    def estimate(self, n: int, d: int, params: KMeansParameters) -> Estimate:
        starts = 1 if params.start == "own" else params.starts
        rounds = min(ROUNDS, params.iterations)
        seconds = starts * (2e-3 + rounds * n * (params.k * (d + 4) * 6e-10 + 4e-9))
        return Estimate(seconds, lloyd_bytes(n, d))

    def check(self, X: np.ndarray, params: KMeansParameters) -> None:
        super().check(X, params)
        if params.start == "own" and len(params.centres[0]) != X.shape[1]:
            raise BadRequest(
                "The own centres have {values} values; the points have {columns}. Choose so many "
                "columns, or another start.",
                values=len(params.centres[0]),
                columns=X.shape[1],
            )

    def change_code(self, code: Code, params: KMeansParameters, seed: int, scaled: bool) -> None:
        if params.start == "own":
            code.before.append(f"centres = np.array({code.arguments['init']})")
            code.arguments["init"] = "scaler.transform(centres)" if scaled else "centres"


def lloyd_bytes(n: int, d: int) -> float:
    """What K-Means and its kin take: a centred copy, norms, labels, distances."""
    return n * (d * FLOAT_BYTES + 4 * FLOAT_BYTES) + 2**20
