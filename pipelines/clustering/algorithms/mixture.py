"""A mixture of normal distributions: Dempster, Laird and Rubin 1977."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.clustering.algorithms.base import (
    FLOAT_BYTES,
    MOST_POINTS,
    Algorithm,
    Call,
    Estimate,
)
from pipelines.clustering.algorithms.fields import (
    MAX_CLUSTERS,
    Covariance,
    Iterations,
    Parameters,
    Starts,
    Tolerance,
)
from pipelines.clustering.steps.gaussians import Mixture
from pipelines.core.errors import BadRequest


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
            title="Regularisation",
            description="Added to the variances, so that no ellipse shrinks to a line or a point.",
        ),
    ] = 1e-6


class GaussianMixture(Algorithm[MixtureParameters]):
    name = "mixture"
    place = 80
    title = "Gaussian mixture"
    description = "Fits k normal distributions by expectation and maximisation."
    assumes = "Each cluster is a normal distribution: an ellipse of its own size and tilt."
    cost = "O(n·k·d²) time for each iteration (d for diag and spherical), O(n·k) memory."
    fails = "Bent clusters need several ellipses; a poor start ends in a poor optimum."
    parameters = MixtureParameters
    most = MOST_POINTS
    makes_centres = True
    makes_soft = True
    labels_new = True
    settles = True

    def call(self, params: MixtureParameters, seed: int) -> Call:
        arguments = {
            "n_components": params.clusters,
            "covariance_type": params.covariance,
            "n_init": params.starts,
            "max_iter": params.iterations,
            "tol": params.tolerance,
            "reg_covar": params.regularisation,
            "random_state": seed,
        }
        return Call("sklearn.mixture", "GaussianMixture", arguments)

    def least(self, params: MixtureParameters) -> int:
        return 2

    def estimate(self, n: int, d: int, params: MixtureParameters) -> Estimate:
        k, rounds = params.clusters, min(20, params.iterations)
        work = d * d if params.covariance in ("full", "tied") else d
        seconds = params.starts * (1e-2 + rounds * n * k * (work * 1.5e-9 + 2.5e-8))
        return Estimate(seconds, FLOAT_BYTES * (n * (4 * k + 2 * d) + k * d * d * 3))

    def details(self, estimator: Any, X: np.ndarray) -> dict[str, Any]:
        mixture = Mixture(
            estimator.weights_, estimator.means_, estimator.covariances_, estimator.covariance_type
        )
        return {
            "centres": estimator.means_,
            "soft": estimator.predict_proba(X),
            "covariances": mixture.matrices(),
            "weights": estimator.weights_,
            "model": {
                "log_likelihood": float(estimator.score(X)) * len(X),
                "bic": float(estimator.bic(X)),
                "aic": float(estimator.aic(X)),
                "iterations": int(estimator.n_iter_),
                "settled": bool(estimator.converged_),
            },
        }

    def refusal(self) -> BadRequest:
        return BadRequest(
            "{algorithm} cannot cluster these points with these settings: a component has "
            "collapsed, so that it has no width in some direction. Ask for fewer clusters, "
            "raise the regularisation, or scale the data.",
            algorithm=self.title,
        )
