"""Two or three axes for the picture. Clustering itself always sees all of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.clustering.wire import Matrix, Rows, UnreadableAnswer, Vector
from pipelines.core.errors import BadRequest, Unavailable
from pipelines.core.messages import Message

Method = Literal["none", "pca", "umap"]

# Numba's simplest threads end the process where two threads enter what is compiled to be parallel.
_one_umap = threading.Lock()

SHOWN_ROWS = 20_000
"""Points that a picture has at most. UMAP takes about a minute to lay out so many."""
_FAR, _HUGE = 4096.0, 1e30  # times their width from 0, and sizes, that float32 can do with


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Where points lie in the picture.

    Attributes:
        points: (m, dims) float64.
        rows: (m,) int64 rows of X that these are; all of them but for UMAP of many.
        method: what was done; "none" where X had few enough columns already.
        explained: (dims,) share of the variance on each axis (PCA), else None.
        axes: (dims, d) float64 directions of unit length (PCA), else None.
        mean: (d,) float64 that was taken off before (PCA), else None.
        note: what the picture shows and what not.
    """

    points: Matrix
    rows: Rows
    method: Method
    explained: Vector | None = None
    axes: Matrix | None = None
    mean: Vector | None = None
    note: Message | None = None

    def check(self, X: np.ndarray) -> None:
        """Whether this can be a picture of some of the points ``X`` (n, d).

        Raises:
            UnreadableAnswer: it has other rows.
        """
        rows = self.rows
        inside = not len(rows) or 0 <= rows.min() <= rows.max() < len(X)
        if len(self.points) != len(rows) or not inside:
            raise UnreadableAnswer("the picture is not one of the points")

    def place(self, X: np.ndarray) -> np.ndarray | None:
        """Where other points (k, d), such as centres, lie in the picture; None after UMAP."""
        if self.method == "none":
            return _pad(X, self.points.shape[1])
        if self.axes is None or self.mean is None:
            return None
        return (X - self.mean) @ self.axes.T

    def lift(self, points: np.ndarray, X: np.ndarray) -> np.ndarray | None:
        """The points (k, d) that lie at places (k, dims) of the picture, the nearest to the mean
        of ``X`` (n, d), of which the picture is; None after UMAP, from which there is no way."""
        if self.method == "none":
            lifted = np.repeat(X.mean(axis=0)[None], len(points), axis=0)
            shared = min(points.shape[1], X.shape[1])
            lifted[:, :shared] = points[:, :shared]
            return lifted
        if self.axes is None or self.mean is None:
            return None
        return points @ self.axes + self.mean

    def turn(self, covariances: np.ndarray, stretch: np.ndarray | float = 1.0) -> np.ndarray | None:
        """How covariances (k, d, d) of points look in the picture: (k, dims, dims); None after
        UMAP.

        Args:
            stretch: (d,) what the points' coordinates are multiplied by to be those of ``X``.
        """
        d = covariances.shape[1]
        if self.method == "none":
            axes = np.eye(self.points.shape[1], d)
        elif self.axes is None:
            return None
        else:
            axes = self.axes
        axes = axes * stretch  # so that no second copy of them all is made
        return axes @ covariances @ axes.T


def choose_rows(n: int, limit: int = SHOWN_ROWS, seed: int = 0) -> np.ndarray:
    """Which of ``n`` points a picture shows: all of them, or ``limit`` that are drawn.

    Returns:
        (m,) int64, ascending, m = min(n, limit); the same for the same arguments, so that what is
        known of points (places, labels) can be fetched apart and still goes together.
    """
    if n <= limit:
        return np.arange(n, dtype=np.int64)
    drawn = np.random.default_rng(seed).choice(n, limit, replace=False)
    return np.sort(drawn).astype(np.int64)


