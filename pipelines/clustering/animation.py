"""An animation of an algorithm at work on a data set: its steps, seen in the picture's two axes.

The algorithm works on all columns; what a frame shows of it (centres, ellipses) is projected as
the points are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from pipelines.clustering.algorithms.fields import Parameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.data.scaling import Scaling, scale
from pipelines.clustering.projecting import Method, Projection, choose_rows, project
from pipelines.clustering.requests import ByAlgorithm
from pipelines.clustering.running import check_memory
from pipelines.clustering.steps import agglomerative, dbscan, frames, gmm, kmeans
from pipelines.clustering.steps.arrays import round_to_lists, still
from pipelines.clustering.steps.gaussians import Mixture
from pipelines.clustering.wire import Matrix
from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message

ANIMATED = ("kmeans", "dbscan", "agglomerative", "mixture")
MAX_CLUSTERS = 50  # that are watched
MAX_ROUNDS = frames.MAX_FRAMES
MAX_SECONDS = 20.0  # that an animation may be expected to take


class AnimationRequest(ByAlgorithm):
    """An algorithm at work, step by step."""

    algorithm: Annotated[
        Literal["kmeans", "dbscan", "agglomerative", "mixture"],
        Field(title="Algorithm", description="How clusters are found."),
    ] = "kmeans"
    projection: Annotated[
        Method,
        Field(title="Projection", description="How the points are laid out in two axes."),
    ] = "pca"

    @model_validator(mode="after")
    def _of_the_registry(self) -> AnimationRequest:
        self.check_parameters()
        return self


def make_animation(
    request: AnimationRequest,
    data: Dataset,
    stop: threading.Event | None = None,
    seen: Projection | None = None,
) -> dict[str, Any]:
    """The animation as JSON but for its notes.

    Of more than 2,000 points as many of those that :func:`choose_rows` names are clustered and
    shown. PCA looks at all points, so that they lie where the picture of the data has them.

    Args:
        seen: the points that are animated as :func:`lay_out` has them, if that is known already.

    Returns:
        - ``algorithm`` and ``parameters``, all of them with their defaults;
        - ``points`` (m lists [x, y]) and ``rows`` (m) of ``data.X``;
        - ``steps`` (how many there are) and ``frames``, each as ``to_json`` of the algorithm's
          ``Step`` in :mod:`pipelines.clustering.steps` says, with centres, trails and ellipses in
          the coordinates of ``points``, or None after UMAP;
        - ``radius``: [rx, ry] of DBSCAN's eps in these coordinates, or None;
        - ``notes``: a list of :class:`Message`.

    Raises:
        BadRequest: the parameters do not go with the points, or it would take too long.
        OutOfMemory: or too much memory.
        Unavailable: UMAP is not installed.
        Stopped: ``stop`` was set.
    """
    scaled = scale(data.X, request.scaling, data.columns)
    rows = animated_rows(len(data.X))
    X = np.ascontiguousarray(scaled.X[rows])
    params = request.params.in_scale(scaled, X.shape[1])
    _check(request.algorithm, X, params)
    if is_laid_out(request, data):
        seen = seen or project(X, 2, "umap")
        points = seen.points
    else:
        seen = project(scaled.X, 2, request.projection)
        points = seen.points[rows]
    steps, dense = _steps(request, X, params)
    made = frames.make_frames(points, _place_steps(steps, seen), dense, stop)
    if seen.method == "umap":
        for frame in made["frames"]:
            frame |= {name: None for name in ("trail", "means", "ellipses") if name in frame}
    radius = None
    if request.algorithm == "dbscan" and seen.method != "umap":
        radius = [params.eps, params.eps]  # axes are of unit length: a ball's shadow is as wide
    return {
        "algorithm": request.algorithm,
        "parameters": request.params.model_dump(mode="json"),
        "points": round_to_lists(points, frames.decimals_for(points)),
        "rows": rows.tolist(),
        **made,
        "radius": radius,
        "notes": _notes(request, params, len(data.X), len(rows), seen),
    }


def is_laid_out(request: AnimationRequest, data: Dataset) -> bool:
    """Whether the animation's points are laid out by UMAP, which takes long."""
    return request.projection == "umap" and data.X.shape[1] > 2


