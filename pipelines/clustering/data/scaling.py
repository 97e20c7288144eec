"""Bringing columns to one scale, as scikit-learn's scalers do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message

Scaling = Literal["none", "standard", "minmax", "robust"]

SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
SCALERS: dict[Scaling, str] = {
    "standard": "StandardScaler",
    "minmax": "MinMaxScaler",
    "robust": "RobustScaler",
}
"""Their names in ``sklearn.preprocessing``."""
MAX_SIZE = 1e150
"""Of a value: its square is still a number, also summed over thousands of columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Points on the new scale, and the way back.

    Attributes:
        X: (n, d) float64, C-contiguous; a new array, or with "none" the very one that was given.
        centre: (d,) float64 that was taken off.
        spread: (d,) float64 that it was divided by; 1 where there is none.
        notes: what a person should know.
    """

    X: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    notes: tuple[Message, ...]

    def there(self, points: np.ndarray) -> np.ndarray:
        """Points (m, d) of the old scale in the new one; a new array."""
        with np.errstate(over="ignore"):
            return np.ascontiguousarray((points - self.centre) / self.spread)

    def back(self, points: np.ndarray) -> np.ndarray:
        """Points (m, d) of the new scale, such as centres, in the old one; a new array."""
        return points * self.spread + self.centre


def scale(X: np.ndarray, how: Scaling, columns: tuple[str, ...] | None = None) -> Scaled:
    """``X`` (n, d) float64 scaled column by column; ``X`` itself is not changed. O(n·d).

    standard: (x − mean) / standard deviation (of the population); minmax: (x − min) / (max − min);
    robust: (x − median) / (third quartile − first). Equal to scikit-learn 1.9's StandardScaler,
    MinMaxScaler and RobustScaler, but for deviations below 1e-150, whose squares are no numbers. A
    spread of 0 is taken for 1.

    Args:
        columns: names for the notes; None: x1, x2, …

    Raises:
        BadRequest: there is no such scaling, or a scaled value is beyond :data:`MAX_SIZE`.
    """
    columns = columns or tuple(f"x{number + 1}" for number in range(X.shape[1]))
    if how not in SCALINGS:
        raise BadRequest(
            "There is no scaling {name}; there are {names}.",
            name=repr(how),
            names=", ".join(SCALINGS),
        )
    least, most = X.min(axis=0), X.max(axis=0)
    same = least == most
    if how == "none":
        centre, spread = np.zeros(X.shape[1]), np.ones(X.shape[1])
    elif how == "standard":
        centre, spread = X.mean(axis=0), _deviations(X)
        # The mean of equal numbers may be off by rounding, which dividing would blow up.
        centre, spread = np.where(same, least, centre), np.where(same, 0.0, spread)
    elif how == "minmax":
        centre, spread = least, most - least
    else:
        first, centre, third = np.percentile(X, (25, 50, 75), axis=0)
        spread = third - first
    flat = ~same & (spread == 0)
    spread = np.where(spread == 0, 1.0, spread)
    notes = []
    if constant := _names(columns, same):
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
    scaled = X
    if how != "none":
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below
            scaled = np.ascontiguousarray((X - centre) / spread)
    _check_size(scaled, how, columns, spread)
    return Scaled(scaled, centre, spread, tuple(notes))


def check_size(X: np.ndarray, columns: tuple[str, ...]) -> None:
    """Whether distances between points (n, d) can be computed.

    Raises:
        BadRequest: a value is beyond :data:`MAX_SIZE`; the sentence names its column.
    """
    _check_size(X, "none", columns, np.ones(X.shape[1]))


def _check_size(X: np.ndarray, how: Scaling, columns: tuple[str, ...], spread: np.ndarray) -> None:
    least, most = X.min(axis=0), X.max(axis=0)
    largest = np.maximum(most, -least)
    beyond = ~(largest <= MAX_SIZE)  # what is no number is beyond it too
    if not beyond.any():
        if 0 < (width := float((most - least).max())) < 1 / MAX_SIZE:
            raise BadRequest(
                "All points lie within {width} of one another; below {limit} no distance can be "
                "computed. Choose the scaling standard or minmax.",
                width=f"{width:.1e}",
                limit=f"{1 / MAX_SIZE:.0e}",
            )
        return
    column = int(np.where(beyond, np.nan_to_num(largest, nan=np.inf), 0).argmax())
    name, limit = repr(columns[column][:60]), f"{MAX_SIZE:.0e}"
    if how == "none":
        raise BadRequest(
            "The column {name} has values up to {value}; beyond {limit} no distance can be "
            "computed. Divide it by a power of ten, or leave it out.",
            name=name,
            value=f"{largest[column]:.1e}",
            limit=limit,
        )
    raise BadRequest(
        "The scaling {scaling} divides the column {name} by {spread}, and its values would lie "
        "beyond {limit}, where no distance can be computed. Choose another scaling, or leave the "
        "column out.",
        scaling=how,
        name=name,
        spread=f"{spread[column]:.1e}",
        limit=limit,
    )


def _deviations(X: np.ndarray) -> np.ndarray:
    """Standard deviations (d,) of the population, also where squares would be 0 or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = X.std(axis=0)
    strange = ~np.isfinite(found) | (found < 1 / MAX_SIZE)
    for column in np.flatnonzero(strange):
        away = X[:, column] - X[:, column].mean()
        width = np.abs(away).max()
        found[column] = width * np.std(away / width) if width > 0 else 0.0
    return found


def _names(columns: tuple[str, ...], chosen: np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, is_chosen in zip(columns, chosen, strict=True) if is_chosen)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:5]) + (" …" if len(names) > 5 else "")