def project(X: np.ndarray, dims: int = 2, method: Method = "pca", seed: int = 0) -> Projection:
    """``X`` (n, d) float64 seen along ``dims`` (2 or 3) axes; ``X`` is not changed.

    With ``d ≤ dims`` points stay where they are, with zeros for an axis that is lacking.

    * pca: the directions of largest variance (Pearson 1901), by the eigenvectors of the
      covariance, O(n·d² + d³); signs such that each axis' largest entry is positive.
    * umap: McInnes, Healy, Melville 2018, with 15 neighbours and a least distance of 0.1. Of more
      than 20,000 points so many are drawn by ``seed``. It cannot be stopped midway.

    Raises:
        BadRequest: neither 2 nor 3 axes, an unknown method, or too few points for UMAP.
        Unavailable: UMAP, and umap-learn is not installed.
    """
    if dims not in (2, 3):
        raise BadRequest("A picture has 2 or 3 axes, not {count}.", count=dims)
    everyone = np.arange(len(X))
    if X.shape[1] <= dims or method == "none":
        note = None
        if X.shape[1] > dims:
            note = Message(
                "The picture shows the first {dims} of {columns} columns; the clusters come from "
                "all of them.",
                dims=dims,
                columns=X.shape[1],
            )
        return Projection(_pad(X, dims), everyone, "none", note=note)
    if method == "pca":
        return _pca(X, dims)
    if method == "umap":
        return _umap(X, dims, seed)
    raise BadRequest("There is no projection {name}; there are pca and umap.", name=repr(method))


def _pad(X: np.ndarray, dims: int) -> np.ndarray:
    points = np.zeros((len(X), dims))
    points[:, : X.shape[1]] = X[:, :dims]
    return points


def _pca(X: np.ndarray, dims: int) -> Projection:
    mean = X.mean(axis=0)
    centred = X - mean
    # Sums of squares of what is near 1 are numbers, whatever the data are measured in.
    unit = float(np.abs(centred).max()) or 1.0
    centred /= unit
    covariance = centred.T @ centred / max(1, len(X) - 1)
    variances, vectors = np.linalg.eigh(covariance)
    axes = vectors[:, ::-1][:, :dims].T
    axes = axes * np.sign(axes[np.arange(dims), np.abs(axes).argmax(axis=1)])[:, None]
    total = np.trace(covariance)
    largest = np.clip(variances[::-1][:dims], 0, None)
    explained = largest / total if total > 0 else np.zeros(dims)
    note = Message(
        "The picture shows {dims} axes with {share} % of the variance (PCA); the clusters come "
        "from all {columns} columns.",
        dims=dims,
        share=round(100 * float(explained.sum())),
        columns=X.shape[1],
    )
    points = centred @ axes.T * unit
    return Projection(points, np.arange(len(X)), "pca", explained, axes, mean, note)


def _for_float32(X: np.ndarray) -> np.ndarray:
    """Points whose neighbours float32 can tell apart, in which UMAP works: times in seconds and
    numbers beyond 1e38 are brought near 0 and to 1."""
    width = float(np.ptp(X, axis=0).max())
    if np.abs(X).max() <= min(_FAR * width, _HUGE) and width >= 1 / _HUGE:
        return X
    near = X - X.mean(axis=0)
    return near / (float(np.abs(near).max()) or 1.0)


def _umap(X: np.ndarray, dims: int, seed: int) -> Projection:
    try:
        from umap import UMAP  # compiles for some seconds: only where it is asked for
    except ImportError:
        raise Unavailable(
            "UMAP is done by umap-learn, which is not installed here (pip install umap-learn). "
            "Choose PCA."
        ) from None
    if len(X) < dims + 3:
        raise BadRequest(
            "UMAP needs at least {least} points; there are {count}. Choose PCA.",
            least=dims + 3,
            count=len(X),
        )
    rows = choose_rows(len(X), SHOWN_ROWS, seed)
    neighbours = min(15, len(rows) - 1)
    # One thread: with more of them the same seed would not give the same picture.
    layout = UMAP(n_components=dims, n_neighbors=neighbours, random_state=seed, n_jobs=1)
    with _one_umap:
        points = layout.fit_transform(_for_float32(X[rows])).astype(np.float64)
    template = (
        "The picture shows {count} of {rows} points laid out by UMAP: neighbours are kept, "
        "distances and densities are not. The clusters come from all {columns} columns."
        if len(rows) < len(X)
        else "The picture shows all points laid out by UMAP: neighbours are kept, distances and "
        "densities are not. The clusters come from all {columns} columns."
    )
    note = Message(template, count=f"{len(rows):,}", rows=f"{len(X):,}", columns=X.shape[1])
    return Projection(points, rows, "umap", note=note)
