"""Bringing columns to one scale, as scikit-learn's scalers do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pipelines.errors import BadRequest
from pipelines.messages import Message

Scaling = Literal["none", "standard", "minmax", "robust"]

SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
SCALERS: dict[Scaling, str] = {
    "standard": "StandardScaler",
    "minmax": "MinMaxScaler",
    "robust": "RobustScaler",
}
"""Their names in ``sklearn.preprocessing``."""
TITLES: dict[str, str] = {
    "none": "As it is",
    "standard": "Standardise: mean 0, standard deviation 1",
    "minmax": "Min–max: from 0 to 1",
    "robust": "Robust: median 0, middle half 1 wide",
}


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Points on the new scale, and the way back.

    Attributes:
        X: (n, d) float64, C-contiguous; a new array, or with "none" the very one that was given.
        centre: (d,) float64 that was taken off.
        spread: (d,) float64 that it was divided by; 1 where there is none.
        constant: columns with one value only, which tell nothing apart.
        notes: what a person should know.
    """

    X: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    constant: tuple[str, ...]
    notes: tuple[Message, ...]

    def there(self, points: np.ndarray) -> np.ndarray:
        """Points (m, d) of the old scale in the new one; a new array."""
        return np.ascontiguousarray((points - self.centre) / self.spread)

    def back(self, points: np.ndarray) -> np.ndarray:
        """Points (m, d) of the new scale, such as centres, in the old one; a new array."""
        return points * self.spread + self.centre


def scale(X: np.ndarray, how: Scaling, columns: tuple[str, ...] | None = None) -> Scaled:
    """``X`` (n, d) float64 scaled column by column; ``X`` itself is not changed. O(n·d).

    standard: (x − mean) / standard deviation (of the population); minmax: (x − min) / (max − min);
    robust: (x − median) / (third quartile − first). Equal to scikit-learn 1.9's StandardScaler,
    MinMaxScaler and RobustScaler. A spread of 0 is taken for 1.

    Args:
        columns: names for the notes; None: x1, x2, …

    Raises:
        BadRequest: there is no such scaling.
    """
    columns = columns or tuple(f"x{number + 1}" for number in range(X.shape[1]))
    if how not in get_args(Scaling):
        raise BadRequest(
            "There is no scaling {name}; there are {names}.",
            name=repr(how),
            names=", ".join(get_args(Scaling)),
        )
    least, most = X.min(axis=0), X.max(axis=0)
    same = least == most
    if how == "none":
        centre, spread = np.zeros(X.shape[1]), np.ones(X.shape[1])
    elif how == "standard":
        centre, spread = X.mean(axis=0), X.std(axis=0)
        # The mean of equal numbers may be off by rounding, which dividing would blow up.
        centre, spread = np.where(same, least, centre), np.where(same, 0.0, spread)
    elif how == "minmax":
        centre, spread = least, most - least
    else:
        first, centre, third = np.percentile(X, (25, 50, 75), axis=0)
        spread = third - first
    flat = ~same & (spread == 0)
    spread = np.where(spread == 0, 1.0, spread)
    constant = _names(columns, same)
    notes = []
    if constant:
        notes.append(
            Message("{names} have one value only and tell no points apart.", names=_list(constant))
        )
    if flat.any():
        notes.append(
            Message(
                "Half of the values of {names} are the same, so the middle half has no width: "
                "they are only centred, not scaled.",
                names=_list(_names(columns, flat)),
            )
        )
    scaled = X if how == "none" else np.ascontiguousarray((X - centre) / spread)
    return Scaled(scaled, centre, spread, constant, tuple(notes))


def _names(columns: tuple[str, ...], chosen: np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, is_chosen in zip(columns, chosen, strict=True) if is_chosen)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:5]) + (" …" if len(names) > 5 else "")
