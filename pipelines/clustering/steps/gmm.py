"""Gaussian mixture, step by step: the E step says how likely each component has made each point,
the M step fits each component to the points by these shares (Dempster, Laird and Rubin 1977,
"Maximum likelihood from incomplete data via the EM algorithm"; Bishop 2006, section 9.2).

From the same start it ends with the parameters, labels and log-likelihoods that
``sklearn.mixture.GaussianMixture`` has; its own start from K-Means is scikit-learn's for the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipelines.clustering.steps import kmeans
from pipelines.clustering.steps.arrays import (
    as_points,
    at_least,
    changes,
    check_clusters,
    round_to_lists,
    significant,
    still,
)
from pipelines.clustering.steps.gaussians import (
    CovarianceType,
    Mixture,
    ellipses,
    fit_gaussians,
    log_densities,
)

Phase = Literal["start", "E", "M"]
End = Literal["within tolerance", "last round"]
UNASSIGNED = -1
MEMBERSHIP_PARTS = 20  # the page is sent memberships in twentieths
DEVIATIONS = 2.0  # of the ellipses that the page is sent: 86 % of a 2-D component are inside


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The state after one half of a round. The arrays cannot be written to.

    Attributes:
        number: 0, 1, …
        phase: what has just been done.
        round: rounds begun, 0 at the start; a round is an E and an M step.
        responsibilities: (n, k) float64: how likely each component has made each point, of the
            last E step; rows sum to 1. At the start K-Means' clusters, 0 or 1.
        labels: (n,) int32, the likeliest component of each point.
        mixture: weights, means and covariances after this step.
        log_likelihood: mean over the points of ln p(x), of ``mixture``. It never falls when
            ``reg_covar`` is 0; else it can, by about what reg_covar adds to the covariances.
        end: why this step is the last; None where it is not.
    """

    number: int
    phase: Phase
    round: int
    responsibilities: np.ndarray
    labels: np.ndarray
    mixture: Mixture
    log_likelihood: float
    end: End | None = None

    def to_json(self, before: Step | None = None, decimals: int = 6) -> dict[str, Any]:
        """What has changed since ``before``, an earlier step that the page has, or since nothing.

        Returns:
            ``labels`` and ``memberships`` as :func:`.arrays.changes`, the latter k numbers of
            twentieths for each point; for 2-D data ``ellipses`` of two standard deviations,
            ``[x, y, width, height, angle]``, lengths rounded to ``decimals``, degrees to tenths.
        """
        data = {
            "number": self.number,
            "phase": self.phase,
            "round": self.round,
            "labels": changes(self.labels, before and before.labels, UNASSIGNED),
            "memberships": changes(_parts(self), None if before is None else _parts(before), 0),
            "weights": round_to_lists(self.mixture.weights, 4),
            "means": round_to_lists(self.mixture.means, decimals),
            "log_likelihood": significant(self.log_likelihood),
            "end": self.end,
        }
        if self.mixture.means.shape[1] == 2:
            data["ellipses"] = [
                [*round_to_lists(np.array([*each.centre, each.width, each.height]), decimals),
                 round(each.angle, 1)]
                for each in ellipses(self.mixture, DEVIATIONS)
            ]  # fmt: skip
        return data


def _parts(step: Step) -> np.ndarray:
    return np.rint(step.responsibilities * MEMBERSHIP_PARTS).astype(np.int8)


def steps(
    X: np.ndarray,
    components: int,
    covariance_type: CovarianceType = "full",
    seed: int = 0,
    reg_covar: float = 1e-6,
    tol: float = 1e-3,
    max_rounds: int = 100,
) -> Iterator[Step]:
    """EM from its start to its end.

    Args:
        X: (n, d) float64, not changed.
        components: k, 1 … n.
        covariance_type: see :class:`.gaussians.Mixture`.
        seed: of K-Means, to whose clusters the components are fitted first; 0 … 2**32 − 1.
        reg_covar: added to the variances in units of X squared, so that no component collapses.
        tol: it ends when the log-likelihood changes by less than this from one E step to the next.
        max_rounds: it ends after so many rounds at the latest.

    Yields:
        A start, then E and M in turn; the last step is an E step, so that the labels fit the
        mixture. O(n·k·d²) time a round.

    Raises:
        BadRequest: k > n, a component that collapses, values that are not finite.
    """
    X = as_points(X)
    check_clusters(components, len(X))
    if max_rounds < 1:
        raise at_least("Rounds", max_rounds, 1)
    if reg_covar < 0:
        raise at_least("reg_covar", reg_covar, 0)
    *_, last = kmeans.steps(X, components, seed=seed)
    labels = last.labels
    responsibilities = np.eye(components)[labels]
    mixture = fit_gaussians(X, responsibilities, covariance_type, reg_covar)
    number = 0

    def step(phase: Phase, round: int, end: End | None = None) -> Step:
        return Step(
            number, phase, round, still(responsibilities), still(labels), mixture,
            log_likelihood, end,
        )  # fmt: skip

    expected, log_likelihood = expect(X, mixture, reg_covar)
    yield step("start", 0)

    before = -np.inf
    settled: End | None = None
    for round in range(1, max_rounds + 2):
        # E: how likely each component has made each point.
        responsibilities = expected
        labels = responsibilities.argmax(axis=1).astype(np.int32)
        if settled is None and round > max_rounds:
            settled = "last round"
        number += 1
        yield step("E", round, settled)
        if settled:
            return
        if abs(log_likelihood - before) < tol:
            settled = "within tolerance"
        before = log_likelihood

        # M: each component is fitted to the points, by how likely it has made them.
        mixture = fit_gaussians(X, responsibilities, covariance_type, reg_covar)
        expected, log_likelihood = expect(X, mixture, reg_covar)
        number += 1
        yield step("M", round)


def expect(X: np.ndarray, mixture: Mixture, reg_covar: float) -> tuple[np.ndarray, float]:
    """Responsibilities, (n, k) float64, and the mean log-likelihood of the points.

    r_nk = w_k N(x_n | μ_k, Σ_k) / p(x_n), p(x_n) = Σ_j w_j N(x_n | μ_j, Σ_j), in logarithms.

    Raises:
        BadRequest: a covariance is not positive definite; the sentence names ``reg_covar``.
    """
    joint = np.log(mixture.weights) + log_densities(X, mixture, reg_covar)  # ln w_k N(x_n | …)
    largest = joint.max(axis=1, keepdims=True)  # taken out, so that exp does not underflow
    total = largest + np.log(np.exp(joint - largest).sum(axis=1, keepdims=True))  # ln p(x_n)
    return np.exp(joint - total), float(total.mean())
