"""Affinity propagation: Frey and Dueck 2007."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.clustering.algorithms.base import FLOAT_BYTES, Algorithm, Call, Estimate
from pipelines.clustering.algorithms.fields import Iterations, Parameters
from pipelines.core.messages import Message


class AffinityParameters(Parameters):
    damping: Annotated[
        float,
        Field(
            ge=0.5,
            lt=1,
            title="Damping",
            description="How much of the last message is kept; higher where it swings. "
            "scikit-learn's default is 0.5; 0.9 settles on all the made data.",
        ),
    ] = 0.9
    preference: Annotated[
        float | None,
        Field(
            ge=-1e15,
            le=0,
            title="Preference",
            description="How much each point wants to be an exemplar: nearer to 0 makes more "
            "clusters. Empty: the median similarity (−distance²).",
        ),
    ] = None
    iterations: Iterations = 200
    settled: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            title="Settled after",
            description="It has settled when the exemplars stay for so many iterations.",
        ),
    ] = 15


class AffinityPropagation(Algorithm[AffinityParameters]):
    name = "affinity"
    place = 120
    title = "Affinity propagation"
    description = "Points send messages until some are chosen as exemplars of the others."
    assumes = "Each cluster is well described by one of its points."
    cost = "O(n²) time for each iteration, O(n²) memory."
    fails = "Makes many clusters unless the preference is low; may swing and never settle."
    parameters = AffinityParameters
    most = 5_000
    makes_centres = True
    makes_noise = True
    labels_new = True

    def call(self, params: AffinityParameters, seed: int) -> Call:
        arguments = {
            "damping": params.damping,
            "preference": params.preference,
            "max_iter": params.iterations,
            "convergence_iter": params.settled,
            "random_state": seed,
        }
        return Call("sklearn.cluster", "AffinityPropagation", arguments)

    def estimate(self, n: int, d: int, params: AffinityParameters) -> Estimate:
        """Similarities, availabilities, responsibilities and scratch."""
        seconds = 1e-2 + min(params.iterations, 80) * n * n * 8e-9
        return Estimate(seconds, 4.5 * n * n * FLOAT_BYTES)

    def details(self, estimator: Any, X: np.ndarray) -> dict[str, Any]:
        exemplars = np.asarray(estimator.cluster_centers_indices_, dtype=np.int64)
        return {
            "centres": X[exemplars],
            "exemplars": exemplars,
            "model": {"iterations": int(estimator.n_iter_)},
        }

    def trouble(self, estimator: Any, params: AffinityParameters, clusters: int) -> Message | None:
        if not clusters:
            return Message(
                "The messages had not settled after {iterations} iterations, so there are no "
                "clusters: raise the damping or the iterations.",
                iterations=params.iterations,
            )
        if self.has_settled(estimator, params):
            return None
        return Message(
            "The messages had not settled after {iterations} iterations: these clusters may "
            "mean nothing. Raise the damping or the iterations.",
            iterations=params.iterations,
        )
