"""Checks of what the algorithms are given, and how their arrays are kept and sent."""

from __future__ import annotations

import numpy as np

from pipelines.core.errors import BadRequest


def as_points(X: np.ndarray) -> np.ndarray:
    """``X`` as C-contiguous float64 (n, d), itself where it is that already.

    Raises:
        BadRequest: no rows or columns, or a value that is not finite.
    """
    X = np.ascontiguousarray(X, dtype=np.float64)
    if X.ndim != 2:
        raise ValueError(f"X has {X.ndim} axes; it must have 2")
    if X.size == 0:
        raise BadRequest(
            "The data has {rows} rows and {columns} columns; there must be at least one of each.",
            rows=X.shape[0], columns=X.shape[1],
        )  # fmt: skip
    if bad := int(np.count_nonzero(~np.isfinite(X))):
        raise BadRequest(
            "{count} values are missing or infinite; fill them in or leave their rows out.",
            count=bad,
        )
    return X


def check_clusters(clusters: int, points: int) -> None:
    """Whether so many points can make so many clusters.

    Raises:
        BadRequest: fewer than one cluster, or more than there are points.
    """
    if clusters < 1:
        raise at_least("Clusters", clusters, 1)
    if clusters > points:
        raise BadRequest(
            "{points} points cannot make {clusters} clusters; choose at most {points}.",
            points=points, clusters=clusters,
        )  # fmt: skip


def as_centres(centres: np.ndarray, clusters: int, X: np.ndarray) -> np.ndarray:
    """Own starting centres as a new float64 (clusters, d).

    Raises:
        BadRequest: of another shape, or with values that are not finite.
    """
    centres = np.array(centres, dtype=np.float64, order="C")
    needed = (clusters, X.shape[1])
    if centres.shape != needed:
        raise BadRequest(
            "The starting centres are {given}; {needed} are needed (clusters × columns).",
            given=" × ".join(map(str, centres.shape)), needed=" × ".join(map(str, needed)),
        )  # fmt: skip
    return as_points(centres)


def at_least(field: str, value: float, limit: float) -> BadRequest:
    """The error that says that ``value`` is under ``limit``."""
    return BadRequest(
        "{field} is {value}; it must be at least {limit}.", field=field, value=value, limit=limit
    )


def still(array: np.ndarray) -> np.ndarray:
    """A copy that cannot be written to, for a step to keep while the algorithm goes on."""
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def squared_distances(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """‖x − c‖² of every point and centre: (n, k). By differences, which no offset makes inexact.

    Args:
        X: (n, d).
        centres: (k, d).
    """
    return np.stack([((X - centre) ** 2).sum(axis=1) for centre in centres], axis=1)


def changes(now: np.ndarray, before: np.ndarray | None, unset: int) -> dict[str, list]:
    """Where ``now`` differs from ``before``, as lists for JSON.

    Args:
        now: (n,) or (n, m) integers.
        before: of the same shape; None stands for ``unset`` everywhere.

    Returns:
        ``{"at": [indices of rows], "to": [their values, or lists of m values, now]}``
    """
    differs = now != (unset if before is None else before)
    at = np.flatnonzero(differs if differs.ndim == 1 else differs.any(axis=1))
    return {"at": at.tolist(), "to": now[at].tolist()}


def round_to_lists(array: np.ndarray, decimals: int) -> list:
    """As nested lists of floats for JSON; −0.0 becomes 0.0."""
    return (np.round(array, decimals) + 0.0).tolist()


def significant(value: float) -> float:
    """``value`` with eight significant digits."""
    return float(f"{value:.8g}")
