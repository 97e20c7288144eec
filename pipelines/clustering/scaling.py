"""Columns brought to one scale before distances are taken, and centres back to their units."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

Scaling = Literal["none", "standard", "minmax", "robust"]
SCALINGS: tuple[Scaling, ...] = ("none", "standard", "minmax", "robust")
SCALERS: dict[Scaling, str] = {
    "standard": "StandardScaler",
    "minmax": "MinMaxScaler",
    "robust": "RobustScaler",
}
"""Their names in ``sklearn.preprocessing``; a constant column is left at one value by each."""


class Scaler:
    """A scaling that has seen points.

    Args:
        X: float64 (n, d); not changed.
        scaling: standard: mean 0, variance 1. minmax: 0 to 1. robust: median 0, quartiles 1 apart.
    """

    def __init__(self, X: np.ndarray, scaling: Scaling) -> None:
        self._scaler: Any = None
        if scaling != "none":
            import sklearn.preprocessing

            self._scaler = getattr(sklearn.preprocessing, SCALERS[scaling])().fit(X)

    def there(self, X: np.ndarray) -> np.ndarray:
        """Scaled rows (m, d), float64 and C-contiguous."""
        if self._scaler is None:
            return np.ascontiguousarray(X, dtype=np.float64)
        return np.ascontiguousarray(self._scaler.transform(X))

    def back(self, rows: np.ndarray) -> np.ndarray:
        """Scaled rows (m, d) in the units of the data."""
        return rows if self._scaler is None else self._scaler.inverse_transform(rows)
