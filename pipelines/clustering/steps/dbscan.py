"""DBSCAN, step by step (Ester, Kriegel, Sander and Xu 1996, "A density-based algorithm for
discovering clusters in large spatial databases with noise", section 4.1).

A core point has at least ``min_samples`` points within a distance ≤ ``eps``, itself included. A
cluster is all that can be reached from a core point by steps of ``eps`` from core point to core
point, with the points that are not core but within ``eps`` of one: its border. The rest is noise.
The labels are those of ``sklearn.cluster.DBSCAN``, number for number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.clustering.labels import NOISE
from pipelines.clustering.steps.arrays import as_points, at_least, changes, still
from pipelines.core.errors import BadRequest

# What is known of a point. Noise may yet become border; REACHED is known to lie in a cluster.
UNSEEN, NOT_DENSE, REACHED, BORDER, CORE = range(5)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What is known after one more point has been visited. The arrays cannot be written to.

    Attributes:
        number: points visited so far; 0 at the start.
        visited: index of the point just visited; −1 at the start.
        neighbours: (m,) int32, ascending: the points within eps of it, itself included.
        cluster: number of the cluster that is growing; −1 where none is.
        kinds: (n,) int8, one of these for each point: UNSEEN, NOT_DENSE, REACHED, BORDER, CORE.
        labels: (n,) int32: cluster of each point so far, −1 for noise and what is not reached.
        waiting: (w,) int32: points of the growing cluster that will be visited, next first.
    """

    number: int
    visited: int
    neighbours: np.ndarray
    cluster: int
    kinds: np.ndarray
    labels: np.ndarray
    waiting: np.ndarray

    def to_json(self, before: Step | None = None, decimals: int = 6) -> dict[str, Any]:
        """What has changed since ``before``, an earlier step that the page has, or since nothing.

        Returns:
            ``kinds`` and ``labels`` as :func:`.arrays.changes`; of those that wait, the number.
        """
        return {
            "number": self.number,
            "visited": self.visited,
            "neighbours": self.neighbours.tolist(),
            "cluster": self.cluster,
            "kinds": changes(self.kinds, before and before.kinds, UNSEEN),
            "labels": changes(self.labels, before and before.labels, NOISE),
            "waiting": len(self.waiting),
        }


def steps(X: np.ndarray, eps: float, min_samples: int = 5) -> Iterator[Step]:
    """DBSCAN from the first point to the last.

    Points are taken in the order of their indices. When one is core, its cluster grows until it
    is complete, the points reached first being visited first.

    Args:
        X: (n, d) float64, not changed.
        eps: radius, in units of X, more than 0; a distance of exactly eps is inside.
        min_samples: points that make a point core, itself included; 1 or more.

    Yields:
        A start, then n steps, one for each visited point; no point is visited twice. O(n·d) time
        a step, O(n) memory: neighbourhoods are looked up when they are needed and not kept.

    Raises:
        BadRequest: eps or min_samples too small, values that are not finite.
    """
    X = as_points(X)
    if not eps > 0:
        raise BadRequest(
            "{field} is {value}; it must be more than {limit}.", field="eps", value=eps, limit=0
        )
    if min_samples < 1:
        raise at_least("min_samples", min_samples, 1)
    kinds = np.full(len(X), UNSEEN, dtype=np.int8)
    labels = np.full(len(X), NOISE, dtype=np.int32)
    waiting: deque[int] = deque()
    visits = 0

    def step(visited: int, neighbours: np.ndarray, cluster: int) -> Step:
        return Step(
            visits, visited, still(neighbours), cluster, still(kinds), still(labels),
            still(np.fromiter(waiting, dtype=np.int32)),
        )  # fmt: skip

    yield step(-1, np.empty(0, dtype=np.int32), NOISE)

    clusters = 0
    for point in range(len(X)):
        if kinds[point] != UNSEEN:
            continue
        neighbours = within(X, point, eps)
        visits += 1
        if len(neighbours) < min_samples:
            kinds[point] = NOT_DENSE
            yield step(point, neighbours, NOISE)
            continue

        # A core point that no cluster has reached: a new cluster begins.
        cluster, clusters = clusters, clusters + 1
        labels[point], kinds[point] = cluster, CORE
        reach(neighbours, cluster, kinds, labels, waiting)
        yield step(point, neighbours, cluster)
        while waiting:
            member = waiting.popleft()
            neighbours = within(X, member, eps)
            visits += 1
            if len(neighbours) >= min_samples:
                kinds[member] = CORE
                reach(neighbours, cluster, kinds, labels, waiting)
            else:
                kinds[member] = BORDER
            yield step(member, neighbours, cluster)


def within(X: np.ndarray, point: int, eps: float) -> np.ndarray:
    """Indices of the points at a distance ≤ eps of one point, ascending, itself included; int32."""
    return np.flatnonzero(((X - X[point]) ** 2).sum(axis=1) <= eps * eps).astype(np.int32)


def reach(
    neighbours: np.ndarray,
    cluster: int,
    kinds: np.ndarray,
    labels: np.ndarray,
    waiting: deque[int],
) -> None:
    """Takes a core point's neighbours into its cluster, unless they are in one already.

    What was noise is border, for it is known not to be core; what is unseen has to be visited.
    """
    free = neighbours[labels[neighbours] == NOISE]
    labels[free] = cluster
    unseen = free[kinds[free] == UNSEEN]
    kinds[free] = BORDER
    kinds[unseen] = REACHED
    waiting.extend(unseen.tolist())
