"""Gaussian components: their covariances of four kinds, their densities, their ellipses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.clustering.steps.arrays import still
from pipelines.core.errors import BadRequest

CovarianceType = Literal["full", "tied", "diag", "spherical"]


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """k weighted Gaussians of d dimensions.

    Attributes:
        weights: (k,) float64, sum 1.
        means: (k, d) float64.
        covariances: float64; ``full`` (k, d, d), each component its own; ``tied`` (d, d), one for
            all; ``diag`` (k, d), variances along the axes; ``spherical`` (k,), one variance each.
        covariance_type: which of these.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    covariance_type: CovarianceType

    def matrices(self) -> np.ndarray:
        """The covariances as k full matrices, (k, d, d)."""
        components, columns = self.means.shape
        if self.covariance_type == "full":
            return self.covariances
        if self.covariance_type == "tied":
            return np.broadcast_to(self.covariances, (components, columns, columns))
        variances = self.covariances.reshape(components, -1, 1)  # (k, d, 1), or (k, 1, 1)
        return variances * np.eye(columns)


def _still(weights, means, covariances, covariance_type) -> Mixture:
    return Mixture(still(weights), still(means), still(covariances), covariance_type)


def fit_gaussians(
    X: np.ndarray, responsibilities: np.ndarray, covariance_type: CovarianceType, reg_covar: float
) -> Mixture:
    """The M step: the likeliest mixture when each point belongs to components by given shares.

    With N_k = Σ_n r_nk: w_k = N_k / n, μ_k = Σ_n r_nk x_n / N_k, and
    Σ_k = Σ_n r_nk (x_n − μ_k)(x_n − μ_k)ᵀ / N_k; tied: their mean weighted with N_k; diag: their
    diagonals; spherical: the means of these.

    Args:
        X: (n, d) float64.
        responsibilities: (n, k) float64, rows sum to 1.
        covariance_type: which covariances to fit.
        reg_covar: added to every variance.
    """
    found = responsibilities.sum(axis=0)
    # As in scikit-learn, a component without points has next to no weight, and its mean is 0.
    counts = np.maximum(found, 10 * np.finfo(np.float64).eps)
    weights = counts / counts.sum()
    # Taken from one of the points, the mean of equal points is exactly them.
    origin = X[0]
    from_origin = responsibilities.T @ (X - origin) / counts[:, None]
    means = origin * (found / counts)[:, None] + from_origin
    apart = [X - mean for mean in means]  # k of (n, d)
    if covariance_type in ("full", "tied"):
        shares = responsibilities.T[:, :, None]  # (k, n, 1)
        scatter = np.stack([(r * x).T @ x for r, x in zip(shares, apart, strict=True)])
        full = scatter / counts[:, None, None]
        covariances = full if covariance_type == "full" else np.tensordot(weights, full, axes=1)
        covariances = covariances + reg_covar * np.eye(X.shape[1])
    else:
        squares = np.stack([r @ x**2 for r, x in zip(responsibilities.T, apart, strict=True)])
        covariances = squares / counts[:, None] + reg_covar
        if covariance_type == "spherical":
            covariances = covariances.mean(axis=1)
    return _still(weights, means, covariances, covariance_type)


def log_densities(X: np.ndarray, mixture: Mixture, reg_covar: float) -> np.ndarray:
    """ln N(x | μ, Σ) of every point and component, (n, k) float64.

    With Σ = L Lᵀ: −½ (‖L⁻¹(x − μ)‖² + d ln 2π) − Σ_i ln L_ii.

    Raises:
        BadRequest: a covariance is not positive definite; the sentence names ``reg_covar``.
    """
    from scipy.linalg import solve_triangular

    columns = X.shape[1]
    densities = []
    for mean, covariance in zip(mixture.means, mixture.matrices(), strict=True):
        try:
            L = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            raise BadRequest(
                "A component has collapsed: its points lie so close together in some direction "
                "that its variance is 0. reg_covar is {reg_covar}; raise it, or choose fewer "
                "components.",
                reg_covar=reg_covar,
            ) from None
        whitened = solve_triangular(L, (X - mean).T, lower=True)  # (d, n)
        distance = (whitened**2).sum(axis=0)  # squared, in standard deviations
        log_root = np.log(np.diag(L)).sum()  # ½ ln det Σ
        densities.append(-0.5 * (distance + columns * np.log(2 * np.pi)) - log_root)
    return np.stack(densities, axis=1)


@dataclass(frozen=True, slots=True)
class Ellipse:
    """The points at a number of standard deviations from a 2-D component's mean.

    Attributes:
        centre: x and y, in units of X.
        width: the longer diameter, in units of X.
        height: the shorter one.
        angle: of the longer diameter, in degrees from the x axis towards the y axis, 0 ≤ . < 180.
    """

    centre: tuple[float, float]
    width: float
    height: float
    angle: float


def ellipses(mixture: Mixture, deviations: float = 2.0) -> list[Ellipse]:
    """One ellipse for each component of a 2-D mixture.

    Within 1, 2 and 3 standard deviations lie 39, 86 and 99 % of a 2-D Gaussian.
    """
    if mixture.means.shape[1] != 2:
        raise ValueError(f"{mixture.means.shape[1]} columns; ellipses are for 2")
    found = []
    for mean, covariance in zip(mixture.means.tolist(), mixture.matrices(), strict=True):
        variances, axes = np.linalg.eigh(covariance)  # ascending; axes in columns
        short, long = 2 * deviations * np.sqrt(np.maximum(variances, 0))
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1])) % 180
        found.append(Ellipse((mean[0], mean[1]), float(long), float(short), float(angle)))
    return found
