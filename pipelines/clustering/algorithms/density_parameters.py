"""Settings of algorithms that look for dense places."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.clustering.algorithms.fields import MAX_DISTANCE, Eps, MinSamples, Parameters


class DBSCANParameters(Parameters):
    eps: Eps = 0.5
    min_samples: MinSamples = 5


class HDBSCANParameters(Parameters):
    min_cluster_size: Annotated[
        int,
        Field(
            ge=2,
            le=100_000,
            title="Smallest cluster",
            description="Groups of fewer points are noise.",
        ),
    ] = 5
    min_samples: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000,
            title="Neighbours (min_samples)",
            description="Larger values make more points noise. Empty: as the smallest cluster.",
        ),
    ] = None
    merge_below: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_DISTANCE,
            allow_inf_nan=False,
            title="Merge below",
            description="Clusters nearer than this distance are not parted (0 is off).",
        ),
    ] = 0.0
    selection: Annotated[
        Literal["eom", "leaf"],
        Field(
            title="Selection",
            description="eom: the most stable clusters. leaf: the smallest ones of the tree.",
        ),
    ] = "eom"
    single: Annotated[
        bool,
        Field(title="One cluster allowed", description="The whole may be one cluster."),
    ] = False


class OPTICSParameters(Parameters):
    min_samples: Annotated[
        int,
        Field(
            ge=2,
            le=10_000,
            title="Neighbours (min_samples)",
            description="The distance to so many points, itself included, is how dense it is here.",
        ),
    ] = 5
    max_eps: Annotated[
        float | None,
        Field(
            gt=0,
            le=MAX_DISTANCE,
            allow_inf_nan=False,
            title="Radius at most",
            description="Farther points are not looked at. Empty: no limit.",
        ),
    ] = None
    method: Annotated[
        Literal["xi", "dbscan"],
        Field(
            title="How it is cut",
            description="xi: at steep slopes of the reachability plot. dbscan: at one height, eps.",
        ),
    ] = "xi"
    xi: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            allow_inf_nan=False,
            title="Steepness (xi)",
            description="How much reachability must fall from one point to the next to begin a "
            "cluster: 0.05 is 5 %.",
        ),
    ] = 0.05
    eps: Eps = 0.5
    min_cluster_size: Annotated[
        int | None,
        Field(
            ge=2,
            le=100_000,
            title="Smallest cluster",
            description="With xi. Empty: as the neighbours (min_samples).",
        ),
    ] = None


class MeanShiftParameters(Parameters):
    bandwidth: Annotated[
        float | None,
        Field(
            gt=0,
            le=MAX_DISTANCE,
            allow_inf_nan=False,
            title="Bandwidth",
            description="Radius of the window that moves uphill. Empty: estimated from the data.",
        ),
    ] = None
    quantile: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            allow_inf_nan=False,
            title="Quantile",
            description="For the estimate: the share of points that a window should hold.",
        ),
    ] = 0.2
    binned: Annotated[
        bool,
        Field(
            title="Start on a grid",
            description="Windows start in the cells that hold points, not at every point; faster.",
        ),
    ] = True
    everyone: Annotated[
        bool,
        Field(title="Every point", description="Points far from every peak join one too."),
    ] = True