def lay_out(X: Matrix, scaling: Scaling, columns: tuple[str, ...]) -> Projection:
    """UMAP's picture of those of the points (n, d) that are animated."""
    scaled = scale(X, scaling, columns)
    return project(np.ascontiguousarray(scaled.X[animated_rows(len(X))]), 2, "umap")


def animated_rows(n: int) -> np.ndarray:
    """Which of n points are animated: (m,) int64, ascending, of those that a picture shows."""
    shown = choose_rows(n)
    return shown[choose_rows(len(shown), frames.MAX_POINTS)]


def _check(name: str, X: np.ndarray, params: Parameters) -> None:
    algorithm = find(name)
    algorithm.check(X, params)
    if params.k is not None and params.k > MAX_CLUSTERS and name != "agglomerative":
        raise BadRequest(
            "{clusters} clusters are too many to be watched; at most {limit} are taken.",
            clusters=params.k,
            limit=MAX_CLUSTERS,
        )
    once = params.model_copy(update={"starts": 1}) if hasattr(params, "starts") else params
    estimate = algorithm.estimate(*X.shape, once)
    check_memory(estimate)
    if estimate.seconds > MAX_SECONDS:
        raise too_long(MAX_SECONDS)


def too_long(seconds: float) -> BadRequest:
    """The error that an animation takes longer than it may."""
    return BadRequest(
        "Step by step this takes longer than {seconds} s. Take fewer points or columns, or ask for "
        "fewer clusters.",
        seconds=round(seconds),
    )


def _steps(
    request: AnimationRequest, X: np.ndarray, params: Any
) -> tuple[Iterator[Any], frames.Dense]:
    if request.algorithm == "kmeans":
        own = params.start == "own"
        start = np.array(params.centres, dtype=np.float64) if own else params.start
        rounds = min(params.iterations, MAX_ROUNDS)
        steps = kmeans.steps(X, params.k, start, request.seed, params.tolerance, rounds)
        return steps, "start"
    if request.algorithm == "dbscan":
        return dbscan.steps(X, params.eps, params.min_samples), "everywhere"
    if request.algorithm == "agglomerative":
        return agglomerative.steps(X, params.linkage), "end"
    steps = gmm.steps(
        X,
        params.clusters,
        params.covariance,
        seed=request.seed,
        reg_covar=params.regularisation,
        tol=params.tolerance,
        max_rounds=min(params.iterations, MAX_ROUNDS),
    )
    return steps, "start"


def _place_steps(steps: Iterator[Any], seen: Projection) -> Iterator[Any]:
    """The steps with their centres where the picture has them: (k, 2), or (k, 0) after UMAP.

    As they come, so that no step keeps the centres in all columns.
    """
    for step in steps:
        if isinstance(step, kmeans.Step):
            moves, k, _ = step.trail.shape
            trail = _place(step.trail.reshape(moves * k, -1), seen).reshape(moves, k, -1)
            yield replace(step, centres=trail[-1], trail=trail)
        elif isinstance(step, gmm.Step):
            yield replace(
                step,
                mixture=_place_mixture(step.mixture, seen),
                # Frames have twentieths of them: half precision is plenty.
                responsibilities=still(step.responsibilities.astype(np.float16)),
            )
        else:
            yield step


def _place(points: np.ndarray, seen: Projection) -> np.ndarray:
    placed = seen.place(points)
    return np.empty((len(points), 0)) if placed is None else placed


def _place_mixture(mixture: Mixture, seen: Projection) -> Mixture:
    means = _place(mixture.means, seen)
    covariances = seen.turn(mixture.matrices())
    if covariances is None:
        covariances = np.empty((len(means), 0, 0))
    return Mixture(mixture.weights, means, covariances, "full")


def _notes(
    request: AnimationRequest, params: Any, points: int, shown: int, seen: Projection
) -> list[Message]:
    notes = [] if seen.note is None else [seen.note]
    if shown < points:
        notes.append(
            Message(
                "{count} of {points} points are shown step by step, and these alone are clustered.",
                count=f"{shown:,}",
                points=f"{points:,}",
            )
        )
    if getattr(params, "starts", 1) > 1 and getattr(params, "start", None) != "own":
        notes.append(
            Message(
                "One start is shown; the clustering keeps the best of {starts}.",
                starts=params.starts,
            )
        )
    return notes
