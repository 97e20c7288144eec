"""What lessons suggest to try, and what they say comes of it."""

from __future__ import annotations

from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from pipelines.clustering.algorithms.registry import ALGORITHMS
from pipelines.clustering.data.sample_data import DatasetRequest
from pipelines.clustering.data.scaling import Scaling
from pipelines.clustering.lessons import FOLDER

Between = tuple[float, float]


class Outcome(BaseModel):
    """What a lesson says of a trial; each is the least and the most that it may be.

    Attributes:
        clusters: that have a point.
        noise: points of no cluster.
        ari: adjusted Rand index with the true groups.
        inertia: times K-Means' own J, with as many clusters.
        largest: points of the largest cluster.
        small_clusters: of BIRCH.
        best: k that a curve marks.
        settled: False where it must not have settled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clusters: Between | None = None
    noise: Between | None = None
    ari: Between | None = None
    inertia: Between | None = None
    largest: Between | None = None
    small_clusters: Between | None = None
    best: Between | None = None
    settled: bool | None = None


class Trial(BaseModel):
    """Something to try: a data set, an algorithm with settings, or a curve over k.

    Attributes:
        data: what is not given has its default, as on the page.
        algorithm: of the registry; empty: that of the lesson.
        parameters: of the algorithm.
        curve: a curve over k from 1 (silhouette: 2) to ``most`` instead of one fit.
        outcome: what comes of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: DatasetRequest
    scaling: Scaling = "none"
    algorithm: str = ""
    parameters: dict[str, Any] = {}
    seed: int = 0
    curve: Literal["elbow", "silhouette", "gap"] | None = None
    most: int = 8
    outcome: Outcome


def trials(name: str) -> tuple[Trial, ...]:
    """What a lesson suggests to try, in the order of its words."""
    data = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    own = {"algorithm": name if name in ALGORITHMS else ""}
    return tuple(Trial.model_validate(own | trial) for trial in data["trials"])
