"""Mean shift: Comaniciu and Meer 2002."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.clustering.algorithms.base import FLOAT_BYTES, Algorithm, Call, Code, Estimate
from pipelines.clustering.algorithms.fields import MAX_DISTANCE, Parameters

BANDWIDTH_POINTS = 2000
"""The bandwidth is estimated from so many points: all pairs of them are looked at."""
LEAST_BANDWIDTH = 1e-6
"""Times the largest value: the window where the estimate is 0, which mean shift does not take."""


class MeanShiftParameters(Parameters):
    bandwidth: Annotated[
        float | None,
        Field(
            gt=0,
            le=MAX_DISTANCE,
            title="Bandwidth",
            description="Radius of the window that moves uphill. Empty: estimated from the data.",
        ),
    ] = None
    quantile: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            title="Quantile",
            description="For the estimate: the share of points that a window should hold.",
        ),
    ] = 0.2
    binned: Annotated[
        bool,
        Field(
            title="Start on a grid",
            description="Windows start in the cells that hold points, not at every point; faster.",
        ),
    ] = True
    everyone: Annotated[
        bool,
        Field(title="Every point", description="Points far from every peak join one too."),
    ] = True


class MeanShift(Algorithm[MeanShiftParameters]):
    name = "mean_shift"
    place = 90
    title = "Mean shift"
    description = "Moves windows uphill to the peaks of density; a peak is a cluster."
    assumes = "Clusters are hills of density about as wide as the bandwidth."
    cost = "O(s·n·d) time for each iteration of s windows, O(n·d) memory; s is up to n."
    fails = "One bandwidth does not fit hills of different width; slow in many dimensions."
    parameters = MeanShiftParameters
    most = 200_000
    makes_centres = True
    makes_noise = True
    labels_new = True

    def call(self, params: MeanShiftParameters, seed: int) -> Call:
        """Without its bandwidth where that is to be estimated: that needs the points."""
        arguments = {"bin_seeding": params.binned, "cluster_all": params.everyone}
        if params.bandwidth is not None:
            arguments["bandwidth"] = params.bandwidth
        return Call("sklearn.cluster", "MeanShift", arguments)

    def estimated_arguments(
        self, X: np.ndarray, params: MeanShiftParameters, seed: int
    ) -> dict[str, Any]:
        if params.bandwidth is not None:
            return {}
        bandwidth = _estimate(params, seed, min(len(X), BANDWIDTH_POINTS))(X)
        if bandwidth == 0:  # every point has many equals: they are the clusters
            bandwidth = LEAST_BANDWIDTH * (float(np.abs(X).max()) or 1.0)
        return {"bandwidth": bandwidth}

    def estimate(self, n: int, d: int, params: MeanShiftParameters) -> Estimate:
        windows = min(n, 60) if params.binned else n
        rounds = 25  # until a window stands still
        pairs = min(n, BANDWIDTH_POINTS) ** 2
        moving = windows * rounds * (1e-4 + n * params.quantile * (d + 4) * 3e-9)
        size = FLOAT_BYTES * (n * (3 * d + 10) + pairs * 2)
        return Estimate(pairs * 2e-7 + moving + n * 1e-6, size)

    def details(self, estimator: Any, X: np.ndarray) -> dict[str, Any]:
        found = super().details(estimator, X)
        found["model"]["bandwidth"] = float(estimator.bandwidth)
        return found

    def change_code(self, code: Code, params: MeanShiftParameters, seed: int, scaled: bool) -> None:
        if params.bandwidth is None:
            call = _estimate(params, seed, f"min(len(points), {BANDWIDTH_POINTS})")
            listed = ", ".join(f"{name}={value}" for name, value in call.arguments.items())
            code.names.append(call.name)
            code.before += [
                f"bandwidth = {call.name}(points, {listed})",
                f"bandwidth = bandwidth or {LEAST_BANDWIDTH} * "
                "(float(np.abs(points).max()) or 1.0)",
            ]
            code.arguments["bandwidth"] = "bandwidth"


def _estimate(params: MeanShiftParameters, seed: int, points: Any) -> Call:
    """The estimate of the bandwidth from so many points, or as many as an expression says."""
    arguments = {"quantile": params.quantile, "n_samples": points, "random_state": seed}
    return Call("sklearn.cluster", "estimate_bandwidth", arguments)
